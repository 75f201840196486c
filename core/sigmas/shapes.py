"""Schedules drawn as a curve from ``sigma_max`` down: arc tangents, cosines, powers and others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadValue
from .model import ModelSigmas
from .power import Curve, Span, with_zero
from .schedule import Floats, host_form, scheduler


def ramp(n: int) -> Floats:
    """Return n even numbers from 0 to 1; 0 alone when n is 1."""
    return np.linspace(0, 1, n)


@scheduler(
    name="kl_optimal",
    label="KL Optimal",
    source="Sabour et al. 2024, arXiv:2404.14507, sec. 3.1: the optimum for an isotropic Gaussian",
)
def kl_optimal(n: int, model: ModelSigmas, options: Span) -> Floats:
    """Return n sigmas even in the arc tangent."""
    first, last = options.ends(model)
    return np.tan((1 - ramp(n)) * math.atan(first) + ramp(n) * math.atan(last))


@host_form("kl_optimal", "comfyui")
def kl_optimal_comfyui(n: int, model: ModelSigmas, options: Span) -> Floats:
    """Return ComfyUI's list, computed in float32; a single step is not a number there."""
    first, last = (math.atan(end) for end in options.ends(model))
    shares = torch.arange(n, dtype=torch.float32) / (n - 1)
    return with_zero((shares * last + (1 - shares) * first).tan())


@host_form("kl_optimal", "webui", "reforge")
def kl_optimal_webui(n: int, model: ModelSigmas, options: Span) -> Floats:
    """Return the web UIs' list, computed in float32: n+1 sigmas, the last ``sigma_min``, and no 0."""
    first, last = (torch.tensor(end).atan() for end in options.ends(model))
    shares = torch.arange(n + 1) / n
    return without_zero((shares * last + (1 - shares) * first).tan())


def without_zero(values: Tensor) -> Floats:
    """Return ``values`` as they are."""
    return np.asarray(values, np.float64)


@dataclass(frozen=True, kw_only=True)
class LinearQuadratic:
    """``threshold``: the share of the way that the linear half goes."""

    threshold: float = 0.025

    def __post_init__(self) -> None:
        """Check it; raises ``BadValue``."""
        if not 0 < self.threshold < 1:
            raise BadValue(f"threshold is {self.threshold}; pass above 0 and below 1")


@scheduler(
    name="linear_quadratic",
    label="Linear Quadratic",
    source="Polyak et al. 2024, arXiv:2410.13720, sec. 3.4.2",
    made_for="flow",
)
def linear_quadratic(n: int, model: ModelSigmas, options: LinearQuadratic) -> Floats:
    """Return sigmas that fall linearly for n // 2 steps, then quadratically."""
    half = n // 2
    if half == 0:
        return np.array([model.sigma_max])
    rest, steps = n - half, np.arange(n)
    slope = options.threshold / half
    lack = half - options.threshold * n
    bend = lack / (half * rest**2)
    gone = bend * steps**2 + (slope - 2 * lack / rest**2) * steps + bend * half**2
    return model.sigma_max * (1 - np.where(steps < half, slope * steps, gone))


@host_form("linear_quadratic", "comfyui")
def linear_quadratic_comfyui(n: int, model: ModelSigmas, options: LinearQuadratic) -> Floats:
    """Return ComfyUI's list, multiplied in float32."""
    shares = (linear_quadratic(n, model, options) / model.sigma_max).astype(np.float32)
    return np.append(shares * np.float32(model.sigma_max), 0.0).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Laplace(Span):
    """Centre ``mu`` and width ``beta`` of the distribution of log sigma."""

    mu: float = 0.0
    beta: float = 0.5

    def __post_init__(self) -> None:
        """Check the numbers; raises ``BadValue``."""
        super().__post_init__()
        if not self.beta > 0:
            raise BadValue(f"beta is {self.beta}; pass a number above 0")


