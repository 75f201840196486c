"""How a run keeps what lies outside the mask: A1111's, Forge's and ComfyUI's ways, soft and differential masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from .canvas import content_of
from .image.generation import Generation
from .image.masked_content import blend_keeping_detail, differential_mask, masked_latent, soft_mask
from .image.parts import ConcordSettings, Inpaint
from .profiles import GLOBAL_SHIFT, Profile
from .run import Sampling
from .sampling import batch_noise
from .sampling.spec import PairDenoiser

SOFT_BIAS, SOFT_PRESERVATION, SOFT_CONTRAST = 1.0, 0.5, 4.0
"""A1111's defaults of soft inpainting."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What is kept in a run: the clean ``latent`` (B, C, h, w), where ``mask`` (B or 1, 1, h, w) is not 1.

    ``noise``: unit-variance noise that the kept part has before a call, None for what the sampler
    made of it.  ``settings``: soft or differential.
    """

    latent: Tensor
    mask: Tensor
    noise: Callable[[], Tensor] | None
    settings: Inpaint

    def mask_at(self, sigma: float, sampling: Sampling) -> Tensor:
        """Return how much is painted at ``sigma``."""
        own = self.settings
        if own.differential:
            return differential_mask(self.mask, sigma, float(sampling.sigmas[0]), sampling.model)
        if own.soft:
            bias = SOFT_BIAS if own.soft_bias is None else own.soft_bias
            scale = SOFT_PRESERVATION if own.soft_preservation is None else own.soft_preservation
            return soft_mask(self.mask, sigma, power=bias, scale=scale)
        return self.mask

    def mixed(self, painted: Tensor, mask: Tensor) -> Tensor:
        """Return ``painted`` where ``mask`` is 1 and the kept latent where it is 0."""
        if self.settings.soft:
            detail = SOFT_CONTRAST if self.settings.soft_contrast is None else self.settings.soft_contrast
            return blend_keeping_detail(self.latent, painted, mask, detail=detail)
        return painted * mask + self.latent * (1 - mask)


def kept_of(
    record: Generation,
    sampling: Sampling,
    painted: NDArray[np.uint8],
    latent: Tensor,
    noises: tuple[Tensor, Tensor],
) -> Kept:
    """Return what a run over the clean ``latent`` (B, C, h, w) keeps; under the mask it begins as ``record`` says.

    ``painted``: uint8 (H, W).  ``noises``: the start noise, and the plain one, see ``plain_of``, both like ``latent``.
    """
    own = record.inpaint or Inpaint()
    size = (latent.shape[3], latent.shape[2])
    by_web_ui = sampling.host.pasting != "none"
    mask = latent_mask(painted, size, by_web_ui=by_web_ui, hard=is_hard(own)).to(latent.device)
    first, plain = noises
    return Kept(
        latent=masked_latent(latent, mask, content_of(own), plain),
        mask=mask,
        noise=held_noise(record, sampling, first),
        settings=own,
    )


def plain_of(record: Generation, host: Profile) -> Generation | None:
    """Return the record whose start noise ``host`` paints with under a mask, None where it is the run's own.

    The web UIs leave variation and seed resize out of it.
    """
    if not host.by_web_ui or (record.variation is None and record.seed_resize_from is None):
        return None
    return replace(record, variation=None, seed_resize_from=None)


def latent_mask(mask: NDArray[np.uint8], size: tuple[int, int], *, by_web_ui: bool, hard: bool) -> Tensor:
    """Return ``mask``, uint8 (H, W), as (1, 1, h, w) in 0 … 1 for latents of ``size`` (columns, rows).

    ``by_web_ui``: Pillow's bicubic filter, ``hard``: rounded to 0 and 1 then; else bilinear, as ComfyUI does.
    """
    if not by_web_ui:
        whole = torch.tensor(mask.astype(np.float32) / 255)[None, None]
        return interpolate(whole, size=(size[1], size[0]), mode="bilinear")
    small = np.asarray(Image.fromarray(mask).resize(size), dtype=np.float32) / 255
    return torch.tensor(np.around(small) if hard else small)[None, None]


def held_noise(record: Generation, sampling: Sampling, start: Tensor) -> Callable[[], Tensor] | None:
    """Return the noise that the kept part has at each call; ``start``: the start noise (B, C, h, w)."""
    how = sampling.host.masking
    if how == "after":
        return None
    if how == "fresh":
        return _fresh(record, sampling, start)
    if sampling.host.noise_layout == "batch" and sampling.sampler.name == "ddim":
        start = _next_seed(sampling, start)
    return lambda: start


def _next_seed(sampling: Sampling, like: Tensor) -> Tensor:
    """Return what ComfyUI holds with in ddim: the noise of the next seed."""
    seeds, i = sampling.seeds, sampling.place
    noise = batch_noise((seeds.batch, *like.shape[1:]), seeds.seed + 1).first().to(like)
    return noise if i is None else noise[i : i + 1]


def _fresh(record: Generation, sampling: Sampling, like: Tensor) -> Callable[[], Tensor]:
    """Return Forge's: from torch's global generator, which the last image of a batch has seeded for all."""
    own = record.concord or ConcordSettings()
    batch, i = len(like), 0
    if batch == 1 and own.batch_size and own.batch_position is not None:
        batch, i = own.batch_size, own.batch_position
    last = sampling.seeds.each()[-1] + (batch - len(like) - i)
    generator = torch.Generator().manual_seed((last + GLOBAL_SHIFT) % 2**16)

    def noise() -> Tensor:
        drawn = torch.randn((batch, *like.shape[1:]), generator=generator)
        return drawn[i : i + len(like)].to(like)

    return noise


class MaskedDenoiser:
    """A denoiser that paints inside the mask alone."""

    def __init__(self, inner: PairDenoiser, kept: Kept, sampling: Sampling) -> None:
        """Close over everything."""
        self._inner, self._kept, self._sampling = inner, kept, sampling
        host = sampling.host
        self._clean_before = host.masking == "after" and host.runs_timesteps(
            sampling.sampler
        )  # A1111's timestep samplers are given the kept part without noise, and not corrected after the call

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latent seen in ``x`` inside the mask, the kept one outside."""
        mask = self._kept.mask_at(float(sigma), self._sampling)
        return self._after(self._inner(self._before(x, float(sigma), mask), sigma), mask)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return that and what is seen without the prompt, which is not kept anywhere, as in ComfyUI."""
        mask = self._kept.mask_at(float(sigma), self._sampling)
        guided, uncond = self._inner.with_uncond(self._before(x, float(sigma), mask), sigma)
        return self._after(guided, mask), uncond

    def _before(self, x: Tensor, sigma: float, mask: Tensor) -> Tensor:
        kept = self._kept
        if self._clean_before:
            return x * mask + kept.latent * ((1 - mask) * (1 + sigma * sigma) ** 0.5)
        if kept.noise is None:
            return x
        noisy = kept.latent * self._sampling.model.alpha(sigma) + kept.noise() * sigma
        return x * mask + noisy * (1 - mask)

    def _after(self, denoised: Tensor, mask: Tensor) -> Tensor:
        return denoised if self._clean_before else self._kept.mixed(denoised, mask)


def finished(latent: Tensor, kept: Kept, sampling: Sampling) -> Tensor:
    """Return the latent (B, C, h, w) at the end of a run, brought back outside the mask as the web UIs do."""
    if not sampling.host.by_web_ui or kept.settings.soft or kept.settings.differential:
        return latent
    return kept.mixed(latent, kept.mask)


def is_hard(settings: Inpaint) -> bool:
    """Tell whether the web UIs round the mask of the latent."""
    return not (settings.soft or settings.differential)
