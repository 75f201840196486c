"""Multistep exponential integrators: DPM-Solver++ 2M and 3M, their SDE forms, RES multistep.

In ``lambda = log(alpha / sigma)`` the reverse SDE with noise ``eta`` is linear but for the denoised ``D``:
over a step of length ``h``, with ``k = (1 + eta) h``,

    x' = (s'/s) exp(-eta h) x + alpha' * integral of exp(u - k) D(u) du over 0 … k + s' sqrt(1 - exp(-2 eta
    h)) noise

and a polynomial through the last D's gives the integral in closed form: ``1 - exp(-k)`` times the value,
``phi_2(k)`` times the slope, ``-phi_3(k)`` times the curvature.  eta 0 is the ODE.

Source: Lu et al. 2022 (arXiv:2211.01095), sec. 4 and App. B; Zhang et al. 2023 (arXiv:2308.02157).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from ..errors import BadValue
from ..sigmas.model import ModelSigmas
from .seeds import TwoStage, two_stage_step
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import away_from_one, combine, distinct, phi_2, phi_3, tail_share

Slope = Literal["midpoint", "heun"]


class Step(NamedTuple):
    """One step: ``carry`` times x, plus ``weights`` times the latest denoised, newest first, plus noise."""

    carry: float
    weights: tuple[float, ...]
    noise: float


@dataclass(frozen=True, kw_only=True)
class Ends:
    """How a run begins and ends.

    ``start``: "midpoint" spends one more denoiser call on a second-order first step, and lets nothing later
    lower the order.  ``tail_power``: above 0 (1.5 is good) the jump to 0 from a sigma of 0.09 or more is
    extrapolated.
    """

    start: Literal["euler", "midpoint"] = "euler"
    tail_power: float = 0.0

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if self.start not in ("euler", "midpoint"):
            raise BadValue(f"start is {self.start!r}; pass 'euler' or 'midpoint'")


@dataclass(frozen=True, kw_only=True)
class Multistep(Ends):
    """As ``Ends``.  ``log_snr``: integrate a flow in its log-SNR, better than ComfyUI's ``-log sigma``."""

    log_snr: bool = False


@dataclass(frozen=True, kw_only=True)
class MultistepSde(Ends):
    """``eta``: 0 is the ODE, 1 the SDE; ``s_noise`` scales the noise."""

    eta: float = 1.0
    s_noise: float = 1.0


@dataclass(frozen=True, kw_only=True)
class MultistepSde2(MultistepSde):
    """As ``MultistepSde``; ``solver_type``: the slope's weight, "midpoint" or "heun" (the exact integral)."""

    solver_type: Slope = "midpoint"

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        super().__post_init__()
        if self.solver_type not in ("midpoint", "heun"):
            raise BadValue(f"solver_type is {self.solver_type!r}; pass 'midpoint' or 'heun'")


class Method(NamedTuple):
    """Which integrator: its order, how it weighs the slope, and the options of the run."""

    order: int
    slope: Slope
    eta: float = 0.0
    s_noise: float = 1.0
    start: Literal["euler", "midpoint"] = "euler"
    tail_power: float = 0.0

    @property
    def bend(self) -> float:
        """Return the factor of the curvature: the hosts' 3M takes half of it, which makes it second order."""
        return 2.0 if self.start == "midpoint" else 1.0


def step_weights(sigmas: Sigmas, i: int, model: ModelSigmas, method: Method) -> Step:
    """Return the numbers of step ``i``; a step to 0 ends on the denoised, extrapolated by ``tail_power``."""
    if sigmas[i + 1] == 0:
        share = tail_share(sigmas[i], sigmas[i - 1], method.tail_power) if i else 0.0
        return Step(0.0, (1 + share, -share), 0.0)
    back = distinct(sigmas, i, method.order)
    lambdas = [model.log_snr(sigma) for sigma in sigmas[i - back + 1 : i + 2]]
    h = lambdas[-1] - lambdas[-2]
    eta = method.eta
    k = h * (1 + eta)
    alpha = model.alpha(sigmas[i + 1])
    carry = sigmas[i + 1] / sigmas[i] * math.exp(-h * eta)
    noise = sigmas[i + 1] * math.sqrt(-math.expm1(-2 * h * eta)) * method.s_noise if h > 0 else 0.0
    whole = -math.expm1(-k)
    if h == 0 or back == 1:
        return Step(carry, (alpha * whole,), noise)
    bend = phi_2(k) if method.slope == "heun" else whole / 2
    before = (lambdas[-2] - lambdas[-3]) / h
    if back == 2:
        return Step(carry, (alpha * (whole + bend / before), -alpha * bend / before), noise)
    earlier = (lambdas[-3] - lambdas[-4]) / h
    curve = phi_3(k) * method.bend
    # D1 and D2 of arXiv:2211.01095, App. B, as weights of the three denoised.
    near = (bend * (1 + before / (before + earlier)) - curve / (before + earlier)) / before
    far = -(bend * before / (before + earlier) - curve / (before + earlier)) / earlier
    return Step(carry, (alpha * (whole + near), alpha * (far - near), -alpha * far), noise)


