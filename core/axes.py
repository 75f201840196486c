"""Axes of grids and sweeps: what of a generation record varies, and the values it takes.

The axes are the fields of the record, by the names and rules of the infotext's table of keys
(``core.image.keys``): ``cfg``, ``hires.steps``, ``detailer.confidence``.  Beside them stand ``prompt s/r``, which
replaces text in the prompts, ``lora NAME``, the weight of a network in them, ``option NAME``, of a sampler or
schedule, and ``detailer 2.confidence``, of a later unit.  ``recipe`` brings a model card's settings for whatever
else is left open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from .axis import Axis, Replacement, parse_values
from .axis_recipes import recipe_axis
from .axis_texts import SEARCH, lora_axis
from .errors import BadValue, unknown
from .image.generation import SUBRECORDS, DetailerUnit, Generation
from .image.infotext import unit_label
from .image.keys import KEYS, UNIT, Key
from .image.model_ref import ModelRef
from .image.names import sampler_label, sampler_name, scheduler_label, scheduler_name, split_fused
from .image.rules import TEXT, Rule, read_option

__all__ = ["AXES", "Axis", "Replacement", "axis_named", "parse_axis", "parse_values"]

NOT_VARIED = {
    *("model.hash", "vae.hash", "networks.loras", "networks.embeddings", "init_image_hash"),
    *("template", "negative_template", "version", "user", "detailer_version", "concord.version"),
    *("concord.batch_size", "concord.batch_position", "found"),
}
"""Fields that tell of a picture that is made, rather than how to make one."""
MOST_UNITS = 20
_UNIT_AXIS = re.compile(r"detailer ([1-9][0-9]?)\.(\w+)")
_UNIT_LABEL = re.compile(r"(.+) ([1-9][0-9]?)(?:st|nd|rd|th)")


def parse_axis(text: str) -> tuple[Axis, list[Any]]:
    """Return the axis and values of ``sampler=euler,dpmpp_2m``; raises as ``axis_named`` and ``parse_values``."""
    name, sign, values = text.partition("=")
    if not sign:
        raise BadValue(f"the axis {text!r} has no values; write NAME=VALUE,VALUE such as steps=10-30 (+5)")
    found = axis_named(name)
    return found, parse_values(found, values)


def axis_named(name: str) -> Axis:
    """Return the axis of a name (``hires.steps``) or label (``Hires steps``), upper and lower case being one.

    Of a field that only one part of the record has, its own name will do (``dialect``, ``eta``).  Raises
    ``BadValue`` that offers the nearest names.
    """
    wanted = " ".join(name.split())
    folded = wanted.casefold()
    for kind, make in (("lora", lora_axis), ("option", _option_axis)):
        if folded.startswith(f"{kind} ") and folded not in AXES:
            return make(wanted[len(kind) + 1 :].strip("<>"))
    found = AXES.get(folded) or _BY_LABEL.get(folded) or _BY_FIELD.get(folded) or _later_unit(folded)
    if found is None:
        units = folded.startswith("detailer")
        known = [name for name in AXES if name.startswith("detailer.") == units]
        more = ["detailer 2.FIELD"] if units else ["detailer.FIELD", "lora NAME", "option NAME"]
        raise unknown("axis", wanted, [*known, *more])
    return found


def _later_unit(folded: str) -> Axis | None:
    """Return the axis of a field of a later unit, by name (``detailer 2.steps``) or label (``adetailer steps 2nd``)."""
    keys = {f"detailer.{key.path}": key for key in UNIT}
    if by_name := _UNIT_AXIS.fullmatch(folded):
        number, name = int(by_name[1]), f"detailer.{by_name[2]}"
    elif (by_label := _UNIT_LABEL.fullmatch(folded)) and by_label[1] in _BY_LABEL:
        number, name = int(by_label[2]), _BY_LABEL[by_label[1]].name
    else:
        return None
    return _unit_axis(keys[name], number) if name in keys and number <= MOST_UNITS else None


# The fields of the record


def _field_axis(key: Key) -> Axis:
    """Return the axis of one key of the infotext."""
    path = key.path.removesuffix(".name") if key.path in ("model.name", "vae.name") else key.path
    made = _of_rule(key.rule, path, key.label, partial(_with_field, path=path))
    if path.rpartition(".")[2] in ("sampler", "scheduler"):
        return _of_names(made)
    if path == "concord.recipe":
        return recipe_axis(made)
    return _of_words(made) if path in _WORDS else made


def _unit_axis(key: Key, unit: int = 1) -> Axis:
    """Return the axis of a field of detailer unit ``unit``, which counts from 1."""
    name = f"detailer.{key.path}" if unit == 1 else f"detailer {unit}.{key.path}"
    made = _of_rule(
        key.rule, name, unit_label(key.label, unit - 1), partial(_with_unit, name=key.path, i=unit - 1)
    )
    return _of_names(made) if key.path in ("sampler", "scheduler") else made


def _of_rule(rule: Rule, name: str, label: str, assign: Callable[[Generation, Any], Generation]) -> Axis:
    def write(value: Any) -> str:
        return rule.write(value) or ""

    wants = {"flag": "True or False", "sides": "sizes such as 512x768"}.get(rule.kind, rule.wants)
    read = _read_flag if rule.kind == "flag" else rule.parse
    return Axis(name=name, label=label, kind=rule.kind, wants=wants, read=read, write=write, assign=assign)


def _of_names(axis: Axis) -> Axis:
    """Return ``axis`` with values that the registries know."""
    if axis.name.endswith("sampler"):
        return replace(axis, kind="sampler", read=_read_sampler, write=_write_sampler)
    return replace(axis, kind="schedule", read=_read_scheduler, write=scheduler_label)


def _of_words(axis: Axis) -> Axis:
    """Return ``axis`` with those values alone that the table of words has."""

    def read(text: str) -> str:
        known = _WORDS[axis.name]()
        found = [word for word in known if word.casefold() == text.casefold()]
        if not found:
            raise unknown(axis.label, text, known)
        return found[0]

    return replace(axis, read=read)


def _dialects() -> Collection[str]:
    from .prompt.dialect import DIALECTS  # loads torch  # noqa: PLC0415

    return DIALECTS


def _profiles() -> Collection[str]:
    from .profiles import PROFILES  # loads torch  # noqa: PLC0415

    return PROFILES


def _emphases() -> Collection[str]:
    from .prompt.emphasis import EMPHASIS  # loads torch  # noqa: PLC0415

    return EMPHASIS


_WORDS: Mapping[str, Callable[[], Collection[str]]] = {
    "concord.dialect": _dialects,
    "concord.profile": _profiles,
    "emphasis": _emphases,
    "rng": lambda: ("CPU", "GPU", "NV"),
}
"""Fields of text of which only some words mean anything."""


def _read_flag(text: str) -> bool:
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if text.casefold() not in words:
        raise ValueError(text)
    return words[text.casefold()]


def _read_sampler(text: str) -> str:
    """Return the registry's name of a sampler; a label that holds the schedule too stays as it is."""
    from .sampling import SAMPLERS  # loads torch  # noqa: PLC0415

    name = SAMPLERS[text].name if text in SAMPLERS else sampler_name(text)
    if name not in SAMPLERS and split_fused(name) is None:
        raise unknown("sampler", text, SAMPLERS)
    return name


