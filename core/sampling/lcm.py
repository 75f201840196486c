"""The sampler of latent consistency models."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..sigmas.model import ModelSigmas
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import combine


@dataclass(frozen=True, kw_only=True)
class Renoise:
    """``s_noise`` scales the noise."""

    s_noise: float = 1.0


SIGMA_DATA = 0.5
TIMESTEP_SCALE = 10.0


def lcm_scalings(timestep: float) -> tuple[float, float]:
    """Return (c_skip, c_out), the weights of the noisy latent and of the network's clean one at ``timestep``.

    Source: Luo et al. 2023 (arXiv:2310.04378), eq. 9 with the authors' constants.
    """
    scaled = timestep * TIMESTEP_SCALE
    whole = scaled**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / whole, scaled / math.sqrt(whole)


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