@scheduler(
    name="laplace",
    label="Laplace",
    source="Hang et al. 2024, arXiv:2407.03297, the distribution cut at the model's ends",
)
def laplace(n: int, model: ModelSigmas, options: Laplace) -> Floats:
    """Return n even quantiles, between the ends, of a Laplace distribution of log sigma."""
    ends = [(math.log(end) - options.mu) / options.beta for end in options.ends(model)]
    # Distances to the nearer tail, as logs, so that neither end is lost to rounding.
    upper, lower = (0.5 * math.exp(-abs(end)) for end in ends)
    start = upper if ends[0] > 0 else 1 - upper
    stop = 1 - lower if ends[1] < 0 else lower
    shares = start + ramp(n) * (stop - start)
    rest = 1 - start - ramp(n) * (stop - start)
    places = np.where(shares < 0.5, -np.log(2 * shares), np.log(2 * np.maximum(rest, lower)))
    values = np.exp(options.mu + options.beta * places)
    values[0] = options.ends(model)[0]
    return values


@host_form("laplace", "comfyui", "reforge")
def laplace_clamped(n: int, model: ModelSigmas, options: Laplace) -> Floats:
    """Return the hosts' list, computed in float32: clamped to the model's ends and repeated there."""
    x = torch.linspace(0, 1, n)
    tails = (1 - 2 * (0.5 - x).abs() + 1e-5).log()
    first, last = options.ends(model)
    return with_zero((options.mu - options.beta * (0.5 - x).sign() * tails).exp().clamp(last, first))


def between(model: ModelSigmas, shares: Floats) -> Floats:
    """Return ``sigma_min`` + ``shares`` of the way to ``sigma_max``."""
    return model.sigma_min + (model.sigma_max - model.sigma_min) * shares


def from_root(n: int, model: ModelSigmas, values: Floats) -> Floats:
    """Return reForge's list of ``values``: a single step begins at the root of ``sigma_max``."""
    return np.array([math.sqrt(model.sigma_max), 0.0]) if n == 1 else np.append(values, 0.0)


@scheduler(name="cosine", label="Cosine", source="reForge: half a cosine over the root of the ramp")
def cosine(n: int, model: ModelSigmas) -> Floats:
    """Return sigmas along half a cosine of ``sqrt(u)``."""
    return between(model, 0.5 * (1 - np.cos(np.pi * (1 - np.sqrt(ramp(n))))))


@host_form("cosine", "reforge")
def cosine_reforge(n: int, model: ModelSigmas) -> Floats:
    """Return reForge's list."""
    return from_root(n, model, cosine(n, model))


@scheduler(name="phi", label="Phi", source="reForge: the golden ratio squared as the power of the ramp")
def phi(n: int, model: ModelSigmas) -> Floats:
    """Return sigmas along ``(1 - u) ** 2.618``."""
    return between(model, (1 - ramp(n)) ** ((1 + math.sqrt(5)) / 2) ** 2)


@host_form("phi", "reforge")
def phi_reforge(n: int, model: ModelSigmas) -> Floats:
    """Return reForge's list, whose power is ``phi ** 2`` as well."""
    return from_root(n, model, phi(n, model))


@dataclass(frozen=True, kw_only=True)
class Decay:
    """``decay``: what is left of the exponential part at the end of reForge's list."""

    decay: float = 0.9


@scheduler(
    name="cosexpblend", label="Cosine-exponential Blend", source="reForge: from a cosine to an exponential"
)
def cosexpblend(n: int, model: ModelSigmas, options: Decay) -> Floats:
    """Return sigmas that go over from the cosine schedule to the exponential one."""
    del options
    u = ramp(n)
    return cosine(n, model) * (1 - u) + u * model.sigma_max * (model.sigma_min / model.sigma_max) ** u


@host_form("cosexpblend", "reforge")
def cosexpblend_reforge(n: int, model: ModelSigmas, options: Decay) -> Floats:
    """Return reForge's list, whose exponential falls to ``decay`` only, so that it rises again."""
    u = ramp(n)
    falling = model.sigma_max * options.decay**u
    return from_root(n, model, cosine(n, model) * (1 - u) + u * falling)


