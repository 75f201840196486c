"""`sd-concord explain`: what a prompt means, as text, JSON, a web page or a picture of its timeline."""

from ...core.prompt.explain import Explanation, explain
from .command import add_arguments, run

__all__ = ["Explanation", "add_arguments", "explain", "run"]
