"""Schedules that walk the model's own table: even in timesteps, one way or another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from ..errors import unknown
from .model import ModelSigmas
from .schedule import Floats, host_form, scheduler

SkipType = Literal["time_uniform", "time_quadratic", "logSNR"]
"""How UniPC's times lie: even, even in their square root, or even in log SNR."""


def at(model: ModelSigmas, indices: Floats) -> Floats:
    """Return sigma at fractional positions of the table."""
    return np.exp(np.interp(indices, np.arange(len(model.values)), np.log(np.asarray(model.values))))


def entries(model: ModelSigmas, indices: list[int]) -> Floats:
    """Return whole entries of the table and a 0."""
    return np.array([*(model.values[i] for i in indices), 0.0])


@scheduler(
    name="normal",
    label="Normal",
    aliases=("uniform",),
    source="even timesteps from the last to the first, both included",
)
def normal(n: int, model: ModelSigmas) -> Floats:
    """Return sigma at n even timesteps, ``sigma_max`` and ``sigma_min`` included."""
    return at(model, np.linspace(len(model.values) - 1, 0, n))


@scheduler(
    name="sgm_uniform",
    label="SGM Uniform",
    source="even timesteps with the first left out, as in Stability's generative-models",
)
def sgm_uniform(n: int, model: ModelSigmas) -> Floats:
    """Return sigma at the first n of n+1 even timesteps: the jump to 0 starts high."""
    return at(model, np.linspace(len(model.values) - 1, 0, n + 1)[:-1])


@host_form("normal", "webui", "reforge")
def normal_webui(n: int, model: ModelSigmas) -> Floats:
    """Return the web UIs' list, computed in float32."""
    return np.append(_at_float32(model, len(model.values) - 1, n), 0.0)


@host_form("sgm_uniform", "webui", "reforge")
def sgm_uniform_webui(n: int, model: ModelSigmas) -> Floats:
    """Return the web UIs' list, computed in float32."""
    return np.append(_at_float32(model, len(model.values) - 1, n + 1)[:-1], 0.0)


def _at_float32(model: ModelSigmas, begin: int, count: int) -> Floats:
    """Return sigma at ``count`` even positions from entry ``begin`` to the first, as float32 has it.

    To the last bit as the hosts: a Brownian path that is asked at other times gives other noise.
    """
    return np.asarray(model.float32_at(torch.linspace(begin, 0, count)), np.float64)


@host_form("normal", "comfyui")
def normal_comfyui(n: int, model: ModelSigmas) -> Floats:
    """Return ComfyUI's list, whose flow models are asked in a time that its sigmas already passed through."""
    return _append_zero_unless_there(_comfy_times(model, n))


@host_form("sgm_uniform", "comfyui")
def sgm_uniform_comfyui(n: int, model: ModelSigmas) -> Floats:
    """Return ComfyUI's list; see ``normal_comfyui``."""
    return np.append(_comfy_times(model, n + 1)[:-1], 0.0)


def _comfy_times(model: ModelSigmas, count: int) -> Floats:
    """Return sigma at ``count`` even values of ComfyUI's ``timestep``; a flow shifts its last sigma twice."""
    if not model.is_flow:
        return _at_float32(model, len(model.values) - 1, count)
    t = np.linspace(model.sigma_max, model.sigma_min, count)
    return model.shift * t / (1 + (model.shift - 1) * t)


def _append_zero_unless_there(values: Floats) -> Floats:
    """Return ``values`` with a 0 after them when the last is not one."""
    return values if abs(float(values[-1])) <= 1e-5 else np.append(values, 0.0)


@scheduler(
    name="simple",
    label="Simple",
    source="even timesteps counted down from the last, as in ComfyUI",
)
def simple(n: int, model: ModelSigmas) -> Floats:
    """Return sigma at the last timestep and every N/n below it."""
    last = len(model.values) - 1
    return at(model, last - np.arange(n) * len(model.values) / n)


@host_form("simple", "comfyui", "webui", "reforge")
def simple_whole(n: int, model: ModelSigmas) -> Floats:
    """Return the hosts' list: whole timesteps, repeated beyond as many steps as the table has entries."""
    spacing = len(model.values) / n
    return entries(model, [-(1 + int(i * spacing)) for i in range(n)])


