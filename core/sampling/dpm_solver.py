"""DPM-Solver with its own step lengths: fast (fixed number of calls) and adaptive (error controlled).

Both use only the first sigma and the last above 0, where they end; time is ``-log sigma``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import BadValue
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import ancestral_step, combine, number


@dataclass(frozen=True, kw_only=True)
class Fast:
    """``eta``: ancestral noise, 0 is deterministic; ``s_noise`` scales it."""

    eta: float = 0.0
    s_noise: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Adaptive(Fast):
    """Order 2 or 3, tolerances, first step length in log sigma, and the weights of the step controller."""

    order: int = 3
    rtol: float = 0.05
    atol: float = 0.0078
    h_init: float = 0.05
    pcoeff: float = 0.0
    icoeff: float = 1.0
    dcoeff: float = 0.0
    accept_safety: float = 0.81

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if self.order not in (2, 3):
            raise BadValue(f"order is {self.order}; pass 2 or 3")
        if self.rtol <= 0 or self.atol <= 0 or self.h_init <= 0:
            raise BadValue(
                f"rtol, atol, h_init are {self.rtol}, {self.atol}, {self.h_init}; pass numbers above 0"
            )


class Stages(NamedTuple):
    """A step of DPM-Solver as numbers.

    ``sigmas``: at the start, at each inner stage, at the end.  ``rows``: for each state after the start, what
    it takes of the noise seen at the start and at the stages before it.
    """

    sigmas: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]


def stages(start: Tensor, end: Tensor, order: int, r: float) -> Stages:
    """Return the numbers of DPM-Solver-``order`` between two times, 0-dimensional, in the dtype of those.

    ``r``: where the first stage lies; order 3 has its second at ``2 r``.
    Source: Lu et al. 2022 (arXiv:2206.00927), eqs. 3.4 to 3.6 for alpha 1.
    """
    h = end - start
    places = [start] if order == 1 else [start, start + r * h] if order == 2 else []
    if order == 3:
        places = [start, start + r * h, start + 2 * r * h]
    at = [torch.exp(-place) for place in (*places, end)]
    rows: list[tuple[Tensor, ...]] = [(at[1] * torch.expm1(r * h),)] if order > 1 else []
    if order == 3:
        reach = torch.expm1(2 * r * h)
        rows.append((at[2] * reach, at[2] * 2 * (reach / (2 * r * h) - 1)))
    rise = torch.expm1(h)
    whole = at[-1] * rise
    if order == 1:
        rows.append((whole,))
    elif order == 2:
        rows.append((whole, at[-1] / (2 * r) * rise))
    else:
        rows.append((whole, at[-1] / (2 * r) * (rise / h - 1)))
    sigmas = tuple(number(value) for value in at)
    return Stages(sigmas, tuple(_row(row, last=k) for k, row in enumerate(rows)))


def _row(row: tuple[Tensor, ...], last: int) -> tuple[float, ...]:
    """Return ``-c eps_0 - b (eps_last - eps_0)`` as weights of eps_0 … eps_last."""
    whole = -number(row[0])
    if len(row) == 1:
        return (whole,)
    bend = -number(row[1])
    return (whole - bend, *([0.0] * (last - 1)), bend)


def walk(denoise: Denoise, x: Tensor, eps: Tensor, step: Stages) -> tuple[Tensor, list[Tensor]]:
    """Return the end of ``step`` from ``x``, where ``eps`` is the noise seen, and that seen at each stage."""
    seen = [eps]
    state = x
    for k, row in enumerate(step.rows):
        state = combine(x, 1.0, *zip(row, seen, strict=False))
        if k < len(step.rows) - 1:
            sigma = step.sigmas[k + 1]
            seen.append((state - denoise(state, sigma)) / sigma)
    return state, seen


def noisy_end(start: float, end: float, last: float, eta: float) -> tuple[float, float]:
    """Return the time to solve to, not beyond ``last``, and the noise to add there to be at ``end``."""
    if eta <= 0:
        return end, 0.0
    down, _, _ = ancestral_step(math.exp(-start), math.exp(-end), eta, flow=False)
    short = min(last, -math.log(down)) if down > 0 else last
    return short, math.sqrt(max(math.exp(-2 * end) - math.exp(-2 * short), 0.0))


def times(sigmas: Sigmas) -> tuple[float, float]:
    """Return the first time and that of the last sigma above 0."""
    positive = [sigma for sigma in sigmas if sigma > 0]
    return -math.log(positive[0]), -math.log(positive[-1])


def fast_plan(sigmas: Sigmas, eta: float) -> list[tuple[Stages, float]]:
    """Return the steps of DPM-Solver-fast and the noise after each, in float32 times as k-diffusion's."""
    first, last = times(sigmas)
    calls = len(sigmas) - 1
    steps = calls // 3 + 1
    orders = [3] * (steps - 2) + [2, 1] if calls % 3 == 0 else [3] * (steps - 1) + [calls % 3]
    marks = torch.linspace(first, last, len(orders) + 1, dtype=torch.float32)
    plan: list[tuple[Stages, float]] = []
    for i, order in enumerate(orders):
        fresh, end = 0.0, marks[i + 1]
        if eta > 0:
            short, fresh = noisy_end(number(marks[i]), number(end), number(marks[-1]), eta)
            end = torch.tensor(short)
        plan.append((stages(marks[i], end, order, 1 / 2 if order == 2 else 1 / 3), fresh))
    return plan


