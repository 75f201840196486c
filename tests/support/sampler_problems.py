"""Denoisers known in closed form, the golden problems among them, and exact solutions of their ODE."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sd_concord.core.sigmas import ModelSigmas
from torch import Tensor

MODELS = {"sd": ModelSigmas.sd(), "zsnr": ModelSigmas.zsnr(), "flow3": ModelSigmas.flow(3.0)}


@dataclass
class Mixture:
    """The exact denoiser of an isotropic Gaussian mixture; ``calls`` counts."""

    mu: Tensor
    std: Tensor
    weights: Tensor
    flow: bool = False
    calls: int = field(default=0, init=False)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return self.denoise(x, float(sigma), self.weights)

    def denoise(self, x: Tensor, sigma: float, weights: Tensor) -> Tensor:
        a = 1 - sigma if self.flow else 1.0
        flat = x.reshape(len(x), -1)
        variance = (a * self.std) ** 2 + sigma**2
        gap = flat[:, None] - a * self.mu
        logs = (weights / weights.sum()).log() - 0.5 * flat.shape[1] * variance.log()
        share = (logs - 0.5 * (gap**2).sum(-1) / variance).softmax(-1)
        each = self.mu + (a * self.std**2 / variance)[:, None] * gap
        return (share[..., None] * each).sum(1).reshape(x.shape)


@dataclass
class GoldenDenoiser(Mixture):
    """A golden problem's mixture, or net, with a conditioned twin for CFG++."""

    other: Tensor | None = None
    scale: float = 2.0
    net: dict[str, Tensor] | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return self._one(x, float(sigma), conditioned=False)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        uncond, cond = (self._one(x, float(sigma), conditioned=c) for c in (False, True))
        return uncond + self.scale * (cond - uncond), uncond

    def _one(self, x: Tensor, sigma: float, *, conditioned: bool) -> Tensor:
        if self.net is None:
            return self.denoise(x, sigma, self.other if conditioned else self.weights)
        p = self.net
        root = math.sqrt(sigma**2 + 1)
        scale, place = (1.0, sigma) if self.flow else (1 / root, math.log(sigma) / 4)
        h = torch.cat([x * scale, torch.full_like(x[:, :1], place)], 1)
        h = torch.tanh(torch.tanh(h @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]) @ p["w3"]
        out = h + p["b3_cond" if conditioned else "b3"]
        return x - sigma * out if self.flow else x / root**2 + sigma / root * out


class Recorded:
    """Step noise in recorded order; ``calls`` counts."""

    def __init__(self, noise: Tensor) -> None:
        self.noise, self.calls = noise, 0

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        drawn = self.noise[self.calls % len(self.noise)]
        self.calls += 1
        return drawn


@dataclass
class GoldenSet:
    """The recorded runs of ``golden/samplers``."""

    folder: Path
    index: dict
    arrays: dict[str, np.ndarray]

    def tensor(self, key: str, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(self.arrays[key]).to(dtype)

    def problem(self, name: str, kind: str, dtype: torch.dtype) -> tuple[GoldenDenoiser, Recorded, Tensor]:
        """Return the denoiser, the step noise and the unit start of problem ``name`` on ``kind`` of model."""
        prefix = f"param/{name}/"
        p = {key[len(prefix) :]: self.tensor(key, dtype) for key in self.arrays if key.startswith(prefix)}
        empty = torch.empty(0)
        denoiser = GoldenDenoiser(
            p.get("mu", empty),
            p.get("std", empty),
            p.get("w", empty),
            flow=kind.startswith("flow"),
            other=p.get("w_cond"),
            scale=self.index["cfg_pp_scale"],
            net=p if "w1" in p else None,
        )
        return denoiser, Recorded(self.tensor(f"noise/{name}", dtype)), self.tensor(f"x_unit/{name}", dtype)


@cache
def load_golden(folder: Path) -> GoldenSet:
    """Read the golden sampler set in ``folder``."""
    index = json.loads((folder / "samplers.json").read_text())
    with np.load(folder / "samplers.npz") as arrays:
        return GoldenSet(folder, index, {key: arrays[key] for key in arrays.files})


def mixture(dim: int = 6, components: int = 5, *, seed: int = 0, flow: bool = False) -> Mixture:
    """Return a mixture in ``dim`` dimensions whose data have a spread of about 1."""
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn(components, dim, generator=generator, dtype=torch.float64)
    std = 0.3 + 0.4 * torch.rand(components, generator=generator, dtype=torch.float64)
    weights = 0.5 + torch.rand(components, generator=generator, dtype=torch.float64)
    return Mixture(mu, std, weights, flow)


def exact_ode(denoiser: Mixture, x: Tensor, start: float, end: float) -> Tensor:
    """Return the ODE's solution at sigma ``end``, by an eighth-order method with a tolerance of 1e-12."""
    from scipy.integrate import solve_ivp

    def slope(log_sigma: float, flat: np.ndarray) -> np.ndarray:
        sigma = math.exp(log_sigma)
        state = torch.as_tensor(flat).reshape(x.shape)
        return (state - denoiser.denoise(state, sigma, denoiser.weights)).numpy().ravel()

    span = (math.log(start), math.log(end))
    found = solve_ivp(slope, span, x.double().numpy().ravel(), "DOP853", rtol=1e-12, atol=1e-12)
    return torch.as_tensor(found.y[:, -1]).reshape(x.shape)


class BothAlike:
    """A denoiser whose unguided prediction is the guided one: CFG++ is its plain twin then."""

    def __init__(self, denoiser):
        self.denoiser = denoiser

    def __call__(self, x, sigma):
        return self.denoiser(x, sigma)

    def with_uncond(self, x, sigma):
        denoised = self.denoiser(x, sigma)
        return denoised, denoised


def options_without_noise(spec):
    """Return the options that make ``spec`` deterministic."""
    names = [field.name for field in fields(spec.options)] if spec.options else []
    return {"eta": 0.0} if "eta" in names else {}
