"""A picture of what was detected: boxes, masks and how sure the detector was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .detections import Detections
from .masks import Mask, masks_of

COLOURS = ("#ff3b30", "#34c759", "#0a84ff", "#ffcc00", "#bf5af2", "#ff9f0a", "#64d2ff", "#ff375f")
VEIL = 0.35
"""How much of a mask's colour is laid over the picture."""


def preview(
    image: NDArray[np.uint8], detections: Detections, masks: Sequence[Mask] = ()
) -> NDArray[np.uint8]:
    """Return a copy of ``image``, uint8 (H, W, 3), with the boxes, labels and confidences of ``detections``.

    ``masks``: what will be redrawn, laid over it in colour; those of the detections unless given.
    """
    veiled = image.astype(np.float32)
    shown = masks or ([] if detections.masks is None else masks_of(detections))
    for i, mask in enumerate(shown):
        share = (mask.full()[..., None] * np.float32(VEIL / 255)).astype(np.float32)
        veiled += share * (_rgb(i) - veiled)
    out = Image.fromarray(np.rint(veiled).astype(np.uint8))
    pen = ImageDraw.Draw(out)
    width = max(1, round(min(out.size) / 256))
    font: Any = ImageFont.load_default(max(10, round(min(out.size) / 40)))
    for i, (box, sure, label) in enumerate(
        zip(detections.boxes, detections.confidences, detections.labels, strict=True)
    ):
        x1, y1, x2, y2 = (float(side) for side in box)
        pen.rectangle(
            (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=COLOURS[i % len(COLOURS)], width=width
        )
        text = f"{label} {sure:.2f}".strip()
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        y = y1 - (bottom - top) - 4 if y1 > bottom - top + 4 else y1 + 2
        pen.rectangle((x1, y, x1 + right - left + 4, y + bottom - top + 4), fill=COLOURS[i % len(COLOURS)])
        pen.text((x1 + 2 - left, y + 2 - top), text, fill="black", font=font)
    return np.asarray(out)


def _rgb(i: int) -> NDArray[np.float32]:
    text = COLOURS[i % len(COLOURS)]
    return np.array([int(text[k : k + 2], 16) for k in (1, 3, 5)], np.float32)
