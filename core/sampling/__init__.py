"""Samplers, the noise they draw, and guidance; importing this finds every sampler in the folder."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from ..sigmas import ModelSigmas
from .brownian_motion import batch_brownian_tree, brownian, brownian_tree
from .noise import NoiseStream, Variation, batch_noise, image_noise
from .run import sample
from .spec import SAMPLERS, Denoiser, Noise, OnStep, PairDenoiser, SamplerSpec, sampler

for _module in iter_modules(__path__):
    import_module(f".{_module.name}", __name__)

__all__ = [
    "SAMPLERS",
    "Denoiser",
    "ModelSigmas",
    "Noise",
    "NoiseStream",
    "OnStep",
    "PairDenoiser",
    "SamplerSpec",
    "Variation",
    "batch_brownian_tree",
    "batch_noise",
    "brownian",
    "brownian_tree",
    "image_noise",
    "sample",
    "sampler",
]
