"""The components of the detailer's panel: a tab a unit, each option of the table in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import Any

from ..core.detailer_fields import FIELDS, Field
from .detailer_axes import ordinal
from .detailer_models import choices
from .gradio_parts import elem_id
from .host import gr

WIDE = 4096
"""Numbers of a larger range are typed, not slid."""
PasteValue = Callable[[Mapping[str, Any]], Any]


def unit_tabs(count: int, *, img2img: bool) -> tuple[list[Any], list[tuple[Any, PasteValue]]]:
    """Return the components of ``count`` units in the order of arguments, and what a pasted text makes of them."""
    made: list[Any] = []
    pasted: list[tuple[Any, PasteValue]] = []
    lists = {field.name: choices(field.name) for field in FIELDS if field.kind == "name"}
    with gr.Tabs():
        for place in range(count):
            with gr.Tab(ordinal(place)):
                for component, value in _unit(place, lists, img2img=img2img):
                    made.append(component)
                    pasted.append((component, value))
    return made, pasted


def _unit(place: int, lists: Mapping[str, list[str]], *, img2img: bool) -> list[tuple[Any, PasteValue]]:
    def name_of(field: str) -> str:
        return elem_id(f"detailer_{place + 1}_{field}", img2img=img2img)

    on = gr.Checkbox(label="Enable this unit", value=True, elem_id=name_of("enable"))
    made: list[tuple[Any, PasteValue]] = [(on, partial(_pasted_enable, place))]
    for group in dict.fromkeys(field.group for field in FIELDS):
        heading = gr.Accordion(group, open=False) if group else nullcontext()
        with heading:
            for field in (one for one in FIELDS if one.group == group):
                made.append(
                    (_component(field, lists, name_of(field.name)), partial(_pasted, place, field.name))
                )
    return made


def _component(field: Field, lists: Mapping[str, list[str]], name: str) -> Any:
    given: dict[str, Any] = {"label": field.label, "value": field.default, "info": field.tip, "elem_id": name}
    if field.kind == "flag":
        return gr.Checkbox(**given)
    if field.kind == "text":
        return gr.Textbox(lines=2 if field.name.endswith("prompt") else 1, **given)
    if field.kind == "choice":
        return gr.Dropdown(choices=list(field.choices), **given)
    if field.kind == "name":
        return gr.Dropdown(choices=lists[field.name], allow_custom_value=True, **given)
    if field.high - field.low > WIDE:
        return gr.Number(precision=0, **given)
    return gr.Slider(minimum=field.low, maximum=field.high, step=field.step, **given)


def _units() -> Any:
    """Return the module that reads texts; it is loaded with the first of them."""
    return import_module(f"{__package__}.detailer_units")


def _pasted_enable(place: int, params: Mapping[str, Any]) -> bool | None:
    """Return whether a pasted text has the unit; None, which changes nothing, where it has no detailer."""
    units = _units().units_of_text(params)
    return place < len(units) and units[place].model is not None if units else None


def _pasted(place: int, name: str, params: Mapping[str, Any]) -> Any:
    """Return what a pasted text gives the component of field ``name``; None changes nothing."""
    reader = _units()
    units = reader.units_of_text(params)
    if not units:
        return None
    return reader.value_of(units[place] if place < len(units) else reader.DetailerUnit(), name)
