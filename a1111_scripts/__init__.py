"""The front for A1111, Forge and reForge: scripts, samplers and schedulers on the core."""

from __future__ import annotations

import logging
from importlib import import_module

log = logging.getLogger(__name__)

PARTS = (
    "samplers",
    "schedulers",
    "sigma_panel",
    "prompt_panel",
    "explain_panel",
    "detailer_panel",
    "recipes",
    "grid",
    "compare",
    "reproduce",
    "paste",
)
"""The modules of this folder that bring something to the host, in the order of their panels."""


def register() -> list[type]:
    """Add what Concord has to the host's tables, and return its script classes for the host to find.

    "Reload UI" calls this again in the same process, so an entry replaces the one of its name.  A part that fails
    costs its own scripts only, and says why in one line.
    """
    found: list[type] = []
    for part in PARTS:
        try:
            found += import_module(f".{part}", __name__).register()
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            log.error("Concord: %s is left out, the rest is there: %s", part, why)
    return found
