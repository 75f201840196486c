"""Where the texts of a conditioning hold: areas, masks, and the copies of the other prompt that areas bring along."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .values import Cond, Entry

LEAST = 8
"""Cells along each side of the box of a mask, at least."""
FEATHER = 8
"""Cells over which an area fades out at each side that is not the latent's own edge."""
Area = tuple[int, int, int, int]
"""Height, width, top, left, in latent cells."""


def placed(sides: list[Cond], size: tuple[int, int]) -> list[Cond]:
    """Return the conditionings with areas in cells and masks of ``size`` (rows, columns).

    An area of one brings a copy of it to each other that has none of its own there.

    Source: ComfyUI 0.3.64; tests/golden/pictures/comfyui.
    """
    found = [[_placed(entry, size) for entry in side] for side in sides]
    for i, side in enumerate(found):
        for entry in list(side):
            for j, other in enumerate(found):
                if i != j and (copy := _copy_for(entry, other)):
                    other.append(copy)
    return [tuple(side) for side in found]


def _placed(entry: Entry, size: tuple[int, int]) -> Entry:
    if entry.area is not None and entry.of_shares:
        height, width, top, left = entry.area
        rows, columns = size
        cells = (max(1, round(height * rows)), max(1, round(width * columns)), round(top * rows))
        entry = replace(entry, area=(*cells, round(left * columns)), of_shares=False)
    if entry.mask is not None:
        mask = entry.mask
        if tuple(mask.shape[1:]) != size:
            mask = interpolate(mask[:, None], size=size, mode="bilinear")[:, 0]
        entry = replace(entry, mask=mask, area=_bounds(mask) if entry.to_bounds else entry.area)
    return entry


def _bounds(mask: Tensor) -> Area:
    """Return the box of what is not 0 in ``mask`` (1, h, w)."""
    rows, columns = torch.where(mask.abs().amax(0) != 0)
    if len(rows) == 0:
        return LEAST, LEAST, 0, 0
    top, left = int(rows.min()), int(columns.min())
    height, width = int(rows.max()) - top + 1, int(columns.max()) - left + 1
    return max(LEAST, height), max(LEAST, width), top, left


def _copy_for(entry: Entry, other: list[Entry]) -> Entry | None:
    """Return what ``other`` needs where ``entry`` has an area: its own text of the smallest area round that."""
    if entry.area is None:
        return None
    around = [one for one in other if one.area is None or _is_inside(entry.area, one.area)]
    with_area = [one for one in around if one.area is not None]
    if not around:
        return None
    chosen = min(with_area, key=_cells) if with_area else around[0]
    if chosen.area == entry.area:
        return None
    return replace(entry, hidden=chosen.hidden, pooled=chosen.pooled)


def _cells(entry: Entry) -> float:
    return entry.area[0] * entry.area[1] if entry.area else 0.0


def _is_inside(area: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(
        area[2 + i] >= other[2 + i] and area[i] + area[2 + i] <= other[i] + other[2 + i] for i in (0, 1)
    )


def cut_to(area: tuple[float, ...] | None, size: tuple[int, int]) -> Area:
    """Return ``area`` cut to a latent of ``size`` (rows, columns); None is all of it."""
    if area is None:
        return size[0], size[1], 0, 0
    height, width, top, left = (int(side) for side in area)
    return min(size[0] - top, height), min(size[1] - left, width), top, left


def weight_of(entry: Entry, area: Area, like: Tensor) -> Tensor:
    """Return how much ``entry`` counts in its area, shaped like the cut latent ``like`` (B, C, h, w)."""
    height, width, top, left = area
    if entry.mask is not None:
        part = entry.mask[:, top : top + height, left : left + width] * entry.mask_strength
        return (part[:, None] * entry.strength).expand(len(like), like.shape[1], -1, -1)
    return torch.ones_like(like) * entry.strength


def feathered(weight: Tensor, area: Area, size: tuple[int, int]) -> Tensor:
    """Return ``weight`` (B, C, h, w) faded out at the sides of ``area`` that lie inside a latent of ``size``."""
    out = weight.clone()
    for axis in (0, 1):
        length = out.shape[2 + axis]
        wide = min(FEATHER, length // 4)
        for i in range(wide):
            share = (1.0 / wide) * (i + 1)
            if area[2 + axis] != 0:
                out.narrow(2 + axis, i, 1).mul_(share)
            if area[axis] + area[2 + axis] < size[axis]:
                out.narrow(2 + axis, length - 1 - i, 1).mul_(share)
    return out
