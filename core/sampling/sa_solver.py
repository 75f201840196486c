"""SA-Solver: stochastic Adams predictor and corrector."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..errors import BadValue
from ..sigmas.model import ModelSigmas
from .adams import lagrange_integrals, quadrature
from .exponential import Step, correct, fold, run_plan
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import away_from_one, combine, distinct

FLOAT32 = 1e-6
"""Relative room at the ends of the window, where ComfyUI looks them up in a float32 table."""


@dataclass(frozen=True, kw_only=True)
class SaSolver:
    """Noise and orders.

    ``eta``: how noisy the window is, 0 is the ODE.  ``window_start``, ``window_end``: the share of the run
    between which noise is added.  ``predictor_order``, ``corrector_order``: denoised used, 1 to 4; corrector
    0 is none.
    """

    eta: float = 1.0
    s_noise: float = 1.0
    window_start: float = 0.2
    window_end: float = 0.8
    predictor_order: int = 3
    corrector_order: int = 4

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if not 1 <= self.predictor_order <= 4 or not 0 <= self.corrector_order <= 4:
            orders = f"{self.predictor_order} and {self.corrector_order}"
            raise BadValue(f"predictor and corrector order are {orders}; pass 1 to 4, and 0 to 4")
        if not 0 <= self.window_start <= self.window_end <= 1:
            raise BadValue(
                f"the window is {self.window_start} to {self.window_end}; pass shares of the run, 0 to 1"
            )


def adams_weights(lambdas: list[float], ends: tuple[float, float], tau: float) -> list[float]:
    """Return the weights of the denoised at ``lambdas`` (newest first) of a step over ``ends``, for alpha 1.

    Source: Xue et al. 2023 (arXiv:2309.05019), eqs. 15 and 18, the integrals by quadrature.
    """
    rate = 1 + tau**2
    points, measure = quadrature(*ends)
    return lagrange_integrals(lambdas, points, measure * rate * np.exp(-rate * (ends[1] - points)))


@dataclass(frozen=True, kw_only=True)
class SaPlan:
    """The numbers of a run, by step: what ``exponential.fold`` takes, and the noise."""

    carries: list[float]
    predictors: list[list[float]]
    correctors: list[list[float]]
    noises: list[float]


def plan_run(sigmas: Sigmas, model: ModelSigmas, options: SaSolver, *, pece: bool) -> SaPlan:
    """Return the plan of a run; towards an end at 0 the orders fall to 1, as in the authors' program."""
    n = len(sigmas) - 1
    lambdas = [model.log_snr(sigma) for sigma in sigmas]
    slack = 0.0 if model.is_flow else FLOAT32
    high = model.percent_to_sigma(options.window_start) * (1 + slack)
    low = model.percent_to_sigma(options.window_end) * (1 - slack)
    to_zero = sigmas[-1] == 0
    plan = SaPlan(carries=[], predictors=[], correctors=[], noises=[])
    tau = 0.0
    for i in range(n):
        corrector: list[float] = []
        order = min(distinct(sigmas, i, options.corrector_order), n - i if to_zero else 4)
        if i > 0 and order > 0 and sigmas[i] < sigmas[i - 1] and (sigmas[i + 1] > 0 or pece):
            nodes = [lambdas[i - j] for j in range(order)]
            weights = adams_weights(nodes, (lambdas[i - 1], lambdas[i]), tau)
            corrector = [model.alpha(sigmas[i]) * weight for weight in weights]
        plan.correctors.append(corrector)
        if sigmas[i + 1] == 0:
            tau, carry, predictor = 0.0, 0.0, [1.0]
        else:
            tau = options.eta if high >= sigmas[i + 1] >= low else 0.0
            order = min(distinct(sigmas, i, options.predictor_order), n - 1 - i if to_zero else 4)
            nodes = [lambdas[i - j] for j in range(order)]
            weights = adams_weights(nodes, (lambdas[i], lambdas[i + 1]), tau)
            carry = sigmas[i + 1] / sigmas[i] * math.exp(-(tau**2) * (lambdas[i + 1] - lambdas[i]))
            predictor = [model.alpha(sigmas[i + 1]) * weight for weight in weights]
        fresh = -math.expm1(-2 * tau**2 * (lambdas[i + 1] - lambdas[i])) if tau else 0.0
        plan.carries.append(carry)
        plan.predictors.append(predictor)
        plan.noises.append(sigmas[i + 1] * math.sqrt(fresh) * options.s_noise)
    return plan


@sampler(
    name="sa_solver",
    label="SA-Solver",
    order=3.5,
    kind="sde",
    source="Xue et al. 2023, arXiv:2309.05019, Alg. 1",
)
def sample_sa_solver(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: SaSolver,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Predict each step; correct it by the denoised found there, which costs no further call."""
    sigmas = away_from_one(sigmas, model)
    plan = plan_run(sigmas, model, options, pece=False)
    folded = fold(plan.carries, plan.predictors, plan.correctors)
    steps = [Step(step.carry, step.weights, fresh) for step, fresh in zip(folded, plan.noises, strict=True)]
    return run_plan(denoise, x, sigmas, steps, model=model, noise=noise, on_step=on_step)


@sampler(
    name="sa_solver_pece",
    label="SA-Solver PECE",
    order=3.5,
    nfe=lambda n: 2 * n - 1,
    kind="sde",
    second_order=True,
    source="Xue et al. 2023, arXiv:2309.05019, with a denoiser call at the corrected state",
)
def sample_sa_solver_pece(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: SaSolver,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Predict, correct, and call the denoiser again at the corrected state."""
    sigmas = away_from_one(sigmas, model)
    plan = plan_run(sigmas, model, options, pece=True)
    latest: deque[Tensor] = deque(maxlen=5)
    for i, carry in enumerate(plan.carries):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        latest.appendleft(denoised)
        if plan.correctors[i]:
            change = correct(plan.correctors[i], plan.predictors[i - 1])
            x = combine(x, 1.0, *zip(change, latest, strict=False))
            latest[0] = denoise(x, sigmas[i])
        x = combine(x, carry, *zip(plan.predictors[i], latest, strict=False))
        if plan.noises[i] > 0:
            x.add_(noise(sigmas[i], sigmas[i + 1]), alpha=plan.noises[i])
    return x
