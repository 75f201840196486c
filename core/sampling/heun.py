"""Methods that look ahead and correct: Heun, HeunPP2, DPM2 and its ancestral form."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from ..sigmas.model import ModelSigmas
from .euler import Ancestral, Churn
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import ancestral_step, combine, plus, towards


@sampler(
    name="heun",
    label="Heun",
    order=2,
    nfe=lambda n: 2 * n - 1,
    second_order=True,
    source="Karras et al. 2022, arXiv:2206.00364, Alg. 2",
)
def sample_heun(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Churn, noise: Noise, on_step: OnStep
) -> Tensor:
    """Average the derivative at both ends of a step, to the last bit as the hosts do."""
    n = len(sigmas) - 1
    for i in range(n):
        raised, sigma_next = options.raised(sigmas[i], n), sigmas[i + 1]
        x = options.stir(x, sigmas[i], raised, noise)
        denoised = denoise(x, raised)
        on_step(i, sigmas[i], x, denoised)
        slope, step = (x - denoised).div_(raised), sigma_next - raised
        ahead = plus(x, slope, step)
        if sigma_next == 0:
            x = ahead
            continue
        slope_ahead = (ahead - denoise(ahead, sigma_next)).div_(sigma_next)
        x = plus(x, slope.add_(slope_ahead).div_(2), step)
    return x


def heun_correction(
    x: Tensor, ahead: Tensor, denoised: Tensor, denoised_ahead: Tensor, sigma: float, sigma_next: float
) -> Tensor:
    """Return the end of a Heun step from ``x`` whose Euler step led to ``ahead``: the mean of both slopes."""
    half = (sigma_next - sigma) / 2
    slope, slope_ahead = half / sigma, half / sigma_next
    return combine(x, 1 + slope, (-slope, denoised), (slope_ahead, ahead), (-slope_ahead, denoised_ahead))


@sampler(
    name="heunpp2",
    label="HeunPP2",
    order=1,
    nfe=lambda n: max(3 * n - 3, 1),
    source="Heun with a third look ahead, weighted by sigma (ComfyUI, Forge, reForge)",
)
def sample_heunpp2(denoise: Denoise, x: Tensor, sigmas: Sigmas, *, on_step: OnStep) -> Tensor:
    """Weigh the derivatives at the next one or two sigmas by sigma; the weights make it first order."""
    n = len(sigmas) - 1
    for i in range(n):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        places = sigmas[i : i + 3] if i < n - 2 else sigmas[i : i + 2] if i < n - 1 else sigmas[i : i + 1]
        slopes = [(x - denoised) / sigmas[i]]
        ahead = x
        for near, far in pairwise(places):
            ahead = ahead.add(slopes[-1], alpha=far - near)
            slopes.append((ahead - denoise(ahead, far)) / far)
        shares = [far / (len(places) * sigmas[0]) for far in places[1:]]
        shares.insert(0, 1 - sum(shares))
        step = sigmas[i + 1] - sigmas[i]
        x = combine(x, 1.0, *((share * step, slope) for share, slope in zip(shares, slopes, strict=True)))
    return x


@sampler(
    name="dpm_2",
    label="DPM2",
    order=2,
    nfe=lambda n: 2 * n - 1,
    second_order=True,
    discards_penultimate=("comfyui", "webui"),
    source="Karras et al. 2022, arXiv:2206.00364, Alg. 2; midpoint of Lu et al. 2022, arXiv:2206.00927",
)
def sample_dpm_2(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Churn, noise: Noise, on_step: OnStep
) -> Tensor:
    """Take the derivative in the geometric middle of each step."""
    n = len(sigmas) - 1
    for i in range(n):
        raised = options.raised(sigmas[i], n)
        x = options.stir(x, sigmas[i], raised, noise)
        denoised = denoise(x, raised)
        on_step(i, sigmas[i], x, denoised)
        x = midpoint_step(denoise, x, denoised, raised, sigmas[i + 1])
    return x


def midpoint_step(denoise: Denoise, x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return ``x`` at ``sigma_next`` with the derivative in the geometric middle; Euler's step to 0."""
    if sigma_next == 0:
        return towards(denoised, x, 0.0)
    middle = math.sqrt(sigma * sigma_next)
    x_middle = towards(denoised, x, middle / sigma)
    slope = (sigma_next - sigma) / middle
    return combine(x, 1.0, (slope, x_middle), (-slope, denoise(x_middle, middle)))


@sampler(
    name="dpm_2_ancestral",
    label="DPM2 a",
    order=2,
    nfe=lambda n: 2 * n - 1,
    kind="ancestral",
    second_order=True,
    discards_penultimate=("comfyui", "webui"),
    source="DPM2 with the ancestral split of Song et al. 2021, arXiv:2010.02502, eq. 16",
)
def sample_dpm_2_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Ancestral,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take a DPM2 step below the next sigma, then add noise up to it."""
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        down, scale, up = ancestral_step(sigmas[i], sigmas[i + 1], options.eta, model.is_flow)
        x = midpoint_step(denoise, x, denoised, sigmas[i], down)
        if up > 0:
            x.mul_(scale).add_(noise(sigmas[i], sigmas[i + 1]), alpha=options.s_noise * up)
    return x
