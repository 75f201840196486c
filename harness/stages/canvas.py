"""Image to image in pixels; the core's."""

from __future__ import annotations

from ...core.canvas import (
    INVERTED,
    ONLY_MASKED,
    Canvas,
    canvas_of,
    check_mask,
    check_picture,
    content_of,
    filled_inpaint,
    picture_hash,
)

__all__ = [
    "INVERTED",
    "ONLY_MASKED",
    "Canvas",
    "canvas_of",
    "check_mask",
    "check_picture",
    "content_of",
    "filled_inpaint",
    "picture_hash",
]
