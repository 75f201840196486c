"""What the harness's model answers where a real host is asked the same, and how far apart two answers are."""

from __future__ import annotations

import torch
from sd_concord.core.prompt import Active, RunShape, encode, plan
from sd_concord.harness.models import Model
from torch import Tensor


def conditioning(model: Model, text: str) -> Active:
    """Return a prompt without syntax as the harness's own text encoders see it."""
    return encode(plan(text, 1, run=RunShape()), model.text_encoders).for_call(0)


def denoised(model: Model, x: Tensor, sigmas: Tensor, positive: str, negative: str, cfg: float) -> Tensor:
    """Return the guided clean latent of each row of ``x`` (N, 4, h, w) at its sigma (N,), float32."""
    cond, uncond = conditioning(model, positive), conditioning(model, negative)
    rows = [
        _clean(model, row[None], float(sigma), uncond).lerp(_clean(model, row[None], float(sigma), cond), cfg)
        for row, sigma in zip(x, sigmas, strict=True)
    ]
    return torch.cat(rows)


def gap(found: Tensor, wanted: Tensor) -> float:
    """Return the distance of two tensors over the length of the second."""
    assert found.shape == wanted.shape
    return float((found - wanted).norm() / wanted.norm())


@torch.inference_mode()
def _clean(model: Model, x: Tensor, sigma: float, active: Active) -> Tensor:
    """Ask the network at the trained timestep nearest to ``sigma``, as ComfyUI does."""
    root = (sigma**2 + 1) ** 0.5
    squared = model.alphas_cumprod
    timestep = (((1 - squared) / squared).log() / 2 - torch.tensor(sigma).log()).abs().argmin()
    more = None
    if model.family == "sdxl":
        height, width = (side * model.vae_stride for side in x.shape[2:])
        ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=x.dtype)
        more = {"text_embeds": active.pooled, "time_ids": ids}
    out = model.unet(x / root, timestep, active.hidden, added_cond_kwargs=more, return_dict=False)[0]
    return x - sigma * out if model.prediction == "eps" else x / root**2 - sigma / root * out
