"""`sd-concord explain`: what a prompt means, as text, JSON, a web page or a picture of its timeline."""

from .command import add_arguments, run
from .view import Explanation, explain

__all__ = ["Explanation", "add_arguments", "explain", "run"]
