"""Shares of a run as sigmas, as ComfyUI counts them: in the network's time, not in steps."""

from __future__ import annotations

import math

import torch

from .values import ModelWire

TRAINED = 1000
DISTILLED = 20
"""Timesteps between those of a table of every 20th."""


def sigma_of_share(model: ModelWire, share: float) -> float:
    """Return sigma at ``share`` of the run, in float32 as ComfyUI; inf at 0, 0 at 1."""
    if share <= 0 or share >= 1:
        return math.inf if share <= 0 else 0.0
    table = model.sigmas
    if model.times == "log":
        low, high = math.log(table.sigma_min), math.log(table.sigma_max)
        return math.exp(low + (high - low) * (1 - share))
    place = (1.0 - share) * (TRAINED - 1)
    if model.times == "distilled":
        place = max((place - (DISTILLED - 1)) / DISTILLED, 0.0)
    return float(table.float32_at(torch.tensor([place], dtype=torch.float32))[0])
