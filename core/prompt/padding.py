"""Conditionings of a batch side by side, and what hosts do where positive and negative differ in length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .conditioning import Conditioning, stack_pooled, stack_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The conditioning of one denoiser call for several images.

    ``hidden``: ``(N, T, D)``, all AND parts of all images, shorter ones extended by their last vector;
    ``pooled``: ``(N, Dp)`` or ``None``; ``images``: per image ``(row, weight)`` of its parts.
    """

    hidden: Tensor
    pooled: Tensor | None
    images: tuple[tuple[tuple[int, float], ...], ...]


def batch_for_call(conditionings: Sequence[Conditioning], call: int) -> Batch:
    """Put side by side what is active at denoiser call ``call`` (from 0), one conditioning an image.

    Source: A1111 1.9.4; tests/golden/cond/a1111_pads.jsonl.gz.
    """
    parts = [part for conditioning in conditionings for part in conditioning.parts]
    images: list[tuple[tuple[int, float], ...]] = []
    row = 0
    for conditioning in conditionings:
        weights = [part.weight for part in conditioning.parts]
        images.append(tuple(enumerate(weights, start=row)))
        row += len(weights)
    return Batch(
        hidden=stack_rows([part.hidden[part.row(call)] for part in parts]),
        pooled=stack_pooled([part.pooled[part.row(call)] for part in parts if part.pooled is not None]),
        images=tuple(images),
    )


def pad_with_empty(cond: Tensor, uncond: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both to one length by adding the encoded empty prompt ``(77, D)`` to the shorter one.

    ``cond``, ``uncond``: ``(N, T, D)``, whose lengths are multiples of 77.

    Source: A1111 1.9.4, "Pad prompt/negative prompt"; tests/golden/cond/a1111_pads.jsonl.gz.
    """
    import torch  # noqa: PLC0415

    longest = max(cond.shape[1], uncond.shape[1])

    def extended(one: Tensor) -> Tensor:
        times = (longest - one.shape[1]) // empty.shape[0]
        return torch.cat([one, empty.repeat(times, 1).expand(len(one), -1, -1)], dim=1)

    return extended(cond), extended(uncond)


def pad_with_last(cond: Tensor, uncond: Tensor) -> tuple[Tensor, Tensor]:
    """Bring ``uncond`` ``(N, T, D)`` to the length of ``cond``: repeat its last vector, or cut it.

    Source: A1111 1.9.4, "Pad prompt/negative prompt (v0)"; tests/golden/cond/a1111_pads.jsonl.gz.
    """
    import torch  # noqa: PLC0415

    missing = max(cond.shape[1] - uncond.shape[1], 0)
    tail = uncond[:, -1:].expand(-1, missing, -1)
    return cond, torch.cat([uncond, tail], dim=1)[:, : cond.shape[1]]
