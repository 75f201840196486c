"""Euler Dy and Euler SMEA Dy: Euler with constant churn and extra steps on resampled latents near the start.

The extra calls see latents of another size; latents must be (B, C, h, w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import BadValue
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import towards

LEAST_CHURN = math.sqrt(2) - 1
"""What the authors' program takes as the least churn of a step, where Karras et al. have it as the most."""
GROWTH = 1.25
"""How much larger SMEA's extra step sees the latent."""


@dataclass(frozen=True, kw_only=True)
class Dy:
    """Churn as in Karras et al. 2022, never below ``LEAST_CHURN`` between ``s_tmin`` and ``s_tmax``."""

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0


def stirred(x: Tensor, sigma: float, n: int, options: Dy, noise: Noise) -> tuple[Tensor, float]:
    """Return ``x`` with this step's churn, and its sigma, in a run of ``n`` steps."""
    if not options.s_tmin <= sigma <= options.s_tmax:
        return x, sigma
    raised = sigma * (1 + max(options.s_churn / n, LEAST_CHURN))
    spread = options.s_noise * math.sqrt(raised**2 - sigma**2)
    return x.add(noise(sigma, raised), alpha=spread), raised


def quarter_step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return ``x`` with the lower right pixel of each 2 by 2 block taken on, seen as a latent of its own."""
    out = x.clone()
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    part = x[:, :, 1:height:2, 1:width:2].contiguous()
    out[:, :, 1:height:2, 1:width:2] = towards(denoise(part, sigma), part, sigma_next / sigma)
    return out


def enlarged_step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return ``x`` taken on at 1.25 times its size."""
    large = interpolate(x, scale_factor=(GROWTH, GROWTH), mode="nearest-exact")
    large = towards(denoise(large, sigma), large, sigma_next / sigma)
    return interpolate(large, size=x.shape[2:], mode="nearest-exact")


def _check(x: Tensor) -> None:
    """Raise ``BadValue`` when ``x`` cannot be resampled."""
    if x.ndim != 4 or min(x.shape[2:]) < 2:
        raise BadValue(
            f"latent has shape {tuple(x.shape)}; the Dy samplers want (B, C, h, w) of 2 by 2 or more"
        )


@sampler(
    name="euler_dy",
    label="Euler Dy",
    order=1,
    nfe=lambda n: n + max(min(n - 3, 2), 0),
    kind="ancestral",
    source="Koishi-Star, Euler-Smea-Dyn-Sampler: an extra step at steps 2 and 3",
    resizes=True,
    flow=False,
)
def sample_euler_dy(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Dy, noise: Noise, on_step: OnStep
) -> Tensor:
    """Take a quarter of the pixels a step ahead before the steps 2 and 3."""
    _check(x)
    n = len(sigmas) - 1
    for i in range(n):
        x, raised = stirred(x, sigmas[i], n, options, noise)
        denoised = denoise(x, raised)
        on_step(i, sigmas[i], x, denoised)
        ahead = towards(denoised, x, sigmas[i + 1] / raised)
        if sigmas[i + 1] > 0 and i in (2, 3):
            ahead.sub_(x).add_(quarter_step(denoise, x, raised, sigmas[i + 1]))
        x = ahead
    return x


@sampler(
    name="euler_smea_dy",
    label="Euler SMEA Dy",
    order=1,
    nfe=lambda n: n + max(min(n - 1, 2), 0),
    kind="ancestral",
    source="Koishi-Star, Euler-Smea-Dyn-Sampler, as the programs in use run it: extra steps at steps 0 and 1",
    resizes=True,
    flow=False,
)
def sample_euler_smea_dy(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Dy, noise: Noise, on_step: OnStep
) -> Tensor:
    """Take an enlarged extra step after step 0 and a quarter of the pixels further after step 1."""
    _check(x)
    n = len(sigmas) - 1
    for i in range(n):
        sigma_next = sigmas[i + 1]
        x, raised = stirred(x, sigmas[i], n, options, noise)
        denoised = denoise(x, raised)
        on_step(i, sigmas[i], x, denoised)
        x = towards(denoised, x, sigma_next / raised)
        if sigma_next > 0 and i == 0:
            x = enlarged_step(denoise, x, raised, sigma_next)
        elif sigma_next > 0 and i == 1:
            x = quarter_step(denoise, x, raised, sigma_next)
    return x
