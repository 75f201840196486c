"""A prompt and a CLIP together: its plan for any run, and what the encoders make of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..core.prompt import Conditioning, Dialect, PromptPlan, RunShape, encode, plan
from ..core.prompt.conditioning import ConditioningPart
from .clip import HostClip

LIKELY_STEPS = range(1, 41)
"""Numbers of steps for which all texts are encoded before any sampler asks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A text and how it is to be encoded; ``host`` is the CLIP.  ``negative``: AND and LoRA tags are words.

    ``total_steps``, ``start_step``: the whole run and where in it the sampler begins, for a run in several
    samplers; 0 is the sampler's own.
    """

    text: str
    host: HostClip
    dialect: Dialect
    negative: bool = False
    emphasis: str = "Original"
    clip_skip: int = 1
    zero_empty: bool = False
    total_steps: int = 0
    start_step: int = 0

    def plan(self, steps: int, calls: int = 1) -> PromptPlan:
        """Return the prompt laid out over ``steps`` steps of ``calls`` denoiser calls each."""
        shape = RunShape(calls_per_step=calls, negative=self.negative)
        return plan(self.text, self.total_steps or max(steps, 1), dialect=self.dialect, run=shape)

    def encoded(self, laid: PromptPlan) -> Conditioning:
        """Return the conditioning of a plan of this prompt; chunks that were encoded before are not again."""
        return encode(
            laid,
            self.host.encoders,
            emphasis=self.emphasis,
            clip_skip=self.clip_skip,
            zero_empty=self.zero_empty,
            apply_networks=None if self.negative else self.host.apply_networks,
        )

    @cached_property
    def changes(self) -> bool:
        """Tell whether the text changes along a run."""
        return any(part.tree.groups for part in self.plan(1).parts)

    @cached_property
    def is_marked(self) -> bool:
        """Tell whether ComfyUI cannot do with the first conditioning alone: edits, AND, weights or LoRAs."""
        laid = self.plan(1)
        weighs = len(laid.parts) > 1 or any(part.weight != 1 for part in laid.parts)
        return self.changes or weighs or bool(laid.networks_at(0))

    def encode_ahead(self) -> None:
        """Encode the texts of all likely runs, so that the sampler need not wait for the text encoder."""
        seen: set[Any] = set()
        for steps in LIKELY_STEPS:
            laid = self.plan(steps)
            texts = frozenset(
                (variant.text, tuple(map(str, segment.networks)))
                for part in laid.parts
                for segment in part.segments
                for variant in segment.variants
            )
            if texts not in seen:
                seen.add(texts)
                self.encoded(laid)


def row_of(part: ConditioningPart, row: int) -> tuple[Tensor, Tensor | None]:
    """Return one text's hidden states ``(1, T, D)`` and pooled vector ``(1, Dp)``, as ComfyUI has them."""
    pooled = None if part.pooled is None else part.pooled[row : row + 1]
    return part.hidden[row : row + 1], pooled
