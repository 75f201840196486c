"""Noise of pictures: one generator per image, so that batch size and order never change an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import BadValue, unknown
from .philox import Philox

Source = Literal["cpu", "philox", "nv"]
LATENT_CELL = 8
"""Pixels of an image along one cell of its latent, in which seed resize is counted."""
SEEDS = range(-(2**63), 2**64)


class Variation(NamedTuple):
    """A second seed for each image (missing ones are 0) and how far to go to it, 0 … 1."""

    seeds: Sequence[int]
    strength: float


class Generator(Protocol):
    """A seeded source of normal numbers."""

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """Return the next numbers in ``shape``, float32 on the CPU."""
        ...


class TorchGenerator:
    """torch's own CPU generator."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        """Start with ``seed``; numbers of another ``dtype`` are other numbers."""
        self._generator = torch.Generator().manual_seed(seed)
        self._dtype = dtype

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """Return the next numbers in ``shape``."""
        return torch.randn(shape, generator=self._generator, dtype=self._dtype)


GENERATORS: dict[str, Callable[[int], Generator]] = {"cpu": TorchGenerator, "philox": Philox, "nv": Philox}
"""By source: "cpu" is torch's generator; "philox", or A1111's word "nv", the numbers of an NVIDIA card."""


def generator(source: str, seed: int) -> Generator:
    """Return a fresh generator; raises ``BadValue`` for an unknown source or a seed of more than 64 bits."""
    if source not in GENERATORS:
        raise unknown("noise source", source, GENERATORS)
    return GENERATORS[source](checked_seed(seed))


def checked_seed(seed: int) -> int:
    """Return ``seed``; raises ``BadValue`` when it does not fit 64 bits."""
    if seed not in SEEDS:
        raise BadValue(f"seed is {seed}; pass a whole number of at most 64 bits")
    return int(seed)


