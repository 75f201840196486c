"""The small factors that a network file holds for one weight, and the matrix that they stand for.

Every form gives ``dW`` of shape ``(out, in, *kernel)``.  Factors keep the dtype of the file; products and
sums are made in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadValue


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """A low-rank matrix: ``a @ b`` of ``(out, r)`` and ``(r, in)``, or in Tucker form with a ``core``.

    Tucker: ``core`` ``(p, q, *kernel)``, ``a`` ``(p, out)``, ``b`` ``(q, in)``.  Raises ``BadValue`` when
    they do not fit one another.
    """

    a: Tensor
    b: Tensor
    core: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that the factors multiply."""
        fits = self.a.ndim == self.b.ndim == 2
        if fits and self.core is None:
            fits = self.a.shape[1] == self.b.shape[0]
        elif fits and self.core is not None:
            fits = self.core.shape[:2] == (self.a.shape[0], self.b.shape[0])
        if not fits:
            raise BadValue(f"factors do not fit one another: {_sizes(a=self.a, b=self.b, core=self.core)}")

    @property
    def rank(self) -> int:
        """Number of rows of ``b``."""
        return self.b.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """``(out, in, *kernel)``."""
        if self.core is None:
            return (self.a.shape[0], self.b.shape[1])
        return (self.a.shape[1], self.b.shape[1], *self.core.shape[2:])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Product:
        """Return the product with its factors on ``device``, and in ``dtype`` when that is given."""
        core = None if self.core is None else self.core.to(device, dtype)
        return Product(a=self.a.to(device, dtype), b=self.b.to(device, dtype), core=core)

    def dense(self) -> Tensor:
        """Multiply it out: ``shape``, in the factors' dtype."""
        if self.core is None:
            return self.a @ self.b
        return torch.einsum("pq...,po,qi->oi...", self.core, self.a, self.b)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoRA:
    """``dW = up @ down``; for a convolution with ``mid`` the Tucker form ``up x mid x down``.

    ``up`` is ``(out, r)`` or ``(out, r, 1, 1)``, ``down`` ``(r, in, *kernel)``; with ``mid``
    ``(r, r, *kernel)`` ``down`` is ``(r, in, 1, 1)``.  Raises ``BadValue`` when they do not fit.

    Source: Hu et al. 2021 (arXiv:2106.09685), eq. 3; Tucker form: Yeh et al. 2023 (arXiv:2309.14859).
    """

    up: Tensor
    down: Tensor
    mid: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that the factors multiply."""
        up, down, mid = self.up, self.down, self.mid
        fits = up.ndim >= 2 and down.ndim >= 2 and up.shape[1:].numel() == down.shape[0]
        if fits and mid is not None:
            fits = mid.shape[:2] == (down.shape[0],) * 2 and down.shape[1:].numel() == down.shape[1]
        if not fits:
            raise BadValue(f"factors do not fit one another: {_sizes(up=up, down=down, mid=mid)}")

    @property
    def rank(self) -> int:
        """Number of rows of ``down``."""
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """``(out, in, *kernel)``."""
        kernel = self.down.shape[2:] if self.mid is None else self.mid.shape[2:]
        return (self.up.shape[0], self.down.shape[1], *kernel)

    def to(self, device: torch.device | str) -> LoRA:
        """Return the same with its factors on ``device``."""
        mid = None if self.mid is None else self.mid.to(device)
        return LoRA(up=self.up.to(device), down=self.down.to(device), mid=mid)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoHa:
    """``dW = first * second``, the elementwise product of two low-rank matrices of one shape.

    For a convolution without Tucker cores the kernel is folded into ``in``.  Raises ``BadValue`` when the two
    have different shapes.

    Source: FedPara, Hyeon-Woo et al. 2021 (arXiv:2108.06098), the matrix and the tensor form.
    """

    first: Product
    second: Product

    def __post_init__(self) -> None:
        """Check that the shapes agree."""
        if self.first.shape != self.second.shape:
            raise BadValue(
                f"the two factors of LoHa have different shapes: {self.first.shape}, {self.second.shape}"
            )

    @property
    def rank(self) -> int:
        """Rank of the first matrix."""
        return self.first.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """``(out, in, *kernel)``, or ``(out, in * prod(kernel))`` without Tucker cores."""
        return self.first.shape

    def to(self, device: torch.device | str) -> LoHa:
        """Return the same with its factors on ``device``."""
        return LoHa(first=self.first.to(device), second=self.second.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class LoKr:
    """``dW = kron(first, second)``: ``(a, c)`` by ``(b, d, *kernel)``, each of them whole or low-rank.

    A low-rank ``second`` of a convolution without a Tucker core has the kernel folded into ``d``.  Raises
    ``BadValue`` when ``first`` has a kernel, or either is no matrix.

    Source: LyCORIS, Yeh et al. 2023 (arXiv:2309.14859).
    """

    first: Tensor | Product
    second: Tensor | Product

    def __post_init__(self) -> None:
        """Check that the factors are matrices, the second perhaps with a kernel."""
        if len(self.first.shape) != 2 or len(self.second.shape) < 2:
            sizes = f"{tuple(self.first.shape)}, {tuple(self.second.shape)}"
            raise BadValue(f"the factors of LoKr must be (a, c) and (b, d, *kernel), not {sizes}")

    @property
    def rank(self) -> int | None:
        """Rank of the low-rank factor; None when both are whole, and then alpha means nothing."""
        return next((f.rank for f in (self.second, self.first) if isinstance(f, Product)), None)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(a * b, c * d, *kernel)``."""
        first, second = self.first.shape, self.second.shape
        return (first[0] * second[0], first[1] * second[1], *second[2:])

    def to(self, device: torch.device | str) -> LoKr:
        """Return the same with its factors on ``device``."""
        return LoKr(first=self.first.to(device), second=self.second.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class Full:
    """``dW`` itself, of the weight's (or bias's) own shape."""

    diff: Tensor

    @property
    def rank(self) -> None:
        """A full difference has no rank, and alpha means nothing."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``diff``."""
        return tuple(self.diff.shape)

    def to(self, device: torch.device | str) -> Full:
        """Return the same on ``device``."""
        return Full(diff=self.diff.to(device))


Factors = LoRA | LoHa | LoKr | Full


def add_factors(out: Tensor, factors: Factors, scale: float) -> None:
    """Add ``scale * dW`` to ``out`` in place, in one pass over it.

    ``out``: float32, contiguous, with as many rows and values as ``dW``.  Only LoHa, and LoKr with a low-rank
    ``second``, make matrices besides: LoHa two of the size of ``out``.
    """
    match factors:
        case LoRA(up=up, down=down, mid=mid):
            right = _f32(down, out).flatten(1)
            if mid is not None:
                right = torch.einsum("mn...,ni->mi...", _f32(mid, out), right).flatten(1)
            out.view(out.shape[0], -1).addmm_(_f32(up, out).flatten(1), right, alpha=scale)
        case LoHa(first=first, second=second):
            product = _f32(first, out).flatten(1), _f32(second, out).flatten(1)
            out.view(out.shape[0], -1).addcmul_(*product, value=scale)
        case LoKr(first=first, second=second):
            w1, w2 = _f32(first, out), _f32(second, out).flatten(1)
            blocks = out.view(w1.shape[0], w2.shape[0], w1.shape[1], w2.shape[1])
            blocks.addcmul_(w1[:, None, :, None], w2[None, :, None, :], value=scale)
        case Full(diff=diff):
            out.add_(_f32(diff, out).reshape(out.shape), alpha=scale)


def dense(factors: Factors) -> Tensor:
    """Multiply ``dW`` out: float32, of the factors' ``shape``, on the CPU."""
    out = torch.zeros(factors.shape)
    add_factors(out, factors, 1.0)
    return out


def _f32(factor: Tensor | Product, like: Tensor) -> Tensor:
    moved = factor.to(like.device, torch.float32)
    return moved.dense() if isinstance(moved, Product) else moved


def _sizes(**tensors: Tensor | None) -> str:
    return ", ".join(
        f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items() if tensor is not None
    )
