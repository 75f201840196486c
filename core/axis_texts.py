"""Axes that write in the prompts: text in place of other text, and the weights of networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from .axis import Axis, Replacement
from .errors import BadValue
from .image.generation import Generation
from .image.rules import number

_LORA_TAG = re.compile(r"<(lora|lyco):([^:>]*)([^>]*)>")


def _replaced(record: Generation, value: Replacement) -> Generation:
    """Return ``record`` with the text replaced wherever it stands in the prompts."""

    def change(text: str) -> str:
        return text.replace(value.search, value.text)

    if not any(value.search in text for text in _prompts(record)):
        raise BadValue(
            f"axis prompt s/r: {value.search!r} stands in none of the prompts; begin with a text that does"
        )
    return _with_prompts(record, change)


def lora_axis(name: str) -> Axis:
    """Return the axis of the weight of network ``name``."""
    rule = number()
    return Axis(
        name=f"lora {name}",
        label=f"LoRA {name}",
        kind="number",
        wants=rule.wants,
        read=rule.parse,
        write="{:g}".format,
        assign=partial(_with_weight, name=name),
    )


def _with_weight(record: Generation, value: float, name: str) -> Generation:
    """Return ``record`` with ``value`` as the weight of ``name`` in its tags, in a new one where there is none."""
    tag = f"<lora:{name}:{value:g}>"

    def change(text: str) -> str:
        return _LORA_TAG.sub(lambda match: _reweighted(match, name, value), text)

    if not any(match[2] == name for text in _prompts(record) for match in _LORA_TAG.finditer(text)):
        return replace(record, prompt=f"{record.prompt} {tag}".strip())
    return _with_prompts(record, change)


def _reweighted(match: re.Match[str], name: str, value: float) -> str:
    """Return a tag with weight ``value``, if it is of ``name``; what else it says stays, but for its weights."""
    if match[2] != name:
        return match[0]
    kept = [
        part for part in match[3].split(":") if "=" in part and part.partition("=")[0] not in ("te", "unet")
    ]
    return f"<{':'.join([match[1], name, f'{value:g}', *kept])}>"


def _prompts(record: Generation) -> list[str]:
    """Return those texts of ``record`` in which axes write."""
    own, hires = [record.prompt, record.negative_prompt], record.hires
    return own if hires is None else [*own, hires.prompt or "", hires.negative_prompt or ""]


def _with_prompts(record: Generation, change: Callable[[str], str]) -> Generation:
    """Return ``record`` with each of those texts changed."""
    hires = record.hires
    if hires is not None:
        texts = {"prompt": hires.prompt, "negative_prompt": hires.negative_prompt}
        hires = replace(hires, **{name: change(text) for name, text in texts.items() if text})
    prompt, negative = change(record.prompt), change(record.negative_prompt)
    return replace(record, prompt=prompt, negative_prompt=negative, hires=hires)


SEARCH = Axis(
    name="prompt s/r",
    label="Prompt S/R",
    kind="search",
    wants="the text that is searched for, then what stands in its place",
    read=str,
    write=lambda value: value.text,
    assign=_replaced,
)
"""The axis that replaces text: its first value is what is searched for."""
