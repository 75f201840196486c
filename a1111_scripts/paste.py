"""Paste: an infotext of any program of ours fills the host's fields, and a page reads the settings of any picture.

The host's own parser does the work.  What it is told here are names: of samplers and schedules, as it calls them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..core.errors import ConcordError
from ..core.image.infotext import format_infotext
from ..core.image.keys import FIRST, LAST, UNIT
from ..core.image.rules import SAMPLER, SCHEDULER
from .host import gr, infotext_utils, listen, sd_schedulers, shared
from .names_here import fused_here, sampler_here, schedule_here

TABS = ("txt2img", "img2img", "inpaint")
_KEYS = (*FIRST, *UNIT, *LAST)
_SAMPLERS = {key.label for key in _KEYS if key.rule is SAMPLER}
_SCHEDULES = {key.label for key in _KEYS if key.rule is SCHEDULER}
_UNIT_ENDING = re.compile(r" [1-9][0-9]?(?:st|nd|rd|th)$")
HIRES_CFG = "Hires CFG Scale"
"""What Forge has a control of its own for, and other programs leave as in the first pass."""
RESPELT = {"Beta schedule alpha": "Beta scheduler alpha", "Beta schedule beta": "Beta scheduler beta"}
"""Keys that Forge writes with one word and reads with another."""


def register() -> list[type]:
    """Listen to what is pasted, and add the page; there are no scripts."""
    listen("infotext_pasted", on_pasted)
    listen("ui_tabs", page)
    return []


def on_pasted(_infotext: str, params: dict[str, Any]) -> None:
    """Write the names of samplers and schedules into ``params``, what the host read, as the host knows them.

    What it does not know stays as it is, for the host to deal with.
    """
    for label, value in list(params.items()):
        kind = _UNIT_ENDING.sub("", label)
        if isinstance(value, str) and kind in _SAMPLERS | _SCHEDULES:
            params[label] = (sampler_here if kind in _SAMPLERS else schedule_here)(value) or value
    if sd_schedulers is None:
        _fuse(params)
    if "CFG scale" in params and ("Hires upscale" in params or "Hires upscaler" in params):
        params.setdefault(HIRES_CFG, params["CFG scale"])
    read = {info.infotext for info in shared.opts.data_labels.values() if info.infotext}
    for written, key in RESPELT.items():
        if written in params and key in read:
            params.setdefault(key, params[written])


def _fuse(params: dict[str, Any]) -> None:
    """Put sampler and schedule into one name where a host has no other schedules, if it has that name."""
    for sampler, schedule in (("Sampler", "Schedule type"), ("Hires sampler", "Hires schedule type")):
        found = fused_here(str(params.get(sampler, "")), str(params.get(schedule, "")))
        if found is not None:
            params[sampler] = found


def page() -> list[tuple[Any, str, str]]:
    """Return the page "Concord": a box for a picture file, the settings found in it, and where to send them."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        with gr.Row():
            with gr.Column():
                file = gr.File(label="A picture of any program: its settings are read, a ComfyUI graph too")
            with gr.Column():
                text = gr.Textbox(
                    label="Settings", lines=10, interactive=True, elem_id="concord_paste_settings"
                )
                said = gr.Markdown("", elem_id="concord_paste_said")
                with gr.Row():
                    buttons = {
                        tab: gr.Button(f"Send to {tab}", elem_id=f"concord_paste_{tab}") for tab in TABS
                    }
        file.change(fn=settings_of, inputs=[file], outputs=[text, said], show_progress="hidden")
        for tab, button in buttons.items():
            infotext_utils.register_paste_params_button(
                infotext_utils.ParamBinding(paste_button=button, tabname=tab, source_text_component=text)
            )
    return [(blocks, "Concord", "concord")]


def settings_of(file: Any) -> tuple[str, str]:
    """Return the infotext of a picture file, and what is to be said of it: why there is none.

    ``file``: as the page gives it, a path or an open file; None when the box was emptied.
    """
    from ..core.image.reading import read_image_info  # loads every reader  # noqa: PLC0415

    if file is None:
        return "", ""
    try:
        return format_infotext(read_image_info(Path(getattr(file, "name", file)))), ""
    except ConcordError as error:
        return "", str(error)