def multistep(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    method: Method,
    *,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Run ``method`` over ``sigmas`` in the log-SNR of ``model``."""
    sigmas = away_from_one(sigmas, model)
    plan = [step_weights(sigmas, i, model, method) for i in range(len(sigmas) - 1)]
    first = TwoStage(eta=method.eta, s_noise=method.s_noise) if method.start == "midpoint" else None
    return run_plan(denoise, x, sigmas, plan, first, model=model, noise=noise, on_step=on_step)


def run_plan(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    plan: list[Step],
    first: TwoStage | None = None,
    *,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take the steps of ``plan``, the first by ``first``'s two stages where that is given."""
    latest: deque[Tensor] = deque(maxlen=max(len(step.weights) for step in plan))
    for i, step in enumerate(plan):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        latest.appendleft(denoised)
        if i == 0 and first is not None and sigmas[1] > 0:
            x = two_stage_step(denoise, x, denoised, sigmas[:2], model=model, noise=noise, record=first)
            continue
        x = combine(x, step.carry, *zip(step.weights, latest, strict=False))
        if step.noise > 0:
            x.add_(noise(sigmas[i], sigmas[i + 1]), alpha=step.noise)
    return x


def correct(corrector: list[float], predictor: list[float]) -> list[float]:
    """Return the weights that turn a predicted state into the corrected one, newest denoised first.

    ``predictor``: the weights that led there, whose newest denoised is the corrector's second.
    """
    change = corrector + [0.0] * (len(predictor) + 1 - len(corrector))
    for j, weight in enumerate(predictor):
        change[j + 1] -= weight
    return change


def fold(carries: list[float], predictors: list[list[float]], correctors: list[list[float]]) -> list[Step]:
    """Return the plan of a predictor with correctors: step i takes node i to i+1.

    Predictor and corrector begin from the same carried state, so they differ by a weighted sum of denoised
    alone: the correction at node i goes into the weights of step i, and costs nothing.

    ``predictors[i]``: weights of the denoised at nodes i, i-1, …; ``correctors[i]``: of those the corrector
    uses instead of ``predictors[i - 1]`` to reach node i, or empty for no correction there.
    """
    plan: list[Step] = []
    for i, (carry, predictor) in enumerate(zip(carries, predictors, strict=True)):
        correction = correct(correctors[i], predictors[i - 1]) if correctors[i] else []
        length = max(len(predictor), len(correction))
        weights = [0.0] * length
        for j in range(length):
            weights[j] += predictor[j] if j < len(predictor) else 0.0
            weights[j] += carry * correction[j] if j < len(correction) else 0.0
        plan.append(Step(carry, tuple(weights), 0.0))
    return plan


VE = ModelSigmas.sd()
"""Any model whose log-SNR is ``-log sigma``: the clock of samplers that ComfyUI runs so even on a flow."""


@sampler(
    name="dpmpp_2m",
    label="DPM++ 2M",
    order=2,
    source="Lu et al. 2022, arXiv:2211.01095, Alg. 2",
)
def sample_dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Multistep,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Integrate with the slope between the last two denoised."""
    method = Method(2, "midpoint", start=options.start, tail_power=options.tail_power)
    clock = model if options.log_snr else VE
    return multistep(denoise, x, sigmas, method, model=clock, noise=noise, on_step=on_step)


@sampler(
    name="res_multistep",
    label="RES Multistep",
    order=2,
    source="Zhang et al. 2023, arXiv:2308.02157, sec. 4: 2M with the slope integrated exactly",
)
def sample_res_multistep(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Multistep,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Integrate the line through the last two denoised."""
    method = Method(2, "heun", start=options.start, tail_power=options.tail_power)
    clock = model if options.log_snr else VE
    return multistep(denoise, x, sigmas, method, model=clock, noise=noise, on_step=on_step)


@sampler(
    name="dpmpp_2m_sde",
    label="DPM++ 2M SDE",
    order=2,
    kind="sde",
    aliases=("dpmpp_2m_sde_gpu",),
    source="Lu et al. 2022, arXiv:2211.01095, sec. 5: 2M with the noise of the reverse SDE",
)
def sample_dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: MultistepSde2,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Integrate the SDE with the slope between the last two denoised."""
    method = Method(2, options.solver_type, options.eta, options.s_noise, options.start, options.tail_power)
    return multistep(denoise, x, sigmas, method, model=model, noise=noise, on_step=on_step)


@sampler(
    name="res_multistep_ancestral",
    label="RES Multistep a",
    order=2,
    kind="ancestral",
    source="res_multistep with the noise of the reverse SDE: the same as dpmpp_2m_sde_heun",
)
@sampler(
    name="dpmpp_2m_sde_heun",
    label="DPM++ 2M SDE Heun",
    order=2,
    kind="sde",
    aliases=("dpmpp_2m_sde_heun_gpu",),
    source="Lu et al. 2022, arXiv:2211.01095, with the slope integrated exactly",
)
def sample_dpmpp_2m_sde_heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: MultistepSde,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Integrate the SDE along the line through the last two denoised."""
    method = Method(2, "heun", options.eta, options.s_noise, options.start, options.tail_power)
    return multistep(denoise, x, sigmas, method, model=model, noise=noise, on_step=on_step)


@sampler(
    name="dpmpp_3m_sde",
    label="DPM++ 3M SDE",
    order=2,
    kind="sde",
    scheduler="exponential",
    discards_penultimate=("webui",),
    aliases=("dpmpp_3m_sde_gpu",),
    source="Lu et al. 2022, arXiv:2211.01095, App. B, third order, with the noise of the reverse SDE",
)
def sample_dpmpp_3m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: MultistepSde,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Integrate the SDE along the parabola through the last three denoised."""
    method = Method(3, "heun", options.eta, options.s_noise, options.start, options.tail_power)
    return multistep(denoise, x, sigmas, method, model=model, noise=noise, on_step=on_step)
