"""Files of upscalers with random weights, in the layout of ESRGAN's networks (Wang et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = 8
GROWTH = 32
CONVOLUTIONS = 5


def esrgan(*, blocks: int = 1, colours: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Return the weights of an ESRGAN that enlarges fourfold, by their names."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def convolution(name: str, before: int, after: int) -> None:
        size = (after, before, 3, 3)
        weights[f"{name}.weight"] = torch.randn(size, generator=generator) / (3 * before**0.5)
        weights[f"{name}.bias"] = torch.zeros(after)

    convolution("conv_first", colours, CHANNELS)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for i in range(1, CONVOLUTIONS + 1):
                after = GROWTH if i < CONVOLUTIONS else CHANNELS
                convolution(f"body.{block}.rdb{dense}.conv{i}", CHANNELS + GROWTH * (i - 1), after)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        convolution(name, CHANNELS, CHANNELS)
    convolution("conv_last", CHANNELS, colours)
    weights["conv_last.weight"] *= 0.3
    weights["conv_last.bias"] += 0.5
    return weights
