"""What can disagree with a card, one check a function: each finds nothing, or what is and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ..errors import BadValue
from ..filled import names_of, profile_of, sampler_called, scheduler_called
from ..image.generation import Generation
from ..image.names import sampler_label, scheduler_label
from ..image.upscale import LATENT_UPSCALERS
from ..image.upscalers import FILES
from ..prompt.networks import strengths_of
from ..prompt.plan import PromptPlan, plan
from ..refined_run import plan_of
from ..run import sampling_of
from ..sigmas import ModelSigmas
from ..sigmas.model import floats
from .apply import lora_tags
from .files import called
from .recipe import Rule

Found = tuple[str, str]
"""What is, and what to do about it."""
MILLION = 1_000_000
NEAR = 1e-6
"""By how much a number may miss its range."""
_SPEED = re.compile(r"lcm|lightning|turbo|hyper|dmd|pcm|flash", re.IGNORECASE)
"""What networks that save steps are called; they are no styles."""
_ARTIST = re.compile(
    r"artist\s*:\s*(?P<named>\S.*)|(?P<marked>\S.*?)[\s_]*\(artist\)|@(?P<at>\w.*)|(?:art|drawn |in the )?\s*style of "
    r"(?P<style>\w.*)",
    re.IGNORECASE,
)
"""Artists called otherwise than with ``by ``."""
_NAMESPACE = re.compile(r"[a-z][a-z _]*:\s?[^\s:].*", re.IGNORECASE)
_LABELS = {
    "cfg": "CFG",
    "clip_skip": "clip skip",
    "hires.upscale": "the hires factor",
    "hires.steps": "hires steps",
    "hires.denoise": "the denoising strength of hires",
    "hires.upscaler": "the hires upscaler",
    "image.denoise": "the denoising strength",
    "refiner.switch_at": "the refiner's switch",
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A record as the checks see it."""

    record: Generation

    @cached_property
    def names(self) -> tuple[str | None, str | None]:
        """Sampler and schedule by the registries' names; None where the record leaves both to the front."""
        record = self.record
        if record.sampler is None:
            return None, None if record.scheduler is None else scheduler_called(record.scheduler)
        try:
            return names_of(profile_of(record), record.sampler, record.scheduler)
        except BadValue:
            return sampler_called(record.sampler), record.scheduler

    def value(self, field: str) -> Any:
        """Return what the record says of ``field``, None for nothing."""
        record = self.record
        match field:
            case "sampler":
                return self.names[0]
            case "scheduler":
                return self.names[1]
            case "hires.denoise":
                return record.denoising_strength if record.hires else None
            case "image.denoise":
                return None if record.hires else record.denoising_strength
            case _:
                owner, _, name = field.rpartition(".")
                holder = getattr(record, owner) if owner else record
                return None if holder is None else getattr(holder, name)

    @cached_property
    def prompt(self) -> PromptPlan:
        """The prompt, laid out as the record's dialect reads it."""
        return self._plan(self.record.prompt)

    def tags(self, *, negative: bool = False) -> list[str]:
        """Return what stands between commas in the prompt, weights and breaks taken away."""
        laid = self._plan(self.record.negative_prompt) if negative else self.prompt
        texts = {
            text
            for part in laid.parts
            for segment in part.segments
            for text, weight in segment.pieces
            if (text, weight) != ("BREAK", -1.0)
        }
        tags = (" ".join(tag.split()) for text in texts for tag in re.split(r"[,\n]", text))
        return [tag for tag in dict.fromkeys(tags) if tag]

    def _plan(self, text: str) -> PromptPlan:
        own = self.record.concord
        dialect = (own and own.dialect) or profile_of(self.record).dialect
        return plan(text, self.record.steps or 20, dialect=dialect)


# Settings


