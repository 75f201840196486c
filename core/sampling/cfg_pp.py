"""CFG++: guided samplers that keep to the manifold by renoising with the unguided prediction.

Where a step carries ``x`` on, CFG++ carries ``x + denoised - uncond``: the noise seen without guidance, on
top of the guided clean latent.  What is left of each step is that of its plain twin.

Source: Chung et al. 2024 (arXiv:2406.08070), Alg. 2; the forms beyond DDIM are ComfyUI's and reForge's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..sigmas.model import ModelSigmas
from .adams import Gamma
from .dpmpp_single import Middle, leap, middle_sigma
from .euler import Ancestral, Ddim
from .exponential import Method, Step, step_weights
from .seeds import Sde
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import ancestral_step, away_from_one, combine, towards

SOURCE = "Chung et al. 2024, arXiv:2406.08070, Alg. 2"


def swap(x: Tensor, denoised: Tensor, uncond: Tensor, alpha: float) -> Tensor:
    """Return what CFG++ carries on in place of ``x``, whose signal has the weight ``alpha``."""
    return combine(x, 1.0, (alpha, denoised), (-alpha, uncond))


@sampler(
    name="ddim_cfgpp",
    label="DDIM CFG++",
    order=1,
    scheduler="ddim_timesteps",
    needs_uncond=True,
    source=SOURCE + ", as the web UIs run it: ends at timestep 1",
    flow=False,
    timesteps=True,
)
@sampler(
    name="euler_cfg_pp",
    label="Euler CFG++",
    order=1,
    scheduler="normal",
    needs_uncond=True,
    source=SOURCE,
)
def sample_euler_cfg_pp(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Ddim,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Renoise the guided clean latent with the noise seen without guidance."""
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised, uncond = denoise.with_uncond(x, sigma)
        on_step(i, sigma, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        alpha, alpha_next = model.alpha(sigma), model.alpha(sigma_next)
        # In sigma / alpha, infinite at a flow's 1, the split is that of any model.
        levels = [math.exp(-model.log_snr(end)) for end in (sigma, sigma_next)]
        down, _, up = ancestral_step(levels[0], levels[1], options.eta, flow=False)
        share = alpha_next * down / sigma
        x = combine(x, share, (alpha_next, denoised), (-share * alpha, uncond))
        if up > 0:
            x.add_(noise(sigma, sigma_next), alpha=options.s_noise * alpha_next * up)
    return x


@sampler(
    name="euler_ancestral_cfg_pp",
    label="Euler a CFG++",
    order=1,
    kind="ancestral",
    scheduler="normal",
    needs_uncond=True,
    source=SOURCE + ", with ancestral noise",
)
def sample_euler_ancestral_cfg_pp(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Ancestral,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take CFG++ steps below the next sigma, then add noise up to it."""
    record = Ddim(eta=options.eta, s_noise=options.s_noise)
    return sample_euler_cfg_pp(denoise, x, sigmas, options=record, model=model, noise=noise, on_step=on_step)


@dataclass(frozen=True, kw_only=True)
class Matched(Ancestral):
    """As ``Ancestral``; ``matched``: swap both predictions of the middle.

    ComfyUI sets the start's guided against the middle's unguided, which does not converge; those are the numbers
    that users know.
    """

    matched: bool = False


@sampler(
    name="dpmpp_2s_ancestral_cfg_pp",
    label="DPM++ 2S a CFG++",
    order=0,
    nfe=lambda n: 2 * n - 1,
    kind="ancestral",
    second_order=True,
    needs_uncond=True,
    source=SOURCE + ", in DPM++ 2S ancestral",
)
def sample_dpmpp_2s_ancestral_cfg_pp(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Matched,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Carry the swapped state, both to the middle and over the whole step."""
    for i in range(len(sigmas) - 1):
        sigma, alpha = sigmas[i], model.alpha(sigmas[i])
        denoised, uncond = denoise.with_uncond(x, sigma)
        on_step(i, sigma, x, denoised)
        down, scale, up = ancestral_step(sigma, sigmas[i + 1], options.eta, model.is_flow)
        if down == 0:
            x = denoised
        else:
            middle = middle_sigma(model, sigma, down)
            ahead = towards(denoised, swap(x, denoised, uncond, alpha), middle / sigma)
            second, second_uncond = denoise.with_uncond(ahead, middle)
            if options.matched:
                swapped = swap(x, second, second_uncond, alpha)
            else:
                swapped = swap(x, denoised, second_uncond, alpha)
            x = towards(second, swapped, down / sigma)
        if up > 0:
            x = combine(x, scale, (options.s_noise * up, noise(sigma, sigmas[i + 1])))
    return x


@sampler(
    name="dpmpp_sde_cfg_pp",
    label="DPM++ SDE CFG++",
    order=2,
    nfe=lambda n: 2 * n - 1,
    kind="sde",
    second_order=True,
    needs_uncond=True,
    source=SOURCE + ", in DPM++ SDE",
)
def sample_dpmpp_sde_cfg_pp(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Middle,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Carry the swapped state over both stages of DPM++ SDE."""
    sigmas = away_from_one(sigmas, model)
    share = 1 / (2 * options.r)
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised, uncond = denoise.with_uncond(x, sigma)
        on_step(i, sigma, x, denoised)
        if sigma_next == 0:
            x = denoised
        elif sigma_next < sigma:
            start, end = model.log_snr(sigma), model.log_snr(sigma_next)
            middle = model.sigma_of_log_snr(start + options.r * (end - start))
            alpha = model.alpha(sigma)
            swapped = swap(x, denoised, uncond, alpha)
            ahead = leap(
                swapped, [(1.0, denoised)], (sigma, middle), model=model, options=options, noise=noise
            )
            second, second_uncond = denoise.with_uncond(ahead, middle)
            mixed = [(1 - share, denoised), (share, second)]
            unguided = [(-alpha * (1 - share), uncond), (-alpha * share, second_uncond)]
            swapped = combine(x, 1.0, *((alpha * weight, term) for weight, term in mixed), *unguided)
            x = leap(swapped, mixed, (sigma, sigma_next), model=model, options=options, noise=noise)
    return x


Kept = Callable[[Tensor, Tensor, Step], tuple[Tensor, Tensor]]
"""``(denoised, uncond, step)`` to what the step weighs first, and what later steps remember."""


def multistep_cfg_pp(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    method: Method,
    kept: Kept,
    *,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Run a multistep integrator whose carry is swapped."""
    sigmas = away_from_one(sigmas, model)
    plan = [step_weights(sigmas, i, model, method) for i in range(len(sigmas) - 1)]
    latest: deque[Tensor] = deque(maxlen=max(method.order, 2) - 1)
    for i, step in enumerate(plan):
        denoised, uncond = denoise.with_uncond(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        now, remembered = kept(denoised, uncond, step)
        swapped = step.carry * model.alpha(sigmas[i])
        terms = zip(step.weights, [now, *latest], strict=False)
        x = combine(x, step.carry, (swapped, denoised), (-swapped, uncond), *terms)
        latest.appendleft(remembered)
        if step.noise > 0:
            x.add_(noise(sigmas[i], sigmas[i + 1]), alpha=step.noise)
    return x


@sampler(
    name="dpmpp_2m_cfg_pp",
    label="DPM++ 2M CFG++",
    order=2,
    needs_uncond=True,
    source=SOURCE + ", in DPM++ 2M, its slope from the unguided before",
)
def sample_dpmpp_2m_cfg_pp(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, model: ModelSigmas, noise: Noise, on_step: OnStep
) -> Tensor:
    """Take the slope from the last unguided to the guided."""

    def kept(denoised: Tensor, uncond: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        del step
        return denoised, uncond

    method = Method(2, "midpoint")
    return multistep_cfg_pp(denoise, x, sigmas, method, kept, model=model, noise=noise, on_step=on_step)


@sampler(
    name="dpmpp_3m_sde_cfg_pp",
    label="DPM++ 3M SDE CFG++",
    order=2,
    kind="sde",
    scheduler="exponential",
    needs_uncond=True,
    source=SOURCE + ", in DPM++ 3M SDE",
)
def sample_dpmpp_3m_sde_cfg_pp(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Sde,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take the parabola through the last three guided."""

    def kept(denoised: Tensor, uncond: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        del uncond, step
        return denoised, denoised

    method = Method(3, "heun", options.eta, options.s_noise)
    return multistep_cfg_pp(denoise, x, sigmas, method, kept, model=model, noise=noise, on_step=on_step)


def kept_by_res(denoised: Tensor, uncond: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """Weigh the unguided where there is a slope, else the guided; remember the unguided."""
    return uncond if len(step.weights) > 1 and step.carry > 0 else denoised, uncond


@sampler(
    name="res_multistep_cfg_pp",
    label="RES Multistep CFG++",
    order=2,
    needs_uncond=True,
    source=SOURCE + ", in RES multistep",
)
def sample_res_multistep_cfg_pp(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, model: ModelSigmas, noise: Noise, on_step: OnStep
) -> Tensor:
    """Take the line through the last two unguided."""
    method = Method(2, "heun")
    return multistep_cfg_pp(
        denoise, x, sigmas, method, kept_by_res, model=model, noise=noise, on_step=on_step
    )


@sampler(
    name="res_multistep_ancestral_cfg_pp",
    label="RES Multistep a CFG++",
    order=2,
    kind="ancestral",
    needs_uncond=True,
    source=SOURCE + ", in RES multistep ancestral",
)
def sample_res_multistep_ancestral_cfg_pp(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Sde,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take the line through the last two unguided, with the noise of the reverse SDE."""
    method = Method(2, "heun", options.eta, options.s_noise)
    return multistep_cfg_pp(
        denoise, x, sigmas, method, kept_by_res, model=model, noise=noise, on_step=on_step
    )


@sampler(
    name="gradient_estimation_cfg_pp",
    label="Gradient Estimation CFG++",
    order=1,
    needs_uncond=True,
    source=SOURCE + ", in gradient estimation",
)
def sample_gradient_estimation_cfg_pp(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Gamma, on_step: OnStep
) -> Tensor:
    """Go beyond the unguided derivative by its change since the one before."""
    before: Tensor | None = None
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised, uncond = denoise.with_uncond(x, sigma)
        on_step(i, sigma, x, denoised)
        d = (x - uncond) / sigma
        if sigma_next == 0:
            x = denoised
        elif before is None:
            x = combine(denoised, 1.0, (sigma_next, d))
        else:
            beyond = (options.gamma - 1) * (sigma_next - sigma)
            x = combine(denoised, 1.0, (sigma_next + beyond, d), (-beyond, before))
        before = d
    return x
