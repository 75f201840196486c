"""Linear multistep methods on the derivative: LMS, iPNDM and its variants, DEIS, PLMS, gradient estimation.

Each is ``x' = x + sum_j c_j d_j`` with the latest derivatives ``d = (x - denoised) / sigma``, newest first;
they differ in the numbers ``c_j``, which are known before the run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from ..errors import BadValue
from .heun import heun_correction, midpoint_step
from .spec import Denoise, OnStep, Sigmas, sampler
from .steps import combine, distinct, tail, towards

Weights = Callable[[Sigmas, int, int], list[float]]
"""``(sigmas, i, order)`` to the weights of step ``i``, newest derivative first, ``order`` of them."""

UNIFORM = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Adams-Bashforth weights of orders 1 to 4 on equal steps."""


@dataclass(frozen=True, kw_only=True)
class Adams:
    """Order and ends of a multistep run.

    ``max_order``: derivatives used, 1 to 4.  ``start``: "midpoint" spends one more denoiser call on a
    second-order first step.  ``tail_power``: above 0 (1.5 is good) the jump to 0 from a sigma of 0.09 or more
    is extrapolated.
    """

    max_order: int = 4
    start: Literal["euler", "midpoint"] = "euler"
    tail_power: float = 0.0

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if not 1 <= self.max_order <= 4:
            raise BadValue(f"max_order is {self.max_order}; pass 1 to 4")
        if self.start not in ("euler", "midpoint"):
            raise BadValue(f"start is {self.start!r}; pass 'euler' or 'midpoint'")


@dataclass(frozen=True, kw_only=True)
class ToZero(Adams):
    """As ``Adams``; ``through_zero``: integrate the last step too (k-diffusion), not jump (ComfyUI)."""

    through_zero: bool = False


@dataclass(frozen=True, kw_only=True)
class Deis(Adams):
    """As ``Adams``, of order 3."""

    max_order: int = 3


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """``gamma``: how far beyond the last derivative to go, 1 is Euler."""

    gamma: float = 2.0


@dataclass(frozen=True, kw_only=True)
class GradientEstimation(Gamma):
    """As ``Gamma``; ``tail_power`` as in ``Adams``."""

    tail_power: float = 0.0


def rise_weights(sigmas: Sigmas, weights: Weights, most: int) -> list[list[float]]:
    """Return ``weights`` of up to ``most`` derivatives for each step, made for ``x - denoised`` undivided."""
    return [
        [c / sigmas[i - j] for j, c in enumerate(weights(sigmas, i, distinct(sigmas, i, most)))]
        for i in range(len(sigmas) - 1)
    ]


def multistep(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    weights: Weights,
    options: Adams,
    on_step: OnStep,
    *,
    through_zero: bool = False,
) -> Tensor:
    """Run the method given by ``weights`` over ``sigmas``; the step to 0 is a jump unless ``through_zero``."""
    plan = rise_weights(sigmas, weights, options.max_order)
    rises: deque[Tensor] = deque(maxlen=options.max_order)
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        rises.appendleft(x - denoised)
        if sigmas[i + 1] == 0 and not through_zero:
            x = tail(denoised, previous, sigmas, options.tail_power)
        elif i == 0 and options.start == "midpoint":
            x = midpoint_step(denoise, x, denoised, sigmas[0], sigmas[1])
        else:
            x = combine(x, 1.0, *zip(plan[i], rises, strict=False))
        previous = denoised
    return x


def lagrange_integrals(nodes: list[float], points: np.ndarray, measure: np.ndarray) -> list[float]:
    """Return the integrals of the Lagrange polynomials over ``nodes``, by a quadrature."""
    found: list[float] = []
    for j, node in enumerate(nodes):
        basis = np.ones_like(points)
        for k, other in enumerate(nodes):
            if k != j:
                basis *= (points - other) / (node - other)
        found.append(float(basis @ measure))
    return found


GAUSS = np.polynomial.legendre.leggauss(32)


