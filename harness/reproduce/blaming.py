"""Which setting is to blame for a picture that does not come out as recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import ConcordError
from ..pipeline import Pipeline
from .changes import Change
from .drawing import Attempt, attempt
from .neighbours import Case, neighbours
from .recorded import Recorded

NOT_DRAWN = 1e9
"""How far a picture is that cannot be drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blame:
    """The change that gives the picture, and after how many tries it was found."""

    change: Change
    attempt: Attempt
    tries: int


def find_blame(
    pipeline: Pipeline,
    recorded: Recorded,
    first: Attempt,
    *,
    tries: int,
    vaes: Sequence[Path] = (),
    load: Callable[[Path], Pipeline] | None = None,
) -> Blame | None:
    """Return the first change of one setting that gives the recorded picture, within ``tries``; else None.

    ``first``: the attempt with the settings as they are.  ``load``: gives the pipeline with another VAE.
    """
    source = first.source
    case = Case(
        record=first.record,
        pixels=recorded.pixels,
        distance=first.distance,
        drawn_size=first.size,
        image=source.image,
        masked=source.mask is not None,
        vaes=vaes if load else (),
    )
    search = neighbours(case)
    done = 0
    change = next(search, None)
    while change is not None and done < tries:
        done += 1
        own = load(change.vae) if change.vae and load else pipeline
        distance = NOT_DRAWN
        try:
            found = attempt(own, recorded, change.record, source)
        except ConcordError:  # a setting that does not go with the others is not the one
            pass
        else:
            if found.same:
                return Blame(change=change, attempt=found, tries=done)
            distance = found.distance
        try:
            change = search.send(distance)
        except StopIteration:
            break
    return None
