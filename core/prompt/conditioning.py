"""What a text encoder made of a plan, looked up by denoiser call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Active:
    """The conditioning of one denoiser call.

    ``hidden``: ``(P, T, D)``, one row an AND part, shorter parts extended by repeating their last vector;
    ``pooled``: ``(P, Dp)`` or ``None``; ``weights``: the ``P`` weights.
    """

    hidden: Tensor
    pooled: Tensor | None
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ConditioningPart:
    """One AND part: distinct rows, and which of them each segment uses.

    ``hidden``: ``(R, T, D)``; ``pooled``: ``(R, Dp)`` or ``None``; ``lasts``: the last call of each
    segment, ascending; ``rows``: its row.  Calls past the last end take segment ``past_end``.
    """

    weight: float
    hidden: Tensor
    pooled: Tensor | None
    lasts: tuple[int, ...]
    rows: tuple[int, ...]
    past_end: int = 0

    def row(self, call: int) -> int:
        """Return the row that denoiser call ``call`` (from 0) uses."""
        for last, row in zip(self.lasts, self.rows, strict=True):
            if call <= last:
                return row
        return self.rows[self.past_end]


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """The encoded prompt: its AND parts, looked up by call; ``embeddings``: names of those that it uses."""

    parts: tuple[ConditioningPart, ...]
    embeddings: tuple[str, ...] = ()

    def for_call(self, call: int) -> Active:
        """Return what is active at denoiser call ``call``, counted from 0."""
        rows = [part.row(call) for part in self.parts]
        pooled = [p.pooled[r] for p, r in zip(self.parts, rows, strict=True) if p.pooled is not None]
        return Active(
            hidden=stack_rows([p.hidden[r] for p, r in zip(self.parts, rows, strict=True)]),
            pooled=stack_pooled(pooled),
            weights=tuple(part.weight for part in self.parts),
        )

    @property
    def pooled(self) -> Tensor | None:
        """The pooled output ``(P, Dp)`` at call 0, or ``None``."""
        return self.for_call(0).pooled


def stack_rows(rows: Sequence[Tensor]) -> Tensor:
    """Stack ``(T_i, D)`` to ``(P, max T, D)``, shorter ones extended by repeating their last vector."""
    import torch  # noqa: PLC0415

    longest = max(row.shape[0] for row in rows)
    return torch.stack([torch.cat([row, row[-1:].expand(longest - row.shape[0], -1)]) for row in rows])


def stack_pooled(rows: Sequence[Tensor]) -> Tensor | None:
    """Stack ``(Dp,)`` to ``(P, Dp)``; ``None`` where there are none."""
    import torch  # noqa: PLC0415

    return torch.stack(list(rows)) if rows else None
