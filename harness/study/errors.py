"""How far samples are from where they should be."""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS = 128


def path_error(ends: Tensor, exact: Tensor) -> float:
    """Return the root mean square distance of ``ends`` from ``exact``, both (B, …), over the deviation of ``exact``.

    0: the ODE is solved; 1: as good as any other sample.
    """  # fmt: skip
    spread = (exact - exact.mean(0)).square().mean()
    return float(((ends - exact).square().mean() / spread).sqrt())


class Cloud:
    """The truth that clouds of samples are held against."""

    def __init__(self, truth: Tensor, count: int, *, seed: int = 0) -> None:
        """Take true samples (n·count, D), which are thinned to ``count`` quantiles in each random direction."""
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(truth.shape[1], DIRECTIONS, generator=generator, dtype=truth.dtype)
        self.directions = directions / directions.norm(dim=0)
        ordered = (truth @ self.directions).sort(dim=0).values
        self.quantiles = ordered.unflatten(0, (count, -1)).mean(1)

    def error(self, ends: Tensor) -> float:
        """Return the sliced Wasserstein-2 distance of samples ``ends`` (count, D).

        The root mean square over directions of the distance of sorted projections (Rabin et al. 2012,
        "Wasserstein barycenter and its application to texture mixing").
        """
        ordered = (ends @ self.directions).sort(dim=0).values
        return float((ordered - self.quantiles).square().mean().sqrt())
