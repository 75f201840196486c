"""SDXL's size conditioning: six numbers as sines and cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 256


def size_embedding(sizes: Sequence[float]) -> Tensor:
    """Return the embedding ``(256 * len(sizes),)``, float32, of ``sizes``, cosines before sines for each.

    SDXL's sizes are height, width, crop top, crop left, target height, target width, in pixels.

    Source: Vaswani et al. 2017 (arXiv:1706.03762) with periods up to 10000, as Podell et al. 2023
    (arXiv:2307.01952) use it; tests/golden/cond/a1111.npz.
    """
    import torch  # noqa: PLC0415

    half = WIDTH // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angles = torch.tensor(sizes, dtype=torch.float32)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).flatten()
