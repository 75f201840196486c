"""What runs along the wires of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from ...core.sigmas import ModelSigmas
from ..pipeline import Pipeline

Predicts = Literal["eps", "v", "x0", "lcm", "edm"]
Times = Literal["index", "distilled", "log"]
"""What the network is told of sigma: its place in the table, that in a table of every 20th, or a quarter of its log."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A network by the name of its file, and its strength."""

    name: str
    strength: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelWire:
    """A network and how it is sampled."""

    pipeline: Pipeline
    sigmas: ModelSigmas
    predicts: Predicts
    times: Times = "index"
    rescale: float = 0.0
    loras: tuple[Lora, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipWire:
    """The text encoders of a model; ``skip``: 1 is the last layer, None the model's own."""

    pipeline: Pipeline
    skip: int | None = None
    loras: tuple[Lora, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One text of a conditioning, and where and when it holds.

    ``hidden``: (1, T, D); ``pooled``: (1, Dp).  ``area``: (height, width, top, left), latent cells, or shares of
    the latent if ``of_shares``.  ``mask``: (1, H, W) in 0 … 1; ``to_bounds``: its box is the area.  ``start``,
    ``end``: shares of the run.
    """

    hidden: Tensor
    pooled: Tensor | None = None
    strength: float = 1.0
    area: tuple[float, float, float, float] | None = None
    of_shares: bool = False
    mask: Tensor | None = None
    mask_strength: float = 1.0
    to_bounds: bool = False
    start: float | None = None
    end: float | None = None


Cond = tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentWire:
    """Clean latents (B, C, h, w) as samplers have them; ``mask``: (1, H, W), 1 where they are painted.

    ``indices``: their places in the batch that they were taken from.
    """

    samples: Tensor
    mask: Tensor | None = None
    indices: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class SamplerWire:
    """A sampler of the registry with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class NoiseWire:
    """The seed of the noise; ``is_added``: else the start is as it is, and only the steps draw."""

    seed: int
    is_added: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class GuiderWire:
    """A model with its conditionings.

    ``middle``: a second prompt that is guided to at ``middle_scale``, against the negative; ``nested``: the
    first is guided to from the second.
    """

    model: ModelWire
    positive: Cond
    negative: Cond = ()
    scale: float = 1.0
    middle: Cond = ()
    middle_scale: float = 1.0
    nested: bool = False
