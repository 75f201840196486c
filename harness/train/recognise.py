"""See what is in a picture of the embedded model's world: shapes with their colours, and faces.

No learning: pixels are given the nearest colour of the palette, connected areas are compared with the
silhouettes of the shapes, and a face is skin with hair above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .draw import silhouette
from .scenes import BACKGROUNDS, COLOURS, SHAPES, SKINS

_SKIN = "skin"
_PALETTE: list[tuple[str, tuple[int, int, int]]] = [
    *COLOURS.items(),
    *((name, rgb) for name, rgb in BACKGROUNDS.items() if name not in COLOURS),
    *((_SKIN, rgb) for rgb in SKINS),
]
_NAMES = [name for name, _ in _PALETTE]
_LEAST_AREA = 60
_LEAST_IOU = 0.7
_WIDEST = 1.5

Labels = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing seen: ``kind`` is a shape, "face" or "" for an area of no known shape; ``x``, ``y`` its centre."""

    kind: str
    colour: str
    x: float
    y: float
    area: int
    iou: float = 0.0


def recognise(picture: NDArray[np.uint8]) -> list[Found]:
    """List what ``picture``, uint8 (h, w, 3), shows, faces first; areas under 60 pixels and thin edges do not count."""
    labels = _nearest(picture)
    border = np.concatenate(
        [labels[:3].ravel(), labels[-3:].ravel(), labels[:, :3].ravel(), labels[:, -3:].ravel()]
    )
    background = int(np.bincount(border).argmax())
    faces, taken = _faces(picture, labels, background)
    found = list(faces)
    for colour in np.unique(labels):
        if colour == background or _NAMES[colour] == _SKIN:
            continue
        for mask, box in _areas((labels == colour) & ~taken):
            found.append(_shape(mask, box, _NAMES[colour]))
    return found


def colour_share(picture: NDArray[np.uint8], colour: str) -> float:
    """Return the share of pixels of ``picture``, uint8 (h, w, 3), whose nearest colour of the palette is ``colour``."""
    return float((_nearest(picture) == _NAMES.index(colour)).mean())


def _nearest(picture: NDArray[np.uint8]) -> Labels:
    colours = np.array([rgb for _, rgb in _PALETTE], dtype=np.float32)
    pixels = picture.astype(np.float32)
    distance = ((pixels[:, :, None, :] - colours) ** 2).sum(-1)
    labels = distance.argmin(-1)
    first_skin = _NAMES.index(_SKIN)
    return np.minimum(labels, first_skin)


def _areas(mask: Mask) -> list[tuple[Mask, tuple[slice, slice]]]:
    """Return the connected areas that are thick enough to be a thing, each as (mask in its box, box)."""
    labelled: Any = ndimage.label(mask, structure=np.ones((3, 3)))
    joined = labelled[0]
    core = ndimage.binary_erosion(mask)
    out: list[tuple[Mask, tuple[slice, slice]]] = []
    boxes: list[Any] = ndimage.find_objects(joined)
    for i, box in enumerate(boxes):
        own = joined[box] == i + 1
        area = int(own.sum())
        if area >= _LEAST_AREA and (core[box] & own).sum() > 0.3 * area:
            out.append((own, box))
    return out


@lru_cache(maxsize=4096)
def _template(kind: str, height: int, width: int) -> Mask:
    """Return the silhouette of ``kind``, cut to its own box and stretched to (height, width)."""
    full = silhouette(kind, 96)
    rows, columns = np.flatnonzero(full.any(1)), np.flatnonzero(full.any(0))
    cut = full[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image = Image.fromarray(cut.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image) > 127


@lru_cache(maxsize=64)
def _aspect(kind: str) -> float:
    full = silhouette(kind, 96)
    return full.any(0).sum() / full.any(1).sum()


def _shape(mask: Mask, box: tuple[slice, slice], colour: str) -> Found:
    height, width = mask.shape
    best, best_iou = "", 0.0
    for kind in SHAPES:
        ratio = (width / height) / _aspect(kind)
        if not 1 / _WIDEST < ratio < _WIDEST:
            continue
        template = _template(kind, height, width)
        iou = (mask & template).sum() / (mask | template).sum()
        if iou > best_iou:
            best, best_iou = kind, float(iou)
    x, y = (box[1].start + box[1].stop) / 2, (box[0].start + box[0].stop) / 2
    kind = best if best_iou >= _LEAST_IOU else ""
    return Found(kind=kind, colour=colour, x=x, y=y, area=int(mask.sum()), iou=best_iou)


def _faces(picture: NDArray[np.uint8], labels: Labels, background: int) -> tuple[list[Found], Mask]:
    skin = labels == _NAMES.index(_SKIN)
    taken = np.zeros_like(skin)
    faces: list[Found] = []
    for mask, (rows, columns) in _areas(skin):
        height, width = mask.shape
        if not 0.4 < width / height < 2.0:
            continue
        top = slice(max(rows.start - height // 2, 0), rows.start + max(height // 4, 1))
        above = labels[top, columns]
        names = above[(above != background) & (above != _NAMES.index(_SKIN))]
        if names.size < 0.15 * above.size or not _has_eyes(picture[rows, columns]):
            continue
        hair = _NAMES[int(np.bincount(names).argmax())]
        x, y = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
        faces.append(Found(kind="face", colour=hair, x=x, y=y, area=int(mask.sum()), iou=1.0))
        pad = max(height, width) // 2
        taken[
            max(rows.start - pad, 0) : rows.stop + pad // 2, max(columns.start - pad, 0) : columns.stop + pad
        ] = True
    return faces, taken


def _has_eyes(face: NDArray[np.uint8]) -> bool:
    """Tell whether both halves of the face's middle band hold something much darker than the skin."""
    height, width = face.shape[:2]
    if height < 12:
        return True
    grey = face.mean(-1)
    skin = np.median(grey)
    band = grey[int(0.12 * height) : int(0.62 * height)]
    halves = (band[:, : width // 2], band[:, width // 2 :])
    return all(half.size > 0 and half.min() < skin - 35 for half in halves)
