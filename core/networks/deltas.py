"""Weight deltas: what a network adds to one weight, scaled and, with DoRA, steered to given norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadValue
from .factors import Factors, Full, LoHa, LoKr, LoRA, add_factors, dense


@dataclass(frozen=True, kw_only=True, eq=False)
class Delta:
    """One weight's delta: ``factors`` for ``dW``, their ``scale`` (alpha / rank), and DoRA's ``magnitude``.

    ``magnitude`` is 1-D: with ``magnitude_axis`` 0 one norm for each output row (PEFT, LyCORIS's
    ``wd_on_out``), with 1 one for each input column (LyCORIS before that, and the paper's matrices).
    """

    factors: Factors
    scale: float = 1.0
    magnitude: Tensor | None = None
    magnitude_axis: Literal[0, 1] = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """``(out, in, *kernel)``; LoHa and LoKr of a convolution may have the kernel folded into ``in``."""
        return self.factors.shape

    def to(self, device: torch.device | str) -> Delta:
        """Return the delta with its tensors on ``device``."""
        magnitude = None if self.magnitude is None else self.magnitude.to(device)
        return replace(self, factors=self.factors.to(device), magnitude=magnitude)


def misfit(delta: Delta, shape: Sequence[int]) -> str | None:
    """Return why ``delta`` cannot be added to a weight of ``shape``, or None when it can.

    A linear delta fits a 1x1 convolution and the other way round, and a folded kernel fits an unfolded one.
    """
    own, want = delta.shape, tuple(shape)
    if own[:1] != want[:1] or prod(own) != prod(want) or (len(own) == len(want) and own != want):
        return f"is {own}, but the model's weight is {want}"
    magnitude = delta.magnitude
    if magnitude is not None and (len(want) < 2 or magnitude.numel() != want[delta.magnitude_axis]):
        return f"has {magnitude.numel()} magnitudes, but the model's weight is {want}"
    return None


def delta_weight(delta: Delta, base: Tensor, strength: float = 1.0) -> Tensor:
    """Return what to add to the weight ``base``: float32, of its shape and on its device.

    Linear in ``strength``; 0 gives zeros, with DoRA too.  Raises ``BadValue`` when the shapes do not fit.
    """
    if problem := misfit(delta, base.shape):
        raise BadValue(f"the delta {problem}; match the network with this model first")
    out = torch.zeros(base.shape, dtype=torch.float32, device=base.device)
    add_delta(out, delta, base, strength)
    return out


@torch.no_grad()
def add_delta(out: Tensor, delta: Delta, base: Tensor, strength: float) -> None:
    """Add ``strength * scale * dW`` to ``out`` in place, or with a magnitude ``strength * (W' - W)``.

    ``W' = m * (W + scale dW) / |W + scale dW|``, the norm taken of each row (or column) that ``m`` has a
    value for.  ``out``: float32, contiguous, of the shape of ``base``; ``base`` is ``W``, the weight without
    any network, and only DoRA reads it.

    Source: DoRA, Liu et al. 2024 (arXiv:2402.09353), eq. 5.
    """
    if delta.magnitude is None:
        add_factors(out, delta.factors, strength * delta.scale)
        return
    plain = base.to(out.device, torch.float32)
    merged = plain.clone(memory_format=torch.contiguous_format)
    add_factors(merged, delta.factors, delta.scale)
    norm = _norms(merged, delta.magnitude_axis)
    magnitude = delta.magnitude.to(norm).reshape(norm.shape)
    # A row of zeros has no direction: the smallest step keeps it zero, where 0 / 0 would make it NaN.
    merged.mul_(magnitude / (norm + torch.finfo(torch.float32).eps)).sub_(plain)
    out.add_(merged, alpha=strength)


def take_rows(delta: Delta, rows: slice) -> Delta:
    """Return the delta of some output rows; raises ``BadValue`` when its magnitude runs over the columns."""
    if delta.magnitude is not None and delta.magnitude_axis == 1:
        raise BadValue(
            "has a DoRA magnitude over the columns of a fused q, k, v matrix, which cannot be split"
        )
    magnitude = None if delta.magnitude is None else delta.magnitude[rows]
    match delta.factors:
        case LoRA() as lora:
            factors: Factors = replace(lora, up=lora.up[rows])
        case LoHa() | LoKr() | Full():
            factors = Full(diff=dense(delta.factors)[rows])
    return replace(delta, factors=factors, magnitude=magnitude)


def _norms(weight: Tensor, axis: int) -> Tensor:
    """Return the norm over all axes but ``axis``, which are kept with size 1."""
    others = [other for other in range(weight.ndim) if other != axis]
    return torch.linalg.vector_norm(weight, dim=others, keepdim=True)  # pyright: ignore
