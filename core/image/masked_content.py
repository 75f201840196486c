"""What lies under the mask when inpainting begins, and how softly the mask keeps what is outside."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from ..errors import BadValue, unknown
from ..sigmas import ModelSigmas

MaskedContent = Literal["original", "fill", "noise", "nothing"]
"""What the masked part begins as: the picture, colours drawn in from around, noise, or a latent of zeros."""
LABELS: Mapping[MaskedContent, str] = MappingProxyType(
    {"original": "original", "fill": "fill", "noise": "latent noise", "nothing": "latent nothing"}
)
"""The web UIs' words, which the record keeps."""

_ROUNDS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Blur radius in pixels, and how often its picture is laid on: from far colours to the kept pixels."""


def fill_masked(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``image``, uint8 (H, W, 3), with colours from around in the place of what ``mask`` covers.

    ``mask``: uint8 (H, W), 255 where it is to be filled.  The kept pixels are blurred ever less and laid on
    each other, so that a place takes its colour from the nearest that is kept.
    Raises ``BadValue`` when the two differ in size.

    Source: the "fill" of A1111 1.9.4 and Forge f2.0.1; tests/golden/pictures.
    """
    _check_mask(mask.shape, image.shape[:2])
    kept = Image.fromarray(image).convert("RGBA")
    kept.putalpha(Image.fromarray(255 - mask))
    weighted = kept.convert("RGBa")  # colours times alpha, which is what a blur may mix
    out = Image.new("RGBA", kept.size)
    for radius, times in _ROUNDS:
        layer = weighted.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            out.alpha_composite(layer)
    return np.asarray(out.convert("RGB"))


def masked_latent(latent: Tensor, mask: Tensor, content: MaskedContent, noise: Tensor) -> Tensor:
    """Return the clean latent (B, C, h, w) that inpainting begins with.

    ``mask``: (…, h, w) in 0 … 1, 1 where it is painted.  ``noise``: like ``latent``, unit variance; it takes
    the masked place for "noise".  "fill" works on the picture, so that here it is as "original".
    Raises ``BadValue`` for an unknown content and a mask of another size.
    """
    if content not in get_args(MaskedContent):
        raise unknown("masked content", content, get_args(MaskedContent))
    _check_mask(mask.shape[-2:], latent.shape[-2:])
    if content in ("original", "fill"):
        return latent
    mask = mask.to(latent)
    return latent * (1 - mask) + (noise.to(latent) * mask if content == "noise" else 0)


def differential_mask(mask: Tensor, sigma: float, first: float, model: ModelSigmas) -> Tensor:
    """Return which pixels are painted at ``sigma``: 1 where ``mask`` (any shape, 0 … 1) is that strong, else 0.

    A run begins at ``first``.  A pixel of strength m joins when the share of the run's timesteps that is left
    is no more than m: 1 is painted from the start, a half in the second half, 0 never.

    Source: Levin & Fried 2023 (arXiv:2306.00950), Algorithm 1.
    """
    begin = model.index(first) + 1
    left = (model.index(sigma) + 1) / begin if sigma > 0 else 0.0
    return ((mask > 0) & (mask >= min(left, 1.0))).to(mask)


def soft_mask(mask: Tensor, sigma: float, *, power: float = 1.0, scale: float = 0.5) -> Tensor:
    """Return how much of ``mask`` (0 … 1, 1 painted) is painted at ``sigma``: ``mask ** (scale * sigma ** power)``.

    While there is much noise a soft edge holds the original; as sigma goes to 0 it opens to the whole of what
    is not 0.  ``scale`` 0 paints all of it at once.

    Source: soft inpainting of A1111 1.8 (schedule bias ``power``, preservation strength ``scale``).
    """
    return torch.where(mask > 0, mask.clamp(min=0) ** (scale * sigma**power), 0.0)


def blend_keeping_detail(original: Tensor, painted: Tensor, mask: Tensor, *, detail: float = 4.0) -> Tensor:
    """Return ``original`` and ``painted``, latents (B, C, h, w), mixed by ``mask`` (0 … 1, 1 painted).

    The direction of each latent cell (over C) is mixed linearly; its length is the mean of both of power
    ``detail`` (1 or more), so that a mix of two unlike cells is not duller than either.

    Source: soft inpainting of A1111 1.8 (transition contrast boost ``detail``).
    """
    mask = mask.to(original)
    mixed = torch.lerp(original, painted, mask.expand_as(original))
    before, after, length = (
        value.float().square().sum(dim=1, keepdim=True).sqrt() for value in (original, painted, mixed)
    )
    share = mask.float() if mask.ndim < 4 else mask.float()[:, :1]
    wanted = (before**detail * (1 - share) + after**detail * share) ** (1 / detail)
    return mixed * (wanted / length.clamp(min=1e-6)).to(mixed)


def _check_mask(got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(got) != tuple(wanted):
        raise BadValue(f"mask is {tuple(got)} but the picture is {tuple(wanted)}; pass both as (H, W)")