def within(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a number outside its range."""
    value = subject.value(rule.field)
    low, high = rule.wants
    if value is not None and not low - NEAR <= value <= high + NEAR:
        name = _LABELS.get(rule.field, rule.field)
        yield f"{name} is {value:g}", f"set it to {_range(low, high)}"


def one_of(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a name that is none of those wanted; a file goes by any spelling, and by the web UIs' name for it."""
    value, names = subject.value(rule.field), [str(name) for name in rule.wants]
    if value is not None and called(value, [*names, *(FILES.get(name, name) for name in names)]) is None:
        yield _is(rule.field, value), f"use {_names(rule.field, rule.wants)}"


def none_of(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a name that does not work."""
    value = subject.value(rule.field)
    if value is not None and value in rule.wants:
        yield _is(rule.field, value), f"use another {_LABELS.get(rule.field, rule.field)}, such as normal"


def pairs(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a sampler that is none of those wanted, or that goes with another schedule; no schedules are all."""
    sampler, scheduler = subject.names
    if sampler is None:
        return
    known: dict[str, list[str]] = {pair["sampler"]: pair["schedulers"] for pair in rule.wants}
    if sampler not in known:
        yield _is("sampler", sampler), f"use {_names('sampler', known)}"
    elif scheduler is not None and known[sampler] and scheduler not in known[sampler]:
        with_it = f"the schedule of {sampler_label(sampler)} is {scheduler_label(scheduler)}"
        yield with_it, f"use {_names('scheduler', known[sampler])}"


def size(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a picture of the wrong number of pixels, or with sides off the grid."""
    sides = subject.record.size
    if sides is None:
        return
    width, height = sides
    multiple, (low, high) = rule.wants["multiple"], rule.wants["megapixels"]
    area = width * height / MILLION
    if not low <= area <= high:
        yield (
            f"the size is {width}x{height}, {area:.2g} megapixels",
            f"pass one of {low:g} to {high:g} megapixels",
        )
    elif width % multiple or height % multiple:
        near = "x".join(str(max(multiple, round(side / multiple) * multiple)) for side in sides)
        yield f"the size is {width}x{height}, no multiples of {multiple}", f"pass {near}"


def there(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a part of the recipe that the record goes without."""
    if not subject.value(rule.field):
        yield f"{rule.wants} is left out", f"add {rule.wants}"


def upscaled(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a hires pass whose factor and strength do not belong to its upscaler."""
    hires, strength = subject.record.hires, subject.record.denoising_strength
    if hires is None:
        return
    upscaler = hires.upscaler or "Latent"
    wants = rule.wants["latent" if upscaler in LATENT_UPSCALERS else "picture"]
    for name, value in (("upscale", hires.upscale), ("denoise", strength)):
        low, high = wants.get(name, (value, value))
        if value is not None and not low - NEAR <= value <= high + NEAR:
            what = f"{_LABELS[f'hires.{name}']} is {value:g} with the upscaler {upscaler}"
            yield what, f"set it to {_range(low, high)}"


def bands(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a strength between the bands that mean something."""
    value = subject.value(rule.field)
    if value is None or any(low - NEAR <= value <= high + NEAR for low, high in rule.wants.values()):
        return
    use = ", ".join(f"{low:g} to {high:g} for {what}" for what, (low, high) in rule.wants.items())
    yield f"{_LABELS[rule.field]} is {value:g}", f"use {use}"


def handover(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a refiner that takes over too early or too late, in steps."""
    low, high = rule.wants
    step = _steps_before_refiner(subject.record)
    if step is not None and not low <= step <= high:
        share = (low + high) / 2 / (subject.record.steps or 20)
        advice = f"let it switch after {low} to {high}, such as at {share:.2g} counted in steps"
        yield f"the refiner takes over after {step} steps", advice


def _steps_before_refiner(record: Generation) -> int | None:
    """Return the steps of the first pass before its refiner, None where it has none or cannot be run."""
    try:
        sampling = sampling_of(record, ModelSigmas.sd())
    except BadValue:
        return None
    switch = plan_of(record, sampling)
    if switch is None or switch.step is not None:
        return None if switch is None else switch.step
    calls = sampling.shape.calls_per_step
    sigmas = floats(sampling.sigmas)[:-1]
    return next((i for i, sigma in enumerate(sigmas) if switch.is_due(i * calls, sigma)), None)


# Prompts


def lora(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a network that is left out, or of another weight."""
    mark, weight = rule.wants["mark"], rule.wants["weight"]
    weights = [unet for name, unet in _weights(subject.record.prompt) if mark in name.casefold()]
    if not weights:
        yield (
            f"no LoRA of the prompt is called {mark}",
            f"add <lora:NAME:{weight:g}>, or use a model made with it",
        )
    for one in weights:
        if abs(one - weight) > NEAR:
            yield f"the {mark.upper()} LoRA weighs {one:g}", f"set its weight to {weight:g}"


def style_loras(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find too many LoRAs, or two that are too much or too little together; those that save steps do not count."""
    weights = [unet for name, unet in _weights(subject.record.prompt) if not _SPEED.search(name)]
    most, (low, high) = rule.wants["most"], rule.wants["total"]
    total = sum(weights)
    if len(weights) > most:
        yield (
            f"the prompt has {len(weights)} LoRAs",
            f"keep at most {most} of styles; characters do not count",
        )
    elif len(weights) == most and not low - NEAR <= total <= high + NEAR:
        yield (
            f"{most} LoRAs weigh {total:g} together",
            f"if both are styles, bring them to {low:g} to {high:g}",
        )


def _weights(prompt: str) -> Iterator[tuple[str, float]]:
    """Yield name and weight of each LoRA; one whose weight is no number is for others to complain of."""
    for tag in lora_tags(prompt):
        try:
            yield tag.positional[0], strengths_of(tag)[1]
        except BadValue:
            continue


def quality_tags(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find quality tags that the model does not know, and those in the wrong prompt."""
    positive, negative = rule.wants["positive"], rule.wants["negative"]
    unknown: set[str] = set(rule.wants["unknown"])
    for where, own, others in (("prompt", positive, negative), ("negative prompt", negative, positive)):
        for tag in subject.tags(negative=where != "prompt"):
            plain = tag.casefold().replace("_", " ")
            if plain in others:
                yield f"{tag!r} stands in the {where}", f"keep {' and '.join(own)} there"
            elif plain not in own and (plain in unknown or plain.endswith(" quality")):
                yield f"{tag!r} is none of its quality tags", f"use {', '.join([*positive, *negative])}"


def styles_in_own_chunk(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find artists that share a chunk with the content."""
    del rule
    for warning in subject.prompt.warnings:
        if warning.code == "artist-among-content":
            text = subject.record.prompt[slice(*warning.span)]
            yield f"{text!r} shares a chunk with the content", warning.suggestion


def by_artists(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find artists that are called otherwise than with ``by ``."""
    del rule
    for tag in subject.tags():
        if match := _ARTIST.fullmatch(tag):
            name = next(one for one in match.groups() if one is not None)
            yield f"{tag!r} does not say `by `", f"write by {name.strip()}"


def namespaces(rule: Rule, subject: Subject) -> Iterator[Found]:
    """Find a prompt without labelled tags."""
    tags = subject.tags()
    if tags and not any(_NAMESPACE.fullmatch(tag) for tag in tags):
        yield "no tag of the prompt has a namespace", f"label what can be misread: {', '.join(rule.wants)}"


# Words


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _label(field: str, name: str) -> str:
    end = field.rpartition(".")[2]
    return {"sampler": sampler_label, "scheduler": scheduler_label}.get(end, str)(name)


def _names(field: str, names: Any) -> str:
    return " or ".join(_label(field, name) for name in names)


def _is(field: str, name: str) -> str:
    what = {"sampler": "the sampler", "scheduler": "the schedule"}.get(field, _LABELS.get(field, field))
    return f"{what} is {_label(field, name)}"


Check = Callable[[Rule, Subject], Iterator[Found]]
CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.__name__: check
        for check in (
            within,
            one_of,
            none_of,
            pairs,
            size,
            there,
            upscaled,
            bands,
            handover,
            lora,
            style_loras,
            quality_tags,
            styles_in_own_chunk,
            by_artists,
            namespaces,
        )
    }
)
"""Every check by the name that rules call it."""
