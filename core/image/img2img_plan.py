"""How many steps image to image takes in the web UIs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import BadValue

MOST = 0.999
"""The strength at which the web UIs stop counting."""


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """A schedule of ``steps`` steps, of which the last ``start + 1`` are run."""

    steps: int
    start: int

    @property
    def run(self) -> int:
        """Return how many steps are run."""
        return min(self.start + 1, self.steps)


def img2img_plan(
    steps: int, strength: float, *, exact: bool = False, requested: int | None = None
) -> ImagePlan:
    """Return the steps of image to image at ``strength`` (0 … 1).

    A schedule of ``steps`` is entered where ``strength`` says, so that fewer are run.  ``exact`` (the web UIs'
    "do exactly the number of steps the slider specifies"): a longer schedule is laid out and ``steps`` run.
    ``requested``: steps of a hires pass, which are always exact; 0 is ``steps``.
    Raises ``BadValue`` for fewer than one step and a strength outside 0 … 1.

    Source: A1111 1.9.4 and Forge f2.0.1; tests/golden/detailer/steps.jsonl.gz.
    """
    if steps < 1 or (requested is not None and requested < 0):
        raise BadValue(f"steps is {steps if requested is None else requested}; pass 1 or more")
    if not (math.isfinite(strength) and 0 <= strength <= 1):
        raise BadValue(f"the denoising strength is {strength}; pass 0 to 1")
    counted = min(strength, MOST)
    if not exact and requested is None:
        return ImagePlan(steps=steps, start=int(counted * steps))
    wanted = requested or steps
    return ImagePlan(steps=int(wanted / counted) if counted > 0 else 0, start=wanted - 1)
