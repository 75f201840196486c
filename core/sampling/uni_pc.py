"""UniPC: a multistep predictor and, at no extra denoiser call, a corrector of each step by the next denoised.

Predictor and corrector begin from the same carried state, so they differ by a weighted sum of denoised alone.
The correction is therefore folded into the weights of the step that follows, and a run is one linear plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from ..errors import BadValue
from ..sigmas.model import ModelSigmas
from .exponential import Step, fold, run_plan
from .seeds import TwoStage
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import away_from_one, distinct

END = 0.001
"""Where a run to 0 ends in ComfyUI: the method needs a finite log-SNR."""


@dataclass(frozen=True, kw_only=True)
class UniPc:
    """Order and first step.

    ``max_order``: 1 to 3.  ``start``: "midpoint" spends one more denoiser call on a second-order first step,
    and keeps the order to the end of a run that ends above 0; otherwise the last steps fall back to order 1.
    """

    max_order: int = 3
    start: Literal["euler", "midpoint"] = "euler"

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if self.max_order not in (1, 2, 3):
            raise BadValue(f"max_order is {self.max_order}; pass 1, 2 or 3")
        if self.start not in ("euler", "midpoint"):
            raise BadValue(f"start is {self.start!r}; pass 'euler' or 'midpoint'")


@dataclass(frozen=True, kw_only=True)
class UniPcTimesteps:
    """What the web UIs' settings say of UniPC.

    ``max_order``: 1 or more.  ``variant``: B(h) = h, "bh1", or exp(h) - 1, "bh2".  ``lower_order_final``: the
    last steps fall back to order 1.
    """

    max_order: int = 3
    variant: Literal["bh1", "bh2"] = "bh1"
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if self.max_order < 1:
            raise BadValue(f"max_order is {self.max_order}; pass 1 or more")
        if self.variant not in ("bh1", "bh2"):
            raise BadValue(f"variant is {self.variant!r}; pass 'bh1' or 'bh2', the others are not drawn")


def bh_weights(lambdas: Sequence[float], variant: str, correct: bool) -> list[float]:
    """Return the weights of the denoised, for alpha 1, of a step from ``lambdas[-2]`` to ``lambdas[-1]``.

    ``lambdas``: of the ``order`` nodes used, oldest first, then of the target.  ``correct``: the corrector,
    whose first weight is the target's denoised.  Newest first. Source: Zhao et al. 2023 (arXiv:2302.04867),
    eqs. 3, 5 and App. A (the simple coefficients at low order).
    """
    order = len(lambdas) - 1
    h = lambdas[-1] - lambdas[-2]
    scale = -h if variant == "bh1" else math.expm1(-h)
    places = [(earlier - lambdas[-2]) / h for earlier in reversed(lambdas[:-2])]
    if correct:
        places.append(1.0)
    shares = _shares(places, h, scale, simple=order == (1 if correct else 2))
    weights = [-math.expm1(-h)] + [0.0] * (order - 1)
    extra = [-scale * share / place for share, place in zip(shares, places, strict=True)]
    weights[0] -= sum(extra)
    for j in range(order - 1):
        weights[j + 1] += extra[j]
    return [extra[-1], *weights] if correct else weights


def _shares(places: list[float], h: float, scale: float, *, simple: bool) -> list[float]:
    """Return the solution of the order conditions at ``places``; 1/2 where the paper simplifies."""
    if simple or not places:
        return [0.5] * len(places)
    conditions: list[float] = []
    term, factorial = math.expm1(-h) / -h - 1, 1
    for i in range(1, len(places) + 1):
        conditions.append(term * factorial / scale)
        factorial *= i + 1
        term = term / -h - 1 / factorial
    powers = np.array(places)[None, :] ** np.arange(len(places))[:, None]
    return [float(share) for share in np.linalg.solve(powers, np.array(conditions))]


def plan_run(
    sigmas: Sigmas, model: ModelSigmas, variant: str, max_order: int, *, falling: bool, midpoint: bool
) -> list[Step]:
    """Return the plan of a run over ``sigmas``, all above 0; ``falling``: the last steps lower the order.

    ``midpoint``: the first step is one of its own, which is not corrected.
    """
    n = len(sigmas) - 1
    most = max(min(max_order, n - 1), 1)
    lambdas = [model.log_snr(sigma) for sigma in sigmas]
    carries: list[float] = []
    predictors: list[list[float]] = []
    correctors: list[list[float]] = [[] for _ in range(n)]
    for i in range(n):
        order = distinct(sigmas, i, min(i + 1, most, n - i if falling else most))
        alpha = model.alpha(sigmas[i + 1])
        carries.append(sigmas[i + 1] / sigmas[i])
        if sigmas[i + 1] == sigmas[i]:
            predictors.append([0.0])
            continue
        used = lambdas[i - order + 1 : i + 2]
        predictors.append([alpha * weight for weight in bh_weights(used, variant, False)])
        if i + 1 < n and not (i == 0 and midpoint):
            correctors[i + 1] = [alpha * weight for weight in bh_weights(used, variant, True)]
    return fold(carries, predictors, correctors)


def run_uni_pc(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    variant: Literal["bh1", "bh2"],
    options: UniPc,
    *,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Run UniPC over ``sigmas``; a last 0 becomes ``END``."""
    sigmas = away_from_one(sigmas, model)
    falling = sigmas[-1] == 0 or options.start == "euler"
    if sigmas[-1] == 0:
        sigmas = (*sigmas[:-1], min(END, sigmas[-2] / 2))
    midpoint = options.start == "midpoint"
    plan = plan_run(sigmas, model, variant, options.max_order, falling=falling, midpoint=midpoint)
    first = TwoStage(eta=0.0) if midpoint else None
    return run_plan(denoise, x, sigmas, plan, first, model=model, noise=noise, on_step=on_step)


@sampler(
    name="uni_pc_timesteps",
    label="UniPC",
    order=2,
    scheduler="uni_pc_timesteps",
    source="Zhao et al. 2023, arXiv:2302.04867, UniPC-3, B(h) = h, as the web UIs run it: ends at timestep 0",
    flow=False,
    timesteps=True,
)
def sample_uni_pc_timesteps(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: UniPcTimesteps,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Predict and correct as the web UIs' settings say."""
    sigmas = away_from_one(sigmas, model)
    falling = options.lower_order_final or sigmas[-1] == 0
    if sigmas[-1] == 0:
        sigmas = (*sigmas[:-1], min(END, sigmas[-2] / 2))
    plan = plan_run(sigmas, model, options.variant, options.max_order, falling=falling, midpoint=False)
    return run_plan(denoise, x, sigmas, plan, None, model=model, noise=noise, on_step=on_step)


@sampler(
    name="uni_pc",
    label="UniPC (sigma)",
    order=2,
    discards_penultimate=("comfyui",),
    source="Zhao et al. 2023, arXiv:2302.04867, UniPC-3 with B(h) = h",
)
def sample_uni_pc(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: UniPc,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Predict and correct with ``B(h) = h``."""
    return run_uni_pc(denoise, x, sigmas, "bh1", options, model=model, noise=noise, on_step=on_step)


@sampler(
    name="uni_pc_bh2",
    label="UniPC BH2",
    order=2,
    discards_penultimate=("comfyui",),
    source="Zhao et al. 2023, arXiv:2302.04867, UniPC-3 with B(h) = exp(h) - 1",
)
def sample_uni_pc_bh2(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: UniPc,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Predict and correct with ``B(h) = exp(h) - 1``."""
    return run_uni_pc(denoise, x, sigmas, "bh2", options, model=model, noise=noise, on_step=on_step)
