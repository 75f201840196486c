"""A Gaussian mixture: data whose denoiser, samples and ODE solutions are known to machine precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """Isotropic Gaussians in D dimensions: ``mu`` (K, D), ``std`` (K,), ``weights`` (K,) that sum to 1, float64."""

    mu: Tensor
    std: Tensor
    weights: Tensor

    @classmethod
    def random(cls, seed: int = 0, *, components: int = 12, dim: int = 16) -> Mixture:
        """Return a mixture of spread about 1 whose parts are narrow and wide: deviations from 0.03 to 0.5."""
        generator = torch.Generator().manual_seed(seed)
        mu = torch.randn(components, dim, generator=generator, dtype=torch.float64)
        narrow, wide = math.log(0.03), math.log(0.5)
        std = torch.exp(narrow + (wide - narrow) * torch.rand(components, generator=generator).double())
        weights = 0.5 + torch.rand(components, generator=generator, dtype=torch.float64)
        return cls(mu=mu, std=std, weights=weights / weights.sum())

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return the mean of the clean data given ``x`` (B, D) with noise of ``sigma`` on it (Bayes' rule)."""
        level = float(sigma)
        variance = self.std**2 + level**2
        squares = x.square().sum(-1, keepdim=True) - 2 * x @ self.mu.T + self.mu.square().sum(-1)
        logs = self.weights.log() - 0.5 * self.mu.shape[1] * variance.log() - 0.5 * squares / variance
        share = logs.softmax(-1)
        kept = (share * (self.std**2 / variance)).sum(-1, keepdim=True)
        return kept * x + (share * (level**2 / variance)) @ self.mu

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided and the unguided prediction, which are one here: CFG++ is its plain twin then."""
        clean = self(x, sigma)
        return clean, clean

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return ``count`` samples (count, D)."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.mu.shape[1], generator=generator, dtype=torch.float64)
        return self.mu[which] + self.std[which, None] * noise

    def solve(self, x: Tensor, sigma: float) -> Tensor:
        """Return where the probability flow ODE takes ``x`` (B, D) from ``sigma`` to 0.

        By an eighth-order method (Prince & Dormand 1981) at a tolerance of 1e-9 in the logarithm of sigma, down to
        1e-5, where the clean mean is within that of the end.
        """
        from scipy.integrate import solve_ivp

        def slope(log_sigma: float, flat: object) -> object:
            state = torch.as_tensor(flat).reshape(x.shape)
            return (state - self(state, math.exp(log_sigma))).numpy().ravel()

        end = 1e-5
        span = (math.log(sigma), math.log(end))
        found = solve_ivp(slope, span, x.numpy().ravel(), "DOP853", rtol=1e-9, atol=1e-9)
        return self(torch.as_tensor(found.y[:, -1]).reshape(x.shape), end)
