"""Singlestep DPM-Solver++: 2S ancestral and SDE."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..errors import BadValue
from ..sigmas.model import ModelSigmas
from .euler import Ancestral
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import ancestral_step, away_from_one, combine, towards


@dataclass(frozen=True, kw_only=True)
class Middle(Ancestral):
    """As ``Ancestral``; ``r``: where in the step (in log-SNR, 0 to 1) the second denoiser call lies."""

    r: float = 0.5

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if not 0 < self.r < 1:
            raise BadValue(f"r is {self.r}; pass above 0 and below 1")


FLOW_MIDDLE_FROM_ONE = 0.9999
"""Where the second call of a step from a flow's sigma 1 lies: its log-SNR is infinite there."""


def middle_sigma(model: ModelSigmas, sigma: float, sigma_next: float) -> float:
    """Return the sigma halfway in log-SNR."""
    if model.is_flow and sigma >= 1:
        return FLOW_MIDDLE_FROM_ONE
    return model.sigma_of_log_snr((model.log_snr(sigma) + model.log_snr(sigma_next)) / 2)


@sampler(
    name="dpmpp_2s_ancestral",
    label="DPM++ 2S a",
    order=2,
    nfe=lambda n: 2 * n - 1,
    kind="ancestral",
    second_order=True,
    source="Lu et al. 2022, arXiv:2211.01095, Alg. 1, with the ancestral split of arXiv:2010.02502, eq. 16",
)
def sample_dpmpp_2s_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Ancestral,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Step below the next sigma with the denoised halfway, then add noise up to it."""
    for i in range(len(sigmas) - 1):
        sigma = sigmas[i]
        denoised = denoise(x, sigma)
        on_step(i, sigma, x, denoised)
        down, scale, up = ancestral_step(sigma, sigmas[i + 1], options.eta, model.is_flow)
        if down == 0:
            x = towards(denoised, x, 0.0)
        else:
            middle = middle_sigma(model, sigma, down)
            x = towards(denoise(towards(denoised, x, middle / sigma), middle), x, down / sigma)
        if up > 0:
            x.mul_(scale).add_(noise(sigma, sigmas[i + 1]), alpha=options.s_noise * up)
    return x


@sampler(
    name="dpmpp_sde",
    label="DPM++ SDE",
    order=2,
    nfe=lambda n: 2 * n - 1,
    kind="sde",
    second_order=True,
    aliases=("dpmpp_sde_gpu",),
    source="Lu et al. 2022, arXiv:2211.01095, Alg. 1, each stage with its own ancestral noise",
)
def sample_dpmpp_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Middle,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Step with noise to ``r`` of the step, then over the whole with the denoised of both places."""
    sigmas = away_from_one(sigmas, model)
    share = 1 / (2 * options.r)
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoise(x, sigma)
        on_step(i, sigma, x, denoised)
        if sigma_next == 0:
            x = denoised
        elif sigma_next < sigma:
            start, end = model.log_snr(sigma), model.log_snr(sigma_next)
            middle = model.sigma_of_log_snr(start + options.r * (end - start))
            ahead = leap(x, [(1.0, denoised)], (sigma, middle), model=model, options=options, noise=noise)
            second = denoise(ahead, middle)
            terms = [(1 - share, denoised), (share, second)]
            x = leap(x, terms, (sigma, sigma_next), model=model, options=options, noise=noise)
    return x


def leap(
    x: Tensor,
    denoised: list[tuple[float, Tensor]],
    ends: tuple[float, float],
    *,
    model: ModelSigmas,
    options: Ancestral,
    noise: Noise,
) -> Tensor:
    """Return ``x`` taken over ``ends`` towards the weighted ``denoised``, with ancestral noise.

    The ancestral split is made of ``sigma / alpha``, so that one formula serves flows too.
    """
    starts, stops = (math.exp(-model.log_snr(sigma)) for sigma in ends)
    down, _, up = ancestral_step(starts, stops, options.eta, flow=False)
    alpha = model.alpha(ends[1])
    ratio = down / starts
    carry = alpha / model.alpha(ends[0]) * ratio
    out = combine(x, carry, *((alpha * (1 - ratio) * weight, term) for weight, term in denoised))
    if options.eta > 0 and options.s_noise > 0:
        out.add_(noise(*ends), alpha=alpha * options.s_noise * up)
    return out
