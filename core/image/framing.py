"""A picture brought to the size of a run: A1111's resize modes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadValue, unknown
from .keys import RESIZE_MODES

Size = tuple[int, int]
_LANCZOS = Image.Resampling.LANCZOS


def framed(image: NDArray[np.uint8], size: Size, mode: str = "just resize") -> NDArray[np.uint8]:
    """Return ``image``, uint8 (H, W) or (H, W, 3), at ``size`` (width, height), by Lanczos.

    ``mode``: of ``RESIZE_MODES``.  "just resize" and the latent one change the proportions; "crop and resize"
    covers the size and cuts what sticks out; "resize and fill" lies within it, and the rest is its outermost
    rows or columns drawn out.  Raises ``BadValue`` for an unknown mode or a size below 1.

    Source: A1111 1.9.4 and Forge f2.0.1; tests/golden/pictures.
    """
    if mode not in RESIZE_MODES:
        raise unknown("resize mode", mode, RESIZE_MODES)
    if min(size) < 1:
        raise BadValue(f"size is {size[0]}x{size[1]}; pass sides of 1 or more")
    picture = Image.fromarray(image)
    if picture.size == size:
        return image
    if mode == "crop and resize":
        return np.asarray(_centred(picture, size, covers=True)[0])
    if mode == "resize and fill":
        return np.asarray(_filled(picture, size))
    return np.asarray(resized(picture, size))


def resized(picture: Image.Image, size: Size) -> Image.Image:
    """Return ``picture`` at ``size`` (width, height) by Lanczos: its rows first, then its columns.

    The order, which decides the last level where one side grows and the other shrinks, changed within Pillow.
    """
    return picture.resize((size[0], picture.height), _LANCZOS).resize(size, _LANCZOS)


def _centred(picture: Image.Image, size: Size, *, covers: bool) -> tuple[Image.Image, Image.Image]:
    """Return a picture of ``size`` with ``picture`` in its middle, its proportions kept, and that alone."""
    (width, height), (own_width, own_height) = size, picture.size
    by_width = (width / height > own_width / own_height) == covers
    if width / height == own_width / own_height:
        inner = size
    elif by_width:
        inner = width, own_height * width // own_width
    else:
        inner = own_width * height // own_height, height
    whole = resized(picture, (max(inner[0], 1), max(inner[1], 1)))
    out = Image.new(picture.mode, size)
    out.paste(whole, (width // 2 - whole.width // 2, height // 2 - whole.height // 2))
    return out, whole


def _filled(picture: Image.Image, size: Size) -> Image.Image:
    out, inner = _centred(picture, size, covers=False)
    (width, height), (w, h) = size, inner.size
    above, left = height // 2 - h // 2, width // 2 - w // 2
    if above > 0:
        out.paste(inner.resize((width, above), box=(0, 0, width, 0)), (0, 0))
        out.paste(inner.resize((width, above), box=(0, h, width, h)), (0, above + h))
    elif left > 0:
        out.paste(inner.resize((left, height), box=(0, 0, 0, height)), (0, 0))
        out.paste(inner.resize((left, height), box=(w, 0, w, height)), (left + w, 0))
    return out
