"""How a run keeps what lies outside the mask; the core's."""

from __future__ import annotations

from ...core.masked_run import (
    Kept,
    MaskedDenoiser,
    finished,
    held_noise,
    is_hard,
    kept_of,
    latent_mask,
    plain_of,
)

__all__ = [
    "Kept",
    "MaskedDenoiser",
    "finished",
    "held_noise",
    "is_hard",
    "kept_of",
    "latent_mask",
    "plain_of",
]
