"""Nodes of a graph: conditionings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...core.image.graph import Node
from ...core.prompt import Dialect, encode, plan
from .models import lay_on
from .playing import Play, node
from .values import ClipWire, Cond, Entry

CELL = 8
"""Pixels to one cell of a latent."""


@node("CLIPTextEncode")
def clip_text_encode(play: Play, at: Node) -> tuple[Cond]:
    """Encode a text as ComfyUI does."""
    clip: ClipWire = play.wire(at, "clip")
    lay_on(clip.pipeline, clip.loras)
    prompt = plan(play.text(at, "text"), 1, dialect=Dialect.comfyui())
    encoders = clip.pipeline.model.text_encoders
    active = encode(prompt, encoders, emphasis="ComfyUI", clip_skip=clip.skip or 1).for_call(0)
    return ((Entry(hidden=active.hidden, pooled=active.pooled),),)


@node("ConditioningCombine")
def combine(play: Play, at: Node) -> tuple[Cond]:
    """Put two side by side."""
    return ((*play.wire(at, "conditioning_1"), *play.wire(at, "conditioning_2")),)


@node("ConditioningConcat")
def concat(play: Play, at: Node) -> tuple[Cond]:
    """Put the first text of one behind every text of the other."""
    tail: Entry = play.wire(at, "conditioning_from")[0]
    to: Cond = play.wire(at, "conditioning_to")
    return (tuple(replace(one, hidden=torch.cat([one.hidden, tail.hidden], 1)) for one in to),)


@node("ConditioningAverage")
def average(play: Play, at: Node) -> tuple[Cond]:
    """Mix the first text of one into every text of the other, zeros where it is shorter."""
    share = play.number(at, "conditioning_to_strength", 1.0)
    other: Entry = play.wire(at, "conditioning_from")[0]
    to: Cond = play.wire(at, "conditioning_to")
    return (tuple(_mixed(one, other, share) for one in to),)


def _mixed(one: Entry, other: Entry, share: float) -> Entry:
    length = one.hidden.shape[1]
    tail = other.hidden[:, :length]
    missing = tail.new_zeros(1, length - tail.shape[1], tail.shape[2])
    hidden = one.hidden * share + torch.cat([tail, missing], 1) * (1.0 - share)
    return replace(one, hidden=hidden, pooled=_mixed_pooled(one.pooled, other.pooled, share))


def _mixed_pooled(one: Tensor | None, other: Tensor | None, share: float) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one * share + other * (1.0 - share)


@node("ConditioningZeroOut")
def zero_out(play: Play, at: Node) -> tuple[Cond]:
    """Make every text zeros."""
    entries: Cond = play.wire(at, "conditioning")
    return (
        tuple(
            replace(
                one,
                hidden=torch.zeros_like(one.hidden),
                pooled=None if one.pooled is None else torch.zeros_like(one.pooled),
            )
            for one in entries
        ),
    )


def _set(play: Play, at: Node, **values: Any) -> tuple[Cond]:
    entries: Cond = play.wire(at, "conditioning")
    return (tuple(replace(one, **values) for one in entries),)


@node("ConditioningSetArea")
def set_area(play: Play, at: Node) -> tuple[Cond]:
    """Let the texts hold in a part of the picture, in pixels."""
    area = tuple(play.whole(at, name) // CELL for name in ("height", "width", "y", "x"))
    strength = play.number(at, "strength", 1.0)
    return _set(play, at, area=area, of_shares=False, to_bounds=False, strength=strength)


@node("ConditioningSetAreaPercentage")
def set_area_share(play: Play, at: Node) -> tuple[Cond]:
    """Let the texts hold in a part of the picture, in shares of its sides."""
    area = tuple(play.number(at, name) for name in ("height", "width", "y", "x"))
    strength = play.number(at, "strength", 1.0)
    return _set(play, at, area=area, of_shares=True, to_bounds=False, strength=strength)


@node("ConditioningSetAreaStrength")
def set_strength(play: Play, at: Node) -> tuple[Cond]:
    """Set how much the texts count among others."""
    return _set(play, at, strength=play.number(at, "strength", 1.0))


@node("ConditioningSetMask")
def set_mask(play: Play, at: Node) -> tuple[Cond]:
    """Let the texts hold in a mask."""
    mask: Tensor = play.wire(at, "mask")
    to_bounds = play.text(at, "set_cond_area", "default") != "default"
    strength = play.number(at, "strength", 1.0)
    return _set(play, at, mask=mask, mask_strength=strength, to_bounds=to_bounds)


@node("ConditioningSetTimestepRange")
def set_range(play: Play, at: Node) -> tuple[Cond]:
    """Let the texts hold in a part of the run."""
    return _set(play, at, start=play.number(at, "start", 0.0), end=play.number(at, "end", 1.0))
