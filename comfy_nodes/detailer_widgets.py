"""The widgets of Concord Detailer Unit, and the unit that they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.image.keys import MASK_FILTERS, MASK_MERGES, SIZE_MODES, SORT_ORDERS
from ..core.image.parts import DetailerUnit
from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS
from .host import io
from .records import bare

SAME = "as the picture"
_MOST = 16384


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


def _number(name: str, default: float, most: float, tip: str, *, least: float = 0, off: Any = None) -> Widget:
    kind = "Float" if isinstance(default, float) else "Int"
    step = {"step": 0.01} if kind == "Float" else {}
    return Widget(
        name=name, kind=kind, default=default, tip=tip, more={"min": least, "max": most, **step}, off=off
    )


def _choice(name: str, options: tuple[str, ...], tip: str, *, off: Any = None) -> Widget:
    return Widget(
        name=name, kind="Combo", default=options[0], tip=tip, more={"options": list(options)}, off=off
    )


def _text(name: str, tip: str) -> Widget:
    more = {"multiline": True, "dynamic_prompts": False}
    return Widget(name=name, kind="String", default="", tip=tip, more=more)


def _switch(name: str, tip: str) -> Widget:
    return Widget(name=name, kind="Boolean", default=False, tip=tip)


MAIN = (
    _text(
        "prompt", "Empty: the picture's. [SEP] parts masks, [PROMPT] is the picture's, [SKIP] leaves one out."
    ),
    _text("negative_prompt", "Empty: the picture's."),
    _number("denoising_strength", 0.4, 1.0, "How much is drawn anew."),
    _number("mask_blur", 4, 64, "Soft edge in pixels."),
    _number("dilate_erode", 4, 128, "Pixels that masks grow, or shrink below 0.", least=-128),
    _number("padding", 32, 256, "Pixels round the mask that the model sees."),
    _number("inpaint_width", 512, _MOST, "Size at which it is drawn; 0: the picture's.", off=0),
    _number("inpaint_height", 512, _MOST, "Size at which it is drawn; 0: the picture's.", off=0),
    _number("steps", 0, 10000, "0: as the picture.", off=0),
    _number("cfg", 0.0, 100.0, "0: as the picture.", off=0),
    _choice("sampler", (SAME, *SAMPLERS), "Sampler.", off=SAME),
    _choice("scheduler", (SAME, *SCHEDULERS), "Schedule.", off=SAME),
    _number("seed", -1, 2**63 - 1, "-1: the picture's.", least=-1, off=-1),
)
MORE = (
    _choice("mask_filter_method", MASK_FILTERS, "By what the first ones are kept."),
    _number("mask_k", 0, 100, "How many are kept, 0 for all."),
    _number("mask_min_ratio", 0.0, 1.0, "Least share of the picture."),
    _number("mask_max_ratio", 1.0, 1.0, "Largest share of the picture."),
    _number("x_offset", 0, 1000, "Pixels that masks move right.", least=-1000),
    _number("y_offset", 0, 1000, "Pixels that masks move up.", least=-1000),
    _choice("mask_merge_invert", MASK_MERGES, "Make one mask of all, or what is left of the picture."),
    _choice("sort_order", SORT_ORDERS, "The order in which masks are worked on."),
    _choice("match_box_size", SIZE_MODES, "The size to draw at follows the shape of the box."),
    _number(
        "dynamic_denoise_power",
        0.0,
        10.0,
        "Small parts are drawn more strongly than large ones.",
        least=-10.0,
    ),
    _number("skip_size", 0, _MOST, "Parts that are this large already are left alone, 0 for none."),
    _number("guide_size", 0, _MOST, "Short side of the box is scaled to this, 0 for off.", off=0),
    _number(
        "crop_factor", 0.0, 10.0, "The crop is the box times this, 0 for the mask and its padding.", off=0
    ),
    _number("feather", -1, 256, "Edge as Impact Pack's, in place of the blur; -1 for off.", least=-1, off=-1),
    _switch("noise_mask", "Differential diffusion: the edge is drawn later than the middle."),
    _number("noise_mask_feather", 0, 256, "Softens that mask, in pixels."),
    _number("cycle", 1, 10, "How often each part is drawn.", least=1),
    _number("colour_match", 0.0, 1.0, "How far colours go back to what they were."),
    _switch("same_seed", "One seed for all masks; else each has one more."),
    _switch("faithful", "ADetailer's known faults too, for pictures that have them."),
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