def _write_sampler(name: str) -> str:
    fused = split_fused(name)
    return sampler_label(name) if fused is None else f"{sampler_label(fused[0])} {scheduler_label(fused[1])}"


def _read_scheduler(text: str) -> str:
    from .sigmas import SCHEDULERS  # loads torch  # noqa: PLC0415

    name = SCHEDULERS[text].name if text in SCHEDULERS else scheduler_name(text)
    if name not in SCHEDULERS and name.casefold() != "automatic":
        raise unknown("schedule", text, SCHEDULERS)
    return name


def _with_field(record: Generation, value: Any, path: str) -> Generation:
    """Return ``record`` with ``value`` at ``path``; the record that holds it is made where there is none."""
    if path in ("model", "vae"):
        return replace(record, **{path: ModelRef(name=value)})
    owner, _, name = path.rpartition(".")
    values: dict[str, Any] = {name: value}
    if name == "sampler" and (fused := split_fused(value)):
        values = {"sampler": fused[0], "scheduler": fused[1]}
    if not owner:
        return replace(record, **values)
    before = getattr(record, owner)
    return replace(
        record, **{owner: SUBRECORDS[owner](**values) if before is None else replace(before, **values)}
    )


def _with_unit(record: Generation, value: Any, name: str, i: int) -> Generation:
    """Return ``record`` with ``value`` in detailer unit ``i``, with units before it where there are too few."""
    units = [*record.detailer, *[DetailerUnit()] * (i + 1 - len(record.detailer))]
    values: dict[str, Any] = {name: value}
    if name == "sampler" and (fused := split_fused(value)):
        values = {"sampler": fused[0], "scheduler": fused[1]}
    units[i] = replace(units[i], **values)
    return replace(record, detailer=tuple(units))


def _option_axis(name: str) -> Axis:
    """Return the axis of option ``name`` of the sampler or the schedule."""
    return Axis(
        name=f"option {name}",
        label=name,
        kind="option",
        wants="numbers, words, True or False, as the option takes them",
        read=read_option,
        assign=partial(_with_option, name=name),
    )


def _with_option(record: Generation, value: Any, name: str) -> Generation:
    from .filled import names_of, profile_of  # loads torch  # noqa: PLC0415
    from .options import with_options  # as above  # noqa: PLC0415

    sampler, scheduler = names_of(profile_of(record), record.sampler, record.scheduler)
    named = with_options(replace(record, sampler=sampler, scheduler=scheduler), {name: value})
    return replace(named, sampler=record.sampler, scheduler=record.scheduler)


def _table() -> dict[str, Axis]:
    texts = {"prompt": "Prompt", "negative_prompt": "Negative prompt"}
    axes = [_of_rule(TEXT, path, label, partial(_with_field, path=path)) for path, label in texts.items()]
    axes += [
        _field_axis(key) for key in KEYS.values() if key.path not in NOT_VARIED and key.rule.kind != "list"
    ]
    axes += [_unit_axis(key) for key in UNIT if key.path not in NOT_VARIED]
    return {SEARCH.name: SEARCH} | {one.name: one for one in axes}


AXES: Mapping[str, Axis] = MappingProxyType(_table())
"""Every axis that has a name of its own, by it; ``axis_named`` makes those of networks, options and later units."""
_BY_LABEL = {one.label.casefold(): one for one in AXES.values()}
_LAST = [name.rpartition(".")[2] for name in AXES if not name.startswith("detailer.")]
_BY_FIELD = {last: AXES[name] for name in AXES if _LAST.count(last := name.rpartition(".")[2]) == 1}