def quadrature(start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Return 32 Gauss-Legendre points from ``start`` to ``end`` and their weights."""
    half = (end - start) / 2
    return start + half * (GAUSS[0] + 1), half * GAUSS[1]


def adams_bashforth(sigmas: Sigmas, i: int, order: int) -> list[float]:
    """Return the true weights on unequal steps: integrals of the interpolant in sigma."""
    points, measure = quadrature(sigmas[i], sigmas[i + 1])
    return lagrange_integrals([sigmas[i - j] for j in range(order)], points, measure)


def uniform(sigmas: Sigmas, i: int, order: int) -> list[float]:
    """Return the weights of equal steps, used as they are on unequal ones."""
    return [(sigmas[i + 1] - sigmas[i]) * c for c in UNIFORM[order - 1]]


def liu_variable(sigmas: Sigmas, i: int, order: int) -> list[float]:
    """Return the weights of the hosts' iPNDM_V, which do not sum to 1 on unequal steps from order 3 on."""
    h = [sigmas[i + 1 - j] - sigmas[i - j] for j in range(order)]
    if order == 1:
        return h
    ratio = h[0] / h[1]
    c = [(2 + ratio) / 2, -ratio / 2, 0.0, 0.0]
    inner = h[1] / h[2] if order >= 3 else 0.0
    if order >= 3:
        bend = (1 - h[0] / (3 * (h[0] + h[1])) * (h[0] * (h[0] + h[1])) / (h[1] * (h[1] + h[2]))) / 2
        c[0] += bend
        c[1] -= (1 + inner) * bend
        c[2] += inner * bend
    if order == 4:
        third = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
        lever = h[0] * (h[0] + h[1]) * (h[0] + h[1] + h[2]) / (h[1] * (h[1] + h[2]) * (h[1] + h[2] + h[3]))
        share = h[0] / (h[0] + h[1])
        twist = ((1 - share / 3) / 2 + (1 - share / 2) * h[0] / (6 * sum(h[:3]))) * lever
        c[0] += twist
        c[1] -= (1 + inner + third) * twist
        c[2] += (inner + third * (1 + h[2] / h[3])) * twist
        c[3] -= third * inner * twist
    return [h[0] * value for value in c[:order]]


@sampler(
    name="lms",
    label="LMS",
    order=2,
    source="Adams-Bashforth on unequal steps in sigma; Karras et al. 2022, arXiv:2206.00364, sec. 3",
)
def sample_lms(denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: ToZero, on_step: OnStep) -> Tensor:
    """Integrate the polynomial through the last derivatives."""
    through = options.through_zero
    return multistep(denoise, x, sigmas, adams_bashforth, options, on_step, through_zero=through)


@sampler(
    name="ipndm",
    label="IPNDM",
    order=2,
    source="Zhang and Chen 2023, arXiv:2204.13902, sec. 3: Adams-Bashforth with the weights of equal steps",
)
def sample_ipndm(denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: ToZero, on_step: OnStep) -> Tensor:
    """Use the weights of equal steps whatever the steps; the constant is small at few steps."""
    through = options.through_zero
    return multistep(denoise, x, sigmas, uniform, options, on_step, through_zero=through)


@sampler(
    name="ipndm_v",
    label="IPNDM_V",
    order=1.5,
    source="as the hosts compute it, after Liu et al. 2022, arXiv:2202.09778; for its true form see ipndm_vs",
)
def sample_ipndm_v(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: ToZero, on_step: OnStep
) -> Tensor:
    """Use the weights that users of the hosts know; they diverge where a schedule bends sharply."""
    through = options.through_zero
    return multistep(denoise, x, sigmas, liu_variable, options, on_step, through_zero=through)


@sampler(
    name="ipndm_vs",
    label="IPNDM VS",
    order=2,
    source="iPNDM with the true Adams-Bashforth weights of the unequal steps",
)
def sample_ipndm_vs(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Adams, on_step: OnStep
) -> Tensor:
    """Use the weights that belong to the steps: what iPNDM_V sets out to be."""
    return multistep(denoise, x, sigmas, adams_bashforth, options, on_step)


VP_SMALL, VP_LARGE, VP_FIRST = 0.002, 80.0, 1e-3
"""Sigmas and time that fix the clock of DEIS."""
VP_RISE = 2 * (math.log1p(VP_SMALL**2) / VP_FIRST - math.log1p(VP_LARGE**2)) / (VP_FIRST - 1)
VP_FLOOR = math.log1p(VP_LARGE**2) - VP_RISE / 2


def vp_time(sigma: float) -> float:
    """Return the time at which the variance-preserving process has ``sigma`` (arXiv:2206.00364, Table 1)."""
    return (math.sqrt(VP_FLOOR**2 + 2 * VP_RISE * math.log1p(sigma**2)) - VP_FLOOR) / VP_RISE


VP_POINTS = 10_000
"""Of the sum that the programs take for the integral."""


def summed(start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points from ``start`` to ``end`` and weights that give what the programs' sum comes to.

    That is the mean over ``VP_POINTS`` equal points: the integral, less one part in as many, and half a part of
    the value at either end.
    """
    points, measure = quadrature(start, end)
    end_share = (end - start) / (2 * VP_POINTS)
    return np.append(points, (start, end)), np.append(measure * (1 - 1 / VP_POINTS), (end_share, end_share))


def deis_weights(sigmas: Sigmas, i: int, order: int) -> list[float]:
    """Return the integrals over sigma of the interpolant in variance-preserving time (eq. 15)."""
    if order == 1 or sigmas[i + 1] == 0:
        return [sigmas[i + 1] - sigmas[i]]
    points, measure = summed(vp_time(sigmas[i]), vp_time(sigmas[i + 1]))
    grown = np.exp(VP_RISE * points**2 / 2 + VP_FLOOR * points)
    speed = (VP_RISE * points + VP_FLOOR) * grown / (2 * np.sqrt(grown - 1))
    return lagrange_integrals([vp_time(sigmas[i - j]) for j in range(order)], points, measure * speed)


@sampler(
    name="deis",
    label="DEIS",
    order=2,
    source="Zhang and Chen 2023, arXiv:2204.13902, tAB-DEIS",
)
def sample_deis(denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Deis, on_step: OnStep) -> Tensor:
    """Integrate the polynomial in variance-preserving time through the last derivatives."""
    return multistep(denoise, x, sigmas, deis_weights, options, on_step)


@sampler(
    name="gradient_estimation",
    label="Gradient Estimation",
    order=1,
    source="Permenter and Yuan 2024, arXiv:2306.04848, sec. 5",
)
def sample_gradient_estimation(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: GradientEstimation, on_step: OnStep
) -> Tensor:
    """Go beyond the last derivative by its change since the one before."""

    def weights(sigmas: Sigmas, i: int, order: int) -> list[float]:
        step = sigmas[i + 1] - sigmas[i]
        return [step] if order == 1 else [options.gamma * step, (1 - options.gamma) * step]

    record = Adams(max_order=2, tail_power=options.tail_power)
    return multistep(denoise, x, sigmas, weights, record, on_step)


@sampler(
    name="plms",
    label="PLMS",
    order=2,
    nfe=lambda n: n + (n > 1),
    scheduler="ddim_timesteps",
    source="Liu et al. 2022, arXiv:2202.09778, Alg. 2, as the web UIs run it: ends at timestep 1",
    flow=False,
    timesteps=True,
)
def sample_plms(denoise: Denoise, x: Tensor, sigmas: Sigmas, *, on_step: OnStep) -> Tensor:
    """Start with Heun's step, then use the weights of equal steps to the last sigma, whatever it is."""
    plan = rise_weights(sigmas, uniform, 4)
    rises: deque[Tensor] = deque(maxlen=4)
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoise(x, sigma)
        on_step(i, sigma, x, denoised)
        rises.appendleft(x - denoised)
        if sigma_next == 0:
            x = towards(denoised, x, 0.0)
        elif i == 0:
            ahead = towards(denoised, x, sigma_next / sigma)
            x = heun_correction(x, ahead, denoised, denoise(ahead, sigma_next), sigma, sigma_next)
        else:
            x = combine(x, 1.0, *zip(plan[i], rises, strict=False))
    return x
