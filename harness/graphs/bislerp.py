"""ComfyUI's bislerp: latents enlarged on arcs between neighbours in place of lines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

_ALIKE = 1e-5


def bislerp(samples: Tensor, size: tuple[int, int]) -> Tensor:
    """Return latents (B, C, h, w) at ``size`` (rows, columns), along the columns first, then the rows.

    The direction of a cell's channels goes along the arc between two neighbours, its length along a line.

    Source: Shoemake 1985, "Animating rotation with quaternion curves"; places as ComfyUI 0.3.64 has them.
    """
    across = _along_last(samples.float(), size[1])
    return _along_last(across.transpose(2, 3), size[0]).transpose(2, 3).to(samples.dtype)


def _along_last(samples: Tensor, length: int) -> Tensor:
    """Return (B, C, h, w) with ``length`` columns."""
    before, after, share = _places(samples.shape[3], length)
    return _arc(samples[..., before], samples[..., after], share)


def _places(old: int, new: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each new column, the two old ones that it lies between, and how far it is on the way."""
    columns = torch.arange(old, dtype=torch.float32)
    following = torch.cat([columns[1:], columns[-1:]])
    at = interpolate(columns[None, None, None], size=(1, new), mode="bilinear")[0, 0, 0]
    then = interpolate(following[None, None, None], size=(1, new), mode="bilinear")[0, 0, 0]
    return at.long(), then.long(), at - at.floor()


def _arc(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return the points ``share`` (w,) of the way between directions, channels in axis 1."""
    lengths = [one.norm(dim=1, keepdim=True) for one in (first, second)]
    directions = [
        torch.where(length == 0, torch.zeros_like(one), one / length)
        for one, length in zip((first, second), lengths, strict=True)
    ]
    cosine = (directions[0] * directions[1]).sum(1, keepdim=True)
    angle = cosine.acos()
    sine = angle.sin()
    turned = ((1.0 - share) * angle).sin() / sine * directions[0]
    turned = turned + (share * angle).sin() / sine * directions[1]
    out = turned * (lengths[0] * (1.0 - share) + lengths[1] * share)
    out = torch.where(cosine > 1 - _ALIKE, first, out)
    return torch.where(cosine < _ALIKE - 1, first * (1.0 - share) + second * share, out)
