"""Schedules from a formula in sigma between the model's ends: Karras, exponential, polyexponential."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadValue
from .model import ModelSigmas
from .schedule import Floats, host_form, scheduler


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where a schedule begins and ends; 0 means the model's own ``sigma_max`` and ``sigma_min``."""

    sigma_max: float = 0.0
    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        """Check the two; raises ``BadValue``."""
        if self.sigma_max < 0 or self.sigma_min < 0 or 0 < self.sigma_max <= self.sigma_min:
            raise BadValue(
                f"sigma_max is {self.sigma_max:g} and sigma_min {self.sigma_min:g}; pass sigma_max "
                "above sigma_min, or 0 for the model's own"
            )

    def ends(self, model: ModelSigmas) -> tuple[float, float]:
        """Return the first and the last sigma above 0."""
        return self.sigma_max or model.sigma_max, self.sigma_min or model.sigma_min


@dataclass(frozen=True, kw_only=True)
class Curve(Span):
    """A ``Span`` and the power ``rho`` that bends it, above 0."""

    rho: float = 7.0

    def __post_init__(self) -> None:
        """Check the numbers; raises ``BadValue``."""
        super().__post_init__()
        if not (math.isfinite(self.rho) and self.rho > 0):
            raise BadValue(f"rho is {self.rho}; pass a number above 0")


@dataclass(frozen=True, kw_only=True)
class PolyexponentialCurve(Curve):
    """As ``Curve``; rho 1 is the exponential schedule."""

    rho: float = 1.0


@scheduler(
    name="karras",
    label="Karras",
    source="Karras et al. 2022, arXiv:2206.00364, eq. 5",
)
def karras(n: int, model: ModelSigmas, options: Curve) -> Floats:
    """Return n sigmas evenly spaced in ``sigma ** (1/rho)``."""
    first, last = (end ** (1 / options.rho) for end in options.ends(model))
    return (first + np.linspace(0, 1, n) * (last - first)) ** options.rho


@host_form("karras", "comfyui", "webui", "reforge")
def karras_float32(n: int, model: ModelSigmas, options: Curve) -> Floats:
    """Return the hosts' list, computed in float32."""
    first, last = (end ** (1 / options.rho) for end in options.ends(model))
    return with_zero((first + torch.linspace(0, 1, n) * (last - first)) ** options.rho)


def with_zero(values: Tensor) -> Floats:
    """Return ``values`` (n,) and a 0."""
    return np.append(np.asarray(values, np.float64), 0.0)


@scheduler(
    name="exponential",
    label="Exponential",
    source="k-diffusion, get_sigmas_exponential: even in log sigma",
)
def exponential(n: int, model: ModelSigmas, options: Span) -> Floats:
    """Return n sigmas evenly spaced in log sigma."""
    first, last = options.ends(model)
    return np.exp(np.linspace(math.log(first), math.log(last), n))


@host_form("exponential", "comfyui", "webui", "reforge")
def exponential_float32(n: int, model: ModelSigmas, options: Span) -> Floats:
    """Return the hosts' list, computed in float32."""
    first, last = options.ends(model)
    return with_zero(torch.linspace(math.log(first), math.log(last), n).exp())


@scheduler(
    name="polyexponential",
    label="Polyexponential",
    source="k-diffusion, get_sigmas_polyexponential: a power of an even ramp in log sigma",
)
def polyexponential(n: int, model: ModelSigmas, options: PolyexponentialCurve) -> Floats:
    """Return n sigmas along ``ramp ** rho`` in log sigma."""
    first, last = options.ends(model)
    ramp = np.linspace(1, 0, n) ** options.rho
    return np.exp(ramp * (math.log(first) - math.log(last)) + math.log(last))


@host_form("polyexponential", "comfyui", "webui", "reforge")
def polyexponential_float32(n: int, model: ModelSigmas, options: PolyexponentialCurve) -> Floats:
    """Return the hosts' list, computed in float32."""
    first, last = (math.log(end) for end in options.ends(model))
    return with_zero((torch.linspace(1, 0, n) ** options.rho * (first - last) + last).exp())
