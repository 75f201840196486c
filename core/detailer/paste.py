"""Cutting a part out of a picture and putting it back, where the mask says and nowhere else.

Images are uint8 (height, width, 3).  What a model drew is uint8, or float16/32/64 with 0…1 for black to white.
Only the pixels under the mask are computed; they are rounded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadType, BadValue
from .masks import Box, Mask

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """What was drawn for ``region`` of a picture, and the ``mask`` through which it is seen.

    ``pixels`` (h, w, 3), in any size: what differs from the region's is resized.
    """

    pixels: NDArray[Any]
    region: Box
    mask: Mask


def crop(image: Pixels, region: Box, size: tuple[int, int] | None = None) -> Pixels:
    """Return ``region`` of ``image``, a copy, resized to ``size`` (width, height) by Lanczos.

    Raises ``BadType`` or ``BadValue`` for an image of another kind, ``BadValue`` for a region that leaves it.
    """
    _check(image, region, None)
    x1, y1, x2, y2 = region
    part = image[y1:y2, x1:x2]
    if size in (None, (x2 - x1, y2 - y1)):
        return part.copy()
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.LANCZOS))


def paste(image: Pixels, patch: NDArray[Any], region: Box, mask: Mask) -> Pixels:
    """Return ``image`` with ``patch`` over ``region`` as far as ``mask`` is above 0; the rest is bit for bit.

    What in ``patch`` is not finite leaves the picture as it is there.  Raises ``BadType`` or ``BadValue``.
    """
    return paste_all(image, [Patch(pixels=patch, region=region, mask=mask)])


def paste_all(image: Pixels, patches: Iterable[Patch]) -> Pixels:
    """Return ``image`` with all ``patches``, one after the other; those of disjoint masks in any order."""
    result = np.array(image)
    for patch in patches:
        _check(result, patch.region, patch.mask)
        _check_patch(patch.pixels)
        _blend(result, patch)
    return result


def _blend(result: Pixels, patch: Patch) -> None:
    """Lay ``patch`` over ``result`` in place; where the mask is 0 the sum is the picture's own number."""
    under = _meet(patch.mask.box, patch.region)
    if under is None:
        return
    x1, y1, x2, y2 = under
    drawn = _fitted(patch.pixels, patch.region, under)
    alpha = patch.mask.within(under)[..., None]
    target = result[y1:y2, x1:x2]
    before = target.astype(np.float32)
    after = np.where(np.isfinite(drawn), np.clip(drawn, 0, 255), before)
    after = before + (after - before) * (alpha / np.float32(255))
    target[...] = np.rint(after).astype(np.uint8)


def _fitted(pixels: NDArray[Any], region: Box, under: Box) -> NDArray[np.float32]:
    """Return the part ``under`` of what is drawn for ``region``, in levels, 0…255, float32."""
    x1, y1, x2, y2 = (int(side) for side in np.array(under) - (region[0], region[1]) * 2)
    width, height = region[2] - region[0], region[3] - region[1]
    with np.errstate(over="ignore"):  # a number too large is infinite, and that is left out later
        levels = pixels.astype(np.float32) * np.float32(1 if pixels.dtype == np.uint8 else 255)
    if pixels.shape[:2] == (height, width):
        return levels[y1:y2, x1:x2]
    high, wide = pixels.shape[:2]
    sx, sy = wide / width, high / height
    # Pillow looks beyond the source too, as far as the filter reaches.
    source = (x1 * sx, y1 * sy, min(x2 * sx, wide), min(y2 * sy, high))
    planes = [
        Image.fromarray(plane).resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS, box=source)
        for plane in np.ascontiguousarray(np.moveaxis(levels, 2, 0))
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def _meet(first: Box | None, second: Box) -> Box | None:
    """Return what two boxes have in common, None for nothing."""
    if first is None:
        return None
    x1, y1 = max(first[0], second[0]), max(first[1], second[1])
    x2, y2 = min(first[2], second[2]), min(first[3], second[3])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _check(image: NDArray[Any], region: Box, mask: Mask | None) -> None:
    if image.dtype != np.uint8:
        raise BadType(f"image is {image.dtype}; pass uint8, 0…255")
    if image.ndim != 3 or image.shape[2] != 3:
        raise BadValue(f"image is {image.shape}; pass (height, width, 3)")
    height, width = image.shape[:2]
    if mask is not None and mask.size != (width, height):
        raise BadValue(
            f"mask is {mask.size[::-1]} but image is {(height, width)}; pass masks as (height, width)"
        )
    x1, y1, x2, y2 = region
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise BadValue(
            f"region {region} is no part of an image of {width}x{height}; pass (x1, y1, x2, y2) in it"
        )


def _check_patch(pixels: NDArray[Any]) -> None:
    if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
        raise BadType(f"patch is {pixels.dtype}; pass uint8 0…255, or float 0…1")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise BadValue(f"patch is {pixels.shape}; pass (height, width, 3)")
