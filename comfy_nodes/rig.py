"""ComfyUI's MODEL, CLIP and VAE with the facts that the core asks for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import BadValue
from ..core.run import Sampling
from ..core.sigmas import ModelSigmas
from .denoiser import model_sigmas
from .wires import image_of, pixels_of

STRIDE = 8
"""Pixels of one latent cell."""
_SAME = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Rig:
    """What a pass runs on: ComfyUI's ``model`` (MODEL), ``clip`` (CLIP) and ``vae`` (VAE), which may be missing."""

    model: Any
    clip: Any
    vae: Any = None

    @cached_property
    def sigmas(self) -> ModelSigmas:
        """The noise levels that the model was trained on."""
        return sigmas_of(self.model)

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return int(self.model.get_model_object("latent_format").latent_channels)

    @property
    def is_sdxl(self) -> bool:
        """Whether the model is of SDXL's family, told by what it takes beside the text."""
        return bool(getattr(self.model.model, "adm_channels", 0)) and hasattr(
            self.model.model, "noise_augmentor"
        )

    @property
    def family(self) -> str:
        """What schedules call the family."""
        return "sdxl" if self.is_sdxl else "sd1"

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.load_device

    def empty(self, size: tuple[int, int], batch: int) -> Tensor:
        """Return ``batch`` empty latents of ``size`` (width, height) in pixels.

        Raises ``BadValue`` for sides that are no multiples of 8.
        """
        if any(side < STRIDE or side % STRIDE for side in size):
            near = "x".join(str(max(STRIDE, round(side / STRIDE) * STRIDE)) for side in size)
            raise BadValue(
                f"size is {size[0]}x{size[1]}; both sides must be multiples of {STRIDE}, such as {near}"
            )
        return torch.zeros(batch, self.channels, size[1] // STRIDE, size[0] // STRIDE)

    def encoded(self, pictures: Sequence[NDArray[Any]]) -> Tensor:
        """Return the latents (B, C, h, w) of pictures (H, W, 3) of one size, as ComfyUI's wires carry them."""
        return self._vae("encode pictures").encode(image_of(pictures))

    def decoded(self, latents: Tensor) -> list[NDArray[Any]]:
        """Return the pictures, float32 (H, W, 3) in 0 … 1, of latents as ComfyUI's wires carry them."""
        images = self._vae("decode latents").decode(latents)
        return [one.cpu().float().numpy() for one in images.reshape(-1, *images.shape[-3:])]

    def levels(self, latents: Tensor) -> list[NDArray[np.uint8]]:
        """Return the pictures of latents, uint8 (H, W, 3)."""
        return pixels_of(image_of(self.decoded(latents)))

    def _vae(self, purpose: str) -> Any:
        if self.vae is None:
            raise BadValue(f"there is no VAE to {purpose}; wire the one of the checkpoint")
        return self.vae


def sigmas_of(model: Any) -> ModelSigmas:
    """Return the sigma table of a MODEL; Stable Diffusion's is the core's own, whose last digits are exact.

    Raises ``BadValue`` for a model without one.
    """
    own = model.get_model_object("model_sampling")
    if getattr(own, "sigmas", None) is None:
        raise BadValue(
            f"the model has no sigma table ({type(own).__name__}); use ComfyUI's own sampler for it"
        )
    found = model_sigmas(own)
    if found.is_flow:
        return found
    for known in (ModelSigmas.sd(), ModelSigmas.zsnr()):
        if known.table.shape == found.table.shape and torch.allclose(known.table, found.table, rtol=_SAME):
            return known
    return found


def timed(model: Any, sampling: Sampling) -> Any:
    """Return MODEL with the network told the time as ``sampling`` has it; itself where that is ComfyUI's way."""
    lcm = sampling.sampler.name == "lcm" and sampling.host.lcm == "scaled"
    if sampling.model.is_flow or (sampling.host.timesteps == "nearest" and not lcm):
        return model
    twin = copy.copy(model.get_model_object("model_sampling"))

    def timestep(sigma: Tensor) -> Tensor:
        times = [sampling.timestep(float(one)) for one in sigma.flatten()]
        return torch.tensor(times, device=sigma.device).reshape(sigma.shape)

    twin.timestep = timestep
    clone = model.clone()
    clone.add_object_patch("model_sampling", twin)
    return clone
