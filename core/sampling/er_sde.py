"""Extended reverse-time SDE solver."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadValue
from ..sigmas.model import ModelSigmas
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import away_from_one, combine, distinct, number

POINTS = 200
"""Points of the left sum that stands for the integrals, as in the authors' program."""


@dataclass(frozen=True, kw_only=True)
class ErSde:
    """``s_noise`` scales the noise; ``max_stage``: denoised used, 1 to 3."""

    s_noise: float = 1.0
    max_stage: int = 3

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if self.max_stage not in (1, 2, 3):
            raise BadValue(f"max_stage is {self.max_stage}; pass 1, 2 or 3")


def noise_scale(level: float) -> float:
    """Return the authors' choice of the extended SDE's free function at ``sigma / alpha`` = ``level``."""
    return level * (math.exp(level**0.3) + 10)


def left_sums(level: float, target: float) -> tuple[float, float]:
    """Return the integrals of ``1 / noise_scale(u)`` and ``(u - level) / noise_scale(u)`` over the step.

    In float32, as the hosts take them.
    """
    size = (level - target) / POINTS
    places = target + torch.arange(POINTS, dtype=torch.float32) * size
    scaled = places * ((places**0.3).exp() + 10.0)
    return number((1 / scaled).sum()) * size, number(((places - level) / scaled).sum()) * size


def plan_step(sigmas: Sigmas, i: int, model: ModelSigmas, stages: int) -> tuple[float, list[float], float]:
    """Return ``(carry, weights, noise)`` of step ``i`` to a sigma above 0; weights of denoised, newest first.

    Source: Cui et al. 2023 (arXiv:2309.06169), eqs. 20 to 22 in the data prediction.
    """
    alpha, alpha_next = model.alpha(sigmas[i]), model.alpha(sigmas[i + 1])
    back = distinct(sigmas, i, stages)
    levels = [math.exp(-model.log_snr(sigma)) for sigma in sigmas[i - back + 1 : i + 2]]
    level, target = levels[-2], levels[-1]
    ratio = noise_scale(target) / noise_scale(level)
    weights = [alpha_next * (1 - ratio), 0.0, 0.0]
    step = target - level
    value, moment = left_sums(level, target)
    if back >= 2:
        slope = alpha_next * (step + value * noise_scale(target)) / (level - levels[-3])
        weights[0] += slope
        weights[1] -= slope
    if back >= 3:
        bend = alpha_next * (step**2 / 2 + moment * noise_scale(target))
        bend *= 2 / (level - levels[-4])
        near, far = bend / (level - levels[-3]), bend / (levels[-3] - levels[-4])
        weights[0] += near
        weights[1] -= near + far
        weights[2] += far
    spread = alpha_next * math.sqrt(max(target**2 - (level * ratio) ** 2, 0.0))
    return alpha_next / alpha * ratio, weights, spread


@sampler(
    name="er_sde",
    label="ER-SDE",
    order=1.5,
    kind="sde",
    source="Cui et al. 2023, arXiv:2309.06169, ER-SDE-Solver-3",
)
def sample_er_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: ErSde,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Integrate the extended reverse SDE with up to three denoised."""
    sigmas = away_from_one(sigmas, model)
    n = len(sigmas) - 1
    plan = [plan_step(sigmas, i, model, options.max_stage) for i in range(n) if sigmas[i + 1] > 0]
    latest: deque[Tensor] = deque(maxlen=options.max_stage)
    for i in range(n):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        latest.appendleft(denoised)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        carry, weights, spread = plan[i]
        x = combine(x, carry, *zip(weights, latest, strict=False))
        if options.s_noise > 0:
            x.add_(noise(sigmas[i], sigmas[i + 1]), alpha=options.s_noise * spread)
    return x
