"""Guidance as pure functions of the guided and unguided predictions of the clean latent, and of sigma."""

from __future__ import annotations

import math

from torch import Tensor

from ..errors import BadValue

FORGE_CFG_PP = 12.5
"""What Forge and reForge divide the CFG slider by for their CFG++ samplers."""


def cfg(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Return ``uncond + scale * (cond - uncond)``, all (B, …); scale 1 is ``cond``, 0 ``uncond``.

    Source: Ho and Salimans 2022 (arXiv:2207.12598), eq. 6, in the clean latent.
    """
    return uncond.lerp(cond, scale)


def rescale(guided: Tensor, cond: Tensor, amount: float) -> Tensor:
    """Return ``guided`` brought towards the standard deviation of ``cond``, per image, by ``amount`` (0 … 1).

    Both are (B, …) predictions of the same quantity.
    Source: Lin et al. 2024 (arXiv:2305.08891), eqs. 15 and 16.
    """
    axes = tuple(range(1, cond.ndim))
    ratio = cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return guided * (amount * ratio + (1 - amount))


def rescaled_cfg(
    x: Tensor, cond: Tensor, uncond: Tensor, *, sigma: float, scale: float, amount: float
) -> Tensor:
    """Return ``cfg`` of two clean latents (B, …) rescaled as ComfyUI's RescaleCFG does: in the velocity.

    ``x``: the noisy latent at ``sigma``, variance-exploding; the velocity is ``alpha noise - sigma clean`` of
    the variance-preserving form, a line in the clean latent.
    """
    scaled, slope = x / (sigma**2 + 1), sigma / math.sqrt(sigma**2 + 1)
    v_cond, v_uncond = ((scaled - clean) / slope for clean in (cond, uncond))
    return scaled - rescale(cfg(v_cond, v_uncond, scale), v_cond, amount) * slope


def cfg_pp_scale(slider: float, divisor: float = FORGE_CFG_PP) -> float:
    """Return the guidance of a CFG++ sampler, useful from 0.6 to 2, for a slider made for CFG."""
    return slider / divisor


def scale_within(sigma: float, scale: float, low: float = 0.0, high: float = math.inf) -> float:
    """Return the CFG scale at ``sigma``: ``scale`` from ``low`` to ``high``, both included, else 1.

    Source: Kynkäänniemi et al. 2024 (arXiv:2404.07724), eq. 5.
    """
    return scale if low <= sigma <= high else 1.0


def multiply_sigmas(sigmas: Tensor, factor: float, start: float = 0.0, end: float = 1.0) -> Tensor:
    """Return ``sigmas`` (n+1,) times ``factor`` from the share ``start`` of the list up to ``end``, 0 … 1.

    A factor just below 1 leaves a little noise in each step, which the model turns into detail.
    Raises ``BadValue`` for shares out of order or a factor of 0 or less.
    """
    if not 0 <= start <= end <= 1:
        raise BadValue(f"start and end are {start} and {end}; pass 0 <= start <= end <= 1")
    if not (math.isfinite(factor) and factor > 0):
        raise BadValue(f"factor is {factor}; pass a number above 0")
    out = sigmas.clone()
    out[int(start * len(out)) : int(end * len(out))] *= factor
    return out
