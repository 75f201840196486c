"""The ComfyUI front: thin V3 nodes over the core."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)

MODULES = (
    "text",
    "sampling",
    "hires",
    "refiner",
    "detailer",
    "images",
    "same_picture",
    "recipes",
    "grid",
    "sigmas",
)
"""The modules with nodes, in the order of the menu; each has a list ``NODES``."""


def extension() -> Any:
    """Register samplers and schedules, and return the ``ComfyExtension`` that hands the nodes to ComfyUI.

    Raises ImportError where ComfyUI 0.3.52 or newer is not running: without it this module still imports.
    """
    api = import_module("comfy_api.latest")
    import_module(".registration", __name__).register()
    import_module(".routes", __name__).register()
    nodes = [node for name in MODULES for node in nodes_of(name)]

    class Concord(api.ComfyExtension):
        """What ComfyUI asks for the nodes."""

        async def get_node_list(self) -> list[type]:
            """Return the node classes."""
            return list(nodes)

    return Concord()


def nodes_of(name: str) -> list[type]:
    """Return the nodes of module ``name``; none, and a line in the log, where what it needs is missing."""
    try:
        return import_module(f".{name}", __name__).NODES
    except ImportError as error:
        log.warning("Concord: the nodes of %r are left out: %s", name, error)
        return []
