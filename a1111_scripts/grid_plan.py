"""A plan of the command line in a web UI: its axes, its seeds, and its settings as what a request can be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.axes import AXES
from ..core.axes_plan import PLACES, axis_text, read_plan, seeds_text
from ..core.errors import BadValue, unknown
from ..core.recipes import PARTS
from .cells import Given, setting

RENAMED: Mapping[str, str] = {
    "negative": "negative_prompt",
    "variation_seed": "variation.seed",
    "variation_strength": "variation.strength",
    "resize_seed_from": "seed_resize_from",
    "hires_denoise": "denoising_strength",
    "hires_negative": "hires.negative_prompt",
    "refiner": "refiner.model",
}
"""Options of the command line that are not called like the field of the record that they set."""
PARTS_OF = ("hires", "refiner")
"""Fields of these are options that begin with the name and ``_``."""
ELSEWHERE = frozenset(
    {
        *("out", "batch", "threads", "ray", "quiet", "device", "dtype", "prediction", "ztsnr", "profile"),
        *("model_dir", "upscaler_dir", "lora_dir", "embedding_dir", "detector_dir", "styles_file", "style"),
        *("detailer", "detailer_set", "detailer_batch", "refiner_passes"),
    }
)
"""Options that the web UI has settings, folders or panels of its own for."""


@dataclass(frozen=True, kw_only=True)
class GridPlan:
    """What a plan asks of a grid.

    ``axes``: names and values as texts, by place.  ``settings``: what every cell has.  ``seeds``: as they are
    typed.  ``without``: parts of recipes that are left out.  ``hires``: whether the hires pass is switched on.
    ``left``: its keys that are not for a web UI.
    """

    axes: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    settings: tuple[Given, ...] = ()
    seeds: str | None = None
    without: tuple[str, ...] = ()
    hires: bool = False
    left: tuple[str, ...] = ()


def grid_plan(text: str) -> GridPlan:
    """Return the plan that is pasted, or whose file is named; none in a text that is empty.

    Raises ``BadFile`` or ``BadValue``, and what reading a plan and its settings raises.
    """
    if not text.strip():
        return GridPlan()
    data = {key.replace("-", "_"): value for key, value in read_plan(text).items()}
    axes = {name: _split(axis_text(name, data.pop(name))) for name in PLACES if data.get(name) is not None}
    seeds = data.pop("seeds", None)
    without = _list(data.pop("without", None))
    if unheard := next((one for one in without if one not in PARTS), None):
        raise unknown("part of a recipe", str(unheard), PARTS)
    settings: list[Given] = []
    for name in [name for name in data if name not in ELSEWHERE]:
        if data[name] is not None:
            settings += _settings(name, data[name])
    return GridPlan(
        axes=axes,
        settings=tuple(settings),
        seeds=None if seeds is None else seeds_text(seeds),
        without=tuple(map(str, without)),
        hires=data.get("hires") is not None,
        left=tuple(name.replace("_", "-") for name in data if name in ELSEWHERE),
    )


def _split(text: str) -> tuple[str, str]:
    name, sign, values = text.partition("=")
    if not sign:
        raise BadValue(
            f"the plan's axis {text!r} has no values; write NAME=VALUE,VALUE such as steps=10-30 (+5)"
        )
    return name.strip(), values


def _settings(name: str, value: Any) -> list[Given]:
    """Return what the setting ``name`` of a plan gives a request; raises ``BadValue`` that names it."""
    if isinstance(value, dict):
        raise BadValue(f"the plan's {name} is a mapping; write text, a number or a list")
    if name == "option":
        pairs = [str(one).partition("=") for one in _list(value)]
        return [setting(f"option {key.strip()}", text.strip()) for key, _, text in pairs]
    text = _text(name, value)
    if name == "hires":
        return [setting("hires.resize" if "x" in text.lower() else "hires.upscale", text)]
    return [setting(_axis_of(name), text)]


def _axis_of(name: str) -> str:
    """Return the name of the axis of an option; raises ``BadValue`` that offers the nearest."""
    if name in RENAMED:
        return RENAMED[name]
    owner, _, rest = name.partition("_")
    if owner in PARTS_OF and f"{owner}.{rest}" in AXES:
        return f"{owner}.{rest}"
    if name in AXES or name in _LAST_NAMES:
        return name
    known = {*_LAST_NAMES, *RENAMED, *ELSEWHERE, *PLACES, "seeds", "without", "option", "hires"}
    raise unknown("setting of a plan", name, sorted(known))


def _text(name: str, value: Any) -> str:
    if name in ("model", "vae") and isinstance(value, str):
        return Path(value.replace("\\", "/")).name
    text = str(value)
    return f"{text}x{text}" if name == "size" and text.isdecimal() else text


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]  # pyright: ignore


_LAST_NAMES = {
    name.rpartition(".")[2] for name in AXES if not name.startswith(("detailer", "hires", "refiner"))
}
