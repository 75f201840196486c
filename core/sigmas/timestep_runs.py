"""Where the web UIs' timestep samplers (DDIM, PLMS, UniPC) begin in image to image."""

from __future__ import annotations

import torch
from torch import Tensor

from .model import ModelSigmas
from .schedule import get_sigmas
from .timesteps import SkipType, times_between


def timestep_run(
    schedule: str, steps: int, start: int, model: ModelSigmas, skip_type: SkipType = "time_uniform"
) -> tuple[Tensor, float]:
    """Return the sigmas of a run, float32 on the CPU, and the sigma that its start noise is scaled to.

    ``schedule``: "ddim_timesteps" or "uni_pc_timesteps".  ``steps``, ``start``: of an ``ImagePlan``.  The noise
    is scaled to the timestep before the first that is run, which the web UIs then take for the first.  Fewer
    than two sigmas: nothing is to be done.  ``skip_type``: of UniPC.

    Source: A1111 1.9.4 and Forge f2.0.1; tests/golden/pictures.
    """
    if steps < 1 or start < 1:
        return torch.empty(0), 0.0
    laid_out = get_sigmas("ddim_timesteps", steps, model, convention="webui")
    begin = len(laid_out) - 1 - start
    if schedule == "ddim_timesteps":
        return laid_out[begin + 1 :], float(laid_out[begin])
    first = model.nearest_index(float(laid_out[begin + 1]))
    sigmas = torch.tensor(times_between(model, first, start + 1, skip_type).tolist(), dtype=torch.float32)
    return sigmas, float(laid_out[begin])
