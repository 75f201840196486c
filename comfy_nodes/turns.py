"""One run of a sampler: which entries of a conditioning have their turn at a denoiser call, under which LoRAs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..core.prompt import PromptPlan
from ..core.prompt.conditioning import ConditioningPart
from .host import hooks, lora_convert
from .loras import Lora, loras_of
from .prompts import Prompt


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """Within a run: when an entry is active, and how much its AND part weighs."""

    run: Run
    prompt: Prompt
    part: ConditioningPart
    row: int

    def is_at(self, call: int) -> bool:
        """Tell whether the entry is active at denoiser call ``call`` of the run."""
        return self.part.row(call + offset_of(self.prompt, self.run.plans[self.prompt])) == self.row


@dataclass(kw_only=True, eq=False)
class Run:
    """One run of a sampler: the plans of its prompts, and the number of the denoiser call to come."""

    plans: dict[Prompt, PromptPlan]
    patcher: Any
    options: dict[str, Any]
    call: int = 0
    _loras: dict[str, tuple[Lora, ...]] = field(default_factory=dict)
    _hooks: dict[Lora, Any] = field(default_factory=dict)
    _groups: dict[tuple[tuple[Lora, ...], int], Any] = field(default_factory=dict)

    def hooks_at(self, call: int, own: Any) -> Any:
        """Return an entry's hooks at a call: ``own``, and the LoRAs of all prompts; the same object each time."""
        loras = self._loras_at(call)
        if not loras:
            return own
        key = (loras, id(own))
        if key not in self._groups:
            group = own.clone() if own is not None else hooks.HookGroup()
            for lora in loras:
                group.add(self._hook(lora))
            self._groups[key] = group
        return self._groups[key]

    def _loras_at(self, call: int) -> tuple[Lora, ...]:
        tags = [
            tag
            for prompt, laid in self.plans.items()
            for tag in laid.networks_at(call + offset_of(prompt, laid))
        ]
        if (key := str(tags)) not in self._loras:
            self._loras[key] = tuple(replace(lora, te=0.0) for lora in loras_of(tags) if lora.unet)
        return self._loras[key]

    def _hook(self, lora: Lora) -> Any:
        """Return the hook of a LoRA at a strength, known to the model of this run."""
        if lora not in self._hooks:
            hook = hooks.WeightHook(strength_model=lora.unet, strength_clip=0.0)
            hook.weights = lora_convert.convert_lora(lora.weights())
            target = hooks.create_target_dict(hooks.EnumWeightTarget.Model)
            hook.add_hook_patches(self.patcher, self.options, target, hooks.HookGroup())
            self._hooks[lora] = hook
        return self._hooks[lora]


def offset_of(prompt: Prompt, laid: PromptPlan) -> int:
    """Return the denoiser calls of the whole run that lie before the sampler's first."""
    return prompt.start_step * laid.run.calls_per_step
