"""`sd-concord explain`: what a prompt means, chunk by chunk and step by step."""

from ..explain import add_arguments, run

__all__ = ["add_arguments", "run"]
