"""Which part of a picture is worked on, at which size and with which strength.

Boxes here are whole pixels (x1, y1, x2, y2), right and bottom exclusive; sizes are (width, height).
Crop regions are A1111 1.9.4's, sizes and strengths by the box ADetailer 25.3.0's
(tests/golden/detailer/crop.jsonl.gz, numbers.jsonl.gz).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import BadValue, unknown
from ..image.keys import SIZE_MODES
from .masks import Box, Mask

MULTIPLE = 8
"""Sides of what a model works on are multiples of this."""
SDXL_SIZES = (
    (1024, 1024),
    (1152, 896),
    (896, 1152),
    (1216, 832),
    (832, 1216),
    (1344, 768),
    (768, 1344),
    (1536, 640),
    (640, 1536),
)
"""The sizes that SDXL was trained on and ADetailer chooses from."""


@dataclass(frozen=True, kw_only=True)
class Guide:
    """Impact Pack's way to a size: the short side of the box (or crop) is scaled to ``size``.

    ``box_first``: of the box, else of the crop.  ``longest``: bound of the crop's long side, which wins.
    """

    size: int = 512
    longest: int = 1024
    box_first: bool = True


def padded_region(mask: Mask, padding: int) -> Box | None:
    """Return the box round ``mask``, ``padding`` pixels larger and cut at the picture; None for an empty mask.

    This is A1111's ``get_crop_region`` in its second version; ``padded_region_v1`` differs for empty masks.
    """
    box = mask.box
    if box is None:
        return None
    return _padded(box, padding, mask.size)


def padded_region_v1(mask: Mask, padding: int) -> Box:
    """Return A1111's crop region in its first version, up to 1.9: an empty mask gives a box inside out."""
    return _padded(mask.box or (*mask.size, 0, 0), padding, mask.size)


def expanded_region(region: Box, shape: tuple[int, int], size: tuple[int, int]) -> Box:
    """Return ``region`` widened to the aspect of ``shape``, as far as a picture of ``size`` lets it.

    The middle stays where it is unless the picture ends there.  Raises ``BadValue`` for a region or shape
    without area.
    """
    x1, y1, x2, y2 = region
    if x2 == x1 or y2 == y1 or min(shape) < 1:
        raise BadValue(f"region {region} or shape {shape} has no area; pass what a mask with pixels gives")
    if (x2 - x1) / (y2 - y1) > shape[0] / shape[1]:
        y1, y2 = _widened(y1, y2, (x2 - x1) / (shape[0] / shape[1]), size[1])
    else:
        x1, x2 = _widened(x1, x2, (y2 - y1) * (shape[0] / shape[1]), size[0])
    return x1, y1, x2, y2


def crop_region(mask: Mask, padding: int, shape: tuple[int, int]) -> Box | None:
    """Return the part of the picture that is worked on at ``shape``: padded, then of its aspect.

    None for an empty mask.
    """
    region = padded_region(mask, padding)
    return None if region is None else expanded_region(region, shape, mask.size)


def factor_region(box: Sequence[float], factor: float, size: tuple[int, int]) -> Box:
    """Return ``box`` (x1, y1, x2, y2) times ``factor`` round its centre, moved into the picture.

    At least one pixel, at most the picture.  Raises ``BadValue`` for a factor below 1.
    """
    if factor < 1:
        raise BadValue(f"crop factor is {factor}; pass 1 or more")
    sides = [
        _centred((low + high) / 2, (high - low) * factor, limit)
        for low, high, limit in zip(box[:2], box[2:], size, strict=True)
    ]
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def to_multiple(size: tuple[float, float], multiple: int = MULTIPLE) -> tuple[int, int]:
    """Return ``size`` with each side rounded to the nearest multiple, one at least."""
    width, height = (max(1, int(side / multiple + 0.5)) * multiple for side in size)
    return width, height


