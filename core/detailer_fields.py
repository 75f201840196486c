"""The options of a detailer unit as a front shows them: one table for every panel, node and plot.

Order, words and ranges are those that a user of ADetailer knows; what ADetailer leaves out follows.  It loads
neither torch nor scipy, so that a host's start does not wait for the detailer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .image.keys import MASK_FILTERS, MASK_MERGES, SIZE_MODES, SORT_ORDERS

Kind = Literal["text", "name", "choice", "flag", "whole", "number"]
Group = Literal["", "Detection", "Mask", "Inpainting", "ControlNet", "More"]
LARGEST = 16384
"""Pixels: the longest side that a front offers."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One option: the field ``name`` of ``DetailerUnit``, its ``label`` and ``tip`` for people.

    ``kind``: "name" is one of a list that the host has, "choice" one of ``choices``.  ``group``: under which
    heading it stands.  ``low``, ``high``, ``step``: of a number.  ``arg``: its key in ADetailer's API, "" for what
    ADetailer does not know; of those, the default stands for None, which is not recorded.
    """

    name: str
    label: str
    kind: Kind
    default: Any
    tip: str
    group: Group = ""
    arg: str = ""
    low: float = 0
    high: float = 0
    step: float = 1
    choices: tuple[str, ...] = ()


def _text(name: str, label: str, tip: str) -> Field:
    return Field(name=name, label=label, kind="text", default="", tip=tip, arg=f"ad_{name}")


def _named(name: str, label: str, default: str, tip: str, group: Group = "Inpainting") -> Field:
    return Field(name=name, label=label, kind="name", default=default, tip=tip, group=group, arg=f"ad_{name}")


def _flag(
    name: str, label: str, tip: str, *, group: Group = "Inpainting", arg: str = "", on: bool = False
) -> Field:
    return Field(name=name, label=label, kind="flag", default=on, tip=tip, group=group, arg=arg)


def _choice(
    name: str, label: str, choices: tuple[str, ...], tip: str, *, group: Group, arg: str = ""
) -> Field:
    return Field(
        name=name,
        label=label,
        kind="choice",
        default=choices[0],
        choices=choices,
        tip=tip,
        group=group,
        arg=arg,
    )


def _number(name: str, label: str, default: float, bounds: tuple[float, ...], tip: str, **more: Any) -> Field:
    """Return a number's field; ``bounds``: least, most and step."""
    low, high, step = bounds
    kind: Kind = "number" if isinstance(default, float) else "whole"
    return Field(
        name=name, label=label, kind=kind, default=default, tip=tip, low=low, high=high, step=step, **more
    )


_FIND: dict[str, Any] = {"group": "Detection"}
_MASK: dict[str, Any] = {"group": "Mask"}
_DRAW: dict[str, Any] = {"group": "Inpainting"}
_CONTROL: dict[str, Any] = {"group": "ControlNet"}
_MORE: dict[str, Any] = {"group": "More"}

