"""Write and read the text that the web UIs store with a picture."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from .generation import SUBRECORDS, DetailerUnit, Generation
from .keys import FIRST, KEYS, LAST, UNIT, Key
from .names import OURS, is_ours, split_fused
from .pairs import join_pairs, join_text, read_pairs, split_text
from .parts import OWNED

PROFILED = ("Emphasis", "RNG")
"""Written even where they are as in A1111: beside a profile, leaving them out means that profile's own."""
_UNIT_KEYS = {key.label: key for key in UNIT}
_UNIT_LABEL = re.compile(r"(.+?)(?: ([2-9]|[1-9][0-9])(?:nd|rd|th|st))?")


def format_infotext(generation: Generation) -> str:
    """Return the infotext of ``generation`` in A1111's layout.

    A record that was read and not changed since gets its line of settings back to the letter.  A changed one
    keeps the order in which its keys stood; new keys go where A1111 puts them.

    Source: A1111 1.9.4; tests/golden/infotext/create.jsonl.gz.
    """
    return join_text(generation.prompt, generation.negative_prompt, _settings_line(generation))


def parse_infotext(text: str) -> Generation:
    """Return the record of an infotext of A1111, Forge, reForge or their like.  Never raises.

    A value that is not what its key wants is kept in ``extras`` under that key, as are unknown keys.  Of
    an old sampler label that holds the schedule too (``DPM++ 2M Karras``) both are told apart.
    """
    prompt, negative, line = split_text(text)
    return replace(_read_settings(line), prompt=prompt, negative_prompt=negative, source=line)


def parse_settings(line: str) -> Generation:
    """Return the record of a line of settings alone, without prompts and source.  Never raises."""
    return _read_settings(line)


def unit_texts(
    units: Sequence[DetailerUnit], first: int = 0, *, shown: Container[str] = ()
) -> dict[str, str]:
    """Return key → text of detailer units, the first of them being number ``first`` (from 0) of a picture's.

    What is as by default is left out, unless ``shown`` has its key.
    """
    texts: dict[str, str] = {}
    for place, unit in enumerate(units, first):
        texts |= _texts(unit, UNIT, shown, unit_label("{}", place))
    return texts


def _settings_line(generation: Generation) -> str:
    before = _read_settings(generation.source)
    unchanged = replace(generation, prompt="", negative_prompt="")
    if generation.source and before == unchanged:
        return generation.source
    order = [label for label, _ in read_pairs(generation.source, KEYS)]
    pairs = _pairs(generation, order)
    return join_pairs((label, pairs[label]) for label in _ordered(list(pairs), order))


def _pairs(generation: Generation, shown: Container[str]) -> dict[str, str]:
    """Return label → text in A1111's order; of a field and an extra with one label the field is written."""
    if generation.concord is not None and generation.concord.profile is not None:
        shown = {*PROFILED, *(label for label in KEYS if label in shown)}
    first = _texts(generation, FIRST, shown) | unit_texts(generation.detailer, shown=shown)
    last = _texts(generation, LAST, shown)
    for texts in (first, last):
        texts |= {label: texts[label] + OURS for label in _owned(generation) if label in texts}
    extras = {label: text for label, text in generation.extras if label not in first and label not in last}
    return first | extras | last


def _owned(generation: Generation) -> list[str]:
    """Return the labels of the keys whose sampler or schedule is Concord's own."""
    own = (generation.concord and generation.concord.own) or ()
    return [label for label, key in KEYS.items() if key.path in own]


def _texts(
    record: object, keys: tuple[Key, ...], shown: Container[str], pattern: str = "{}"
) -> dict[str, str]:
    """Return label → text for the fields of ``keys``; a silent value only where ``shown`` has its label."""
    texts: dict[str, str] = {}
    for key in keys:
        label = pattern.format(key.label)
        value: Any = record
        for name in key.path.split("."):
            value = getattr(value, name, None)
        silent = value is None or (value in key.silent and label not in shown)
        text = None if silent else key.rule.write(value)
        if text is not None:
            texts[label] = text
    return texts


def unit_label(label: str, i: int) -> str:
    """Return the ``label`` of detailer unit ``i``, from 0: as it is, with `` 2nd``, `` 3rd``, … `` 21st``."""
    n = i + 1
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{label} {n}{ending}" if i else label


def _ordered(labels: list[str], order: list[str]) -> list[str]:
    """Return ``labels`` in the order of ``order``; one that it lacks goes after the label before it."""
    kept = set(labels)
    result = list(dict.fromkeys(label for label in order if label in kept))
    placed = set(result)
    for i, label in enumerate(labels):
        if label not in placed:
            result.insert(result.index(labels[i - 1]) + 1 if i else 0, label)
    return result


def _read_settings(line: str) -> Generation:
    """Return the record of a line of settings, without prompts and source."""
    values: dict[str, Any] = {}
    units: dict[int, dict[str, Any]] = {}
    extras: dict[str, str] = {}
    names: dict[str, str] = {}
    for label, text in read_pairs(line, KEYS):
        key, target = KEYS.get(label), values
        if key is None and (match := _UNIT_LABEL.fullmatch(label)):
            key = _UNIT_KEYS.get(match[1])
            target = units.setdefault(int(match[2] or 1), {}) if key else values
        try:
            if key is None:
                raise ValueError(label)
            target[key.path] = key.rule.parse(text)
            extras.pop(label, None)
            if target is values and key.path in OWNED:
                names[key.path] = text
        except ValueError:
            extras[label] = text
            if key is not None:
                target.pop(key.path, None)
    detailer = tuple(DetailerUnit(**units.get(i, {})) for i in range(1, max(units, default=0) + 1))
    return _assemble(values, names, detailer=detailer, extras=tuple(extras.items()))


def _assemble(values: dict[str, Any], names: dict[str, str], **more: Any) -> Generation:
    """Return the record with the field ``hires.steps`` as ``values["hires.steps"]``, and so on.

    ``names``: what the text calls samplers and schedules, by field.
    """
    fields: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        owner, _, name = path.rpartition(".")
        (nested.setdefault(owner, {}) if owner else fields)[name] = value
    for owner, target in (("", fields), ("hires.", nested.get("hires", {}))):
        if fused := split_fused(target.get("sampler", "")):
            target["sampler"], target["scheduler"] = fused
            names[f"{owner}scheduler"] = names[f"{owner}sampler"]
    if own := _own_of(fields, nested, names):
        nested.setdefault("concord", {})["own"] = own
    for owner, record in nested.items():
        fields[owner] = SUBRECORDS[owner](**record)
    return Generation(**fields, **more)


def _own_of(
    fields: dict[str, Any], nested: dict[str, dict[str, Any]], names: dict[str, str]
) -> tuple[str, ...]:
    """Return those of ``OWNED`` whose text says that the sampler or schedule is Concord's."""
    own: list[str] = []
    for path in OWNED:
        text, (owner, _, name) = names.get(path, ""), path.rpartition(".")
        if is_ours(text) and (nested.get(owner, {}) if owner else fields).get(name, text) != text:
            own.append(path)
    return tuple(own)
