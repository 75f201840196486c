"""The prompts of a pass, laid out over its run and encoded by ComfyUI's CLIP, with the LoRAs that they name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..core.image.generation import Generation
from ..core.image.model_ref import ModelRef
from ..core.image.parts import Networks
from ..core.prompt import Conditioning, Known, PromptPlan, draw_warning, encode, plan
from ..core.run import Sampling
from .clip import checked_skip, host_clip
from .host import hooks, sd
from .loras import Lora, loras_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Both prompts of a pass, laid out and encoded."""

    positive: PromptPlan
    negative: PromptPlan
    cond: Conditioning
    uncond: Conditioning

    @property
    def warnings(self) -> list[str]:
        """What is to be said of the texts, a caret under the place."""
        both = (self.positive, self.negative)
        return [draw_warning(one.text, warning) for one in both for warning in one.warnings]

    @property
    def schedules_networks(self) -> bool:
        """Tell whether networks come and go along the run."""
        return len(self._states) > 1

    @property
    def lasts(self) -> list[int]:
        """The last calls of the positive prompt's segments."""
        return [segment.last for part in self.positive.parts for segment in part.segments]

    @property
    def networks(self) -> Networks:
        """How a record names the networks and embeddings that are used."""
        tags = [tag for call in range(self.positive.calls) for tag in self.positive.networks_at(call)]
        names = dict.fromkeys(tag.positional[0] for tag in tags if tag.positional)
        used = dict.fromkeys((*self.cond.embeddings, *self.uncond.embeddings))
        return Networks(
            loras=tuple(ModelRef(name=name) for name in names),
            embeddings=tuple(ModelRef(name=name) for name in used),
        )

    @cached_property
    def _states(self) -> dict[str, tuple[int, Any]]:
        """The sets of networks of all calls: a number and ComfyUI's hooks of each."""
        calls = sorted({0, *self.lasts, *(last + 1 for last in self.lasts)})
        sets = {repr(tags): tags for tags in (self.positive.networks_at(call) for call in calls)}
        if len(sets) == 1:
            return dict.fromkeys(sets, (0, None))
        return {key: (i, _hooked(loras_of(tags))) for i, (key, tags) in enumerate(sets.items())}

    def state(self, call: int) -> int:
        """Return the number of the set of networks that is on at ``call``; 0 where none come and go."""
        return self._states[repr(self.positive.networks_at(call))][0]

    def hooks(self, call: int) -> Any:
        """Return ComfyUI's hooks that lay the networks of ``call`` on the model, None where none come and go."""
        return self._states[repr(self.positive.networks_at(call))][1]

    def laid_on(self, model: Any) -> Any:
        """Return MODEL with the networks that are on all the time, unless some come and go: then hooks lay all."""
        if self.schedules_networks:
            return model
        for lora in loras_of(self.positive.networks_at(0)):
            if lora.unet:
                model, _ = sd.load_lora_for_models(model, None, lora.weights(), lora.unet, 0.0)
        return model


def _hooked(loras: list[Lora]) -> Any:
    groups = [hooks.create_hook_lora(lora.weights(), lora.unet, 0.0) for lora in loras if lora.unet]
    return hooks.HookGroup.combine_all_hooks(groups) if groups else None


def read_texts(clip: Any, record: Generation, sampling: Sampling, *, is_sdxl: bool) -> Texts:
    """Lay out and encode the prompts of ``record`` for a pass; raises ``BadValue`` for a clip skip that is none."""
    prompts = (record.prompt, record.negative_prompt)
    own = host_clip(clip, " ".join(prompts), sampling.dialect)
    known = Known(embeddings=own.encoders[0].embeddings)
    positive, negative = (
        plan(
            text,
            sampling.first_steps,
            dialect=sampling.dialect,
            run=replace(sampling.shape, negative=is_negative),
            known=known,
        )
        for text, is_negative in zip(prompts, (False, True), strict=True)
    )
    skip = checked_skip(record.clip_skip or 0, own)
    cond = encode(
        positive, own.encoders, emphasis=sampling.emphasis, clip_skip=skip, apply_networks=own.apply_networks
    )
    calls = [positive.networks_at(call) for call in range(max(positive.calls, 1))]
    own.apply_networks([tag for tag in calls[0] if all(tag in others for others in calls)])
    uncond = encode(
        negative,
        own.encoders,
        emphasis=sampling.emphasis,
        clip_skip=skip,
        zero_empty=sampling.host.zero_empty_negative and is_sdxl,
    )
    return Texts(positive=positive, negative=negative, cond=cond, uncond=uncond)