FIELDS = (
    _named("model", "Detector", "None", "What finds the parts; 'face' needs no file.", group=""),
    _text("model_classes", "Classes", "What counts, with commas, such as cat, dog; empty: everything."),
    _text(
        "prompt",
        "Prompt",
        "Empty: the picture's. [SEP] parts masks, [PROMPT] is the picture's, [SKIP] leaves one out.",
    ),
    _text("negative_prompt", "Negative prompt", "Empty: the picture's."),
    _number(
        "confidence", "Confidence", 0.3, (0, 1, 0.01), "How sure it must be.", arg="ad_confidence", **_FIND
    ),
    _choice(
        "mask_filter_method",
        "Keep the first by",
        MASK_FILTERS,
        "By what the first ones are kept.",
        group="Detection",
        arg="ad_mask_filter_method",
    ),
    _number("mask_k", "Keep only", 0, (0, 100, 1), "How many are kept, 0 for all.", arg="ad_mask_k", **_FIND),
    _number(
        "mask_min_ratio",
        "Least area",
        0.0,
        (0, 1, 0.001),
        "Least share of the picture.",
        arg="ad_mask_min_ratio",
        **_FIND,
    ),
    _number(
        "mask_max_ratio",
        "Largest area",
        1.0,
        (0, 1, 0.001),
        "Largest share of the picture.",
        arg="ad_mask_max_ratio",
        **_FIND,
    ),
    _number(
        "x_offset",
        "Move right",
        0,
        (-1000, 1000, 1),
        "Pixels that masks move right.",
        arg="ad_x_offset",
        **_MASK,
    ),
    _number(
        "y_offset", "Move up", 0, (-1000, 1000, 1), "Pixels that masks move up.", arg="ad_y_offset", **_MASK
    ),
    _number(
        "dilate_erode",
        "Erode (-) or dilate (+)",
        4,
        (-128, 128, 4),
        "Pixels that masks grow, or shrink below 0.",
        arg="ad_dilate_erode",
        **_MASK,
    ),
    _choice(
        "mask_merge_invert",
        "Merge masks",
        MASK_MERGES,
        "Make one mask of all, or what is left of the picture.",
        group="Mask",
        arg="ad_mask_merge_invert",
    ),
    _number("mask_blur", "Mask blur", 4, (0, 64, 1), "Soft edge in pixels.", arg="ad_mask_blur", **_DRAW),
    _number(
        "denoising_strength",
        "Denoising strength",
        0.4,
        (0, 1, 0.01),
        "How much is drawn anew.",
        arg="ad_denoising_strength",
        **_DRAW,
    ),
    _flag(
        "only_masked",
        "Inpaint only masked",
        "Work on the mask and its padding, else on the whole picture.",
        arg="ad_inpaint_only_masked",
        on=True,
    ),
    _number(
        "padding",
        "Padding",
        32,
        (0, 256, 4),
        "Pixels round the mask that the model sees.",
        arg="ad_inpaint_only_masked_padding",
        **_DRAW,
    ),
    _flag(
        "use_inpaint_size",
        "Use separate width and height",
        "Else the picture's.",
        arg="ad_use_inpaint_width_height",
    ),
    _number(
        "inpaint_width",
        "Inpaint width",
        512,
        (64, 2048, 4),
        "Size at which it is drawn.",
        arg="ad_inpaint_width",
        **_DRAW,
    ),
    _number(
        "inpaint_height",
        "Inpaint height",
        512,
        (64, 2048, 4),
        "Size at which it is drawn.",
        arg="ad_inpaint_height",
        **_DRAW,
    ),
    _flag("use_steps", "Use separate steps", "Else the picture's.", arg="ad_use_steps"),
    _number("steps", "Steps", 28, (1, 150, 1), "Steps of a whole run.", arg="ad_steps", **_DRAW),
    _flag("use_cfg", "Use separate CFG scale", "Else the picture's.", arg="ad_use_cfg_scale"),
    _number("cfg", "CFG scale", 7.0, (0, 30, 0.5), "Guidance.", arg="ad_cfg_scale", **_DRAW),
    _flag("use_checkpoint", "Use separate checkpoint", "Else the picture's.", arg="ad_use_checkpoint"),
    _named("checkpoint", "Checkpoint", "Use same checkpoint", "The model that draws."),
    _flag("use_vae", "Use separate VAE", "Else the picture's.", arg="ad_use_vae"),
    _named("vae", "VAE", "Use same VAE", "The VAE of the model that draws."),
    _flag("use_sampler", "Use separate sampler", "Else the picture's.", arg="ad_use_sampler"),
    _named("sampler", "Sampler", "Use same sampler", "Sampler."),
    _named("scheduler", "Schedule type", "Use same scheduler", "Schedule."),
    _flag(
        "use_noise_multiplier",
        "Use separate noise multiplier",
        "Else the picture's.",
        arg="ad_use_noise_multiplier",
    ),
    _number(
        "noise_multiplier",
        "Noise multiplier",
        1.0,
        (0.5, 1.5, 0.01),
        "Factor of the first noise.",
        arg="ad_noise_multiplier",
        **_DRAW,
    ),
    _flag("use_clip_skip", "Use separate CLIP skip", "Else the picture's.", arg="ad_use_clip_skip"),
    _number(
        "clip_skip",
        "CLIP skip",
        1,
        (1, 12, 1),
        "Layers of CLIP left out, plus 1.",
        arg="ad_clip_skip",
        **_DRAW,
    ),
    _flag(
        "restore_face",
        "Restore faces",
        "The web UI's own face restoration, on each part.",
        arg="ad_restore_face",
    ),
    _named("controlnet_model", "ControlNet model", "None", "Guides each part.", group="ControlNet"),
    _named("controlnet_module", "ControlNet module", "None", "Its preprocessor.", group="ControlNet"),
    _number(
        "controlnet_weight",
        "ControlNet weight",
        1.0,
        (0, 1, 0.01),
        "How strongly.",
        arg="ad_controlnet_weight",
        **_CONTROL,
    ),
    _number(
        "controlnet_start",
        "ControlNet guidance start",
        0.0,
        (0, 1, 0.01),
        "From which part of the run.",
        arg="ad_controlnet_guidance_start",
        **_CONTROL,
    ),
    _number(
        "controlnet_end",
        "ControlNet guidance end",
        1.0,
        (0, 1, 0.01),
        "To which part of the run.",
        arg="ad_controlnet_guidance_end",
        **_CONTROL,
    ),
    _choice(
        "sort_order",
        "Order of masks",
        SORT_ORDERS,
        "The order in which masks are worked on.",
        group="More",
    ),
    _choice(
        "match_box_size",
        "Match the box's shape",
        SIZE_MODES,
        "The size to draw at follows the shape of the box.",
        group="More",
    ),
    _number(
        "dynamic_denoise_power",
        "Dynamic denoise power",
        0.0,
        (-10, 10, 0.01),
        "Small parts are drawn more strongly than large ones.",
        **_MORE,
    ),
    _flag(
        "same_seed",
        "Same seed for all masks",
        "One seed for all masks; else each has one more.",
        group="More",
    ),
    _number("seed", "Seed", -1, (-1, 2**63 - 1, 1), "-1: the picture's.", **_MORE),
    _number("min_side", "Least side", 0, (0, LARGEST, 1), "Boxes with a shorter side are left out.", **_MORE),
    _number(
        "max_side",
        "Largest side",
        0,
        (0, LARGEST, 1),
        "Boxes with a longer side are left out; 0: none.",
        **_MORE,
    ),
    _number(
        "skip_size",
        "Leave alone from",
        0,
        (0, LARGEST, 1),
        "Parts that are this large already are left alone, 0 for none.",
        **_MORE,
    ),
    _number(
        "crop_factor",
        "Crop factor",
        0.0,
        (0, 10, 0.01),
        "The crop is the box times this, 0 for the mask and its padding.",
        **_MORE,
    ),
    _number(
        "guide_size",
        "Guide size",
        0,
        (0, LARGEST, 1),
        "Short side of the box is scaled to this, 0 for off.",
        **_MORE,
    ),
    _choice(
        "guide_size_for", "Guide size is of", ("bbox", "crop"), "Whose short side is scaled.", group="More"
    ),
    _number(
        "max_size",
        "Largest size",
        1024,
        (8, LARGEST, 8),
        "Bound of the crop's long side with a guide size.",
        **_MORE,
    ),
    _number(
        "feather",
        "Feather",
        -1,
        (-1, 256, 1),
        "Edge as Impact Pack's, in place of the blur; -1 for off.",
        **_MORE,
    ),
    _flag(
        "noise_mask",
        "Noise mask",
        "Differential diffusion: the edge is drawn later than the middle.",
        group="More",
    ),
    _number(
        "noise_mask_feather", "Noise mask feather", 0, (0, 256, 1), "Softens that mask, in pixels.", **_MORE
    ),
    _number("cycle", "Cycles", 1, (1, 10, 1), "How often each part is drawn.", **_MORE),
    _number(
        "colour_match",
        "Colour match",
        0.0,
        (0, 1, 0.01),
        "How far colours go back to what they were.",
        **_MORE,
    ),
    _flag("faithful", "Faithful", "ADetailer's known faults too, for pictures that have them.", group="More"),
)
"""All options in order: first ADetailer's, then those it leaves out."""

BY_NAME: Mapping[str, Field] = {one.name: one for one in FIELDS}
