"""Drawing a recorded picture again: which pictures its record stands for, and which of them it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.errors import BadValue
from ...core.filled import profile_of
from ...core.image.generation import Generation
from ...core.same_picture import Difference, Pixels, is_same, nearest
from ..graphs import Images, play_graph
from ..pipeline import Pipeline
from .recorded import Recorded, with_mask
from .sources import Source

NOTHING = Source()


@dataclass(frozen=True, kw_only=True, eq=False)
class Attempt:
    """A picture drawn of ``record`` from ``source``: how far it is from the recorded one, None for other sizes.

    ``size``: of what was drawn, (width, height).  ``place``: which of a batch that was drawn whole.
    """

    record: Generation
    source: Source
    size: tuple[int, int]
    found: Difference | None
    place: int | None = None
    same: bool = False

    @property
    def distance(self) -> float:
        """The mean difference in levels; that of other sizes is beyond all."""
        return 256.0 if self.found is None else self.found.mean


def attempt(pipeline: Pipeline, recorded: Recorded, record: Generation, source: Source) -> Attempt:
    """Draw ``record`` and compare it; raises ``BadValue`` for what cannot be drawn."""
    return compared(redraw(pipeline, record, source), recorded, record, source)


def attempt_graph(pipeline: Pipeline, recorded: Recorded, images: Images) -> Attempt:
    """Carry out the graph of a picture and compare it; raises ``BadValue`` for what cannot be carried out."""
    assert recorded.graph is not None
    drawn = play_graph(recorded.graph, pipeline, images)
    return compared(drawn, recorded, recorded.record, NOTHING)


def compared(drawn: Sequence[Pixels], recorded: Recorded, record: Generation, source: Source) -> Attempt:
    """Return the attempt that drew these pictures, of which the nearest counts."""
    best = nearest(drawn, recorded.pixels)
    height, width = drawn[0].shape[:2]
    same = best is not None and is_same(best[1], record, lossy=recorded.lossy)
    return Attempt(
        record=record,
        source=source,
        size=(width, height),
        found=best[1] if best else None,
        place=best[0] if best and len(drawn) > 1 else None,
        same=same,
    )


def first_attempt(pipeline: Pipeline, recorded: Recorded, sources: Sequence[Source]) -> Attempt:
    """Return the attempt from the first of ``sources`` that gives the picture, else the nearest.

    Raises ``BadValue`` without any where one is needed.
    """
    if not recorded.wants_picture:
        return attempt(pipeline, recorded, recorded.record, NOTHING)
    if not sources:
        raise BadValue("it was made from another picture; name that, or its folder, with --init")
    tried: list[Attempt] = []
    for source in sources:
        tried.append(attempt(pipeline, recorded, recorded.record, source))
        if tried[-1].same:
            return tried[-1]
    return min(tried, key=lambda one: one.distance)


def redraw(pipeline: Pipeline, record: Generation, source: Source = NOTHING) -> list[Pixels]:
    """Return the picture of ``record``, uint8 (H, W, 3), or the batch that it is one of, place unknown.

    Raises ``BadValue`` for what cannot be drawn.
    """
    own = record.concord
    batch = 1
    if profile_of(record).noise_layout == "batch" and own and own.batch_size and own.batch_position is None:
        batch = own.batch_size
    if source.mask is not None:
        record = with_mask(record)
    wanted = replace(record, model=None, vae=None, version=None, init_image_hash=None)
    drawn = pipeline.generate(wanted, batch=batch, init_image=source.image, mask=source.mask)
    return [one.image for one in drawn]
