"""Bringing the colours of what was drawn back to the picture's, by the pixels that should not have changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_PIXELS = 64
"""Fewer pixels outside the mask say nothing."""
LEAST_SPREAD = 2.0
"""Levels: below this standard deviation only the mean is brought back, not the contrast."""
WIDEST = 1.25
"""Contrast is changed by at most this factor: more is another picture, not a shift of the VAE."""


def match_colours(
    drawn: NDArray[Any], before: NDArray[np.uint8], mask: NDArray[np.uint8], amount: float
) -> NDArray[np.float32]:
    """Return ``drawn`` with each channel scaled and shifted so that it fits ``before`` where ``mask`` is 0.

    ``drawn`` (h, w, 3), uint8 or float 0…1; ``before`` uint8 (h, w, 3); ``mask`` uint8 (h, w).  ``amount``: 0
    leaves it, 1 brings it all the way.  The answer is float 0…1, unchanged where too little lies outside the mask.
    """
    levels = drawn.astype(np.float32) * np.float32(1 if drawn.dtype == np.uint8 else 255)
    outside = (mask == 0) & np.isfinite(levels).all(axis=2)
    if amount > 0 and outside.sum() >= LEAST_PIXELS:
        now, then = levels[outside], before[outside].astype(np.float32)
        spread, wanted = now.std(axis=0), then.std(axis=0)
        steep = (spread >= LEAST_SPREAD) & (wanted >= LEAST_SPREAD)
        scale = np.where(steep, np.clip(wanted / np.maximum(spread, LEAST_SPREAD), 1 / WIDEST, WIDEST), 1)
        shift = then.mean(axis=0) - now.mean(axis=0) * scale
        levels = levels * (1 + np.float32(amount) * (scale - 1)) + np.float32(amount) * shift
    return (levels / 255).astype(np.float32)
