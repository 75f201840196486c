"""Euler's method, plain with churn, and ancestral."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..sigmas.model import ModelSigmas
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import ancestral_split, ancestral_step, euler_step, plus


@dataclass(frozen=True, kw_only=True)
class Churn:
    """Noise that is added before a step and removed by it; 0 leaves the sampler deterministic."""

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def raised(self, sigma: float, n: int) -> float:
        """Return sigma after churn, in a run of ``n`` steps (Karras et al. 2022, Alg. 2, lines 4 and 5)."""
        if not self.s_tmin <= sigma <= self.s_tmax:
            return sigma
        return sigma * (1 + min(self.s_churn / n, math.sqrt(2) - 1))

    def stir(self, x: Tensor, sigma: float, raised: float, noise: Noise) -> Tensor:
        """Return ``x`` with the noise added that takes it from ``sigma`` to ``raised``."""
        if raised <= sigma:
            return x
        return x.add(noise(sigma, raised), alpha=self.s_noise * math.sqrt(raised**2 - sigma**2))


@dataclass(frozen=True, kw_only=True)
class Ancestral:
    """How much fresh noise a step takes: ``eta`` 0 is deterministic, 1 all; ``s_noise`` scales it."""

    eta: float = 1.0
    s_noise: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Ddim:
    """As ``Ancestral``, deterministic unless ``eta`` is raised."""

    eta: float = 0.0
    s_noise: float = 1.0


@sampler(
    name="ddim",
    label="DDIM (Euler)",
    order=1,
    scheduler="ddim_uniform",
    source="Song et al. 2021, arXiv:2010.02502, eq. 13: Euler's method in sigma; ComfyUI's ddim",
)
@sampler(
    name="euler",
    label="Euler",
    scheduler="normal",
    order=1,
    source="Karras et al. 2022, arXiv:2206.00364, Alg. 2 without the second-order correction",
)
def sample_euler(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Churn, noise: Noise, on_step: OnStep
) -> Tensor:
    """Follow the ODE ``dx/dsigma = (x - denoised) / sigma`` by straight steps, to the last bit as the hosts do."""
    n = len(sigmas) - 1
    for i in range(n):
        raised = options.raised(sigmas[i], n)
        x = options.stir(x, sigmas[i], raised, noise)
        denoised = denoise(x, raised)
        on_step(i, sigmas[i], x, denoised)
        x = euler_step(x, denoised, raised, sigmas[i + 1])
    return x


@sampler(
    name="ddpm",
    label="DDPM",
    order=1,
    kind="ancestral",
    scheduler="normal",
    source="Ho et al. 2020, arXiv:2006.11239, Alg. 2: Euler ancestral with eta 1",
)
@sampler(
    name="euler_ancestral",
    label="Euler a",
    order=1,
    kind="ancestral",
    scheduler="normal",
    source="Song et al. 2021, arXiv:2010.02502, eq. 16; eta 1 is DDPM's step",
)
def sample_euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Ancestral,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Step below the next sigma, then add noise up to it; but for a flow, to the last bit as the hosts do."""
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        if model.is_flow:
            down, scale, up = ancestral_step(sigmas[i], sigmas[i + 1], options.eta, flow=True)
        else:
            (down, up), scale = ancestral_split(sigmas[i], sigmas[i + 1], options.eta, x.dtype), 1.0
        x = euler_step(x, denoised, sigmas[i], down) if down > 0 else denoised
        if up > 0:
            x = x if scale == 1 else x * scale
            fresh = noise(sigmas[i], sigmas[i + 1])
            x = plus(x, fresh if options.s_noise == 1 else fresh * options.s_noise, up)
    return x


@sampler(
    name="ddim_timesteps",
    label="DDIM",
    order=1,
    scheduler="ddim_timesteps",
    source="Song et al. 2021, arXiv:2010.02502, eq. 12, as the web UIs run it: ends at timestep 1",
    flow=False,
    timesteps=True,
)
def sample_ddim_timesteps(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Ddim,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take DDIM's steps, which in the variance-exploding form are ancestral Euler steps of ``eta``."""
    ancestral = Ancestral(eta=options.eta, s_noise=options.s_noise)
    return sample_euler_ancestral(
        denoise, x, sigmas, options=ancestral, model=model, noise=noise, on_step=on_step
    )
