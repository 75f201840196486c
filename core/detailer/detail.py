"""The detailer: what a plan says is cut out, drawn by the model in batches, and laid back.

Runs whose crop does not touch what an earlier one paints go through the model together; one that does waits for
the next wave, so that the picture is the one that runs made one by one give.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadValue
from ..filled import profile_of
from ..image.framing import framed
from ..image.parts import DetailerUnit
from .colour import match_colours
from .detections import Detections
from .masks import Box, Mask
from .paste import Pixels, crop, paste
from .plan import Run, Scene, plan_unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """What the model is to redraw: ``image`` uint8 (h, w, 3) and ``mask`` uint8 (h, w), 255 for wholly.

    Both are at the size of ``run``, whose prompts, seed, strength and settings hold.
    """

    image: Pixels
    mask: NDArray[np.uint8]
    run: Run


Inpaint = Callable[[Sequence[Crop]], Sequence[NDArray[Any]]]
"""Redraws crops of equal `batch_key` and returns a picture for each: (h, w, 3), uint8, or float with 0…1."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How `detail` works: one ``unit`` of the detailer in a ``scene``.

    ``batch``: crops that go through the model together, 1 or more; halved when memory runs out.
    """

    unit: DetailerUnit
    scene: Scene
    batch: int = 8

    def __post_init__(self) -> None:
        """Check the batch; raises ``BadValue``."""
        if self.batch < 1:
            raise BadValue(f"batch is {self.batch}; pass 1 or more crops at once")


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A picture whose parts were redrawn.

    ``image``: uint8 (H, W, 3), the one given where nothing was found.  ``runs``: what was made, in order.
    ``spoilt``: those of which the model returned something that is no number; there the picture stayed as it was.
    ``batches``: how many crops went through the model together each time.
    """

    image: Pixels
    runs: tuple[Run, ...] = ()
    spoilt: tuple[Run, ...] = ()
    batches: tuple[int, ...] = ()

    def words(self, detector: str) -> list[str]:
        """Return what there is to say of it, a line each; ``detector``: the name of what found the parts."""
        if not self.runs:
            return [f"{detector} found nothing to redraw; the picture is as it was"]
        if self.spoilt:
            where = ", ".join(f"{run.region}" for run in self.spoilt)
            return [
                f"the model drew something that is no number at {where}; the picture stayed as it was there"
            ]
        return []


def detail(image: Pixels, detections: Detections, inpaint: Inpaint, options: Options) -> Result:
    """Redraw what ``detections`` say of ``image``, uint8 (H, W, 3), and return the picture with what was done.

    Pixels outside the masks stay bit for bit.  Raises ``BadValue`` when detections are of another size, or
    ``inpaint`` returns another number of pictures than it was given.
    """
    height, width = image.shape[:2]
    if detections.size != (width, height):
        raise BadValue(
            f"detections are of a picture of {detections.size[0]}x{detections.size[1]}, this one is {width}x{height}; "
            "run the detector on this picture"
        )
    runs = list(_cycles(plan_unit(detections, options.unit, options.scene)))
    in_levels = profile_of(options.scene.picture).pasting == "overlay"
    work = _Work(image=image, inpaint=inpaint, batch=options.batch, in_levels=in_levels)
    for wave in waves(runs):
        for group in grouped(wave):
            work.redraw(group)
    done = tuple(runs)
    return Result(image=work.image, runs=done, spoilt=tuple(work.spoilt), batches=tuple(work.batches))


def batch_key(run: Run) -> Hashable:
    """Return what must be equal of runs that go through the model together."""
    return (
        run.size,
        run.steps,
        run.cfg,
        run.sampler,
        run.scheduler,
        run.noise_multiplier,
        run.checkpoint,
        run.vae,
        run.clip_skip,
        run.noise_mask,
        run.noise_mask_feather,
    )


def waves(runs: Sequence[Run]) -> list[list[Run]]:
    """Return ``runs`` in groups that can be made at once, such that the picture is as if made in their order.

    A run must see what an earlier one painted in its region, and must not see what a later one will.
    """
    numbers: list[int] = []
    for j, run in enumerate(runs):
        least = 0
        for i, earlier in enumerate(runs[:j]):
            if _meets(earlier.overlay, run.region):
                least = max(least, numbers[i] + 1)
            elif _meets(run.overlay, earlier.region):
                least = max(least, numbers[i])
        numbers.append(least)
    out: list[list[Run]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for number, run in zip(numbers, runs, strict=True):
        out[number].append(run)
    return out


def grouped(wave: Sequence[Run]) -> list[list[Run]]:
    """Return the runs of ``wave`` in groups of equal `batch_key`, in the order of the first of each."""
    groups: dict[Hashable, list[Run]] = {}
    for run in wave:
        groups.setdefault(batch_key(run), []).append(run)
    return list(groups.values())


@dataclass(kw_only=True, eq=False)
class _Work:
    """The picture under way.

    ``in_levels``: what is drawn is cut to whole levels before it is laid on, as by hosts that hand on pictures.
    """

    image: Pixels
    inpaint: Inpaint
    batch: int
    in_levels: bool = False
    spoilt: list[Run] = field(default_factory=list["Run"])
    batches: list[int] = field(default_factory=list["int"])

    def redraw(self, group: Sequence[Run]) -> None:
        """Make runs that see the picture as it is now, then lay all of them on it."""
        crops = [self._cut(run) for run in group]
        for one, drawn in zip(crops, self._drawn(crops), strict=True):
            self._lay(one, drawn)

    def _cut(self, run: Run) -> Crop:
        mask = framed(run.overlay.within(run.region), run.size, "just resize")
        return Crop(image=crop(self.image, run.region, run.size), mask=mask, run=run)

    def _drawn(self, crops: Sequence[Crop]) -> Iterator[NDArray[Any]]:
        """Yield what the model makes of ``crops``, in batches that are halved when memory runs out."""
        at = 0
        while at < len(crops):
            part = crops[at : at + self.batch]
            try:
                drawn = list(self.inpaint(part))
            except Exception as error:
                if not _is_out_of_memory(error) or len(part) == 1:
                    raise
                self.batch = (len(part) + 1) // 2
                continue
            if len(drawn) != len(part):
                raise BadValue(
                    f"inpaint returned {len(drawn)} pictures for {len(part)} crops; return one a crop"
                )
            self.batches.append(len(part))
            at += len(part)
            yield from drawn

    def _lay(self, one: Crop, drawn: NDArray[Any]) -> None:
        run = one.run
        if drawn.dtype.kind == "f" and not np.isfinite(drawn).all():
            self.spoilt.append(run)
        elif self.in_levels and drawn.dtype.kind == "f":
            drawn = np.clip(drawn * np.float32(255), 0, 255).astype(np.uint8)
        if run.colour_match:
            drawn = match_colours(drawn, one.image, one.mask, run.colour_match)
        self.image = paste(self.image, drawn, run.region, run.overlay)


def _cycles(runs: Sequence[Run]) -> Iterator[Run]:
    """Yield each run as often as its cycle says, with the seed one higher each time."""
    for run in runs:
        for i in range(run.cycle):
            yield replace(run, seed=run.seed + i, cycle=1)


def _meets(mask: Mask, region: Box) -> bool:
    """Tell whether ``mask`` is above 0 somewhere in ``region``, by its box."""
    box = mask.box
    return box is not None and (
        max(box[0], region[0]) < min(box[2], region[2]) and max(box[1], region[1]) < min(box[3], region[3])
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether ``error`` says that memory ran out: Python's own error, or torch's of any device."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
