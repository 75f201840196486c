"""Between pictures and latents: the model's VAE in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.canvas import Floats, levels
from ..models import Model

__all__ = ["Floats", "decode", "encode", "levels"]


@torch.inference_mode()
def encode(
    model: Model,
    images: Sequence[NDArray[Any]],
    posterior: Literal["mean", "sample"] = "mean",
    seeds: Sequence[int] = (),
) -> Tensor:
    """Return the clean latents (B, C, h, w) of pictures of one size, float32, as the sampler has them.

    ``images``: uint8, or float 0 … 1, (H, W, 3).  ``posterior``: its mean, or a sample that ``seeds``, one a
    picture, decide; hosts that sample do so with numbers that nothing seeds.
    """
    vae: Any = model.vae
    latents = []
    for i, image in enumerate(images):
        scale = 255 if image.dtype == np.uint8 else 1
        pixels = torch.tensor(image, device=vae.device).to(vae.dtype).permute(2, 0, 1)[None] / scale
        spread = vae.encode(pixels * 2 - 1).latent_dist
        latent = spread.mean.float()
        if posterior == "sample":
            drawn = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seeds[i] % 2**63))
            latent = latent + spread.std.float() * drawn.to(latent)
        latents.append((latent - model.shift_factor) * model.scale_factor)
    return torch.cat(latents).to(model.device)


@torch.inference_mode()
def decode(model: Model, latents: Tensor) -> Iterator[Floats]:
    """Yield the picture of each latent (B, C, h, w), one at a time to save memory; not-a-number stays."""
    vae: Any = model.vae
    for latent in latents:
        clean = latent[None] / model.scale_factor + model.shift_factor
        image = vae.decode(clean.to(vae.dtype), return_dict=False)[0][0].float()
        yield (image / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
