"""One pass of a request: its prompts laid out over the steps, encoded by the model that runs, and looked up by call."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor

from ..core.errors import BadValue
from ..core.filled import sampler_called
from ..core.prompt import (
    DIALECTS,
    EMPHASIS,
    Conditioning,
    Dialect,
    NetworkTag,
    PromptPlan,
    RunShape,
    encode,
    plan,
)
from ..core.prompt.padding import Batch, batch_for_call
from ..core.run import calls_per_step
from ..core.sampling import SAMPLERS
from .host import processing, sd_samplers, shared
from .prompt_encoders import encoders_of
from .prompt_networks import Networks

SMALLEST = 1e-9
"""Strength of an image to image that keeps the image."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The prompts of one batch, an image each, and the network tags that are on all the time."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    constant: tuple[NetworkTag, ...] = ()


@dataclass(kw_only=True, eq=False)
class PromptPass:
    """The prompts of one pass over a batch.

    ``positive``, ``negative``: a plan an image.  What a model made of them is kept while that model runs.
    """

    positive: tuple[PromptPlan, ...]
    negative: tuple[PromptPlan, ...]
    networks: Networks
    _model: Any = lambda: None
    _encoded: tuple[list[Conditioning], list[Conditioning]] = field(default_factory=lambda: ([], []))

    @classmethod
    def of(cls, p: Any, texts: Texts, dialect: Dialect, *, hires: bool) -> PromptPass:
        """Lay out ``texts`` over the first or the hires pass of the host's request."""
        shape = run_of(p, dialect, hires=hires)
        positive = tuple(plan(text, p.steps, dialect=dialect, run=shape) for text in texts.positive)
        away = replace(shape, negative=True)
        negative = tuple(plan(text, p.steps, dialect=dialect, run=away) for text in texts.negative)
        sets = {
            _key(one.networks_at(call)): one.networks_at(call)
            for one in positive
            for call in range(one.calls + 1)
        }
        return cls(
            positive=positive,
            negative=negative,
            networks=Networks(p, texts.constant, list(sets.values())),
        )

    def encoded(self) -> tuple[list[Conditioning], list[Conditioning]]:
        """Return the conditionings, positive and negative, an image each, by the model that the host has loaded.

        Raises ``BadType`` for a model whose text encoders are not CLIP.
        """
        model = shared.sd_model
        if self._model() is not model:
            texts = [one.text for one in (*self.positive, *self.negative)]
            with self.networks.preparing():
                encoders = encoders_of(model, texts)
                made: dict[tuple[str, bool], Conditioning] = {}
                for one in (*self.positive, *self.negative):
                    made.setdefault((one.text, one.run.negative), self._encode(one, encoders, model))
            self._encoded = (
                [made[one.text, False] for one in self.positive],
                [made[one.text, True] for one in self.negative],
            )
            self._model = weakref.ref(model)
        return self._encoded

    def _encode(self, one: PromptPlan, encoders: Sequence[Any], model: Any) -> Conditioning:
        apply = self.networks.encoders_with if self.networks.needed and not one.run.negative else None
        if one.run.negative and self.networks.needed:
            calls = [self.tags_at(call) for call in range(self.positive[0].calls)]
            self.networks.encoders_with([tag for tag in calls[0] if all(tag in others for others in calls)])
        return encode(
            one,
            encoders,
            emphasis=shared.opts.emphasis if shared.opts.emphasis in EMPHASIS else "Original",
            zero_empty=one.run.negative and bool(getattr(model, "is_sdxl", False)),
            apply_networks=apply,
        )

    def at(self, call: int) -> tuple[Batch, Batch]:
        """Return what is active at model call ``call``, positive and negative, for the batch."""
        positive, negative = self.encoded()
        return batch_for_call(positive, call), batch_for_call(negative, call)

    def stand_ins(self) -> list[str]:
        """Return prompts of no words with the AND parts and weights of these, for the host to count."""
        return [" AND ".join(f":{number(part.weight)}" for part in one.parts) for one in self.positive]

    def tags_at(self, call: int) -> tuple[NetworkTag, ...]:
        """Return the tags that come and go and are on at model call ``call``: the first image's, as in the host."""
        return self.positive[0].networks_at(call)


def dialect_here(name: str) -> Dialect:
    """Return the dialect ``name`` with the host's settings; raises ``BadValue`` for an unknown one."""
    opts = shared.opts
    if name not in DIALECTS:
        raise BadValue(f"dialect is {name!r}; use host, {', '.join(DIALECTS)}")
    return with_settings(DIALECTS[name], opts)


def with_settings(dialect: Dialect, opts: Any) -> Dialect:
    """Return ``dialect`` with what the host's settings say of prompts; comments the host has taken out by itself."""
    if dialect.syntax == "comfyui":
        return dialect
    return replace(
        dialect,
        comma_backtrack=min(max(int(getattr(opts, "comma_padding_backtrack", 20)), 0), 74),
        old_timeline=bool(getattr(opts, "use_old_scheduling", False)),
        comments=False,
    )


def run_of(p: Any, dialect: Dialect, *, hires: bool) -> RunShape:
    """Return the shape of a pass of the host's request."""
    if hires:
        steps = p.hr_second_pass_steps or p.steps
        name = getattr(p, "hr_sampler_name", None) or p.sampler_name
        return RunShape(hires_steps=steps, calls_per_step=calls_of(name, steps, dialect))
    shortened = (
        isinstance(p, processing.StableDiffusionProcessingImg2Img) and not shared.opts.img2img_fix_steps
    )
    strength = min(max(float(p.denoising_strength), SMALLEST), 1.0) if shortened else 1.0
    return RunShape(denoise=strength, calls_per_step=calls_of(p.sampler_name, p.steps, dialect))


def calls_of(sampler: str, steps: int, dialect: Dialect) -> int:
    """Return the model calls of a step of the host's ``sampler`` by which prompts count."""
    name = sampler_called(sampler)
    if dialect.exact_switch and name in SAMPLERS:
        return calls_per_step(SAMPLERS[name], dialect)
    config = sd_samplers.find_sampler_config(sampler)
    return max(config.total_steps(steps) // steps, 1) if config else 1


def shaped(like: Any, batch: Batch) -> Any:
    """Return ``batch`` in the form that the host has at this call, with what else the host put there.

    ``like``: ``(N, T, D)``, or a dictionary of it with SDXL's vector, whose first columns are the pooled output.
    """
    if not isinstance(like, dict):
        return batch.hidden.to(like)
    rows = len(batch.hidden)
    made: dict[str, Tensor] = {
        name: one[:1].expand(rows, *one.shape[1:]) for name, one in like.items() if isinstance(one, Tensor)
    }
    made["crossattn"] = batch.hidden.to(like["crossattn"])
    if batch.pooled is not None and "vector" in like:
        width = batch.pooled.shape[1]
        made["vector"] = torch.cat([batch.pooled.to(like["vector"]), made["vector"][:, width:]], dim=1)
    return type(like)(made)


def number(weight: float) -> str:
    """Return ``weight`` as the host reads one: digits, with a sign and a point, exactly."""
    return format(Decimal(weight), "f")


def _key(tags: Sequence[NetworkTag]) -> tuple[Any, ...]:
    return tuple((tag.kind, *tag.positional, *tag.named.items(), tag.share) for tag in tags)
