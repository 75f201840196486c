"""Brownian motion as step noise: a cheap source that knows the schedule, and the tree the hosts draw from."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..errors import BadValue
from ..sigmas.model import floats
from .noise import Generator, Source, generator

TREE_DIGITS = 6
"""Decimal places to which torchsde rounds times, and so the depth of its tree."""
TREE_POOL = 24
"""Words of entropy that torchsde's ``BrownianTree`` mixes seeds in."""
TREE_KEPT = 64
"""Increments that a tree remembers: the ways down to the last two sigmas asked for."""


class BrownianPath:
    """One image's Brownian motion over sigma, drawn where and when it is asked for.

    Between two neighbouring known sigmas lies one increment, drawn at its first use; a sigma that falls into
    an increment already drawn splits it by a Brownian bridge.  So a query costs one draw, whatever was asked
    before, and the increments over the parts of a stretch always add up to that of the whole.
    """

    def __init__(self, sigmas: Sequence[float], shape: tuple[int, ...], own: Generator) -> None:
        """Know the ``sigmas`` of the run; draw numbers of ``shape`` from ``own``."""
        self._known = sorted(set(sigmas))
        self._increments: dict[float, Tensor] = {}
        self._shape, self._own = shape, own

    def increment(self, low: float, high: float) -> Tensor:
        """Return the motion from ``low`` up to ``high``, of variance ``high - low``."""
        for sigma in (low, high):
            self._insert(sigma)
        begin, end = bisect_left(self._known, low), bisect_left(self._known, high)
        total = self._part(self._known[begin], self._known[begin + 1])
        for near, far in pairwise(self._known[begin + 1 : end + 1]):
            total = total + self._part(near, far)
        return total

    def _part(self, low: float, high: float) -> Tensor:
        """Return the increment between two neighbours, drawing it if it is new."""
        if low not in self._increments:
            self._increments[low] = self._own.randn(self._shape).mul_(math.sqrt(high - low))
        return self._increments[low]

    def _insert(self, sigma: float) -> None:
        """Make ``sigma`` known; splits a drawn increment (Lévy's construction of the Brownian bridge)."""
        i = bisect_left(self._known, sigma)
        if i < len(self._known) and self._known[i] == sigma:
            return
        if 0 < i < len(self._known) and (low := self._known[i - 1]) in self._increments:
            high = self._known[i]
            share = (sigma - low) / (high - low)
            whole = self._increments[low]
            spread = math.sqrt((sigma - low) * (1 - share))
            self._increments[low] = share * whole + spread * self._own.randn(self._shape)
            self._increments[sigma] = whole - self._increments[low]
        self._known.insert(i, sigma)


def brownian(
    sigmas: Tensor, seeds: Sequence[int], shape: Sequence[int], source: Source = "cpu"
) -> Callable[[float, float], Tensor]:
    """Return a source of step noise that is the increments of one Brownian motion an image.

    ``sigmas``: of the run, (n+1,); others may be asked for too.  ``seeds``: one an image.  ``shape``: of one
    latent (C, h, w).  The noise of a stretch is the sum of that of its parts, scaled to unit variance; (B, C,
    h, w). Raises ``BadValue`` for no seeds or an unknown source.
    """
    if not len(seeds):
        raise BadValue("seeds is empty; pass one seed per image")
    size = tuple(int(side) for side in shape)
    known = [sigma for sigma in floats(sigmas) if sigma > 0]
    paths = [BrownianPath(known, size, generator(source, seed)) for seed in seeds]
    return _unit_variance(paths)


def _unit_variance(paths: Sequence[BrownianPath | BrownianTree]) -> Callable[[float, float], Tensor]:
    """Return the noise source of ``paths``, one an image."""

    def noise(sigma: float, sigma_next: float) -> Tensor:
        if sigma == sigma_next:
            raise BadValue(f"noise was asked from sigma {sigma:g} to itself; ask for two different sigmas")
        low, high = sorted((float(sigma), float(sigma_next)))
        sign = 1.0 if sigma < sigma_next else -1.0
        drawn = torch.stack([path.increment(low, high) for path in paths])
        return drawn.mul_(sign / math.sqrt(high - low))

    return noise


Node = tuple[int, int, float, float]
"""(depth, place from the left, begin, end) of a stretch of the tree."""