@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """``power``: how strongly sigma is bent towards 0."""

    power: float = 3.5

    def __post_init__(self) -> None:
        """Check it; raises ``BadValue``."""
        if not self.power > 0:
            raise BadValue(f"power is {self.power}; pass a number above 0")


@dataclass(frozen=True, kw_only=True)
class DynamicSinusoid(Sinusoid):
    """As ``Sinusoid``; the power grows along the run."""

    power: float = 2.15


def bent(model: ModelSigmas, shares: Tensor, power: Tensor | float) -> Floats:
    """Return reForge's power of sigmas at ``shares`` of the way up, in float32, without a 0."""
    ratio = (model.sigma_min + (model.sigma_max - model.sigma_min) * shares) / model.sigma_max
    return without_zero(ratio**power * model.sigma_max)


def bent_to_min(model: ModelSigmas, shares: Floats, power: float) -> Floats:
    """Return as ``bent``, with the shares counted from the root so that the last is ``sigma_min``."""
    low = (model.sigma_min / model.sigma_max) ** (1 / power)
    return model.sigma_max * (low + (1 - low) * shares) ** power


@scheduler(name="sinusoidal", label="Sinusoidal", source="reForge's sinusoidal_sf, ended at sigma_min")
def sinusoidal(n: int, model: ModelSigmas, options: Sinusoid) -> Floats:
    """Return a power of sigmas along a quarter sine."""
    return bent_to_min(model, 1 - np.sin(np.pi / 2 * ramp(n)), options.power)


@host_form("sinusoidal", "reforge")
def sinusoidal_reforge(n: int, model: ModelSigmas, options: Sinusoid) -> Floats:
    """Return reForge's list, without a 0; it falls far below ``sigma_min``."""
    return bent(model, 1 - (math.pi / 2 * torch.linspace(0, 1, n)).sin(), options.power)


@scheduler(
    name="invcosinusoidal", label="Inverse Cosinusoidal", source="reForge's invcosinusoidal_sf, to sigma_min"
)
def invcosinusoidal(n: int, model: ModelSigmas, options: Sinusoid) -> Floats:
    """Return a power of sigmas along half a cosine."""
    return bent_to_min(model, 0.5 * (np.cos(np.pi * ramp(n)) + 1), options.power)


@host_form("invcosinusoidal", "reforge")
def invcosinusoidal_reforge(n: int, model: ModelSigmas, options: Sinusoid) -> Floats:
    """Return reForge's list, without a 0; it falls far below ``sigma_min``."""
    return bent(model, 0.5 * ((torch.linspace(0, 1, n) * math.pi).cos() + 1), options.power)


@scheduler(
    name="react_cosinusoidal",
    label="Reactive Cosinusoidal",
    source="reForge's react_cosinusoidal_dynsf, ended at sigma_min",
)
def react_cosinusoidal(n: int, model: ModelSigmas, options: DynamicSinusoid) -> Floats:
    """Return sigmas along a quarter cosine whose power grows along the run to ``power``."""
    u = ramp(n)
    low = (model.sigma_min / model.sigma_max) ** (1 / options.power)
    shares = low + (1 - low) * np.cos(np.pi / 2 * u)
    return model.sigma_max * shares ** (options.power * u)


@host_form("react_cosinusoidal", "reforge")
def react_cosinusoidal_reforge(n: int, model: ModelSigmas, options: DynamicSinusoid) -> Floats:
    """Return reForge's list, without a 0."""
    x = torch.linspace(0, 1, n)
    return bent(model, (x * (math.pi / 2)).cos(), options.power * (n * x / n))


