"""The passes of a generation: what the hires pass needs filled in, its size, texts and start."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .errors import BadValue
from .image.generation import Generation
from .image.hires import HiresSize, hires_size
from .image.parts import Hires
from .profiles import Pass
from .run import DEFAULT_STRENGTH, Sampling

DEFAULT_UPSCALER = "Latent"
DEFAULT_FACTOR = 2.0
_SAME = ("Use same checkpoint", "")


def complete_hires(record: Generation, stride: int = 8) -> Generation:
    """Return ``record`` with what its hires pass needs filled in.

    Raises ``BadValue`` for a target that is too small for a picture of multiples of ``stride``.
    """
    hires = record.hires
    if hires is None:
        return record
    if hires.upscale is None and hires.resize is None:
        hires = replace(hires, upscale=DEFAULT_FACTOR)
    hires = replace(
        hires,
        upscaler=hires.upscaler or DEFAULT_UPSCALER,
        steps=hires.steps or None,
        checkpoint=None if hires.checkpoint in _SAME else hires.checkpoint,
    )
    strength = DEFAULT_STRENGTH if record.denoising_strength is None else record.denoising_strength
    record = replace(record, hires=hires, denoising_strength=strength)
    width, height = size_of_hires(record).final
    if min(width, height) < stride:
        raise BadValue(
            f"the hires pass would be {width}x{height}; pass a factor or size that gives {stride} or more"
        )
    return record


def size_of_hires(record: Generation) -> HiresSize:
    """Return the sizes of a complete record's passes."""
    assert record.size
    own = record.hires or Hires()
    if own.resize is not None and any(own.resize):
        return hires_size(record.size, resize=own.resize)
    return hires_size(record.size, upscale=own.upscale or DEFAULT_FACTOR)


def texts_of_pass(record: Generation, kind: Pass) -> Generation:
    """Return ``record`` with the prompts of a pass."""
    hires = record.hires
    if kind != "hires" or hires is None:
        return record
    return replace(
        record,
        prompt=hires.prompt or record.prompt,
        negative_prompt=hires.negative_prompt or record.negative_prompt,
    )


def noisy_start(record: Generation, sampling: Sampling, noise: Tensor, latent: Tensor | None) -> Tensor:
    """Return the noisy latent (B, C, h, w) of a pass: with the noise multiplier, and the web UIs' extra noise."""
    if sampling.kind == "image" and record.noise_multiplier is not None:
        noise = noise * record.noise_multiplier
    return sampling.start(noise, latent, record.extra_noise or 0.0)