class BrownianTree:
    """The Brownian motion of torchsde's ``BrownianTree``: halved again and again, each half with its own seed.

    The numbers depend on the ends and the seed alone, not on what is asked.  Dozens of draws a query: for the
    pictures of hosts that use it; ``brownian`` is the cheap source.

    Source: the virtual Brownian tree of Li et al. 2020 (arXiv:2001.01328), App. E; torchsde 0.2.6 for the
    seeds.
    """

    def __init__(
        self, low: float, high: float, shape: tuple[int, ...], seed: int, source: Source = "cpu"
    ) -> None:
        """Span sigma from ``low`` to ``high``; every draw has ``shape`` and a generator of its own."""
        self._shape, self._source, self._seed = shape, source, seed
        self._root: Node = (0, 0, round(low, TREE_DIGITS), round(high, TREE_DIGITS))
        first = np.random.SeedSequence(entropy=seed, pool_size=TREE_POOL).generate_state(3)[0]
        self._whole = self._randn(int(first)) * math.sqrt(high - low)
        self._halves: OrderedDict[tuple[int, int], tuple[Tensor, Tensor]] = OrderedDict()

    def increment(self, low: float, high: float) -> Tensor:
        """Return the motion from ``low`` up to ``high``; beyond the ends it stands still."""
        low, high = (min(max(end, self._root[2]), self._root[3]) for end in (low, high))
        parts = self._cover(self._root, self._whole, round(low, TREE_DIGITS), round(high, TREE_DIGITS))
        if not parts:
            return torch.zeros(self._shape)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _cover(self, node: Node, whole: Tensor, low: float, high: float) -> list[Tensor]:
        """Return the increments of the parts of ``node``, itself ``whole``, that make up ``low`` … ``high``."""
        depth, place, begin, end = node
        if low >= high:
            return []
        if low == begin and high == end:
            return [whole]
        middle = round(0.5 * (begin + end), TREE_DIGITS)
        left, right = self._split(node, whole, middle)
        lower = self._cover((depth + 1, 2 * place, begin, middle), left, low, min(high, middle))
        upper = self._cover((depth + 1, 2 * place + 1, middle, end), right, max(low, middle), high)
        return lower + upper

    def _split(self, node: Node, whole: Tensor, middle: float) -> tuple[Tensor, Tensor]:
        """Return the increments of the two halves of ``node``."""
        depth, place, begin, end = node
        found = self._halves.pop((depth, place), None)
        if found is None:
            sequence = np.random.SeedSequence(
                entropy=self._seed, spawn_key=(place, depth), pool_size=TREE_POOL
            )
            left, right, inverse = middle - begin, end - middle, 1 / (end - begin)
            noise = self._randn(int(sequence.generate_state(4)[0]))
            half = left * whole * inverse + math.sqrt(left * right * inverse) * noise
            found = half, whole - half
        self._halves[depth, place] = found
        if len(self._halves) > TREE_KEPT:
            self._halves.popitem(last=False)
        return found

    def _randn(self, seed: int) -> Tensor:
        """Return the numbers of ``seed``."""
        return generator(self._source, seed).randn(self._shape)


def brownian_tree(
    sigmas: Tensor, seeds: Sequence[int], shape: Sequence[int], source: Source = "cpu"
) -> Callable[[float, float], Tensor]:
    """Return the step noise of the web UIs' SDE samplers: a tree an image over the sigmas above 0.

    Arguments, result and errors as in ``brownian``.
    """
    low, high = _ends(sigmas)
    size = tuple(int(side) for side in shape)
    return _unit_variance([BrownianTree(low, high, size, seed, source) for seed in seeds])


def batch_brownian_tree(sigmas: Tensor, seed: int, shape: Sequence[int]) -> Callable[[float, float], Tensor]:
    """Return the step noise of ComfyUI's SDE samplers: one tree for the batch ``shape`` (B, C, h, w)."""
    low, high = _ends(sigmas)
    noise = _unit_variance([BrownianTree(low, high, tuple(int(side) for side in shape), seed)])

    def whole(sigma: float, sigma_next: float) -> Tensor:
        return noise(sigma, sigma_next)[0]

    return whole


def _ends(sigmas: Tensor) -> tuple[float, float]:
    """Return the smallest sigma above 0 and the largest; raises ``BadValue`` when there are not two."""
    known = [sigma for sigma in floats(sigmas) if sigma > 0]
    if not known or min(known) == max(known):
        raise BadValue(f"sigmas has {len(set(known))} value above 0; a Brownian tree wants two or more")
    return min(known), max(known)
