"""The widgets of Concord Detailer Unit, and the unit that they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.detailer_fields import BY_NAME, LARGEST
from ..core.image.parts import DetailerUnit
from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS
from .host import io
from .records import bare

SAME = "as the picture"


@dataclass(frozen=True, kw_only=True)
class Widget:
    """One input of the node: the unit's field ``name``, and the value ``off`` that leaves it as it is by default."""

    name: str
    kind: str
    default: Any
    tip: str
    more: Mapping[str, Any] = field(default_factory=dict)
    off: Any = None

    def input(self) -> Any:
        """Return the input of the schema."""
        given = {"default": self.default, "tooltip": self.tip, **self.more}
        return getattr(io, self.kind).Input(self.name, **given)


def _number(name: str, default: float, most: float, tip: str, *, off: Any = None) -> Widget:
    kind = "Float" if isinstance(default, float) else "Int"
    step = {"step": 0.01} if kind == "Float" else {}
    return Widget(
        name=name, kind=kind, default=default, tip=tip, more={"min": 0, "max": most, **step}, off=off
    )


def _choice(name: str, options: tuple[str, ...], tip: str, *, off: Any = None) -> Widget:
    return Widget(
        name=name, kind="Combo", default=options[0], tip=tip, more={"options": list(options)}, off=off
    )


_KINDS = {"text": "String", "flag": "Boolean", "choice": "Combo", "whole": "Int", "number": "Float"}


def _of(name: str, *, off: Any = None) -> Widget:
    """Return the widget of an option as the table of all fronts has it."""
    field = BY_NAME[name]
    more: dict[str, Any] = {}
    if field.kind == "text":
        more = {"multiline": True, "dynamic_prompts": False}
    elif field.kind == "choice":
        more = {"options": list(field.choices)}
    elif field.kind in ("whole", "number"):
        as_given = float if field.kind == "number" else int
        more = {"min": as_given(field.low), "max": as_given(field.high)}
        more |= {"step": 0.01} if field.kind == "number" else {}
    return Widget(
        name=name, kind=_KINDS[field.kind], default=field.default, tip=field.tip, more=more, off=off
    )


MAIN = (
    _of("prompt"),
    _of("negative_prompt"),
    _of("denoising_strength"),
    _of("mask_blur"),
    _of("dilate_erode"),
    _of("padding"),
    _number("inpaint_width", 512, LARGEST, "Size at which it is drawn; 0: the picture's.", off=0),
    _number("inpaint_height", 512, LARGEST, "Size at which it is drawn; 0: the picture's.", off=0),
    _number("steps", 0, 10000, "0: as the picture.", off=0),
    _number("cfg", 0.0, 100.0, "0: as the picture.", off=0),
    _choice("sampler", (SAME, *SAMPLERS), "Sampler.", off=SAME),
    _choice("scheduler", (SAME, *SCHEDULERS), "Schedule.", off=SAME),
    _of("seed", off=-1),
)
MORE = (
    _of("mask_filter_method"),
    _of("mask_k"),
    _of("mask_min_ratio"),
    _of("mask_max_ratio"),
    _of("x_offset"),
    _of("y_offset"),
    _of("mask_merge_invert"),
    _of("sort_order"),
    _of("match_box_size"),
    _of("dynamic_denoise_power"),
    _of("skip_size"),
    _of("guide_size", off=0),
    _of("crop_factor", off=0),
    _of("feather", off=-1),
    _of("noise_mask"),
    _of("noise_mask_feather"),
    _of("cycle"),
    _of("colour_match"),
    _of("same_seed"),
    _of("faithful"),
)


def unit_of(given: Mapping[str, Any], model: str) -> DetailerUnit:
    """Return the unit that the widgets say; ``model``: what its detector is called."""
    values: dict[str, Any] = {}
    for widget in (*MAIN, *MORE):
        value = given[widget.name]
        if widget.off is None or value != widget.off:
            values[widget.name] = bare(value) if widget.name in ("sampler", "scheduler") else value
    if ("inpaint_width" in values) != ("inpaint_height" in values):
        side = values.get("inpaint_width") or values.get("inpaint_height")
        values |= {"inpaint_width": side, "inpaint_height": side}
    if "scheduler" in values:
        values.setdefault("sampler", "Use same sampler")
    return DetailerUnit(model=model, **values)
