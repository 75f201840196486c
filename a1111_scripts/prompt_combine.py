"""AND on Forge and its kin: every image of a batch by its own parts and weights.

The host averages the parts by weight, the last image's for all, and multiplies by the sum of the weights.  What A1111
means is the negative prompt's ``u`` plus each ``w * (d - u)``: an average whose weights are the parts' own and, for the
negative prompt, one minus their sum.  It is put to the host as such, through the masks that its conditionings may have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Images = Sequence[Sequence[tuple[int, float]]]
"""For each image the ``(row, weight)`` of its parts."""
LEAST = 0.25
"""Share of the sum of weights in that of their amounts below which dividing by it would cost digits."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What one model call is to combine: rows in the host's form, those of the negative prompt, and ``images``."""

    positive: Any
    negative: Any
    images: Images


def combined(parts: Parts, cond: list[Any], uncond: list[Any] | None, x: Tensor, scale: float) -> list[Any]:
    """Return the host's ``cond`` for this call, or other entries in its form where that would be wrong.

    ``x``: ``(B, C, h, w)``; ``uncond``: None where the host asks for none; ``scale``: of the guidance.
    """
    weights = _table(parts.images)
    sums = weights.sum(dim=0)
    alone = uncond is None or math.isclose(scale, 1.0)
    even = bool((weights == weights[:, :1]).all())
    stable = bool((sums.abs() >= LEAST * weights.abs().sum(dim=0)).all()) and not alone
    if even and len({len(one) for one in parts.images}) == 1 and (stable or bool((sums == 1).all())):
        return cond
    rows = [[one[min(k, len(one) - 1)][0] for one in parts.images] for k in range(len(weights))]
    entries = [(_taken(parts.positive, row), mask) for row, mask in zip(rows, weights, strict=True)]
    total = float(sums[0])
    if not (stable and bool((sums == total).all())):
        total = 1.0
        rest = 1.0 - sums
        if bool((rest != 0).any()):
            entries.append((parts.negative, rest))
    return [_entry(cond[0], feed, mask, x, total / len(entries)) for feed, mask in entries]


def _table(images: Images) -> Tensor:
    """Return weights ``(parts, images)``, 0 where an image has fewer parts."""
    most = max(map(len, images))
    return torch.tensor([[one[k][1] if k < len(one) else 0.0 for one in images] for k in range(most)])


def _taken(feed: Any, rows: list[int]) -> Any:
    if isinstance(feed, dict):
        return {name: one[rows] for name, one in feed.items()}
    return feed[rows]


def _entry(template: dict[str, Any], feed: Any, mask: Tensor, x: Tensor, strength: float) -> dict[str, Any]:
    """Return an entry like the host's ``template`` with other rows, weighted by ``mask``, a number an image."""
    hidden = feed["crossattn"] if isinstance(feed, dict) else feed
    conds = dict(template["model_conds"])
    conds["c_crossattn"] = type(conds["c_crossattn"])(hidden)
    made = {**template, "cross_attn": hidden, "model_conds": conds, "strength": strength}
    if isinstance(feed, dict) and "y" in conds:
        conds["y"] = type(conds["y"])(feed["vector"])
        made["pooled_output"] = feed["vector"]
    made["mask"] = mask.to(x)[:, None, None].expand(-1, *x.shape[2:])
    return made
