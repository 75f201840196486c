"""The ComfyUI front: thin V3 nodes over the core."""

from __future__ import annotations

from importlib import import_module
from typing import Any

NODES: list[type] = []
"""The node classes, in the order of the menu; each module of this package adds its own ``NODES``."""


def extension() -> Any:
    """Return the ``ComfyExtension`` that hands the nodes to ComfyUI.

    Raises ImportError where ComfyUI 0.3.52 or newer is not running: without it this module still imports.
    """
    api = import_module("comfy_api.latest")

    class Concord(api.ComfyExtension):
        """What ComfyUI asks for the nodes."""

        async def get_node_list(self) -> list[type]:
            """Return the node classes."""
            return list(NODES)

    return Concord()
