"""What a search for the setting to blame knows of its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.filled import filled, profile_of
from ...core.image.generation import Generation
from ...core.image.parts import ConcordSettings
from ...core.profiles import Profile
from ...core.same_picture import Pixels
from .changes import Change


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What a search knows: the record, the recorded picture, how far the first attempt was, and its source.

    ``vaes``, ``models``: other files that there are.
    """

    record: Generation
    pixels: Pixels
    distance: float
    drawn_size: tuple[int, int]
    image: Pixels | None = None
    masked: bool = False
    vaes: Sequence[Path] = ()
    models: Sequence[Path] = ()

    @property
    def host(self) -> Profile:
        """The profile that the record is drawn under."""
        return profile_of(self.record)

    @property
    def sampler(self) -> str:
        """The registry's name of the sampler that runs."""
        return filled(self.record).sampler or ""


def changed(case: Case, label: str, value: object, before: object, **new: Any) -> Change:
    """Return the change to ``value`` of the setting called ``label``; ``new``: fields of the record."""
    record = replace(case.record, **new)
    return Change(
        label=label, value=str(value), before=None if before is None else str(before), record=record
    )


def settings(case: Case, **new: Any) -> ConcordSettings:
    """Return Concord's own settings of the record, with ``new`` ones."""
    return replace(case.record.concord or ConcordSettings(), **new)
