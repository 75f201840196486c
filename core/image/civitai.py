"""Civitai's forms: the JSON of a picture on the site, and the resources in an infotext."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from ..errors import BadValue
from .comfyui_graph import read_comfyui_graph
from .generation import Generation
from .infotext import parse_settings
from .pairs import join_pairs

RESOURCES = "Civitai resources"
_METADATA = "extraMetadata"
_LABELS = {
    "steps": "Steps",
    "sampler": "Sampler",
    "scheduler": "Schedule type",
    "cfgScale": "CFG scale",
    "seed": "Seed",
    "clipSkip": "Clip skip",
    "denoise": "Denoising strength",
    "model": "Model",
}
_PROMPTS = ("prompt", "negativePrompt")
_PLAIN = str.maketrans(",:\n", "   ")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A model that a picture was made with, as civitai names it: its kind, name, version and weight."""

    kind: str
    name: str
    version: str = ""
    version_id: int | None = None
    weight: float | None = None


def civitai_resources(generation: Generation) -> tuple[Resource, ...]:
    """Return the models that ``Civitai resources`` of the record lists; nothing when there are none."""
    text = dict(generation.extras).get(RESOURCES, "")
    try:
        entries: Any = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(entries, list):
        return ()
    return tuple(
        _resource(cast("dict[str, Any]", entry))
        for entry in cast("list[Any]", entries)
        if isinstance(entry, dict)
    )


def _resource(entry: Mapping[str, Any]) -> Resource:
    weight, version = entry.get("weight", entry.get("strength")), entry.get("modelVersionId")
    is_weight = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    return Resource(
        kind=str(entry.get("type", "")),
        name=str(entry.get("modelName", entry.get("air", ""))),
        version=str(entry.get("modelVersionName", entry.get("versionName", ""))),
        version_id=version if isinstance(version, int) else None,
        weight=float(weight) if is_weight and abs(weight) < 1e300 else None,
    )


def civitai_generation(meta: Mapping[str, Any]) -> Generation | None:
    """Return the record of the JSON that civitai keeps of a picture; None when it has neither prompt nor steps.

    Keys of a web UI's infotext (``Model hash``, ``ADetailer model`` …) are read as there; what has no field is
    kept under its own name.
    """
    if not any(isinstance(meta.get(key), str) for key in _PROMPTS) and "steps" not in meta:
        return None
    pairs: list[tuple[str, str]] = []
    for key, value in meta.items():
        label = RESOURCES if key == "resources" else _LABELS.get(key, key)
        if key in _PROMPTS or value is None or value == "":
            continue
        pairs.append((label.translate(_PLAIN).strip() or "-", _shown(value)))
    if isinstance(meta.get("width"), int) and isinstance(meta.get("height"), int) and "Size" not in meta:
        pairs.append(("Size", f"{meta['width']}x{meta['height']}"))
    prompt, negative = (meta.get(key) for key in _PROMPTS)
    return replace(
        parse_settings(join_pairs(pairs)),
        prompt=prompt if isinstance(prompt, str) else "",
        negative_prompt=negative if isinstance(negative, str) else "",
    )


def _shown(value: Any) -> str:
    if isinstance(value, (str, float)):  # a float goes as Python writes it, NaN included
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "..."


def generation_of_json(text: str) -> Generation | None:
    """Return the record of JSON that stands where an infotext does; None for other text.

    That is a ComfyUI graph, beside which civitai keeps its own summary as ``extraMetadata``, or civitai's form
    of a picture.
    """
    try:
        table: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    meta = cast("dict[str, Any]", table)
    summary = meta.get(_METADATA)
    if isinstance(summary, str) and (found := generation_of_json(summary)):
        return found
    try:
        return read_comfyui_graph(meta).generation
    except BadValue:
        return civitai_generation(meta)
