"""One setting changed: what a search for the setting to blame tries, and how a number is walked along."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from ...core.image.generation import Generation


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """A record with one setting changed: its ``label``, the new value, and the one ``before``; None: not said.

    ``otherwise``: what the text says, in words, where it is neither ``before`` nor nothing.  ``vae``, ``model``:
    files to take the VAE or everything from.
    """

    label: str
    value: str
    before: str | None
    record: Generation
    otherwise: str | None = None
    vae: Path | None = None
    model: Path | None = None

    def words(self, where: str = "text") -> str:
        """Return what is said when it gives the picture; ``where``: what the settings were read from."""
        said = self.otherwise or (f"says {self.before}" if self.before else "does not say")
        return f"{self.label}: {self.value} gives this picture, the {where} {said}"


Search = Generator[Change, float, None]
"""Yields changes to try, and is sent how far the picture of each is from the recorded one, in levels."""
Put = Callable[[float], Generation]
_LEAST_GAIN = 1e-6


def listed(changes: Iterable[Change]) -> Search:
    """Try ``changes`` one after the other."""
    yield from changes


def walked(
    label: str,
    value: float,
    put: Put,
    distance: float,
    *,
    steps: tuple[float, ...],
    low: float,
    high: float = float("inf"),
) -> Search:
    """Walk from ``value`` downhill, in the largest of ``steps`` first, within ``low`` … ``high``.

    ``put`` gives the record with another value; ``distance``: of the record as it is.
    """
    at, best, seen = value, distance, {round(value, 6)}
    for step in steps:
        for sign in (1, -1):
            moved = False
            while low <= (to := round(at + sign * step, 6)) <= high and to not in seen:
                seen.add(to)
                found = yield Change(label=label, value=f"{to:g}", before=f"{value:g}", record=put(to))
                if found >= best - _LEAST_GAIN:
                    break
                at, best, moved = to, found, True
            if moved:
                break
