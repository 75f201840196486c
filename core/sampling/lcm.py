"""The sampler of latent consistency models."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..sigmas.model import ModelSigmas
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import combine


@dataclass(frozen=True, kw_only=True)
class Renoise:
    """``s_noise`` scales the noise."""

    s_noise: float = 1.0


@sampler(
    name="lcm",
    label="LCM",
    order=0,
    kind="ancestral",
    scheduler="sgm_uniform",
    source="Luo et al. 2023, arXiv:2310.04378, multistep latent consistency sampling",
)
def sample_lcm(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Renoise,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Jump to the denoised, then noise it afresh to the next sigma."""
    for i in range(len(sigmas) - 1):
        sigma_next = sigmas[i + 1]
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        x = denoised
        if sigma_next > 0:
            fresh = noise(sigmas[i], sigma_next)
            x = combine(denoised, model.alpha(sigma_next), (options.s_noise * sigma_next, fresh))
    return x
