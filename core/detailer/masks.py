"""Masks of a picture, kept as the small part of it that is not empty.

A mask is 0 outside, 255 inside, and between on a soft edge.  Offsets, sizes of kernels and the order of the
steps are ADetailer 25.3.0's (tests/golden/detailer/masks.jsonl.gz), the blur is A1111 1.9.4's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadType, BadValue, unknown
from ..image.keys import MASK_MERGES
from .detections import Detections

Box = tuple[int, int, int, int]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """A mask of a picture of ``size`` (width, height).

    ``pixels``: uint8 (h, w), whose upper left pixel lies at ``corner`` (x, y) of the picture; what they do
    not cover is 0.
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    pixels: Pixels

    def __post_init__(self) -> None:
        """Check that the pixels lie in the picture; raises ``BadValue``."""
        (width, height), (x, y) = self.size, self.corner
        if self.pixels.ndim != 2 or self.pixels.dtype != np.uint8:
            raise BadValue(f"mask is {self.pixels.dtype} {self.pixels.shape}; pass uint8 (height, width)")
        h, w = self.pixels.shape
        if x < 0 or y < 0 or x + w > width or y + h > height:
            raise BadValue(
                f"mask of {w}x{h} at {self.corner} leaves the image of {width}x{height}; cut it first"
            )

    @property
    def box(self) -> Box | None:
        """The smallest box round the pixels above 0; None for an empty mask."""
        rows = np.flatnonzero(self.pixels.any(axis=1))
        if rows.size == 0:
            return None
        columns = np.flatnonzero(self.pixels.any(axis=0))
        (x, y), low, high = self.corner, rows[0], rows[-1]
        return int(x + columns[0]), int(y + low), int(x + columns[-1] + 1), int(y + high + 1)

    def within(self, region: Box) -> Pixels:
        """Return the part in ``region`` (x1, y1, x2, y2), a new array; outside the picture it is 0."""
        x1, y1, x2, y2 = region
        part = np.zeros((y2 - y1, x2 - x1), np.uint8)
        (x, y), (h, w) = self.corner, self.pixels.shape
        left, top, right, bottom = max(x, x1), max(y, y1), min(x + w, x2), min(y + h, y2)
        if left < right and top < bottom:
            inner = self.pixels[top - y : bottom - y, left - x : right - x]
            part[top - y1 : bottom - y1, left - x1 : right - x1] = inner
        return part

    def full(self) -> Pixels:
        """Return the mask at the picture's size, uint8 (height, width)."""
        return self.within((0, 0, *self.size))


def mask_from_array(array: NDArray[Any], size: tuple[int, int] | None = None) -> Mask:
    """Return the mask of a bool or uint8 array (height, width); ``size`` (width, height) is what it must be.

    Raises ``BadType`` for another dtype, ``BadValue`` for another shape.
    """
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        raise BadType(f"mask is {array.dtype}; pass bool, or uint8 with 255 for wholly in")
    width, height = size or array.shape[::-1]
    if array.shape != (height, width):
        raise BadValue(f"mask is {array.shape} but image is {(height, width)}; pass masks as (height, width)")
    return _tight(array, (0, 0), (width, height))


def mask_from_box(box: Sequence[float] | NDArray[Any], size: tuple[int, int]) -> Mask:
    """Return the mask of ``box`` (x1, y1, x2, y2): its numbers cut toward zero, both corners included.

    The box may leave the picture.  Raises ``BadValue`` for a box whose sides are the wrong way round.
    """
    x1, y1, x2, y2 = (int(side) for side in box)
    if x2 < x1 or y2 < y1:
        raise BadValue(f"box is {tuple(map(float, box))}; pass (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")
    return _filled((x1, y1, x2 + 1, y2 + 1), size)


def masks_of(detections: Detections) -> list[Mask]:
    """Return one mask a detection: of its segmentation, or of its box where there is none."""
    if detections.masks is None:
        return [mask_from_box(box, detections.size) for box in detections.boxes]
    return [mask_from_array(mask, detections.size) for mask in detections.masks]


