"""What our samplers and schedules are called in a host: by the field's label, or beside the host's own of that name."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from ..core.image.names import OURS
from .host import sd_samplers, sd_schedulers

SAMPLER_MARK = "concord"
"""The key in the options of a sampler of ours that holds the core's name."""
FUNCTION_MARK = "concord_name"
"""The attribute of the function of a schedule of ours that holds it."""
_NOTHING = str.maketrans("", "", " _-")


def folded(name: str) -> str:
    """Return what is left of a name where hosts and people write it differently."""
    return name.casefold().translate(_NOTHING)


def free_label(label: str, taken: Container[str]) -> str:
    """Return ``label``, or what we call ours where the host has a name like it.

    ``taken``: the host's own names, ``folded``.
    """
    return label + OURS if folded(label) in taken else label


def samplers_here() -> Mapping[str, str]:
    """Return the core's name → the label under which the host has our sampler of that name."""
    found = ((one.options.get(SAMPLER_MARK), one.name) for one in sd_samplers.all_samplers)
    return {name: label for name, label in found if name is not None}


def schedulers_here() -> Mapping[str, str]:
    """Return the core's name → the label under which the host has our schedule of that name."""
    table: list[Any] = [] if sd_schedulers is None else sd_schedulers.schedulers
    found = ((getattr(one.function, FUNCTION_MARK, None), one.label) for one in table)
    return {name: label for name, label in found if name is not None}
