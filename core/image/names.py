"""Names of samplers and schedules ↔ the labels that the web UIs write; the registries hold both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

OURS = " (Concord)"
"""What stands after a label in a web UI that has a sampler or schedule of that label itself."""

OURS_ALONE = ("ddim", "uni_pc")
"""Samplers of ours with labels of their own, as the web UIs' of these names are other ones."""
SCHEDULES_OURS_ALONE = (
    *("ddim_timesteps", "uni_pc_timesteps"),
    *("align_your_steps_sd1", "ays_11_sd1", "ays_32_sd1", "ays_gits_sd1"),
    *("sinusoidal", "invcosinusoidal", "react_cosinusoidal"),
)
"""Schedules of ours that web UIs have under other labels, or have no label for."""


class Labelled(Protocol):
    """An entry of a registry: it has a label beside its name."""

    @property
    def name(self) -> str:
        """Return the registry's name."""
        ...

    @property
    def label(self) -> str:
        """Return the web UI's label."""
        ...


def _samplers() -> Mapping[str, Labelled]:
    from ..sampling import SAMPLERS  # loads torch: only for a text that names a sampler  # noqa: PLC0415

    return SAMPLERS


def _schedulers() -> Mapping[str, Labelled]:
    from ..sigmas import SCHEDULERS  # as above  # noqa: PLC0415

    return SCHEDULERS


def sampler_label(name: str) -> str:
    """Return the web UI's label of sampler ``name`` (``dpmpp_2m`` → ``DPM++ 2M``), an unknown one as is."""
    return _label(name, _samplers())


def scheduler_label(name: str) -> str:
    """Return the web UI's label of scheduler ``name`` (``karras`` → ``Karras``), an unknown one as is."""
    return _label(name, _schedulers())


def sampler_name(label: str) -> str:
    """Return the registry's name of the sampler that a text calls ``label``, an unknown one as is."""
    return _name(label, _samplers())


def scheduler_name(label: str) -> str:
    """Return the registry's name of the scheduler that a text calls ``label``, an unknown one as is."""
    return _name(label, _schedulers())


def is_ours(label: str) -> bool:
    """Tell whether a text that calls a sampler or schedule ``label`` says that it is ours, not the web UI's."""
    return label.casefold().endswith(OURS.casefold())


def is_ours_alone(label: str) -> bool:
    """Tell whether only we give ``label`` to a sampler or schedule: "DDIM (Euler)", "Align Your Steps SD1"."""
    ours = [sampler_label(name) for name in OURS_ALONE]
    ours += [scheduler_label(name) for name in SCHEDULES_OURS_ALONE]
    return label.casefold() in [one.casefold() for one in ours]


def split_fused(sampler: str) -> tuple[str, str] | None:
    """Return (sampler, scheduler) names of an old label that holds both (``DPM++ 2M Karras``), else None."""
    sampler = _bare(sampler)
    folded = sampler.casefold()
    for name, entry in _schedulers().items():
        suffix = f" {entry.label}".casefold()
        if folded.endswith(suffix):
            label = sampler[: -len(suffix)]
            found = sampler_name(label)
            return (found, name) if found in _samplers() else None
    return None


def _label(name: str, registry: Mapping[str, Labelled]) -> str:
    return registry[name].label if name in registry else name


def _name(label: str, registry: Mapping[str, Labelled]) -> str:
    folded = _bare(label).casefold()
    for name, entry in registry.items():
        if entry.label.casefold() == folded:
            return name
    return registry[folded].name if folded in registry else label


def _bare(label: str) -> str:
    """Return ``label`` without the mark of ours."""
    return label[: -len(OURS)] if is_ours(label) else label
