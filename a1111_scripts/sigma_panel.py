"""The panel "Concord Sigmas": sigmas multiplied or written down, options of samplers and schedules, and a picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..core.errors import ConcordError
from .gradio_parts import elem_id, picture
from .host import gr, infotext_utils
from .panel import Panel
from .sigma_drawing import drawing
from .sigma_request import TAIL, Asked, PanelSigmas, apply, plan_of, remark, remove

log = logging.getLogger(__name__)

TITLE = "Concord Sigmas"
MULTIPLY = "Concord sigma multiply"
SAMPLER_KEY, SCHEDULE_KEY = "Concord sampler options", "Concord schedule options"
PLOTTED = ("steps", "sampling", "scheduler")
"""Controls of the host that the picture looks at, by the end of their ids."""


@dataclass(frozen=True)
class Control:
    """One control: its name in ``Asked``, its label, what it says of itself; a slider's range, None for text."""

    name: str
    label: str
    info: str
    slider: tuple[float, float, float] | None = None


CONTROLS = (
    Control(
        "factor",
        "Sigma multiply",
        "below 1 a little noise is left for the model to turn into detail, above 1 it smooths; 1 changes nothing",
        (0.5, 1.5, 0.005),
    ),
    Control("start", "From", "share of the run at which multiplying begins", (0.0, 1.0, 0.01)),
    Control("end", "To", "share of the run at which it ends", (0.0, 1.0, 0.01)),
    Control(
        "tail_power",
        "Tail power",
        "how multistep samplers of Concord jump to 0 at the end: 0 as published, 1.5 is good",
        (0.0, 3.0, 0.1),
    ),
    Control(
        "sigmas",
        "Custom sigmas",
        "falling noise levels such as 14.6 4.8 1.3 0.3 0.03, fitted to the steps; empty for the schedule chosen above",
    ),
    Control("sampler_options", "Sampler options", "of Concord's samplers, as name=value, parted by commas"),
    Control(
        "schedule_options", "Schedule options", "of Concord's schedules, as name=value, parted by commas"
    ),
)


class ConcordSigmas(Panel):
    """Changes the noise levels of a request."""

    label = TITLE
    watched = PLOTTED

    def ui(self, is_img2img: bool) -> list[Any]:
        """Make the panel."""

        def made(control: Control) -> Any:
            return _made(control, elem_id(f"sigmas_{control.name}", img2img=is_img2img))

        with gr.Accordion(TITLE, open=False, elem_id=elem_id("sigmas", img2img=is_img2img)):
            with gr.Row():
                controls = [made(control) for control in CONTROLS[:3]]
            controls += [made(control) for control in CONTROLS[3:]]
            button = gr.Button("Draw the schedule", elem_id=elem_id("sigmas_draw", img2img=is_img2img))
            shown = picture(label="Schedule", elem_id=elem_id("sigmas_picture", img2img=is_img2img))
            words = gr.HTML(elem_id=elem_id("sigmas_words", img2img=is_img2img))
        tab = "img2img" if is_img2img else "txt2img"
        looked_at = [self.seen.get(f"{tab}_{name}") for name in PLOTTED]
        looked_at = [one if one is not None else gr.State(None) for one in looked_at]
        button.click(_drawn, inputs=[*looked_at, *controls], outputs=[shown, words], show_progress=False)
        self.infotext_fields = [
            infotext_utils.PasteField(control, pasted(name))
            for control, name in zip(controls, NAMES, strict=True)
        ]
        self.paste_field_names = [MULTIPLY, f"{MULTIPLY} start", f"{MULTIPLY} end", SAMPLER_KEY, SCHEDULE_KEY]
        return controls

    def process(self, p: Any, *values: Any) -> None:
        """Hang what is asked for on the request."""
        remove(p)
        try:
            asked = asked_of(values)
            if asked.is_neutral:
                return
            plan, remarks = plan_of(p, asked)
        except ConcordError as error:
            line = f"nothing is changed: {' '.join(str(error).split())}"
            log.error("Concord Sigmas: %s", line)
            remark(p, line)
            return
        for words in remarks:
            remark(p, words)
        apply(p, plan)

    def post_sample(self, p: Any, *_: Any) -> None:
        """Say so when the sampler did not ask for sigmas."""
        found = p.sampler_noise_scheduler_override
        if isinstance(found, PanelSigmas) and not found.used:
            remark(p, f"{p.sampler_name} has its own noise levels, and nothing is changed")


NAMES = tuple(control.name for control in CONTROLS)
DEFAULTS: Mapping[str, Any] = {one.name: one.default for one in fields(Asked)}


def register() -> list[type]:
    """Return the panel's class."""
    return [ConcordSigmas]


def asked_of(values: tuple[Any, ...]) -> Asked:
    """Return what the controls, or the arguments of the API, say; missing ones and None are the defaults."""
    given = dict(zip(NAMES, values, strict=False))
    return Asked(**{name: type(DEFAULTS[name])(value) for name, value in given.items() if value is not None})


def pasted(name: str) -> Any:
    """Return what reads control ``name`` from the keys of an infotext; those that are not there are defaults."""

    def read(params: Mapping[str, Any]) -> Any:
        sampler, schedule = _options(params.get(SAMPLER_KEY)), _options(params.get(SCHEDULE_KEY))
        found: dict[str, Any] = {
            "factor": params.get(MULTIPLY),
            "start": params.get(f"{MULTIPLY} start"),
            "end": params.get(f"{MULTIPLY} end"),
            "tail_power": sampler.pop(TAIL, None),
            "sigmas": schedule.pop("sigmas", None),
            "sampler_options": _line(sampler),
            "schedule_options": _line(schedule),
        }
        return _of_kind(found[name], DEFAULTS[name])

    return read


def _of_kind(value: Any, default: Any) -> Any:
    """Return ``value`` as what ``default`` is; the default for what cannot be."""
    if value is None:
        return default
    try:
        return type(default)(value)
    except ValueError:
        return default


def _options(text: Any) -> dict[str, str]:
    """Return the options in a line of ``name=value``."""
    parts = (part.partition("=") for part in str(text or "").split(","))
    return {name.strip(): value.strip() for name, sign, value in parts if sign}


def _line(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _made(control: Control, own_id: str) -> Any:
    """Return the component of ``control``."""
    default, info = DEFAULTS[control.name], control.info
    if control.slider is None:
        return gr.Textbox(value=default, label=control.label, info=info, lines=1, elem_id=own_id)
    low, high, step = control.slider
    return gr.Slider(low, high, value=default, step=step, label=control.label, info=info, elem_id=own_id)


def _drawn(steps: Any, sampler: Any, scheduler: Any, *values: Any) -> tuple[Any, str]:
    """Return the picture of what the controls ask for, or None, and what is wrong."""
    try:
        return drawing(int(steps or 20), sampler, scheduler, asked_of(values)), ""
    except ConcordError as error:
        return None, str(error)
