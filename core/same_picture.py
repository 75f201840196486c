"""How far a picture that was drawn again is from the recorded one, and what counts as the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .filled import profile_of, sampler_called
from .image.generation import Generation
from .sampling import SAMPLERS

Pixels = NDArray[np.uint8]
MOST, MOST_CHAOTIC = 1, 2
"""Levels by which a picture may differ at most, and one of a stochastic sampler of two calls a step."""
EQUAL = 0.99
"""The share of values that are to be equal."""
LOSSY_MEAN = 4.0
"""Levels by which a picture out of a lossy file may differ on average."""
_MANY = 20


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Between two pictures: ``most`` and ``mean`` in levels of 255, and the share of ``equal`` values."""

    most: int
    mean: float
    equal: float


def difference(drawn: Pixels, recorded: Pixels) -> Difference | None:
    """Return how two pictures uint8 (H, W, 3) differ; None when they are of different sizes."""
    if drawn.shape != recorded.shape:
        return None
    levels = np.abs(drawn.astype(np.int16) - recorded)
    return Difference(most=int(levels.max()), mean=float(levels.mean()), equal=float((levels == 0).mean()))


def nearest(drawn: Sequence[Pixels], recorded: Pixels) -> tuple[int, Difference] | None:
    """Return which of ``drawn`` is nearest to ``recorded`` on average, and how far it is; None for other sizes."""
    found = [(i, one) for i, image in enumerate(drawn) if (one := difference(image, recorded))]
    return min(found, key=lambda pair: pair[1].mean, default=None)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Of pictures that were drawn again: whether one is the ``same``, how far the nearest is, and that in ``words``.

    ``found``: None for other sizes.
    """

    same: bool
    found: Difference | None
    words: str


def report(drawn: Sequence[Pixels], recorded: Pixels, record: Generation, *, lossy: bool = False) -> Report:
    """Return how far the nearest of ``drawn``, one or more, uint8 (H, W, 3), is from the recorded picture.

    ``record``: under the profile that they were drawn by.  ``lossy``: the recorded one is compressed.
    """
    host = profile_of(record)
    under = f"profile {host.name}{'' if host.verified else ', unverified'}"
    best = nearest(drawn, recorded)
    if best is None:
        (height, width), (h, w) = drawn[0].shape[:2], recorded.shape[:2]
        return Report(
            same=False,
            found=None,
            words=f"differs: {width}x{height} was drawn, {w}x{h} recorded ({under})",
        )
    far = best[1]
    same = is_same(far, record, lossy=lossy)
    place = f", picture {best[0] + 1} of its batch" if len(drawn) > 1 else ""
    how = f"{far.equal:.2%} of values equal, at most {far.most} of 255 levels apart"
    return Report(same=same, found=far, words=f"{'same' if same else 'differs'}: {how} ({under}{place})")


def is_chaotic(record: Generation) -> bool:
    """Tell whether a pass of ``record`` draws noise at every step and calls the model twice for it.

    What two machines round differently grows in such a run.
    """
    hires = record.hires.sampler if record.hires else None
    return any(_is_chaotic(name) for name in (record.sampler, hires) if name)


def _is_chaotic(name: str) -> bool:
    called = sampler_called(name)
    if called not in SAMPLERS:
        return False
    spec = SAMPLERS[called]
    calls = _MANY * 2 if spec.nfe is None else spec.nfe(_MANY)
    return spec.kind != "deterministic" and calls > 1.5 * _MANY


def is_same(found: Difference, record: Generation, *, lossy: bool = False) -> bool:
    """Tell whether a picture of ``record`` counts as drawn again; ``lossy``: the recorded one is compressed."""
    if lossy:
        return found.mean <= LOSSY_MEAN
    return found.most <= (MOST_CHAOTIC if is_chaotic(record) else MOST) and found.equal >= EQUAL


def is_lossy(path: Path) -> bool:
    """Tell whether a picture file does not hold its pixels as they were: JPEG, AVIF, and WebP without its VP8L."""
    with Image.open(path) as image:
        kind = image.format
    if kind != "WEBP":
        return kind in ("JPEG", "AVIF")
    with path.open("rb") as file:
        return b"VP8L" not in file.read(64)