def boxes_of(masks: Sequence[Mask], size: tuple[int, int] | None = None) -> list[Box]:
    """Return the boxes round ``masks``, brought to ``size`` (width, height) first; empty ones are left out."""
    boxes = [mask.box if size in (None, mask.size) else _resized(mask, size).box for mask in masks]
    return [box for box in boxes if box is not None]


def offset(mask: Mask, x: int, y: int, *, wrap: bool = False) -> Mask:
    """Move ``mask`` by ``x`` pixels to the right and ``y`` UP; what leaves the picture is lost.

    ``wrap``: it comes in again on the other side, as in ADetailer.
    """
    if wrap:
        return _tight(np.roll(mask.full(), (-y, x), axis=(0, 1)), (0, 0), mask.size)
    (width, height), (h, w) = mask.size, mask.pixels.shape
    left, top = mask.corner[0] + x, mask.corner[1] - y
    cut = _cut((left, top, left + w, top + h), (width, height))
    pixels = mask.pixels[cut[1] - top : cut[3] - top, cut[0] - left : cut[2] - left]
    return Mask(size=mask.size, corner=cut[:2], pixels=pixels)


def dilate_erode(mask: Mask, kernel: int) -> Mask:
    """Grow ``mask`` by a rectangle of side ``kernel``, or erode it for a negative one; 0 changes nothing.

    The size is the whole kernel's: 4 grows by 1 to the left and top and 2 to the right and bottom, and
    -4 takes 2 from the left and top and 1 from the others.  The border of the picture never erodes.
    """
    if kernel == 0 or mask.box is None:
        return mask
    grow = abs(kernel) // 2 + 1 if kernel > 0 else 1
    box = _grown(mask.box, grow, mask.size)
    pixels = mask.within(box)
    if kernel > 0:
        for axis in (0, 1):
            pixels = _filters().maximum_filter1d(pixels, kernel, axis=axis, mode="constant", cval=0)
    else:
        for axis in (0, 1):
            pixels = _filters().minimum_filter1d(pixels, -kernel, axis=axis, mode="constant", cval=255)
    return _tight(pixels, box[:2], mask.size)


def merge(masks: Sequence[Mask]) -> Mask:
    """Return one mask of all, their bits joined by "or"; raises ``BadValue`` for none or unequal sizes."""
    if len({mask.size for mask in masks}) != 1:
        raise BadValue(
            f"{len(masks)} masks are of sizes {[mask.size for mask in masks]}; pass one or more of one size"
        )
    boxes = np.array([box for mask in masks if (box := mask.box)] or [(0, 0, 0, 0)])
    (x1, y1), (x2, y2) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    region = (int(x1), int(y1), int(x2), int(y2))
    joined = np.bitwise_or.reduce([mask.within(region) for mask in masks])
    return Mask(size=masks[0].size, corner=region[:2], pixels=joined)


def invert(mask: Mask) -> Mask:
    """Return 255 minus ``mask``, over the whole picture."""
    return _tight(np.uint8(255) - mask.full(), (0, 0), mask.size)


def merge_masks(masks: Sequence[Mask], mode: str = "None") -> list[Mask]:
    """Return ``masks`` as they are ("None"), or one mask: "Merge", "Merge and Invert"; raises ``BadValue``."""
    if mode not in MASK_MERGES:
        raise unknown("way to merge masks", mode, MASK_MERGES)
    if mode == "None" or not masks:
        return list(masks)
    joined = merge(masks)
    return [invert(joined) if mode == "Merge and Invert" else joined]


def intersects(mask: Mask, other: Mask) -> bool:
    """Tell whether two masks of one picture are above 0 at one pixel; raises ``BadValue`` for unequal sizes."""
    if mask.size != other.size:
        raise BadValue(f"masks are {mask.size} and {other.size} (width, height); pass masks of one picture")
    box = mask.box
    return box is not None and bool(np.logical_and(mask.within(box), other.within(box)).any())


