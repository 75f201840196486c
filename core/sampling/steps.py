"""The few formulas that samplers share: one step's weights, as Python floats, and their application."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..sigmas.model import ModelSigmas
from .spec import Sigmas


def number(scalar: Tensor) -> float:
    """Return a 0-dimensional CPU tensor as a float, without the operator that would wait for a device."""
    return float(np.asarray(scalar))


ROUNDING = 1e-12
"""How far from 1 the sum of weights may be that add up to 1."""


def combine(x: Tensor, scale: float, *terms: tuple[float, Tensor]) -> Tensor:
    """Return ``scale * x + sum(weight * tensor)`` as a new tensor; a tensor named twice is added once.

    Weights that add up to 1 take one operation less: each is an interpolation, the positive ones first, so
    that no partial sum comes near 0.
    """
    weights: dict[int, float] = {}
    for weight, tensor in terms:
        weights[id(tensor)] = weights.get(id(tensor), 0.0) + weight
    tensors = {id(tensor): tensor for _, tensor in terms}
    used = [(weights[key], tensor) for key, tensor in tensors.items() if weights[key] != 0.0]
    if scale == 1.0 and used:
        weight, tensor = used.pop(0)
        out = x.add(tensor, alpha=weight)
    elif scale == 0.0 and used:
        weight, tensor = used.pop(0)
        out = tensor * weight
    elif used and scale > 0 and abs(scale + sum(weight for weight, _ in used) - 1) < ROUNDING:
        return _mean(x, scale, used)
    else:
        out = x * scale
    for weight, tensor in used:
        out.add_(tensor, alpha=weight)
    return out


def _mean(x: Tensor, share: float, used: list[tuple[float, Tensor]]) -> Tensor:
    """Return ``share * x`` plus the ``used`` (weight, tensor), whose weights add up to 1 with ``share`` > 0."""
    out = x
    for weight, tensor in sorted(used, key=lambda term: -term[0]):
        share += weight
        out = out.lerp(tensor, weight / share) if out is x else out.lerp_(tensor, weight / share)
    return out


def towards(denoised: Tensor, x: Tensor, ratio: float) -> Tensor:
    """Return ``denoised + ratio * (x - denoised)`` as a new tensor: an Euler step for ``ratio`` = s'/s."""
    return denoised.lerp(x, ratio)


def plus(x: Tensor, tensor: Tensor, weight: float) -> Tensor:
    """Return ``x + tensor * weight``, rounded after either operation, as the hosts do who write it so.

    ``add(alpha=…)`` rounds once on processors that can, which is another number.
    """
    one = torch.ones((), dtype=x.dtype, device=x.device)
    return torch.addcmul(x, tensor, one, value=weight)


def euler_step(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return ``x + (x - denoised) / sigma * (sigma_next - sigma)``, rounded at each operation as k-diffusion's."""
    return plus(x, (x - denoised).div_(sigma), sigma_next - sigma)


def ancestral_step(sigma: float, sigma_next: float, eta: float, flow: bool) -> tuple[float, float, float]:
    """Return ``(down, scale, up)``: go to sigma ``down``, multiply by ``scale``, add noise times ``up``.

    The result has noise level ``sigma_next``: ``(scale * down) ** 2 + up ** 2 == sigma_next ** 2``;
    ``scale`` is 1 but for a flow, where it restores the weight ``1 - sigma_next`` of the signal.

    Source: Song et al. 2021 (arXiv:2010.02502), eq. 16, in the variance-exploding form; for a flow the same
    in ``x = (1 - s) x0 + s noise`` with ``down = s' (1 + eta (s'/s - 1))``.
    """
    if flow:
        down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
        scale = (1 - sigma_next) / (1 - down)
        return down, scale, math.sqrt(max(sigma_next**2 - (down * scale) ** 2, 0.0))
    up = min(sigma_next, eta * sigma_next * math.sqrt(max(1 - (sigma_next / sigma) ** 2, 0.0)))
    return math.sqrt(max(sigma_next**2 - up**2, 0.0)), 1.0, up


def ancestral_split(sigma: float, sigma_next: float, eta: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return ``(down, up)`` of `ancestral_step`, not of a flow, rounded at each operation as k-diffusion's are."""
    if eta == 0:
        return sigma_next, 0.0
    kind = np.float64 if dtype == torch.float64 else np.float32
    start, end = kind(sigma), kind(sigma_next)
    up = min(end, kind(eta) * kind(_root(end * end * (start * start - end * end) / (start * start), dtype)))
    return _root(end * end - up * up, dtype), float(up)


def _root(value: np.floating[Any], dtype: torch.dtype) -> float:
    """Return torch's square root, whose last digit in float32 is not always numpy's."""
    return number(torch.tensor(float(value), dtype=dtype).sqrt())


def distinct(sigmas: Sigmas, i: int, most: int) -> int:
    """Return how many of the sigmas up to ``i``, at most ``most``, differ: the order in reach.

    A slope over less than a millionth of sigma would be rounding and nothing else.
    """
    for back in range(1, most):
        if back > i or math.isclose(sigmas[i - back], sigmas[i - back + 1], rel_tol=1e-6):
            return back
    return most


SHORT = 1e-3
"""Steps below this in log-SNR take the series of the weights, whose closed forms cancel there."""


def phi_2(h: float) -> float:
    """Return ``(exp(-h) - 1) / h + 1``: the weight of a slope over an exponential step ``h`` >= 0."""
    if abs(h) < SHORT:
        return h * (1 / 2 - h * (1 / 6 - h * (1 / 24 - h / 120)))
    return math.expm1(-h) / h + 1


def phi_3(h: float) -> float:
    """Return ``phi_2(h) / h - 1/2``: minus the weight of a curvature over an exponential step."""
    if abs(h) < SHORT:
        return -h * (1 / 6 - h * (1 / 24 - h * (1 / 120 - h / 720)))
    return phi_2(h) / h - 0.5


def away_from_one(sigmas: Sigmas, model: ModelSigmas) -> tuple[float, ...]:
    """Return ``sigmas`` with a flow's first 1 moved down to 1e-4 of the run, where its log-SNR is finite."""
    if model.is_flow and sigmas[0] >= 1:
        return (model.percent_to_sigma(1e-4), *sigmas[1:])
    return tuple(sigmas)


TAIL_FROM = 0.09
"""Below this last sigma the jump to 0 costs less than its extrapolation."""


def tail_share(sigma: float, sigma_before: float, power: float) -> float:
    """Return how far beyond the last denoised to go at the jump from ``sigma`` to 0; 0 is the plain jump.

    The change of the denoised per step is taken to vanish with ``sigma ** power``: the sum of all changes to
    come is ``sigma**p / (sigma_before**p - sigma**p)`` times the last.  No gain below ``TAIL_FROM``, nor on
    equal sigmas.
    """
    if power <= 0 or sigma < TAIL_FROM or sigma_before <= sigma:
        return 0.0
    return 1 / ((sigma_before / sigma) ** power - 1)


def tail(denoised: Tensor, previous: Tensor | None, sigmas: Sigmas, power: float) -> Tensor:
    """Return the end of a run at sigma 0, from the last two denoised; see ``tail_share``."""
    share = tail_share(sigmas[-2], sigmas[-3], power) if previous is not None else 0.0
    return denoised if previous is None or share == 0 else previous.lerp(denoised, 1 + share)
