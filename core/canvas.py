"""Image to image in pixels: what the model is given of a picture and its mask, and how its answer is laid on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .detailer.masks import Box, Mask, blur, doubled, invert, mask_from_array
from .detailer.paste import crop, paste
from .detailer.regions import crop_region
from .errors import BadType, BadValue, unknown
from .image.framing import framed
from .image.generation import Generation
from .image.keys import RESIZE_MODES
from .image.masked_content import LABELS, MaskedContent, fill_masked
from .image.parts import ConcordSettings, Inpaint
from .profiles import Profile

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
"""A picture, float32 (H, W, 3), 0 black and 1 white."""
LATENT_MODE = RESIZE_MODES[3]
INVERTED = "Inpaint not masked"
MASK_MODES = ("Inpaint masked", INVERTED)
ONLY_MASKED = "Only masked"
AREAS = ("Whole picture", ONLY_MASKED)
"""A1111's words."""
MASK_BLUR, PADDING = 4.0, 32
"""A1111's defaults, in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """One picture as image to image works on it.

    ``image``: (h, w, 3), what is encoded, and ``mask`` (h, w), what of it is painted; None: all.  ``whole``: the
    picture that the answer is laid on through ``seen``; ``region``: where it goes, None for all of it.
    """

    image: Pixels
    mask: Pixels | None = None
    whole: Pixels | None = None
    seen: Mask | None = None
    region: Box | None = None
    pasting: Literal["exact", "overlay", "none"] = "none"

    def finished(self, drawn: Floats) -> Pixels:
        """Return the picture with what was ``drawn``, (h, w, 3) in 0 … 1, laid on."""
        if self.whole is None or self.seen is None or (self.pasting == "none" and self.region is None):
            return levels(drawn)
        if self.pasting == "overlay":
            return _overlaid(self, levels(drawn))
        return paste(self.whole, drawn, self.region or (0, 0, *self.seen.size), self.seen)


def levels(image: Floats, pixels: Literal["cut", "round"] = "cut") -> Pixels:
    """Return ``image`` in 256 levels, cut as the hosts do, or rounded; not-a-number is black."""
    scaled = np.nan_to_num(image) * np.float32(255)
    return (np.rint(scaled) if pixels == "round" else scaled).astype(np.uint8)


def check_picture(image: object, what: str = "init_image") -> Pixels:
    """Return ``image``, a uint8 array (H, W, 3); raises ``BadType`` or ``BadValue``."""
    found = _array(image)
    if found is None or found.dtype != np.uint8:
        raise BadType(f"{what} is {getattr(found, 'dtype', type(image).__name__)}; pass uint8, 0 … 255")
    if found.ndim != 3 or found.shape[2] != 3 or found.size == 0:
        raise BadValue(f"{what} is {found.shape}; pass (H, W, 3)")
    return found


def check_mask(mask: object, image: Pixels) -> Pixels:
    """Return ``mask``, uint8 (H, W), 255 where it paints; raises when it does not fit ``image`` or is empty."""
    found = _array(mask)
    if found is None or found.dtype.name not in ("uint8", "bool"):
        raise BadType(f"mask is {getattr(found, 'dtype', type(mask).__name__)}; pass bool, or uint8 0 … 255")
    if found.ndim != 2:
        raise BadValue(f"mask is {found.shape}; pass (H, W)")
    if found.shape != image.shape[:2]:
        (height, width), (h, w) = image.shape[:2], found.shape
        raise BadValue(f"mask is {w}x{h} but the picture is {width}x{height}; make the mask of that size")
    return found.astype(np.uint8) * np.uint8(255) if found.dtype == np.bool_ else found


def _array(value: object) -> NDArray[Any] | None:
    return cast("NDArray[Any]", value) if isinstance(value, np.ndarray) else None


def content_of(settings: Inpaint) -> MaskedContent:
    """Return what the masked part begins as; raises ``BadValue`` for an unknown word."""
    text = (settings.content or "original").lower()
    for name, label in LABELS.items():
        if text in (name, label):
            return name
    raise unknown("masked content", text, LABELS.values())


def filled_inpaint(record: Generation, host: Profile, *, masked: bool) -> Generation:
    """Return ``record`` with what inpainting needs filled in, and without it where there is no mask.

    Raises ``BadValue`` for unknown words.
    """
    if not masked:
        return replace(record, inpaint=None)
    own = record.inpaint or Inpaint()
    for what, word, known in (
        ("mask mode", own.mask_mode, MASK_MODES),
        ("inpaint area", own.area, AREAS),
    ):
        if word is not None and word not in known:
            raise unknown(what, word, known)
    content = content_of(own)
    only = own.area == ONLY_MASKED
    default_blur = 0.0 if host.pasting == "none" else MASK_BLUR
    filled = replace(
        own,
        mask_blur=default_blur if own.mask_blur is None else own.mask_blur,
        mask_mode=own.mask_mode if own.mask_mode == INVERTED else None,
        content=None if content == "original" else LABELS[content],
        area=ONLY_MASKED if only else None,
        padding=(PADDING if own.padding is None else own.padding) if only else None,
    )
    return replace(record, inpaint=filled)


def picture_hash(image: Pixels) -> str:
    """Return what A1111 calls "Init image hash": the md5 of the pixels."""
    return hashlib.md5(np.ascontiguousarray(image).tobytes(), usedforsecurity=False).hexdigest()


def canvas_of(record: Generation, host: Profile, image: Pixels, mask: Pixels | None) -> Canvas:
    """Return what a complete ``record`` makes of ``image`` (H, W, 3) and ``mask`` (H, W) at its size.

    Raises ``BadValue`` for a mask that is empty.
    """
    assert record.size
    mode = (record.concord or ConcordSettings()).resize_mode or RESIZE_MODES[0]
    if mask is None:
        return Canvas(image=image if mode == LATENT_MODE else framed(image, record.size, mode))
    if mode == LATENT_MODE:
        raise BadValue(f"resize mode {mode!r} takes no mask; choose another for inpainting")
    own = record.inpaint or Inpaint()
    painted = mask_from_array(mask)
    if own.mask_mode == INVERTED:
        painted = invert(painted)
    if painted.box is None:
        raise BadValue("the mask is empty; make the pixels white that are to be painted")
    painted = blur(painted, own.mask_blur or 0.0)
    if own.area == ONLY_MASKED:
        return _part(record, host, image, painted)
    small = framed(painted.full(), record.size, mode)
    whole = framed(image, record.size, mode)
    return Canvas(
        image=_with_content(whole, small, own),
        mask=small,
        whole=whole,
        seen=doubled(mask_from_array(small)),
        pasting=host.pasting,
    )


def _part(record: Generation, host: Profile, image: Pixels, painted: Mask) -> Canvas:
    """Return the canvas of "only masked": the region round the mask, at the size of the run."""
    assert record.size
    assert record.inpaint
    region = crop_region(painted, record.inpaint.padding or 0, record.size)
    assert region
    mode = "resize and fill" if host.pasting == "overlay" else "just resize"
    small = framed(painted.within(region), record.size, mode)
    part = framed(crop(image, region), record.size, mode)
    return Canvas(
        image=_with_content(part, small, record.inpaint),
        mask=small,
        whole=image,
        seen=painted,
        region=region,
        pasting=host.pasting,
    )


def _with_content(image: Pixels, mask: Pixels, settings: Inpaint) -> Pixels:
    """Return ``image`` filled under the mask, unless it begins as it is."""
    return image if content_of(settings) == "original" else fill_masked(image, mask)


def _overlaid(canvas: Canvas, drawn: Pixels) -> Pixels:
    """Return the picture as the web UIs composite it: what is kept, with its alpha, over what was drawn."""
    assert canvas.whole is not None
    assert canvas.seen is not None
    under = Image.fromarray(drawn)
    if canvas.region is not None:
        x1, y1, x2, y2 = canvas.region
        part = Image.fromarray(framed(drawn, (x2 - x1, y2 - y1), "crop and resize"))
        under = Image.new("RGBA", canvas.seen.size)
        under.paste(part, (x1, y1))
    over = Image.new("RGBa", canvas.seen.size)
    kept = ImageOps.invert(Image.fromarray(canvas.seen.full()))
    over.paste(Image.fromarray(canvas.whole).convert("RGBA").convert("RGBa"), mask=kept)
    out = under.convert("RGBA")
    out.alpha_composite(over.convert("RGBA"))
    return np.asarray(out.convert("RGB"))
