"""When a second model, the refiner, takes over: what "switch at 0.8" means in each program."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import BadValue, unknown
from ..sigmas import ModelSigmas

SwitchBy = Literal["webui_noise", "webui_calls", "comfyui_steps"]
"""How "switch at" is read.

"webui_noise" (A1111 from 1.8): before the denoiser call whose noise level is that far down the model's training
timesteps.  "webui_calls" (A1111 before 1.8 and its option "switch by sampling steps", Forge, reForge): before the
call of that share of all calls; samplers of two calls a step count twice.  "comfyui_steps" (two
KSamplerAdvanced): after that share of the steps, rounded to a whole one; the sampler begins anew there.
"""
RefinerPass = Literal["first", "second", "both"]
"""The passes of a run with hires that have a refiner; the web UIs' default is the second."""

AESTHETIC_SCORE = 6.0
"""What SDXL's refiner is told of the positive prompt."""
NEGATIVE_AESTHETIC_SCORE = 2.5
"""What SDXL's refiner is told of the negative prompt."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RefinerPlan:
    """When the refiner takes over in one pass.

    ``by``, ``at``: the reading and the fraction.  ``calls``: denoiser calls of the pass, as the web UIs count
    them.  ``step``: with "comfyui_steps" the first step of the refiner, else None: there the sampler runs on,
    and the denoiser asks ``is_due`` before every call.  ``table``: the sigmas that noise is looked up in;
    ``trained``: how many timesteps the model was trained on.
    """

    by: SwitchBy
    at: float
    calls: int
    step: int | None
    table: Tensor
    trained: int

    def is_due(self, call: int, sigma: float) -> bool:
        """Tell whether the refiner makes denoiser call ``call`` (from 0) at ``sigma``.

        Once due it stays: a caller does not go back when a sampler raises sigma again.
        """
        if self.step is not None:
            return False
        if self.by == "webui_calls":
            return call / self.calls >= self.at
        return self.noise_left_behind(sigma) >= self.at

    def noise_left_behind(self, sigma: float) -> float:
        """Return the share of the training timesteps that lies above ``sigma``, from the nearest entry.

        A table of fewer entries is counted as if they were the first of the training's, as A1111 does.
        """
        nearest = int((self.table - sigma).abs().argmin())
        return (self.trained - 1 - nearest) / self.trained

    def split(self, sigmas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sigmas of the base and of the refiner; both have the one between.

        All are the base's where the sampler is not cut, "comfyui_steps" being the reading that cuts it.
        """
        if self.step is None:
            return sigmas, sigmas[-1:]
        return sigmas[: self.step + 1], sigmas[self.step :]


def refiner_plan(
    switch_at: float,
    steps: int,
    model: ModelSigmas,
    *,
    by: SwitchBy = "webui_noise",
    calls_per_step: int = 1,
    asked: ModelSigmas | None = None,
) -> RefinerPlan:
    """Return when a refiner takes over in a pass of ``steps`` steps; ``switch_at``: 0 … 1, 1 is never.

    ``calls_per_step``: denoiser calls of a step, 2 for samplers of second order in the web UIs.  ``asked``: the
    table that the sampler looks noise up in, where that is not the model's, as with A1111's LCM.
    Raises ``BadValue`` for a fraction outside 0 … 1, fewer than one step and an unknown reading.

    Source: A1111 1.8's notes on the change, and its recorded behaviour; ComfyUI's SDXL examples.
    """
    if by not in get_args(SwitchBy):
        raise unknown("reading of the refiner's switch", by, get_args(SwitchBy))
    if not (math.isfinite(switch_at) and 0 <= switch_at <= 1):
        raise BadValue(f"the refiner switches at {switch_at}; pass 0 to 1, such as 0.8")
    if steps < 1 or calls_per_step < 1:
        raise BadValue(f"{steps} steps of {calls_per_step} calls; pass 1 or more of each")
    step = math.floor(switch_at * steps + 0.5) if by == "comfyui_steps" else None
    return RefinerPlan(
        by=by,
        at=switch_at,
        calls=steps * calls_per_step,
        step=step,
        table=(asked or model).table.to(torch.float64),
        trained=len(model.table),
    )


def refiner_runs_in(refined: RefinerPass, *, is_hires_pass: bool, has_hires: bool) -> bool:
    """Tell whether a pass has a refiner; without hires the one pass always has."""
    if refined not in get_args(RefinerPass):
        raise unknown("pass of the refiner", refined, get_args(RefinerPass))
    return not has_hires or refined == "both" or is_hires_pass == (refined == "second")


def refiner_sizes(size: tuple[int, int], crop: tuple[int, int] = (0, 0), *, score: float) -> list[float]:
    """Return the five numbers that SDXL's refiner is conditioned on: height, width, top, left, score.

    ``size``: (width, height); ``crop``: (left, top); ``score``: ``AESTHETIC_SCORE`` for the positive prompt.

    Source: Podell et al. 2023 (arXiv:2307.01952), section 2.2, and the refiner's published configuration.
    """
    (width, height), (left, top) = size, crop
    return [float(height), float(width), float(top), float(left), float(score)]