class NoiseStream:
    """The noise of a batch: ``first`` for the start, then ``next`` for each step; callable as step noise."""

    def __init__(self, first: Tensor, draw: Callable[[], Tensor]) -> None:
        """Start from the noise ``first`` (B, C, h, w); ``draw`` gives each later one."""
        self._first = first
        self._draw = draw

    def first(self) -> Tensor:
        """Return the start noise (B, C, h, w), float32 on the CPU, the same at each call."""
        return self._first.clone()

    def next(self) -> Tensor:
        """Return the noise of the next step (B, C, h, w), float32 on the CPU."""
        return self._draw()

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return the noise of the next step, whatever the sigmas."""
        del sigma, sigma_next
        return self.next()


def image_noise(
    shape: Sequence[int],
    seeds: Sequence[int],
    source: Source = "cpu",
    variation: Variation | tuple[Sequence[int], float] | None = None,
    resize_from: tuple[int, int] | None = None,
    ensd: int = 0,
) -> NoiseStream:
    """Return the noise of a batch as the web UIs draw it, image i from its own generator of ``seeds[i]``.

    ``shape``: of one latent (C, h, w).  ``variation``: ``(seeds, strength)`` to mix into the start noise.
    ``resize_from``: (height, width) in pixels of the image whose start noise goes into the centre; either 0
    or less: none.  ``ensd``: added to every seed for the step noise. Raises ``BadValue`` for no seeds, a
    strength outside 0 … 1, an unknown source or a shape that is not (C, h, w).
    """
    size = tuple(int(side) for side in shape)
    if not len(seeds):
        raise BadValue("seeds is empty; pass one seed per image")
    _check_start(size, variation, resize_from)
    generators = [generator(source, seed) for seed in seeds]
    first: list[Tensor] = []
    for i, own in enumerate(generators):
        noise = own.randn(size)
        first.append(_start(noise, i, seeds, source, variation, resize_from))
    if ensd:
        generators = [generator(source, seed + ensd) for seed in seeds]
    return NoiseStream(torch.stack(first), lambda: torch.stack([own.randn(size) for own in generators]))


def batch_noise(
    shape: Sequence[int],
    seed: int,
    *,
    indices: Sequence[int] | None = None,
    restart: bool = True,
    dtype: torch.dtype = torch.float32,
) -> NoiseStream:
    """Return the noise of a batch (B, C, h, w) drawn at once from one CPU generator, as ComfyUI does.

    ``indices``: one draw of (1, C, h, w) for each index from 0 to the largest, kept in the order asked.
    ``restart``: the step noise comes from a fresh generator of the same seed (ComfyUI), so its first draw is
    the start noise; False: it goes on where the start noise ended (diffusers).
    """
    size = tuple(int(side) for side in shape)
    own = TorchGenerator(checked_seed(seed), dtype)
    if indices is None:
        first = own.randn(size)
    else:
        drawn = [own.randn((1, *size[1:])) for _ in range(max(indices) + 1)]
        first = torch.cat([drawn[i] for i in indices])
    steps = TorchGenerator(seed, dtype) if restart else own
    return NoiseStream(first, lambda: steps.randn(size))


def _check_start(
    size: tuple[int, ...],
    variation: Variation | tuple[Sequence[int], float] | None,
    resize_from: tuple[int, int] | None,
) -> None:
    """Raise ``BadValue`` for what cannot shape the start noise."""
    if any(side < 1 for side in size):
        raise BadValue(f"noise shape is {size}; pass positive sizes")
    if (variation or resize_from) and len(size) != 3:
        raise BadValue(f"noise shape is {size}; variation and seed resize want (C, h, w)")
    if variation and not 0 <= variation[1] <= 1:
        raise BadValue(f"variation strength is {variation[1]}; pass 0 to 1")


def _start(
    noise: Tensor,
    i: int,
    seeds: Sequence[int],
    source: str,
    variation: Variation | tuple[Sequence[int], float] | None,
    resize_from: tuple[int, int] | None,
) -> Tensor:
    """Return the start noise of image ``i`` from the first draw ``noise`` (C, h, w) of its generator."""
    own = noise
    resized = resize_from is not None and min(resize_from) > 0
    if resize_from is not None and resized:
        small = (noise.shape[0], *(side // LATENT_CELL for side in resize_from))
        noise = generator(source, seeds[i]).randn(small)
    if variation is not None and variation[1] > 0:
        other = variation[0][i] if i < len(variation[0]) else 0
        noise = slerp(noise, generator(source, other).randn(tuple(noise.shape)), variation[1])
    return paste_centre(own, noise) if resized else noise


def slerp(start: Tensor, end: Tensor, amount: float) -> Tensor:
    """Return the point ``amount`` of the way on the arc from ``start`` to ``end``, both (C, h, w).

    The arc is taken along each column of each channel; nearly parallel ones are mixed linearly.
    Source: Shoemake 1985, "Animating rotation with quaternion curves".
    """
    norms = [noise.square().sum(1, keepdim=True).sqrt() for noise in (start, end)]
    cosine = ((start / norms[0]) * (end / norms[1])).sum(1)
    if float(cosine.mean()) > 0.9995:
        return start.lerp(end, amount)
    angle = cosine.clamp(-1, 1).acos()[:, None]
    return (((1 - amount) * angle).sin() * start + (amount * angle).sin() * end) / angle.sin()


def paste_centre(canvas: Tensor, patch: Tensor) -> Tensor:
    """Return ``canvas`` (C, h, w) with ``patch`` (C, h', w') over its centre; a larger patch is cut."""
    out = canvas.clone()
    spans = [_overlap(out.shape[axis], patch.shape[axis]) for axis in (1, 2)]
    (to_y, from_y, height), (to_x, from_x, width) = spans
    out[:, to_y : to_y + height, to_x : to_x + width] = patch[
        :, from_y : from_y + height, from_x : from_x + width
    ]
    return out


def _overlap(canvas: int, patch: int) -> tuple[int, int, int]:
    """Return (start in canvas, start in patch, length) of a centred patch; odd rests lean towards 0."""
    shift = (canvas - patch) // 2
    return max(shift, 0), max(-shift, 0), patch if shift >= 0 else patch + 2 * shift
