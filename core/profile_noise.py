"""The noise of a run as a host draws it: at its start, and at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .sampling import batch_brownian_tree, batch_noise, brownian, brownian_tree, image_noise
from .sampling.noise import NoiseStream, Source, Variation
from .sampling.spec import SamplerSpec
from .sigmas.model import floats

if TYPE_CHECKING:
    from .profiles import Profile

GLOBAL_SHIFT = 100_000
"""What Forge adds to the seed for torch's global generator, which it then cuts to 16 bits."""
BROWNIAN = (
    *("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"),
    *("dpmpp_sde_cfg_pp", "dpmpp_3m_sde_cfg_pp"),
)
"""The samplers that draw from a Brownian tree in the hosts; their other SDE samplers draw like ancestral ones."""


ASKED_INSIDE = ("dpmpp_sde",)
"""Samplers that draw from the tree between two sigmas of the run."""


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The seeds of a batch: the first image's, how many images, and what alters them.

    ``source``, ``ensd``: None is the host's own.  ``variation``, ``resize_from``: as in ``image_noise``; one
    generator for a whole batch knows neither.  ``place``: where the first image stands in the batch that it was
    made in, and the size of that; noise of torch's global generator, which is one for all, depends on it.
    """

    seed: int
    batch: int = 1
    source: Source | None = None
    ensd: int | None = None
    variation: Variation | None = None
    resize_from: tuple[int, int] | None = None
    place: tuple[int, int] | None = None

    def each(self) -> Sequence[int]:
        """Return the seed of each image; with a variation they all share the first, as in the web UIs."""
        return [self.seed] * self.batch if self._varied else range(self.seed, self.seed + self.batch)

    @property
    def last(self) -> int:
        """Return the seed of the last image of the batch that the first was made in."""
        first, batch = self.place or (0, self.batch)
        return self.seed if self._varied else self.seed + batch - first - 1

    @property
    def _varied(self) -> bool:
        return self.variation is not None and self.variation.strength > 0


def noise_of(
    host: Profile, spec: SamplerSpec, shape: tuple[int, int, int], seeds: Seeds, sigmas: Tensor
) -> tuple[Tensor, Callable[[float, float], Tensor]]:
    """Return the start noise (B, C, h, w) of a run in ``host`` and the source of its step noise.

    ``shape``: of one latent (C, h, w).  ``sigmas``: of the run, which SDE samplers draw over.
    """
    source = seeds.source or host.noise_source
    ensd = host.ensd if seeds.ensd is None else seeds.ensd
    whole = (seeds.batch, *shape)
    stream: NoiseStream
    if host.noise_layout == "batch":
        stream = batch_noise(whole, seeds.seed, restart=host.step_noise == "restart")
    else:
        stream = image_noise(shape, seeds.each(), source, seeds.variation, seeds.resize_from, ensd)
    if spec.name in host.global_noise:
        return stream.first(), _global_noise(shape, seeds)
    by_tree = host.sde_noise != "path"
    if spec.kind != "sde" or (by_tree and spec.name not in BROWNIAN) or not _has_room(sigmas):
        return stream.first(), stream
    if host.sde_noise == "tree_per_batch":
        tree = batch_brownian_tree(sigmas, seeds.seed, whole)
        return stream.first(), asked_in_float32(spec.name, tree, sigmas)
    if by_tree:
        tree = brownian_tree(sigmas, seeds.each(), shape, source)
        return stream.first(), asked_in_float32(spec.name, tree, sigmas, by_web_ui=host.by_web_ui)
    own = [_path_seed(seed + ensd) for seed in seeds.each()]
    return stream.first(), brownian(sigmas, own, shape, source)


def asked_in_float32(
    name: str, tree: Callable[[float, float], Tensor], sigmas: Tensor, *, by_web_ui: bool = False
) -> Callable[[float, float], Tensor]:
    """Return ``tree`` for sampler ``name``, asked at the sigmas that the host's float32 gives inside a step.

    A tree asked at another place in the last bit gives other noise.  DPM++ SDE asks within the step, in log-SNR;
    the web UIs take (``by_web_ui``) the ends of the step there and back too.  ``sigmas``: those of the run.
    """
    if name not in ASKED_INSIDE:
        return tree
    levels = floats(sigmas)
    following = dict(pairwise(levels))

    def noise(sigma: float, sigma_next: float) -> Tensor:
        end = following.get(sigma, 0.0)
        if end <= 0 or sigma_next <= 0:
            return tree(sigma, sigma_next)
        first = _there_and_back(sigma) if by_web_ui else sigma
        if sigma_next == end:
            return tree(first, _there_and_back(end) if by_web_ui else end)
        share = round(math.log(sigma / sigma_next) / math.log(sigma / end), 6)
        start, stop = (-torch.tensor(level, dtype=torch.float32).log() for level in (sigma, end))
        return tree(first, float((-(start + share * (stop - start))).exp()))

    return noise


def _there_and_back(sigma: float) -> float:
    """Return ``sigma`` through its log and back, in float32."""
    return float(torch.tensor(sigma, dtype=torch.float32).log().exp())


def _global_noise(shape: tuple[int, int, int], seeds: Seeds) -> Callable[[float, float], Tensor]:
    """Return the step noise of samplers that Forge lets draw from torch's global generator.

    A batch shares it, and its last image has seeded it.
    """
    first, batch = seeds.place or (0, seeds.batch)
    stream = batch_noise((batch, *shape), (seeds.last + GLOBAL_SHIFT) % 2**16)

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return stream(sigma, sigma_next)[first : first + seeds.batch]

    return noise


def _has_room(sigmas: Tensor) -> bool:
    """Tell whether there are two sigmas above 0 for a motion to lie between."""
    return len({float(sigma) for sigma in sigmas if sigma > 0}) > 1


def _path_seed(seed: int) -> int:
    """Return the seed of an image's Brownian path: another one, or its first step would be the start noise."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(1,))
    return int(sequence.generate_state(1, np.uint64)[0])
