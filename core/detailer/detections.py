"""What a detector found in one picture: boxes, confidences, labels and masks, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import BadValue

Floats: TypeAlias = NDArray[np.floating[Any]]
Index: TypeAlias = "int | slice | Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]"


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Detections of a picture of ``size`` (width, height), the n-th of each array belonging together.

    ``boxes``: (n, 4), x1 y1 x2 y2 in pixels, right and bottom exclusive, float32 (float64 is kept).
    ``confidences``: (n,), 0…1.  ``labels``: n names of classes.  ``masks``: bool (n, height, width), or uint8
    with 255 for "wholly in"; None where a detector gives boxes only.  Indexing by a number, a slice, numbers
    or a bool array gives detections again.

    Raises ``BadValue`` that names the array whose shape or values are wrong.
    """

    boxes: Floats
    confidences: Floats
    labels: tuple[str, ...]
    size: tuple[int, int]
    masks: NDArray[np.bool_] | NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check the arrays; raises ``BadValue``."""
        count = len(self.boxes)
        width, height = self.size
        if width < 1 or height < 1:
            raise BadValue(f"size is {self.size}; pass (width, height) of the image, each 1 or more")
        _check_shape("boxes", self.boxes, (count, 4), "x1 y1 x2 y2 a row")
        _check_shape("confidences", self.confidences, (count,), "one a box")
        if len(self.labels) != count:
            raise BadValue(f"labels has {len(self.labels)} names for {count} boxes; pass one a box")
        if self.masks is not None:
            _check_shape(
                "masks", self.masks, (count, height, width), "(box, row, column) at the image's size"
            )
            if self.masks.dtype.name not in ("bool", "uint8"):
                raise BadValue(f"masks are {self.masks.dtype}; pass bool, or uint8 with 255 for wholly in")
        for name, values in (("boxes", self.boxes), ("confidences", self.confidences)):
            if values.dtype.kind != "f" or not np.isfinite(values).all():
                raise BadValue(f"{name} are {values.dtype} or not finite; pass finite float numbers")

    @classmethod
    def of(
        cls,
        boxes: Any,
        *,
        size: tuple[int, int],
        confidences: Any = None,
        labels: Sequence[str] = (),
        masks: Any = None,
    ) -> Detections:
        """Return detections from anything that numpy takes; confidences are 1 and labels empty by default.

        Numbers become float32 unless they are float64 arrays.  Raises ``BadValue``.
        """
        rows = _floats(boxes).reshape(-1, 4) if len(boxes) == 0 else _floats(boxes)
        return cls(
            boxes=rows,
            confidences=np.ones(len(rows), np.float32) if confidences is None else _floats(confidences),
            labels=tuple(labels) or ("",) * len(rows),
            size=size,
            masks=None if masks is None else np.asarray(masks),
        )

    @property
    def areas(self) -> NDArray[np.float64]:
        """Areas of the boxes in pixels, (n,)."""
        boxes = self.boxes.astype(np.float64)
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.boxes)

    def __getitem__(self, index: Index) -> Detections:
        """Return the detections of ``index``; raises ``IndexError`` for one that is not there."""
        which: Any = index if isinstance(index, slice) else np.asarray(index)
        rows: NDArray[Any] = np.arange(len(self))[which.astype(int) if np.size(which) == 0 else which]
        rows = np.atleast_1d(rows)
        return Detections(
            boxes=self.boxes[rows],
            confidences=self.confidences[rows],
            labels=tuple(self.labels[int(row)] for row in rows),
            size=self.size,
            masks=None if self.masks is None else self.masks[rows],
        )


def concat(parts: Sequence[Detections]) -> Detections:
    """Return the detections of all ``parts``, in order.

    Where only some have masks, none of the result has.  Raises ``BadValue`` when the parts are not of one
    size, or there are none.
    """
    sizes = {part.size for part in parts}
    if len(sizes) != 1:
        raise BadValue(f"detections are of sizes {sorted(sizes)}; pass those of one picture")
    masks = [part.masks for part in parts if part.masks is not None]
    return Detections(
        boxes=np.concatenate([part.boxes for part in parts]),
        confidences=np.concatenate([part.confidences for part in parts]),
        labels=tuple(label for part in parts for label in part.labels),
        size=parts[0].size,
        masks=np.concatenate([_levels(mask) for mask in masks]) if len(masks) == len(parts) else None,
    )


def _levels(masks: NDArray[np.bool_] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return masks as uint8, 255 for True."""
    return masks.astype(np.uint8) * np.uint8(255) if masks.dtype == np.bool_ else masks.astype(np.uint8)


def _floats(values: Any) -> Floats:
    array = np.asarray(values)
    return array if array.dtype == np.float64 and isinstance(values, np.ndarray) else array.astype(np.float32)


def _check_shape(name: str, array: NDArray[Any], wanted: tuple[int, ...], meaning: str) -> None:
    if array.shape != wanted:
        raise BadValue(f"{name} are {array.shape}; pass {wanted}, {meaning}")
