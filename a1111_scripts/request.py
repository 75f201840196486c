"""A generation record laid on a request of the host: its attributes, the settings, and the panels of scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..core.errors import BadValue
from ..core.image.generation import SUBRECORDS, Generation
from ..core.image.infotext import unit_label
from ..core.image.keys import KEYS, UNIT, Key
from ..core.image.rules import TEXT, Rule
from .detailer_axes import VALUES, values_of
from .host import shared
from .names_here import sampler_here, schedule_here

Setter = Callable[[Any], None]
"""What writes one value into a request, which is a copy."""
ATTRIBUTES: Mapping[str, str] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "steps",
    "sampler": "sampler_name",
    "scheduler": "scheduler",
    "cfg": "cfg_scale",
    "distilled_cfg": "distilled_cfg_scale",
    "image_cfg": "image_cfg_scale",
    "ngms": "s_min_uncond",
    "seed": "seed",
    "variation.seed": "subseed",
    "variation.strength": "subseed_strength",
    "tiling": "tiling",
    "denoising_strength": "denoising_strength",
    "conditional_mask_weight": "inpainting_mask_weight",
    "noise_multiplier": "initial_noise_multiplier",
    "inpaint.mask_blur": "mask_blur",
    "inpaint.padding": "inpaint_full_res_padding",
    "hires.upscale": "hr_scale",
    "hires.steps": "hr_second_pass_steps",
    "hires.upscaler": "hr_upscaler",
    "hires.checkpoint": "hr_checkpoint_name",
    "hires.sampler": "hr_sampler_name",
    "hires.scheduler": "hr_scheduler",
    "hires.cfg": "hr_cfg",
    "hires.distilled_cfg": "hr_distilled_cfg",
    "hires.prompt": "hr_prompt",
    "hires.negative_prompt": "hr_negative_prompt",
    "refiner.model": "refiner_checkpoint",
    "refiner.switch_at": "refiner_switch_at",
    "sampler_options.eta": "eta",
    "sampler_options.s_churn": "s_churn",
    "sampler_options.s_tmin": "s_tmin",
    "sampler_options.s_tmax": "s_tmax",
    "sampler_options.s_noise": "s_noise",
}
"""Fields of the record and the attributes of a request that hold them."""
SIDES: Mapping[str, tuple[str, str]] = {
    "size": ("width", "height"),
    "hires.resize": ("hr_resize_x", "hr_resize_y"),
    "seed_resize_from": ("seed_resize_from_w", "seed_resize_from_h"),
}
"""Fields of two sides and the attributes that hold them."""
SETTINGS: Mapping[str, str] = {"model": "sd_model_checkpoint", "vae": "sd_vae"}
"""Fields that are settings of the host; it tells the others by their labels."""
OWN: Mapping[str, str] = {"concord.dialect": "concord_dialect"}
"""Fields that a panel of ours takes from an attribute of the request before it takes its own."""

PROBES = ("0.987", "True", "False", "a=1")
"""Texts of which one changes what a control shows if it depends on a key at all."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field that is to be another: ``path`` and ``value`` are the record's, ``label`` and ``text`` an infotext's.

    ``unit``: of the detailer, from 0, if it is a field of one.
    """

    path: str
    label: str
    value: Any
    text: str
    unit: int = 0


def record_of(p: Any) -> Generation:
    """Return what the attributes of request ``p`` say."""
    values: dict[str, dict[str, Any]] = {}
    for path, name in ATTRIBUTES.items():
        value, rule = getattr(p, name, None), _RULES[path]
        if value is not None and rule.accepts(value):
            owner, _, field = path.rpartition(".")
            values.setdefault(owner, {})[field] = value
    if values.get("hires") and not getattr(p, "enable_hr", False):
        del values["hires"]
    own = values.pop("", {})
    own |= {owner: SUBRECORDS[owner](**some) for owner, some in values.items()}
    record = Generation(**own)
    size = (getattr(p, "width", 0), getattr(p, "height", 0))
    return replace(record, size=size) if _RULES["size"].accepts(size) else record


def changes(before: Generation, after: Generation) -> list[Change]:
    """Return the fields in which ``after`` is another than ``before``."""
    found: list[Change] = []
    for path, key in _FIELDS.items():
        value = _value(after, path)
        if value != _value(before, path) and value is not None:
            found.append(Change(path=path, label=key.label, value=value, text=key.rule.write(value) or ""))
    for i, unit in enumerate(after.detailer):
        old = before.detailer[i] if i < len(before.detailer) else None
        for key in UNIT:
            value = getattr(unit, key.path)
            if value is not None and value != getattr(old, key.path, None):
                label, path = unit_label(key.label, i), f"detailer.{key.path}"
                text = key.rule.write(value) or ""
                found.append(Change(path=path, label=label, value=value, text=text, unit=i))
    return found


def setter_of(p: Any, change: Change) -> Setter:
    """Return what writes ``change`` into a copy of request ``p``; raises ``BadValue`` when nothing here takes it."""
    _check_effect(p, change)
    found = _attribute(p, change) or _setting(change) or _detailer(p, change) or _panel(p, change)
    if found is None:
        raise BadValue(f"nothing in this web UI takes {change.label!r}; leave out the axis {change.path}")
    return found


def _check_effect(p: Any, change: Change) -> None:
    """Raise ``BadValue`` where the request has no pass that the field is of."""
    text_to_image, owner = hasattr(p, "enable_hr"), change.path.partition(".")[0]
    hires = getattr(p, "enable_hr", False)
    if owner == "hires" and not hires:
        why = "hires is off; switch it on" if text_to_image else "image to image has no hires pass"
        raise BadValue(f"axis {change.path} changes nothing: {why}, or leave the axis out")
    if change.path == "denoising_strength" and text_to_image and not hires:
        raise BadValue(
            "axis denoising_strength changes nothing: this is text to image without hires; switch hires on"
        )
    if owner == "inpaint" and getattr(p, "image_mask", None) is None:
        raise BadValue(
            f"axis {change.path} changes nothing: there is no mask; draw one, or leave the axis out"
        )


def _attribute(p: Any, change: Change) -> Setter | None:
    if change.path in SIDES and hasattr(p, SIDES[change.path][0]):
        names, sides = SIDES[change.path], change.value

        def write_sides(copy: Any) -> None:
            for name, side in zip(names, sides, strict=True):
                setattr(copy, name, side)

        return write_sides
    name = ATTRIBUTES.get(change.path)
    if change.path in OWN:
        name = OWN[change.path]
    elif name is None or not hasattr(p, name):
        return None
    value = _named(change)
    return lambda copy: setattr(copy, name, value)


def _named(change: Change) -> Any:
    """Return the value as the host calls it; raises ``BadValue`` for a sampler or schedule that it lacks."""
    field = change.path.rpartition(".")[2]
    if field not in ("sampler", "scheduler"):
        return change.value
    found = (sampler_here if field == "sampler" else schedule_here)(change.value)
    if found is None:
        raise BadValue(f"this web UI has no {change.label.casefold()} {change.text!r}; take one of its list")
    return found


def _setting(change: Change) -> Setter | None:
    """Return what overrides the setting of a field for one request; the setting is kept for what comes after it."""
    labels = {info.infotext: name for name, info in shared.opts.data_labels.items() if info.infotext}
    name = SETTINGS.get(change.path) or labels.get(change.label)
    if name is None:
        return None
    options, value = shared.opts, change.value.name if change.path in SETTINGS else change.text
    cast = value if change.path in SETTINGS else options.cast_value(name, value)

    def write(copy: Any) -> None:
        if name in options.data_labels:  # a host sets back only those overrides that have been set before
            options.data.setdefault(name, options.data_labels[name].default)
        copy.override_settings[name] = cast

    return write


def _detailer(p: Any, change: Change) -> Setter | None:
    """Return what gives a unit of our detailer a value; None where that is off."""
    owner, _, name = change.path.rpartition(".")
    if owner != "detailer" or not any(_is_on(p, script) for script in _alwayson(p)):
        return None

    def write(copy: Any) -> None:
        every = values_of(copy)
        setattr(copy, VALUES, {**every, change.unit: {**every.get(change.unit, {}), name: change.value}})

    return write


def _is_on(p: Any, script: Any) -> bool:
    """Tell whether ``script`` is our detailer and has a first argument that does not turn it off."""
    ours = type(script).__module__ == f"{__package__}.detailer_panel"
    return ours and script.args_to > script.args_from and p.script_args[script.args_from] not in (False, None)


def _alwayson(p: Any) -> list[Any]:
    return list(getattr(getattr(p, "scripts", None), "alwayson_scripts", ()))


def _panel(p: Any, change: Change) -> Setter | None:
    """Return what writes a field into the arguments of the panels that have it, as pasting an infotext would.

    The host's own lists are read, since a script that the API has asked for its defaults has other components by then.
    """
    values: dict[int, Any] = {}
    runner = getattr(p, "scripts", None)
    places = {id(component): i for i, component in enumerate(getattr(runner, "inputs", ()))}
    for entry in getattr(runner, "infotext_fields", ()):
        component, key = entry[0], entry[1]
        place = places.get(id(component))
        owner = None if place is None else _owner(p, place)
        value = None if owner is None else _pasted(owner, key, change)
        if place is not None and value is not None:
            values[place] = _like(value, component)
    if not values:
        return None

    def write(copy: Any) -> None:
        arguments = list(copy.script_args)
        for i, value in values.items():
            arguments[i] = value
        copy.script_args = tuple(arguments)

    return write


def _owner(p: Any, place: int) -> Any:
    """Return the panel whose argument stands at ``place``; None when it is of no panel."""
    return next((one for one in _alwayson(p) if one.args_from <= place < one.args_to), None)


def _pasted(script: Any, key: Any, change: Change) -> Any:
    """Return what a panel's field makes of the change; None when it has nothing to do with it.

    Functions are asked of our own panels alone: those of others may count on a whole infotext.
    """
    if not callable(key):
        return change.text if key == change.label else None
    if not type(script).__module__.startswith(__package__ or "\0"):
        return None

    def shown(params: dict[str, str]) -> Any:
        value = key(params)
        return value.get("value") if isinstance(value, dict) else value

    value, without = shown({change.label: change.text}), shown({})
    depends = value != without or any(shown({change.label: probe}) != without for probe in PROBES)
    return value if depends else None


def _like(value: Any, component: Any) -> Any:
    """Return ``value`` as the kind that ``component`` holds, as the hosts do when they paste."""
    kind = type(getattr(component, "value", None))
    if kind is bool:
        return value in (True, "True")
    if kind in (int, float) and isinstance(value, str):
        return float(value) if "." in value or kind is float else int(value)
    return value


def _value(record: Generation, path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _table() -> dict[str, Key]:
    """Return the key of each field that a change can be of; models count as one field, name and hash."""
    table = {
        path: Key(label=path.replace("_", " ").capitalize(), path=path, rule=TEXT)
        for path in ("prompt", "negative_prompt")
    }
    whole = {"model.name": "model", "vae.name": "vae"}
    left_out = {f"{one.name}.hash" for one in fields(Generation)} | {"networks.loras", "networks.embeddings"}
    for key in KEYS.values():
        if key.path not in left_out:
            path = whole.get(key.path, key.path)
            rule = replace(key.rule, write=lambda model: model.name) if path in SETTINGS else key.rule
            table[path] = Key(label=key.label, path=path, rule=rule)
    return table


_FIELDS = _table()
_RULES: Mapping[str, Rule] = {path: key.rule for path, key in _FIELDS.items()}