@scheduler(
    name="ddim_uniform",
    label="DDIM",
    source="Song et al. 2021, arXiv:2010.02502, App. D.3, stretched to begin at the last timestep",
)
def ddim_uniform(n: int, model: ModelSigmas) -> Floats:
    """Return sigma at n even timesteps from the last to the second."""
    return at(model, np.linspace(len(model.values) - 1, 1, n))


@host_form("ddim_uniform", "comfyui", "webui", "reforge")
def ddim_uniform_whole(n: int, model: ModelSigmas) -> Floats:
    """Return the hosts' list: every (N/n)-th timestep from the second on, one or more too many at most n."""
    spacing = max(len(model.values) // n, 1)
    return entries(model, list(range(1, len(model.values), spacing))[::-1])


@scheduler(
    name="ddim_timesteps",
    label="DDIM (timesteps)",
    source="Song et al. 2021, arXiv:2010.02502, App. D.3",
    made_for="sd",
)
def ddim_timesteps(n: int, model: ModelSigmas) -> Floats:
    """Return as ``ddim_uniform``; only the web UIs' form differs."""
    return ddim_uniform(n, model)


@host_form("ddim_timesteps", "webui", "reforge")
def ddim_timesteps_webui(n: int, model: ModelSigmas) -> Floats:
    """Return the list that DDIM and PLMS of the web UIs walk: it ends at timestep 1, a step short."""
    size = len(model.values)
    return np.array([model.values[min(1 + k, size - 1)] for k in range(0, size, size // n)][::-1])


@dataclass(frozen=True, kw_only=True)
class UniPcTimes:
    """How the times of UniPC lie, in the words of its authors' program."""

    skip_type: SkipType = "time_uniform"

    def __post_init__(self) -> None:
        """Check the word; raises ``BadValue``."""
        if self.skip_type not in get_args(SkipType):
            raise unknown("skip type", self.skip_type, get_args(SkipType))


@scheduler(
    name="uni_pc_timesteps",
    label="UniPC (timesteps)",
    source="Zhao et al. 2023, arXiv:2302.04867, time_uniform",
    made_for="sd",
)
def uni_pc_timesteps(n: int, model: ModelSigmas, options: UniPcTimes) -> Floats:
    """Return sigma at n even times, log alpha being linear between entries, the last above 0 at the first."""
    return times_between(model, len(model.values) - 1, n, options.skip_type)


@host_form("uni_pc_timesteps", "webui", "reforge")
def uni_pc_timesteps_webui(n: int, model: ModelSigmas, options: UniPcTimes) -> Floats:
    """Return the list that UniPC of the web UIs walks: as many steps as DDIM has timesteps, to the first."""
    size = len(model.values)
    return times_between(model, size - 1, len(range(0, size, size // n)) + 1, options.skip_type)


def times_between(model: ModelSigmas, begin: int, count: int, skip_type: SkipType = "time_uniform") -> Floats:
    """Return sigma at ``count`` positions from entry ``begin`` to the first, log alpha linear between entries."""
    if skip_type == "logSNR":
        return np.geomspace(model.values[begin], model.values[0], count)
    log_alpha = -0.5 * np.log1p(np.asarray(model.values) ** 2)
    size = len(log_alpha)
    places = np.linspace(begin, 0, count)
    if skip_type == "time_quadratic":  # in times (i + 1) / size, of which the first is not 0
        places = np.linspace(math.sqrt(begin + 1), 1.0, count) ** 2 - 1
    return np.sqrt(np.expm1(-2 * np.interp(places, np.arange(size), log_alpha)))


@scheduler(
    name="turbo",
    label="Turbo",
    source="trailing spacing, as SD-Turbo was trained for",
)
def turbo(n: int, model: ModelSigmas) -> Floats:
    """Return sigma at timesteps ``k N / n - 1``, highest first."""
    size = len(model.values)
    return at(model, np.maximum(np.arange(n, 0, -1) * size / n - 1, 0))


@host_form("turbo", "webui", "reforge")
def turbo_webui(n: int, model: ModelSigmas) -> Floats:
    """Return Forge's list: the timesteps rounded to whole ones."""
    size = len(model.values)
    places = np.clip(np.rint(np.arange(n, 0, -1) * size / n - 1), 0, size - 1)
    return entries(model, [int(place) for place in places])


@host_form("turbo", "comfyui")
def turbo_comfyui(n: int, model: ModelSigmas) -> Floats:
    """Return SDTurboScheduler's list: the first n of ten timesteps."""
    return np.append(at(model, np.arange(999, 0, -100)[:n].astype(np.float64)), 0.0)
