"""The front for A1111, Forge and reForge: scripts, samplers and schedulers on the core."""

from __future__ import annotations


def register() -> None:
    """Add what Concord has to the host's tables.

    "Reload UI" calls this again in the same process, so an entry replaces the one of its name.
    """
