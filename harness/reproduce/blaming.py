"""Which setting is to blame for a picture that does not come out as recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import ConcordError
from ..pipeline import Pipeline
from .case import Case
from .changes import Change
from .drawing import Attempt, attempt
from .neighbours import neighbours
from .recorded import Recorded

NOT_DRAWN = 1e9
"""How far a picture is that cannot be drawn."""


Load = Callable[[Change], Pipeline]
"""Gives the pipeline with the VAE or the checkpoint of a change."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blame:
    """The change that gives the picture, None where none did, and how many were ``tried``."""

    change: Change | None
    tried: int
    attempt: Attempt | None = None


@dataclass(frozen=True, kw_only=True)
class Others:
    """Other files that may have been used, and what loads the pipeline of a change to one of them."""

    load: Load
    vaes: Sequence[Path] = ()
    models: Sequence[Path] = ()


def find_blame(
    pipeline: Pipeline,
    recorded: Recorded,
    first: Attempt,
    *,
    tries: int,
    others: Others | None = None,
) -> Blame:
    """Return the first change of one setting that gives the recorded picture, within ``tries``.

    ``first``: the attempt with the settings as they are.
    """
    source = first.source
    case = Case(
        record=first.record,
        pixels=recorded.pixels,
        distance=first.distance,
        drawn_size=first.size,
        image=source.image,
        masked=source.mask is not None,
        vaes=others.vaes if others else (),
        models=others.models if others else (),
    )
    search = neighbours(case)
    done = 0
    change = next(search, None)
    while change is not None and done < tries:
        done += 1
        distance = NOT_DRAWN
        try:
            own = others.load(change) if others and (change.vae or change.model) else pipeline
            found = attempt(own, recorded, change.record, source)
        except ConcordError:  # a setting that does not go with the others is not the one
            pass
        else:
            if found.same:
                return Blame(change=change, attempt=found, tried=done)
            distance = found.distance
        try:
            change = search.send(distance)
        except StopIteration:
            break
    return Blame(change=None, tried=done)
