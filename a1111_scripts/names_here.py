"""What the host calls the things that a record names: samplers, schedules, checkpoints, upscalers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any

from ..core.axes import Axis, axis_named
from ..core.errors import BadValue, unknown
from ..core.image.generation import Generation
from ..core.image.names import sampler_label, sampler_name, scheduler_label, scheduler_name
from ..core.image.parts import Hires
from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS
from .host import sd_samplers, sd_schedulers, shared
from .labels import folded, samplers_here, schedulers_here

SAME = "use same"
"""How the host's choices begin that leave a thing as it is in the first pass."""
OURS = "concord_"
"""How the names begin that ask for our schedules, whatever the host has; samplers of ours have such an alias."""


def sampler_here(text: str) -> str | None:
    """Return the host's label of the sampler that ``text`` names, by label, by the core's name or loosely; else None.

    A label that the host has is that sampler; of one that only we have, ours.
    """
    table: list[Any] = sd_samplers.all_samplers
    labels = [one.name for one in table]
    name = SAMPLERS[text].name if text in SAMPLERS else sampler_name(text)
    aliases = {alias.casefold(): one.name for one in table for alias in one.aliases}
    ours = samplers_here().get(name)
    if text in labels or text.casefold().startswith(SAME):
        return text
    if name in SAMPLERS:
        label = sampler_label(name)
        return label if label in labels else ours or _loosely(label, labels)
    return aliases.get(text.casefold()) or _loosely(text, labels)


def schedule_here(text: str) -> str | None:
    """Return the host's label of the schedule that ``text`` names, as ``sampler_here``; None where it has none."""
    table: list[Any] = [] if sd_schedulers is None else sd_schedulers.schedulers
    labels = {one.label: one for one in table}
    if text in labels or text.casefold().startswith(SAME):
        return text
    if text.casefold().startswith(OURS):
        return schedulers_here().get(text.casefold().removeprefix(OURS))
    name = SCHEDULERS[text].name if text in SCHEDULERS else scheduler_name(text)
    if name in SCHEDULERS:
        label = scheduler_label(name)
        ours = schedulers_here().get(name)
        return label if label in labels else ours or _loosely(label, labels)
    by_name = {one.name: one.label for one in table}
    return by_name.get(text) or _loosely(text, labels)


def fused_here(sampler: str, schedule: str) -> str | None:
    """Return the host's label of a sampler with its schedule, such as ``DPM++ 2M Karras``; None where it has none."""
    return _loosely(f"{sampler} {schedule}", [one.name for one in sd_samplers.all_samplers])


def _loosely(text: str, labels: Iterable[str]) -> str | None:
    """Return the label that is ``text`` but for case, blanks and hyphens."""
    return next((label for label in labels if folded(label) == folded(text)), None)


def schedule_labels() -> list[str]:
    """Return the labels of the host's schedules; none where they are part of the samplers' names."""
    return [] if sd_schedulers is None else [one.label for one in sd_schedulers.schedulers]


def axis_here(name: str) -> Axis:
    """Return the axis of a name or label, whose values are what this host has; raises ``BadValue``."""
    axis = axis_named(name)
    if axis.kind == "sampler":
        return _of(axis, sampler_here, [one.name for one in sd_samplers.all_samplers])
    if axis.kind == "schedule" and sd_schedulers is not None:
        return _of(axis, schedule_here, schedule_labels())
    if axis.name in ("model", "hires.checkpoint", "refiner.model", "detailer.checkpoint"):
        sd_models = import_module("modules.sd_models")
        return _of(axis, _checkpoint_here, [one.title for one in sd_models.checkpoints_list.values()])
    if axis.name == "hires.upscaler":
        labels = [*shared.latent_upscale_modes, *(one.name for one in shared.sd_upscalers)]
        return _of(axis, lambda text: _loosely(text, labels), labels)
    return axis


def _checkpoint_here(text: str) -> str | None:
    found = import_module("modules.sd_models").get_closet_checkpoint_match(text)
    return text if found is None and text.casefold().startswith(SAME) else found and found.title


def _of(axis: Axis, find: Callable[[str], str | None], known: list[str]) -> Axis:
    """Return ``axis`` with values that ``find`` knows, and the core's where they are two of the host's in one."""

    def read(text: str) -> str:
        found = find(text)
        if found is not None:
            return found
        try:
            fused = axis.read(text) if axis.kind == "sampler" else None
        except BadValue:
            fused = None
        if fused is None:
            raise unknown(axis.label.casefold(), text, known)
        return fused

    def assign(record: Generation, value: str) -> Generation:
        if (
            value in known and axis.name == "sampler"
        ):  # Forge Classic's names hold the schedule and stay whole
            return replace(record, sampler=value)
        if value in known and axis.name == "hires.sampler":
            return replace(record, hires=replace(record.hires or Hires(), sampler=value))
        return axis.assign(record, value)

    return replace(axis, read=read, write=str, assign=assign)
