"""Fixtures that start real hosts; each lives in its own module of tests/support."""

from comfy_host import checkpoints, comfy
from comfy_inside import inside
from webui_host import a1111, forge, reforge, webui

__all__ = ["a1111", "checkpoints", "comfy", "forge", "inside", "reforge", "webui"]