def blur(mask: Mask, sigma: float, radius: int | None = None) -> Mask:
    """Soften the edge of ``mask`` by a Gaussian of ``sigma`` pixels, as A1111's "mask blur" does.

    ``radius``: where the Gaussian is cut, by default 2.5 sigma.  0 changes nothing.  The picture is mirrored
    at its border.  Rows, then columns, each rounded; weights are multiples of 1/256, as in OpenCV.
    """
    weights = _weights(sigma, int(2.5 * sigma + 0.5) if radius is None else radius)
    if len(weights) == 1 or mask.box is None:
        return mask
    box = _grown(mask.box, len(weights) // 2 + 1, mask.size)
    pixels = mask.within(box)
    for axis in (1, 0):
        pixels = _convolve(pixels, weights, axis)
    return _tight(pixels, box[:2], mask.size)


def doubled(mask: Mask) -> Mask:
    """Return ``mask`` twice as strong, at most 255: what A1111 lays over a picture inpainted whole."""
    pixels = np.minimum(mask.pixels, np.uint8(127)) * np.uint8(2) + (mask.pixels > 127).astype(np.uint8)
    return Mask(size=mask.size, corner=mask.corner, pixels=pixels)


def _weights(sigma: float, radius: int) -> NDArray[np.int64]:
    """Return the 2·radius + 1 weights of a Gaussian in 256ths; each rounding's rest goes to the next inwards."""
    if sigma <= 0 or radius <= 0:
        return np.array([256])
    shape = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    exact = 256 * shape / shape.sum()
    side = np.zeros(radius, np.int64)
    rest = 0.0
    for i in range(radius):
        wanted = exact[i] + rest
        side[i] = round(wanted)
        rest = wanted - side[i]
    return np.concatenate([side, [256 - 2 * side.sum()], side[::-1]])


def _filters() -> Any:
    """Return scipy's filters, which take a third of a second to import, when the first mask wants them."""
    from scipy import ndimage  # noqa: PLC0415 - slow  # pyright: ignore

    return ndimage


def _convolve(pixels: Pixels, weights: NDArray[np.int64], axis: int) -> Pixels:
    """Return ``pixels`` convolved along ``axis``, mirrored at the ends, rounded half up."""
    summed = _filters().correlate1d(
        pixels.astype(np.float32), weights.astype(np.float32), axis=axis, mode="mirror"
    )
    return np.floor(summed / np.float32(256) + np.float32(0.5)).astype(np.uint8)


def _resized(mask: Mask, size: tuple[int, int] | None) -> Mask:
    """Return ``mask`` at another size, as Pillow's bicubic filter makes it."""
    if size is None:
        return mask
    return mask_from_array(np.asarray(Image.fromarray(mask.full()).resize(size)), size)


def _filled(box: Box, size: tuple[int, int]) -> Mask:
    """Return a mask of 255 in ``box``, which may leave the picture."""
    x1, y1, x2, y2 = _cut(box, size)
    return Mask(size=size, corner=(x1, y1), pixels=np.full((y2 - y1, x2 - x1), 255, np.uint8))


def _cut(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of ``box`` in the picture, without area where there is none."""
    width, height = size
    x1, y1 = min(max(box[0], 0), width), min(max(box[1], 0), height)
    return x1, y1, max(min(box[2], width), x1), max(min(box[3], height), y1)


def _grown(box: Box, by: int, size: tuple[int, int]) -> Box:
    """Return ``box`` larger ``by`` pixels on every side, cut at the picture."""
    return _cut((box[0] - by, box[1] - by, box[2] + by, box[3] + by), size)


def _tight(pixels: Pixels, corner: tuple[int, int], size: tuple[int, int]) -> Mask:
    """Return the mask without empty rows and columns round it."""
    whole = Mask(size=size, corner=corner, pixels=pixels)
    x1, y1, x2, y2 = whole.box or (*corner, *corner)
    x, y = corner
    inner = np.ascontiguousarray(pixels[y1 - y : y2 - y, x1 - x : x2 - x])
    return Mask(size=size, corner=(x1, y1), pixels=inner)