@sampler(
    name="dpm_fast",
    label="DPM fast",
    order=2,
    source="Lu et al. 2022, arXiv:2206.00927, DPM-Solver-fast (App. D.4)",
)
def sample_dpm_fast(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Fast, noise: Noise, on_step: OnStep
) -> Tensor:
    """Spend as many calls as there are steps on third-order steps, even in log sigma, and a rest."""
    plan = fast_plan(sigmas, options.eta)
    for i, (step, fresh) in enumerate(plan):
        sigma = step.sigmas[0]
        denoised = denoise(x, sigma)
        on_step(i, sigma, x, denoised)
        if step.sigmas[-1] < sigma:
            x, _ = walk(denoise, x, (x - denoised) / sigma, step)
        if fresh > 0:
            x = x.add(noise(sigma, step.sigmas[-1]), alpha=options.s_noise * fresh)
    return x


@dataclass
class Controller:
    """Chooses the next step length from the last errors (Söderlind 2003, doi:10.1145/641876.641877)."""

    h: float
    powers: tuple[float, float, float]
    accept_safety: float
    errors: list[float] = field(default_factory=list[float])

    @classmethod
    def of(cls, options: Adaptive) -> Controller:
        """Return the controller that ``options`` describe."""
        order = 1.5 if options.eta > 0 else options.order
        p, i, d = options.pcoeff, options.icoeff, options.dcoeff
        powers = ((p + i + d) / order, -(p + 2 * d) / order, d / order)
        return cls(options.h_init, powers, options.accept_safety)

    def accepts(self, error: float) -> bool:
        """Tell whether a step with this ``error`` stands, and set the length of the next."""
        inverse = 1 / (error + 1e-8)
        self.errors = [inverse, *(self.errors[1:] or [inverse, inverse])]
        factor = math.prod(value**power for value, power in zip(self.errors, self.powers, strict=True))
        factor = 1 + math.atan(factor - 1)
        accepted = factor >= self.accept_safety
        if accepted:
            self.errors[1:] = [self.errors[0], self.errors[1]]
        self.h *= factor
        return accepted


@sampler(
    name="dpm_adaptive",
    label="DPM adaptive",
    order=3,
    nfe=None,
    source="Lu et al. 2022, arXiv:2206.00927, DPM-Solver-12 and -23 (App. C), with a PID step controller",
)
def sample_dpm_adaptive(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Adaptive, noise: Noise, on_step: OnStep
) -> Tensor:
    """Choose step lengths by the difference of two orders; the number of steps given plays no part."""
    time, last = times(sigmas)
    control, before, i = Controller.of(options), x, 0
    while time < last - 1e-5:
        end = min(last, time + control.h)
        short, fresh = noisy_end(time, end, last, options.eta)
        step, lower = stage_pair(time, short, options.order)
        denoised = denoise(x, step.sigmas[0])
        on_step(i, step.sigmas[0], x, denoised)
        high, seen = walk(denoise, x, (x - denoised) / step.sigmas[0], step)
        low = combine(x, 1.0, *zip(lower, seen, strict=False))
        scale = low.abs().maximum(before.abs()).mul_(options.rtol).clamp_(min=options.atol)
        # The one wait for a device in any sampler: the length of the next step depends on it.
        error = float((low - high).div_(scale).square_().mean().sqrt())
        i += 1
        if not control.accepts(error):
            continue
        x, before, time = high, low, end
        if fresh > 0:
            x = x.add(noise(step.sigmas[0], math.exp(-end)), alpha=options.s_noise * fresh)
    return x


def stage_pair(time: float, end: float, order: int) -> tuple[Stages, tuple[float, ...]]:
    """Return the step of ``order`` and the weights of the order below over the same stages."""
    ends = torch.tensor(time, dtype=torch.float64), torch.tensor(end, dtype=torch.float64)
    return stages(*ends, order, 1 / order), stages(*ends, order - 1, 1 / 3).rows[-1]
