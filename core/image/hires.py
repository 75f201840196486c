"""The size of the second, larger pass of hires, in pixels and in latents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadValue

if TYPE_CHECKING:
    from torch import Tensor

LATENT = 8
"""Pixels of one latent cell."""
_OLD_AREA = 512 * 512
_OLD_STEP = 64


@dataclass(frozen=True, kw_only=True)
class HiresSize:
    """Sizes of a run with a hires pass, (width, height) in pixels.

    ``first``: of the first pass.  ``to``: what its picture is enlarged to.  ``cut``: latent cells (columns,
    rows) that are then cut off in the middle's favour, half on each side, the odd one at the right and bottom.
    """

    first: tuple[int, int]
    to: tuple[int, int]
    cut: tuple[int, int] = (0, 0)

    @property
    def latent(self) -> tuple[int, int]:
        """Return (columns, rows) of the latent that the picture is enlarged to, before the cut."""
        return self.to[0] // LATENT, self.to[1] // LATENT

    @property
    def final(self) -> tuple[int, int]:
        """Return the size of the finished picture."""
        columns, rows = self.latent
        return (columns - self.cut[0]) * LATENT, (rows - self.cut[1]) * LATENT


def hires_size(
    size: tuple[int, int],
    *,
    upscale: float = 2.0,
    resize: tuple[int, int] | None = None,
    size_is_target: bool = False,
) -> HiresSize:
    """Return the sizes of a hires run whose first pass is ``size`` (width, height).

    ``upscale``: the factor, unless ``resize`` says a target: of its sides a 0 follows from the other, and with
    both set the picture is made to cover it, and what sticks out is cut.  ``size_is_target``: the web UIs'
    option of old, in which ``size`` is the target and the first pass has about 512² pixels.
    Raises ``BadValue`` for sizes below 1 and factors that are not above 0.

    Source: A1111 1.9.4 and Forge f2.0.1; tests/golden/detailer/hires.jsonl.gz.
    """
    width, height = size
    if width < 1 or height < 1:
        raise BadValue(f"size is {width}x{height}; pass sides of 1 or more")
    if size_is_target:
        first = _old_first_pass(width, height)
        return _resized(first, size)
    if resize is None or resize == (0, 0):
        if not 0 < upscale < math.inf:
            raise BadValue(f"the hires factor is {upscale}; pass a number above 0, such as 2")
        return HiresSize(first=size, to=(int(width * upscale), int(height * upscale)))
    if min(resize) < 0:
        raise BadValue(f"the hires target is {resize[0]}x{resize[1]}; pass sides of 0 (follows) or more")
    return _resized(size, resize)


def _resized(first: tuple[int, int], target: tuple[int, int]) -> HiresSize:
    (width, height), (to_width, to_height) = first, target
    by_width = (to_width, to_width * height // width)
    by_height = (to_height * width // height, to_height)
    if to_height == 0:
        return HiresSize(first=first, to=by_width)
    if to_width == 0:
        return HiresSize(first=first, to=by_height)
    covers = by_width if width / height < to_width / to_height else by_height
    cut = ((covers[0] - to_width) // LATENT, (covers[1] - to_height) // LATENT)
    return HiresSize(first=first, to=covers, cut=cut)


def _old_first_pass(width: int, height: int) -> tuple[int, int]:
    scale = math.sqrt(_OLD_AREA / (width * height))
    wide, high = (math.ceil(scale * side / _OLD_STEP) * _OLD_STEP for side in (width, height))
    return wide, high


def cut_latent(latent: Tensor, cut: tuple[int, int]) -> Tensor:
    """Return ``latent`` (B, C, h, w) without ``cut`` (columns, rows), taken off both sides."""
    columns, rows = cut
    height, width = latent.shape[-2:]
    return latent[..., rows // 2 : height - (rows + 1) // 2, columns // 2 : width - (columns + 1) // 2]
