"""Between pictures and latents by the VAE that the host has loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..core.canvas import Floats, levels
from ..core.errors import BadValue
from ..core.image.upscale import LATENT_UPSCALERS, RESAMPLERS, Upscaler
from .host import sd_samplers_common, shared

devices: Any = import_module("modules.devices")

Pixels = NDArray[np.uint8]
FULL = 0
"""What the host calls its own VAE among its ways to decode."""


def decode(model: Any, latents: Tensor) -> list[Pixels]:
    """Return the picture (H, W, 3) of each latent (B, C, h, w), values cut to whole levels."""
    return [levels(one) for one in decoded(model, latents)]


def decoded(model: Any, latents: Tensor) -> Iterator[Floats]:
    """Yield the picture (H, W, 3), 0 … 1, of each latent (B, C, h, w)."""
    for latent in latents:
        one = latent[None].to(devices.device, devices.dtype_vae)
        image = sd_samplers_common.samples_to_images_tensor(one, FULL, model)[0].float()
        yield (image / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()


def encode(
    model: Any, images: Sequence[Pixels], posterior: Literal["mean", "sample"], seeds: Sequence[int]
) -> Tensor:
    """Return the clean latents (B, C, h, w) of pictures (H, W, 3) of one size, float32, as the sampler has them.

    ``posterior``: its mean, or a sample that ``seeds``, one a picture, decide.
    """
    latents: list[Tensor] = []
    for image, seed in zip(images, seeds, strict=True):
        pixels = torch.tensor(image, device=devices.device).to(devices.dtype_vae).permute(2, 0, 1)[None] / 255
        choose = _chooser(posterior, seed)
        objects = getattr(model, "forge_objects", None)
        latent = (_plain if objects is None else _patched)(model, pixels * 2 - 1, choose)
        latents.append(latent.float())
    return torch.cat(latents).to(devices.device)


Choose = Callable[[Any], Tensor]


def _chooser(posterior: Literal["mean", "sample"], seed: int) -> Choose:
    """Return what takes one latent of a posterior, which has a ``mean`` and a ``std``."""

    def choose(spread: Any) -> Tensor:
        mean: Tensor = spread.mean.float()
        if posterior == "mean":
            return mean
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed % 2**63))
        return mean + spread.std.float() * noise.to(mean)

    return choose


def _plain(model: Any, pixels: Tensor, choose: Choose) -> Tensor:
    """Encode by A1111's VAE; that of SDXL gives a sample of its own."""
    model.first_stage_model.to(devices.dtype_vae)
    with devices.without_autocast():
        found = model.encode_first_stage(pixels)
    return model.get_first_stage_encoding(found if isinstance(found, Tensor) else choose(found))


def _patched(model: Any, pixels: Tensor, choose: Choose) -> Tensor:
    """Encode by the VAE of Forge and its kin, on a copy of its patcher that asks us which latent to take."""
    objects = model.forge_objects
    vae = objects.vae.clone()
    vae.patcher.model_options = {**vae.patcher.model_options, "model_vae_regulation": choose}
    model.forge_objects = objects.shallow_copy()
    model.forge_objects.vae = vae
    try:
        return model.get_first_stage_encoding(model.encode_first_stage(pixels))
    finally:
        model.forge_objects = objects


class HostUpscaler:
    """An upscaler of pictures of the host's list as one of the core."""

    def __init__(self, entry: Any) -> None:
        """Take the entry of the host's list."""
        self._entry = entry
        self.name = str(entry.name)

    def __call__(self, image: Pixels, factor: float) -> Pixels:
        """Return ``image`` (H, W, 3) enlarged as the network does; ``factor`` is for other upscalers."""
        del factor
        out = self._entry.scaler.do_upscale(Image.fromarray(image), self._entry.data_path)
        return np.asarray(out.convert("RGB"))


def upscaler_here(name: str) -> Upscaler:
    """Return the upscaler of pictures that goes by ``name``; raises ``BadValue`` that lists what there is."""
    if name in RESAMPLERS:
        return RESAMPLERS[name]
    for entry in shared.sd_upscalers:
        if entry.name == name and getattr(entry, "scaler", None) is not None:
            return HostUpscaler(entry)
    known = (*LATENT_UPSCALERS, *RESAMPLERS, *(one.name for one in shared.sd_upscalers))
    raise BadValue(f"upscaler {name!r} is not here; there are {', '.join(dict.fromkeys(known))}")