def guided_size(region: Box, box: Sequence[float], guide: Guide) -> tuple[int, int]:
    """Return the size to work on ``region`` at, multiples of 8, so that nothing is cut or padded later."""
    width, height = region[2] - region[0], region[3] - region[1]
    short = min(box[2] - box[0], box[3] - box[1]) if guide.box_first else min(width, height)
    scale = min(guide.size / max(short, 1), guide.longest / max(width, height))
    longest = max(MULTIPLE, guide.longest // MULTIPLE * MULTIPLE)
    sides = to_multiple((width * scale, height * scale))
    return min(sides[0], longest), min(sides[1], longest)


def matched_size(
    size: tuple[int, int], box: Sequence[float], mode: str, *, sdxl: bool = False
) -> tuple[int, int]:
    """Return the size to work at, after the shape of ``box``, as ADetailer's "match inpaint bbox size".

    "Off": ``size`` itself.  "Strict (SDXL only)": the SDXL size nearest in aspect that holds the box and has a
    side as long as ``size``'s, or ``size``.  "Free": the box's aspect, the longer side as ``size``'s, rounded up
    to 8.  Without ``sdxl`` "Strict" is "Off".  A box without area gives ``size``.  Raises ``BadValue``.
    """
    if mode not in SIZE_MODES:
        raise unknown("way to match the size", mode, SIZE_MODES)
    width, height = box[2] - box[0], box[3] - box[1]
    if mode == "Off" or (mode != "Free" and not sdxl) or width <= 0 or height <= 0:
        return size
    aspect = width / height
    if mode == "Free":
        longest = max(size)
        wide, high = (longest, longest / aspect) if aspect > 1 else (longest * aspect, longest)
        return _round_up(wide), _round_up(high)
    fitting = [
        one
        for one in SDXL_SIZES
        if one[0] >= width and one[1] >= height and (one[0] >= size[0] or one[1] >= size[1])
    ]
    return min(fitting, key=lambda one: abs(one[0] / one[1] - aspect), default=size)


def strength_by_area(
    strength: float, box: Sequence[float], size: tuple[int, int], power: float, *, clamp: bool = True
) -> float:
    """Return ``strength`` · (1 - area of ``box`` / area of the picture) ** ``power``.

    The answer lies in 0…1, and a box larger than the picture counts as the picture.  Without ``clamp`` it is
    ADetailer's, which may leave 0…1; raises ``BadValue`` where that has no real answer.
    """
    if abs(power) <= 1e-8:
        return strength
    rest = 1 - (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])
    if clamp:
        rest = min(max(rest, 0.0), 1.0)
        if rest == 0:
            return 0.0 if power > 0 or strength == 0 else 1.0
    try:
        result = strength * rest**power
    except (ZeroDivisionError, OverflowError):
        result = 1.0 if clamp else None
    if isinstance(result, complex) or result is None:
        raise BadValue(
            f"box {tuple(box)} in {size} has no strength at power {power}; clamp it, or use power 0"
        )
    return min(max(result, 0.0), 1.0) if clamp else result


def _padded(box: Box, padding: int, size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = box
    right, bottom = min(x2 + padding, size[0]), min(y2 + padding, size[1])
    return max(x1 - padding, 0), max(y1 - padding, 0), right, bottom


def _widened(low: int, high: int, wanted: float, limit: int) -> tuple[int, int]:
    """Return (low, high) that are ``wanted`` apart, moved, then cut, to lie in 0…``limit``."""
    more = int(wanted - (high - low))
    low, high = low - more // 2, high + more - more // 2
    if high >= limit:
        low, high = low - (high - limit), limit
    if low < 0:
        low, high = 0, high - low
    return low, min(high, limit)


def _centred(middle: float, length: float, limit: int) -> tuple[int, int]:
    """Return ``length`` pixels round ``middle``, moved into 0…``limit``."""
    whole = min(max(int(length + 0.5), 1), limit)
    low = min(max(int(middle - whole / 2), 0), limit - whole)
    return low, low + whole


def _round_up(side: float) -> int:
    """Return the multiple of 8 from ``side`` on, counted in whole pixels as ADetailer does."""
    return int((side + MULTIPLE - 1) // MULTIPLE * MULTIPLE)
