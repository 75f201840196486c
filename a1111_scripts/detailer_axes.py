"""The detailer's axes in the host's X/Y/Z plot: a value of a cell holds for that cell's request, and switches on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..core.detailer_fields import BY_NAME, Field
from ..core.image.names import sampler_name, scheduler_name
from . import detailer_models, host
from .detailer_settings import units
from .host import scripts

PREFIX = "[Concord Detailer] "
VALUES = "concord_detailer_values"
"""The attribute of a request that holds a cell's values: place of the unit → field → value."""
REPLACED = "concord_detailer_replaced"
"""The attribute that holds what is sought in the units' prompts and put in its place."""
AXES = (
    *("model", "prompt", "negative_prompt", "confidence", "mask_k", "dilate_erode", "mask_blur"),
    *("denoising_strength", "only_masked", "padding", "inpaint_width", "inpaint_height", "steps", "cfg"),
    *("checkpoint", "vae", "sampler", "scheduler", "noise_multiplier", "clip_skip"),
    *("mask_merge_invert", "sort_order", "dynamic_denoise_power", "seed", "crop_factor", "guide_size"),
    *("feather", "noise_mask", "cycle", "colour_match", "faithful"),
)
_COSTS = {"checkpoint": 1.0, "vae": 0.7}


def listen() -> None:
    """Add the axes when all scripts are loaded, before the host makes its page."""
    host.listen("before_ui", add_axes)


def add_axes() -> None:
    """Put the axes into the host's list, in place of those of an earlier load."""
    for module in {id(one.module): one.module for one in scripts.scripts_data}.values():
        table, option = getattr(module, "axis_options", None), getattr(module, "AxisOption", None)
        if isinstance(table, list) and option is not None:
            table[:] = [one for one in table if not one.label.startswith(PREFIX)]
            table.extend(_axes(option))


def _axes(option: Any) -> list[Any]:
    made = [option(f"{PREFIX}Prompt S/R", str, _replace)]
    for place in range(units()):
        for name in AXES:
            field = BY_NAME[name]
            label = f"{PREFIX}{field.label} {ordinal(place)}"
            made.append(
                option(
                    label,
                    {"whole": int, "number": float}.get(field.kind, str),
                    partial(_assign, place, field),
                    cost=_COSTS.get(name, 0.0),
                    choices=_choices(field),
                )
            )
    return made


def ordinal(place: int) -> str:
    """Return "1st", "2nd" … for the unit at ``place``."""
    number = place + 1
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _choices(field: Field) -> Callable[[], list[str]] | None:
    """Return the function that lists a field's values, None for one that is typed."""
    if field.kind == "flag":
        return lambda: ["True", "False"]
    if field.kind == "choice":
        return lambda: list(field.choices)
    return partial(detailer_models.choices, field.name) if field.kind == "name" else None


def _assign(place: int, field: Field, p: Any, value: Any, _values: Any) -> None:
    """Let a unit have ``value`` in the request ``p``; the dicts are new, as cells are copies of one request."""
    every = values_of(p)
    unit = {**every.get(place, {}), field.name: _read(field, value)}
    setattr(p, VALUES, {**every, place: unit})


def _read(field: Field, value: Any) -> Any:
    if field.kind == "flag":
        return str(value).strip().lower() in ("true", "1", "yes", "on")
    if field.name == "sampler":
        return sampler_name(value)
    if field.name == "scheduler":
        return scheduler_name(value)
    return None if not field.arg and value == field.default else value  # as by default, which is not recorded


def _replace(p: Any, value: str, values: list[str]) -> None:
    """Let ``value`` stand for the first of ``values`` in the units' prompts."""
    setattr(p, REPLACED, (*replacements_of(p), (values[0], value)))


def values_of(p: Any) -> Mapping[int, Mapping[str, Any]]:
    """Return the values of a cell's units by their places."""
    return getattr(p, VALUES, {})


def replacements_of(p: Any) -> tuple[tuple[str, str], ...]:
    """Return what a cell seeks in prompts, and what it puts there."""
    return getattr(p, REPLACED, ())
