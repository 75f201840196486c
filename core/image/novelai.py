"""NovelAI's pictures: what A1111 makes of their text fields, and the record that they hold in full."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from .generation import Generation
from .infotext import parse_settings
from .model_ref import ModelRef
from .pairs import join_pairs

SOFTWARE = "NovelAI"

_WEBUI_SAMPLERS = {
    "dpm++ 2m": "DPM++ 2M",
    "dpm++ sde": "DPM++ SDE",
    "dpm++ 2m sde": "DPM++ 2M SDE",
    "dpm++ 2m sde heun": "DPM++ 2M SDE Heun",
    "dpm++ 2s a": "DPM++ 2S a",
    "dpm++ 3m sde": "DPM++ 3M SDE",
    "euler a": "Euler a",
    "euler": "Euler",
    "lms": "LMS",
    "heun": "Heun",
    "dpm2": "DPM2",
    "dpm2 a": "DPM2 a",
    "dpm fast": "DPM fast",
    "dpm adaptive": "DPM adaptive",
    "restart": "Restart",
    "ddim": "DDIM",
    "plms": "PLMS",
    "unipc": "UniPC",
    "lcm": "LCM",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_sde": "DPM++ SDE",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "k_dpmpp_2s_a": "DPM++ 2S a",
    "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_euler_a": "Euler a",
    "k_euler_ancestral": "Euler a",
    "k_euler": "Euler",
    "k_lms": "LMS",
    "k_heun": "Heun",
    "k_dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a",
    "k_dpm_fast": "DPM fast",
    "k_dpm_ad": "DPM adaptive",
    "k_lcm": "LCM",
}
"""What A1111 calls the samplers that NovelAI names; every other is Euler a there."""
_LABELS = {
    "k_dpmpp_2s_ancestral": "DPM++ 2S a",
    "k_dpm_2_ancestral": "DPM2 a",
    "k_dpm_adaptive": "DPM adaptive",
    "ddim_v3": "DDIM",
    "nai_smea": "Euler a",
    "nai_smea_dyn": "Euler a",
}
_SCHEDULES = {
    "native": "Automatic",
    "karras": "Karras",
    "exponential": "Exponential",
    "polyexponential": "Polyexponential",
}
_TAKEN = {
    "steps",
    "sampler",
    "seed",
    "scale",
    "uc",
    "width",
    "height",
    "noise_schedule",
    "prompt",
    "cfg_rescale",
}
_PLAIN = str.maketrans(",:\n", "   ")
_HASH = re.compile(r"(.*) ([0-9A-F]{8})")
_LONGEST = 2000


def novelai_infotext(fields: Mapping[str, str], size: tuple[int, int]) -> str | None:
    """Return the infotext that A1111 shows for NovelAI's PNG ``fields``; None when one that it needs is missing.

    ``size``: of the picture.  Samplers that A1111 does not know are Euler a; clip skip and ENSD are those of
    NovelAI's first model.

    Source: A1111 1.9.4; tests/golden/infotext/novelai.jsonl.gz.
    """
    comment = _comment(fields)
    needed = ("uc", "steps", "scale", "seed", "sampler")
    if fields.get("Software") != SOFTWARE or "Description" not in fields or comment is None:
        return None
    if any(key not in comment for key in needed):
        return None
    sampler = comment["sampler"]
    label = _WEBUI_SAMPLERS.get(sampler, "Euler a") if isinstance(sampler, str) else "Euler a"
    return (
        f"{fields['Description']}\nNegative prompt: {comment['uc']}\n"
        f"Steps: {comment['steps']}, Sampler: {label}, CFG scale: {comment['scale']}, "
        f"Seed: {comment['seed']}, Size: {size[0]}x{size[1]}, Clip skip: 2, ENSD: 31337"
    )


def novelai_generation(fields: Mapping[str, str], size: tuple[int, int] | None = None) -> Generation | None:
    """Return the record of NovelAI's ``fields`` (Description, Comment, Source …); None when they hold none.

    The prompts are NovelAI's, whose ``{…}`` and ``[…]`` weigh otherwise than A1111's brackets.  Settings
    without a field of their own are kept as ``NovelAI <name>``.  ``size``: of the picture, where the fields
    do not say.
    """
    comment = _comment(fields)
    if comment is None or not {"uc", "prompt", "steps", "scale"} & comment.keys():
        return None
    sampler = str(comment.get("sampler", ""))
    label = _LABELS.get(sampler) or _WEBUI_SAMPLERS.get(sampler, sampler)
    schedule = str(comment.get("noise_schedule", ""))
    width, height = comment.get("width"), comment.get("height")
    if size is not None and not (width and height):
        width, height = size
    pairs = [
        ("Steps", comment.get("steps")),
        ("Sampler", label),
        ("Schedule type", _SCHEDULES.get(schedule, schedule)),
        ("CFG scale", comment.get("scale")),
        ("Seed", comment.get("seed")),
        ("Size", f"{width}x{height}" if width and height else None),
        ("Concord CFG rescale", comment.get("cfg_rescale")),
        *((f"{SOFTWARE} {key}", _shown(value)) for key, value in comment.items() if key not in _TAKEN),
    ]
    line = join_pairs((key.translate(_PLAIN), str(value)) for key, value in pairs if value not in (None, ""))
    prompt = fields.get("Description") or comment.get("prompt")
    negative = comment.get("uc")
    return replace(
        parse_settings(line),
        prompt=prompt if isinstance(prompt, str) else "",
        negative_prompt=negative if isinstance(negative, str) else "",
        model=_model(fields.get("Source", "")),
        version=SOFTWARE,
    )


def _comment(fields: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        comment: Any = json.loads(fields.get("Comment", ""))
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", comment) if isinstance(comment, dict) else None


def _shown(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "..."
    return text[:_LONGEST]


def _model(source: str) -> ModelRef | None:
    match = _HASH.fullmatch(source)
    if match:
        return ModelRef(name=match[1], hash=match[2])
    return ModelRef(name=source) if source else None


def novelai_fields(text: str) -> dict[str, str] | None:
    """Return the fields of the JSON that NovelAI hides in alpha; None when ``text`` is none."""
    try:
        table: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(table, dict) or "Comment" not in table:
        return None
    fields = cast("dict[str, Any]", table)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
