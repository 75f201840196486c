"""Run a network over a picture in tiles that overlap, without seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadValue

Network = Callable[[Tensor], Tensor]
"""(1, C, h, w) → (1, D, s h, s w) with one whole factor s for every size."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Tiles of ``size`` pixels a side; neighbours share ``overlap`` pixels.

    The outer half of what two tiles share is context for the network and is thrown away; in the inner half
    one fades into the other.  So a network that sees no farther than ``overlap / 4`` gives what it gives
    for the whole picture.
    """

    size: int = 256
    overlap: int = 32

    def __post_init__(self) -> None:
        """Check the sizes; raises ``BadValue``."""
        if self.size < 8 or not 0 <= self.overlap <= self.size // 2:
            raise BadValue(
                f"tiles of {self.size} that share {self.overlap}; pass a size of 8 or more, and at most half of it"
            )


def run_tiled(network: Network, image: Tensor, tiling: Tiling | None = None) -> Tensor:
    """Return ``network(image)``, made in tiles; ``image``: (1, C, H, W), any float dtype and device.

    The result is float32 on the image's device.  None, or a picture no larger than a tile: at once.
    Raises ``BadValue`` when the network does not enlarge every tile by the same whole factor.
    """
    height, width = image.shape[-2:]
    if tiling is None or (height <= tiling.size and width <= tiling.size):
        return network(image).float()
    out = weight = None
    scale = 0
    for top, bottom in _spans(height, tiling):
        for left, right in _spans(width, tiling):
            patch = network(image[..., top:bottom, left:right]).float()
            if out is None or weight is None:
                scale = patch.shape[-1] // (right - left)
                out = patch.new_zeros((1, patch.shape[1], height * scale, width * scale))
                weight = patch.new_zeros((height * scale, width * scale))
            _check_scale(patch, (bottom - top, right - left), scale)
            fade = (
                _fade((top, bottom), height, tiling.overlap, scale)[:, None]
                * _fade((left, right), width, tiling.overlap, scale)[None, :]
            ).to(patch)
            place = (slice(top * scale, bottom * scale), slice(left * scale, right * scale))
            # a NaN at the thrown-away rim stays out
            out[(..., *place)] += torch.where(fade > 0, patch * fade, 0.0)
            weight[place] += fade
    assert out is not None
    assert weight is not None
    return out / weight


def _check_scale(patch: Tensor, size: tuple[int, int], scale: int) -> None:
    wanted = (size[0] * scale, size[1] * scale)
    if scale < 1 or patch.shape[-2:] != wanted:
        raise BadValue(
            f"the network made {tuple(patch.shape[-2:])} of {size}, not {wanted}; "
            "tiles need one whole factor for every size"
        )


def _spans(length: int, tiling: Tiling) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of tiles over ``length`` pixels, all of one size, evenly laid."""
    size = min(tiling.size, length)
    count = 1 if length <= size else -(-(length - tiling.overlap) // (size - tiling.overlap))
    for i in range(count):
        start = round(i * (length - size) / max(count - 1, 1))
        yield start, start + size


def _fade(span: tuple[int, int], length: int, overlap: int, scale: int) -> Tensor:
    """Return the weight of each output pixel of a span, (scale · size,), float32.

    It is 0 over a quarter of the overlap at a side where another tile goes on, and rises over the next half.
    """
    start, end = span
    position = (torch.arange((end - start) * scale, dtype=torch.float32) + 0.5) / scale
    weight = torch.ones_like(position)
    rim, ramp = overlap / 4, max(overlap / 2, 1e-6)
    if start > 0:
        weight = torch.minimum(weight, (position - rim) / ramp)
    if end < length:
        weight = torch.minimum(weight, (end - start - position - rim) / ramp)
    return weight.clamp(0, 1)
