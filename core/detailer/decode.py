"""Turn what a YOLO network answers into boxes, confidences, classes and masks, in the input's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadFile
from ..torchvision_stand_in import batched_nms

MOST_BOXES = 300
MOST_CANDIDATES = 30_000
OVERLAP = 0.7
"""Of two boxes of a class that overlap more than this (intersection over union), the worse one is dropped."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read a network's answer: how many ``classes`` it has, and from which ``confidence`` a box counts.

    ``wanted``: numbers of the classes that count, all by default.  ``ready``: the network has itself left out
    what overlaps.
    """

    classes: int
    confidence: float
    wanted: frozenset[int] | None = None
    ready: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found in an input: ``boxes`` (n, 4), ``confidences`` (n,), ``classes`` (n,) by number.

    ``masks``: logits (n, h', w') over the whole input, or None.
    """

    boxes: Tensor
    confidences: Tensor
    classes: Tensor
    masks: Tensor | None


def decode(rows: Tensor, prototypes: Tensor | None, reading: Reading) -> Found:
    """Return what one picture's ``rows`` say, best first, at most 300 boxes.

    ``rows``: (4 + classes + extra, anchors) with centre, size and a score for each class, or, when ``ready``,
    (n, 6 + extra) with corners, score and class.  ``prototypes``: (m, h', w') when the first m of ``extra``
    weigh masks.  Raises `BadFile` when the shape is another, or a number is not finite.
    """
    least = 0 if prototypes is None else len(prototypes)
    columns = rows if reading.ready else rows.T
    if columns.ndim != 2 or columns.shape[1] < least + (6 if reading.ready else 4 + reading.classes):
        raise BadFile(
            f"the detector answers with {tuple(rows.shape)}, not with boxes of {reading.classes} classes"
        )
    if not torch.isfinite(columns).all():
        raise BadFile("the detector answers with numbers that are not finite; its weights are damaged")
    if reading.ready:
        boxes, scores, classes, extra = columns[:, :4], columns[:, 4], columns[:, 5].long(), columns[:, 6:]
    else:
        boxes, scores, classes, extra = _best_class(columns, reading.classes)
    keep = (scores > reading.confidence) & (classes >= 0) & (classes < reading.classes)
    if reading.wanted is not None:
        keep &= torch.isin(classes, torch.tensor(sorted(reading.wanted), dtype=torch.int64))
    kept = keep.nonzero()[:, 0]
    kept = kept[scores[kept].argsort(descending=True, stable=True)][:MOST_CANDIDATES]
    if not reading.ready:
        kept = kept[batched_nms(boxes[kept], scores[kept], classes[kept], OVERLAP)]
    kept = kept[:MOST_BOXES]
    masks = None
    if prototypes is not None:
        masks = torch.einsum("nm,mhw->nhw", extra[kept, : len(prototypes)], prototypes)
    return Found(boxes=boxes[kept], confidences=scores[kept], classes=classes[kept], masks=masks)


def _best_class(rows: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    centre, size = rows[:, :2], rows[:, 2:4]
    scores, numbers = rows[:, 4 : 4 + classes].max(dim=1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1), scores, numbers, rows[:, 4 + classes :]
