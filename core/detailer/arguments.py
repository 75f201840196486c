"""ADetailer's API arguments (``alwayson_scripts.ADetailer.args``) read as detailer units.

Names, defaults, ranges and what is taken for a number or a switch are ADetailer 25.3.0's;
tests/golden/detailer/args.jsonl.gz.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..errors import BadType, BadValue, ConcordError, unknown
from ..image.keys import MASK_FILTERS, MASK_MERGES, UNIT, UNIT_SWITCHES
from ..image.names import sampler_name, scheduler_name
from ..image.parts import DetailerUnit
from .unit import DEFAULTS

Kind = Literal["text", "name", "flag", "whole", "number"]
_TRUE = ("1", "on", "t", "true", "y", "yes")
_FALSE = ("0", "off", "f", "false", "n", "no")


@dataclass(frozen=True, kw_only=True)
class _Arg:
    """One argument: the field of the record, its kind ("name" may be None), its bounds or its words."""

    field: str
    kind: Kind
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()


def _arg(field: str, kind: Kind, low: float = -math.inf, high: float = math.inf, *words: str) -> _Arg:
    return _Arg(field=field, kind=kind, low=low, high=high, words=words)


_ARGS: Mapping[str, _Arg] = {
    "ad_model": _arg("model", "text"),
    "ad_model_classes": _arg("model_classes", "text"),
    "ad_tab_enable": _arg("", "flag"),
    "ad_prompt": _arg("prompt", "text"),
    "ad_negative_prompt": _arg("negative_prompt", "text"),
    "ad_confidence": _arg("confidence", "number", 0, 1),
    "ad_mask_filter_method": _arg("mask_filter_method", "text", 0, 0, *MASK_FILTERS),
    "ad_mask_k": _arg("mask_k", "whole", 0),
    "ad_mask_min_ratio": _arg("mask_min_ratio", "number", 0, 1),
    "ad_mask_max_ratio": _arg("mask_max_ratio", "number", 0, 1),
    "ad_dilate_erode": _arg("dilate_erode", "whole"),
    "ad_x_offset": _arg("x_offset", "whole"),
    "ad_y_offset": _arg("y_offset", "whole"),
    "ad_mask_merge_invert": _arg("mask_merge_invert", "text", 0, 0, *MASK_MERGES),
    "ad_mask_blur": _arg("mask_blur", "whole", 0),
    "ad_denoising_strength": _arg("denoising_strength", "number", 0, 1),
    "ad_inpaint_only_masked": _arg("only_masked", "flag"),
    "ad_inpaint_only_masked_padding": _arg("padding", "whole", 0),
    "ad_use_inpaint_width_height": _arg("use_inpaint_size", "flag"),
    "ad_inpaint_width": _arg("inpaint_width", "whole", 1),
    "ad_inpaint_height": _arg("inpaint_height", "whole", 1),
    "ad_use_steps": _arg("use_steps", "flag"),
    "ad_steps": _arg("steps", "whole", 1),
    "ad_use_cfg_scale": _arg("use_cfg", "flag"),
    "ad_cfg_scale": _arg("cfg", "number", 0),
    "ad_use_checkpoint": _arg("use_checkpoint", "flag"),
    "ad_checkpoint": _arg("checkpoint", "name"),
    "ad_use_vae": _arg("use_vae", "flag"),
    "ad_vae": _arg("vae", "name"),
    "ad_use_sampler": _arg("use_sampler", "flag"),
    "ad_sampler": _arg("sampler", "text"),
    "ad_scheduler": _arg("scheduler", "text"),
    "ad_use_noise_multiplier": _arg("use_noise_multiplier", "flag"),
    "ad_noise_multiplier": _arg("noise_multiplier", "number", 0.5, 1.5),
    "ad_use_clip_skip": _arg("use_clip_skip", "flag"),
    "ad_clip_skip": _arg("clip_skip", "whole", 1, 12),
    "ad_restore_face": _arg("restore_face", "flag"),
    "ad_controlnet_model": _arg("controlnet_model", "text"),
    "ad_controlnet_module": _arg("controlnet_module", "text"),
    "ad_controlnet_weight": _arg("controlnet_weight", "number", 0, 1),
    "ad_controlnet_guidance_start": _arg("controlnet_start", "number", 0, 1),
    "ad_controlnet_guidance_end": _arg("controlnet_end", "number", 0, 1),
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """An argument list as read: is the detailer on, is the base pass skipped, and the units.

    A unit that is off stands as ``DetailerUnit()`` where one follows, which keeps its number.  ``dropped``: for
    each unit of the list, the error that dropped it, or None.
    """

    enabled: bool
    skip_img2img: bool
    units: tuple[DetailerUnit, ...]
    dropped: tuple[ConcordError | None, ...]


def unit_from_args(args: Mapping[str, object]) -> DetailerUnit:
    """Return the unit of one dict of ADetailer's API; ``DetailerUnit()`` for one that is off.

    Off is one without "ad_model", with "None" for it, or with its tab disabled.  What ADetailer would not
    record (the steps of a unit that uses the picture's, and so on) is None, so that the record reads as
    ADetailer's.  Raises ``BadValue`` that names an unknown key with the nearest known, or the value that is
    out of range; ``BadType`` for one of the wrong kind.
    """
    values = {_ARGS[name].field: _read(name, value) for name, value in args.items() if _is_known(name)}
    enabled = values.pop("", True)
    if not enabled or values.get("model", "None") == "None":
        return DetailerUnit()
    defaults = {arg.field: getattr(DEFAULTS, arg.field) for arg in _ARGS.values() if arg.field}
    return DetailerUnit(**_recorded(defaults | values))


def units_from_args(args: Sequence[object], *, drop_invalid: bool = False) -> Arguments:
    """Return what ADetailer makes of its argument list: [enable, skip img2img, unit, unit, …].

    The two switches may be left out or None.  An argument that is wrong raises, as in ``unit_from_args``;
    ``drop_invalid`` drops its whole unit instead, as ADetailer does, and the next takes its number.
    """
    units: list[DetailerUnit] = []
    dropped: list[ConcordError | None] = []
    for one in args:
        if not isinstance(one, Mapping):
            continue
        try:
            units.append(unit_from_args(cast("Mapping[str, object]", one)))
            dropped.append(None)
        except ConcordError as error:
            if not drop_invalid:
                raise
            dropped.append(error)
    while units and units[-1] == DetailerUnit():
        units.pop()
    return Arguments(
        enabled=bool(units) and args[0] is not False,
        skip_img2img=len(args) > 1 and args[1] is True,
        units=tuple(units),
        dropped=tuple(dropped),
    )


def _is_known(name: str) -> bool:
    """Tell whether ``name`` is one to read; raises ``BadValue`` when ADetailer does not know it."""
    if name == "is_api":
        return False
    if name not in _ARGS:
        raise unknown("argument of ADetailer", name, _ARGS)
    return True


def _read(name: str, value: object) -> Any:
    """Return ``value`` as what argument ``name`` is; raises ``BadType`` or ``BadValue`` naming both."""
    arg = _ARGS[name]
    if arg.kind in {"text", "name"}:
        return _read_text(name, arg, value)
    try:
        found = _read_flag(value) if arg.kind == "flag" else _read_number(value, whole=arg.kind == "whole")
    except (ValueError, TypeError, OverflowError):
        wanted = {"flag": "True or False", "whole": "a whole number"}.get(arg.kind, "a number")
        raise BadType(f"{name} is {value!r}; pass {wanted}") from None
    if not arg.low <= found <= arg.high:
        raise BadValue(f"{name} is {value!r}; pass a number in {arg.low:g}…{arg.high:g}")
    return found


def _read_text(name: str, arg: _Arg, value: object) -> str | None:
    if value is None and arg.kind == "name":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadType(f"{name} is {value!r}; pass text")
    if arg.words and value not in arg.words:
        raise unknown(f"value of {name}", str(value), arg.words)
    return str(value)


def _read_flag(value: Any) -> bool:
    word = str(value).lower()
    if word not in (*_TRUE, *_FALSE):
        raise ValueError(word)
    return word in _TRUE


def _read_number(value: Any, *, whole: bool) -> float:
    """Return a number; numbers in texts count, and the fraction of one that is to be whole is dropped."""
    return int(value) if whole else float(value)


def _recorded(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with None for what ADetailer does not write beside the others."""
    off = {name for switch, names in UNIT_SWITCHES.items() if not values[switch] for name in (switch, *names)}
    if values["mask_k"] == 0:
        off.add("mask_filter_method")
    if not values["only_masked"]:
        off.add("padding")
    if values["scheduler"] == DEFAULTS.scheduler:
        off.add("scheduler")
    if values["controlnet_model"] == "None":
        off |= {name for name in values if name.startswith("controlnet")}
    off |= {key.path for key in UNIT if key.path in values and values[key.path] in key.silent}
    kept: dict[str, Any] = {name: None if name in off else value for name, value in values.items()}
    if kept["sampler"] is not None:
        kept["sampler"] = sampler_name(kept["sampler"])
    if kept["scheduler"] is not None:
        kept["scheduler"] = scheduler_name(kept["scheduler"])
    return kept