@scheduler(
    name="karras_dynamic",
    label="Karras Dynamic",
    source="reForge: Karras with a rho that swings, from sigma_max",
)
def karras_dynamic(n: int, model: ModelSigmas, options: Curve) -> Floats:
    """Return Karras' schedule with the power ``rho + 2 cos(2 pi u)``, from end to end."""
    first, last = options.ends(model)
    root = 1 + ramp(n) * ((last / first) ** (1 / (options.rho + 2)) - 1)
    values = first * root ** (options.rho + 2 * np.cos(2 * np.pi * ramp(n)))
    return np.minimum.accumulate(values)


@host_form("karras_dynamic", "reforge")
def karras_dynamic_reforge(n: int, model: ModelSigmas, options: Curve) -> Floats:
    """Return reForge's list, computed in float32, which begins above ``sigma_max``."""
    first, last = (end ** (1 / options.rho) for end in options.ends(model))
    roots = first + torch.linspace(0, 1, n) * (last - first)
    powers = [options.rho + 2 * math.cos(i * math.tau / n) for i in range(n)]
    return np.array([*(float(root**power) for root, power in zip(roots, powers, strict=True)), 0.0])


@dataclass(frozen=True, kw_only=True)
class VariancePreserving:
    """Slope and floor of beta, and the last time, of a continuous variance-preserving process."""

    beta_d: float = 19.9
    beta_min: float = 0.1
    eps_s: float = 0.001


@scheduler(
    name="vp",
    label="VP",
    source="Song et al. 2021, arXiv:2011.13456, App. C, between the model's own ends",
)
def vp(n: int, model: ModelSigmas, options: VariancePreserving) -> Floats:
    """Return sigma at even times of the process, log sigma stretched to the model's ends."""
    logs = np.log(vp_sigmas(1 + ramp(max(n, 2)) * (options.eps_s - 1), options))
    first, last = math.log(model.sigma_max), math.log(model.sigma_min)
    return np.exp(last + (logs - logs[-1]) / (logs[0] - logs[-1]) * (first - last))[:n]


def vp_sigmas(t: Floats, options: VariancePreserving) -> Floats:
    """Return sigma of the process at times ``t``."""
    return np.sqrt(np.expm1(options.beta_d * t**2 / 2 + options.beta_min * t))


@host_form("vp", "comfyui")
def vp_comfyui(n: int, model: ModelSigmas, options: VariancePreserving) -> Floats:
    """Return ComfyUI's list, in which the model plays no part."""
    del model
    return np.append(vp_sigmas(1 + ramp(n) * (options.eps_s - 1), options), 0.0)


@scheduler(
    name="bong_tangent",
    label="Bong Tangent",
    source="RES4LYF: two arc tangents that meet halfway down; drawn for flows, scaled here by sigma_max",
    made_for="flow",
)
def bong_tangent(n: int, model: ModelSigmas) -> Floats:
    """Return two falling arc tangents, 1 to 1/2 and 1/2 to 0, times ``sigma_max``."""
    return model.sigma_max * _two_tangents(n)[:-1] if n > 1 else np.array([model.sigma_max])


@host_form("bong_tangent", "comfyui")
def bong_tangent_comfyui(n: int, model: ModelSigmas) -> Floats:
    """Return RES4LYF's list, from 1 to 0 whatever the model."""
    del model
    if n == 1:
        raise BadValue("bong_tangent with 1 step divides by zero in the host; pass 2 steps or more")
    return _two_tangents(n)


def _two_tangents(n: int) -> Floats:
    """Return n+1 numbers from 1 to 0: pivots at 0.6 of the run, slopes 8 / n."""
    count = n + 2
    pivot = int(count * 0.6)
    slope = 0.2 / (count / 40)
    upper = _tangent(pivot, slope, pivot, 1.0, 0.5)
    return np.append(upper[:-1], _tangent(count - pivot, slope, 0, 0.5, 0.0))


def _tangent(count: int, slope: float, pivot: int, start: float, end: float) -> Floats:
    """Return ``count`` numbers from ``start`` to ``end`` along an arc tangent around ``pivot``."""
    curve = np.arctan(-slope * (np.arange(count) - pivot))
    return (curve - curve[-1]) / (curve[0] - curve[-1]) * (start - end) + end
