"""The prompts of a pass that the core draws: laid out, encoded by the host's text encoders, and their LoRAs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..core.image.generation import Generation
from ..core.image.model_ref import ModelRef
from ..core.image.parts import Networks as Named
from ..core.prompt import Conditioning, Known, NetworkTag, PromptPlan, draw_warning, encode, plan
from ..core.prompt.constant_tags import constant_tags
from ..core.run import Sampling
from .host import shared
from .prompt_encoders import HostEncoder, embedding_hashes, encoders_of
from .prompt_networks import KINDS, Networks, known_networks

SETTING = "CLIP_stop_at_last_layers"


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Both prompts of a pass; ``empty``: the empty prompt (77, D) where it is padded with.

    ``loras``: of the pass.  ``named``: how a record names what is used.  ``warnings``: what is to be said.
    """

    positive: PromptPlan
    negative: PromptPlan
    cond: Conditioning
    uncond: Conditioning
    empty: Tensor | None
    loras: Networks
    named: Named
    warnings: tuple[str, ...]

    def switch(self, call: int) -> None:
        """Lay the LoRAs of denoiser call ``call`` on the UNet."""
        self.loras.switch(self.positive.networks_at(call))


class Reader:
    """Reads the prompts of passes with what the host has loaded; ``owner`` is a request of the host."""

    def __init__(self, owner: Any) -> None:
        """Keep a copy of the request, on which the host's LoRA extension writes."""
        self._owner = copy(owner)
        self._owner.extra_generation_params = {}
        self._owner.lora_hashes = {}

    def read(self, record: Generation, sampling: Sampling) -> Texts:
        """Lay out and encode the prompts of ``record``; LoRAs that are on all the time are on the model afterwards."""
        model = shared.sd_model
        known = Known(embeddings=encoders_of(model, _both(record))[0].embeddings)
        text, constant = _parted(record, sampling)
        positive, negative = (
            plan(
                text,
                sampling.first_steps,
                dialect=sampling.dialect,
                run=replace(sampling.shape, negative=is_negative),
                known=known,
            )
            for text, is_negative in ((text, False), (record.negative_prompt, True))
        )
        loras = self._loras(positive, constant)
        with loras.preparing(), _clip_skip(model, _skip_of(record, sampling, model)):
            found = self._encoded(model, (positive, negative), record, sampling, loras)
        cond, uncond, empty = found
        return Texts(
            positive=positive,
            negative=negative,
            cond=cond,
            uncond=uncond,
            empty=empty,
            loras=loras,
            named=self._named(model, cond, uncond),
            warnings=tuple(dict.fromkeys(_warnings(positive, negative, constant))),
        )

    def clear(self) -> None:
        """Leave the host's model without LoRAs."""
        Networks(self._owner, (), ()).lay_on()

    def _loras(self, positive: PromptPlan, constant: Sequence[NetworkTag]) -> Networks:
        every = [positive.networks_at(call) for call in range(positive.calls + 1)]
        sets = {repr(tags): tags for tags in every}
        loras = Networks(self._owner, constant, list(sets.values()))
        loras.lay_on()
        return loras

    def _encoded(
        self,
        model: Any,
        plans: tuple[PromptPlan, PromptPlan],
        record: Generation,
        sampling: Sampling,
        loras: Networks,
    ) -> tuple[Conditioning, Conditioning, Tensor | None]:
        """Return what the model's encoders make of both prompts, and of the empty one where it is wanted."""
        encoders = encoders_of(model, _both(record))
        positive, negative = plans

        def encoded(one: PromptPlan) -> Conditioning:
            is_negative = one.run.negative
            return encode(
                one,
                encoders,
                emphasis=sampling.emphasis,
                clip_skip=record.clip_skip or 1,
                zero_empty=is_negative and sampling.host.zero_empty_negative and is_sdxl(model),
                apply_networks=loras.encoders_with if loras.needed and not is_negative else None,
            )

        cond = encoded(positive)
        if loras.needed:
            calls = [positive.networks_at(call) for call in range(positive.calls)]
            loras.encoders_with([tag for tag in calls[0] if all(tag in others for others in calls)])
        uncond = encoded(negative)
        blank = replace(sampling.shape, negative=True)
        empty = None
        if sampling.padding == "empty":
            empty = encoded(plan("", sampling.first_steps, dialect=sampling.dialect, run=blank))
        return cond, uncond, None if empty is None else empty.for_call(0).hidden[0]

    def _named(self, model: Any, *conds: Conditioning) -> Named:
        hashes = dict(getattr(self._owner, "lora_hashes", None) or {})
        used = dict.fromkeys(name for one in conds for name in one.embeddings)
        known = embedding_hashes(model, used)
        return Named(
            loras=tuple(_ref(name, one) for name, one in hashes.items()),
            embeddings=tuple(_ref(name, known.get(_plain(name))) for name in used),
        )


def _plain(name: str) -> str:
    """Return ``name`` as infotexts have it, which part names by colons and commas."""
    return name.replace(":", "").replace(",", "")


def _ref(name: str, found: str | None) -> ModelRef:
    return ModelRef(name=_plain(name), hash=found if found and found.isalnum() else None)


def is_sdxl(model: Any) -> bool:
    """Tell whether the host's ``model`` is of SDXL's family."""
    return bool(getattr(model, "is_sdxl", False))


def encoder_count(model: Any) -> int:
    """Return how many text encoders the host's ``model`` has; raises ``BadType`` for others than CLIP."""
    return len(encoders_of(model))


def _both(record: Generation) -> tuple[str, str]:
    return record.prompt, record.negative_prompt


def _parted(record: Generation, sampling: Sampling) -> tuple[str, list[NetworkTag]]:
    """Return the positive prompt without the tags that are on all the time, and those; ComfyUI knows none."""
    if sampling.dialect.syntax == "comfyui":
        return record.prompt, []
    return constant_tags(record.prompt, sampling.dialect)


def _warnings(positive: PromptPlan, negative: PromptPlan, constant: Sequence[NetworkTag]) -> Iterator[str]:
    for one in (positive, negative):
        yield from (draw_warning(one.text, warning) for warning in one.warnings)
    here = known_networks()
    for tag in (*constant, *(tag for call in range(positive.calls) for tag in positive.networks_at(call))):
        name = tag.positional[0] if tag.positional else ""
        if here is not None and tag.kind in KINDS and name not in here:
            yield f"LoRA {name!r} is not in the host's Lora folder and is left out"


def _skip_of(record: Generation, sampling: Sampling, model: Any) -> int:
    """Return the clip skip that the host is set to; A1111 has none for SDXL."""
    if is_sdxl(model) and sampling.host.name.startswith("a1111"):
        return 1
    return record.clip_skip or 1


@contextmanager
def _clip_skip(model: Any, skip: int) -> Iterator[None]:
    """Let the host encode at clip skip ``skip`` inside."""
    data: dict[str, Any] = shared.opts.data
    was_set, before = SETTING in data, data.get(SETTING)
    engines = [one.part for one in _engines(model)]
    skips = [one.clip_skip for one in engines]
    data[SETTING] = skip
    for engine in engines:
        engine.clip_skip = skip
    try:
        yield
    finally:
        if was_set:
            data[SETTING] = before
        else:
            del data[SETTING]
        for engine, old in zip(engines, skips, strict=True):
            engine.clip_skip = old


def _engines(model: Any) -> list[HostEncoder]:
    """Return Forge's encoders, which keep a clip skip of their own."""
    return [one for one in encoders_of(model) if hasattr(one.part, "clip_skip")]
