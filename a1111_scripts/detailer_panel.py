"""Concord Detailer in the web UIs: the panel, ADetailer's name for API clients, and the hooks of the host.

What works is in the modules beside this one; they are loaded with the first request that uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from . import detailer_axes
from .detailer_settings import MOST_UNITS, add_settings, units
from .detailer_widgets import unit_tabs
from .gradio_parts import elem_id
from .host import gr, images, scripts, shared

TITLE = "Concord Detailer"
ADETAILER = "ADetailer"
BOTH = (
    "ADetailer is installed too. Where both are on, both redraw: the units of one, then those of the other."
)


def register() -> list[type]:
    """Add settings and axes, and return the scripts."""
    add_settings()
    detailer_axes.listen()
    return [ConcordDetailer, ConcordAsADetailer]


def _work(module: str) -> Any:
    return import_module(f"{__package__}.detailer_{module}")


def is_adetailer(script_class: type, path: str) -> bool:
    """Tell whether a script is the extension ADetailer's."""
    return script_class.__name__ == "AfterDetailerScript" or "adetailer" in Path(path).name.lower()


def has_adetailer() -> bool:
    """Tell whether the extension ADetailer is among the scripts that the host has loaded."""
    return any(is_adetailer(one.script_class, one.path) for one in scripts.scripts_data)


def adetailer_is_on(p: Any) -> bool:
    """Tell whether ADetailer is on in the request ``p``."""
    alwayson = [] if p.scripts is None else p.scripts.alwayson_scripts
    found = [one for one in alwayson if is_adetailer(type(one), one.filename or "")]
    for one in found:
        args = p.script_args[one.args_from : one.args_to]
        units = [unit for unit in args if isinstance(unit, Mapping)]
        if args and args[0] is not False and any(unit.get("ad_model", "None") != "None" for unit in units):
            return True
    return False


class _Detailer(scripts.Script):
    """The hooks of both scripts.  ``job``: the attribute of a request that holds what this one does in it."""

    job = ""

    def before_process(self, p: Any, *args: Any) -> None:
        """Take out of the infotext what an earlier run of the same request has put there."""
        setattr(p, self.job, None)
        if _is_asked(args):
            _work("job").forget_texts(p)

    def process(self, p: Any, *args: Any) -> None:
        """Read what is asked."""
        if not _is_asked(args):
            return
        work = _work("job")
        job = work.job_of(p, args)
        if job is None:
            return
        if work.paints_nothing(p):
            job.say("there is nothing in the mask, so the detailer is left out")
            return
        setattr(p, self.job, job)
        if adetailer_is_on(p):
            job.say("ADetailer is on too, so both redraw; turn one of them off unless that is meant")
        if job.asked.skip and self.is_img2img:
            if getattr(p, "image_mask", None) is None:
                job.leave_out_img2img()
            else:
                job.say("an inpainting pass cannot be left out, so it is drawn")

    def before_process_batch(self, p: Any, *_args: Any, **_batch: Any) -> None:
        """Write the units into the infotext, after those of ADetailer."""
        if job := getattr(p, self.job, None):
            job.write()

    def before_hr(self, p: Any, *_args: Any) -> None:
        """Work before the second pass, where that is asked for."""
        job = getattr(p, self.job, None)
        if job and job.is_early:
            _work("hires").put_before(job)

    def postprocess_image(self, p: Any, pp: Any, *_args: Any) -> None:
        """Redraw what the units find in a picture."""
        job = getattr(p, self.job, None)
        if not job:
            return
        index = p.batch_index + p.iteration * p.batch_size
        picture = pp.image
        if job.before:
            picture = p.init_images[index % len(p.init_images)]
            picture = images.flatten(picture, shared.opts.img2img_background_color)
        before = np.asarray(picture.convert("RGB"))
        after = job.redraw(before, index)
        if after is not before or job.before:
            pp.image = _work("job").Image.fromarray(after)
        job.write(index)

    def postprocess(self, p: Any, _processed: Any, *_args: Any) -> None:
        """Give back what was changed of the request."""
        if job := getattr(p, self.job, None):
            job.give_back()


def _is_asked(args: tuple[Any, ...]) -> bool:
    """Tell whether arguments ask for anything, without loading what reads them."""
    return bool(args) and args[0] is not False and args[0] is not None


class ConcordDetailer(_Detailer):
    """The panel."""

    job = "concord_detailer"
    sorting_priority = 20

    def title(self) -> str:
        """Return the name."""
        return TITLE

    def show(self, is_img2img: bool) -> Any:
        """Show the panel on both tabs."""
        del is_img2img
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """Return the components: enable, skip img2img, before hires, and those of each unit."""
        with gr.Accordion(TITLE, open=False, elem_id=elem_id("detailer", img2img=is_img2img)):
            if has_adetailer():
                gr.Markdown(BOTH)
            leading = self._leading(is_img2img)
            made, pasted = unit_tabs(units(), img2img=is_img2img)
        enable, skip, early = leading
        self.infotext_fields = [
            (enable, _pasted_enable),
            (skip, lambda params: _pasted_flag(params, "SKIP")),
            (early, lambda params: _pasted_flag(params, "BEFORE_HIRES")),
            *pasted,
        ]
        self.paste_field_names = []
        return [*leading, *made]

    def _leading(self, is_img2img: bool) -> list[Any]:
        def name_of(what: str) -> str:
            return elem_id(f"detailer_{what}", img2img=is_img2img)

        with gr.Row():
            return [
                gr.Checkbox(label="Enable", value=False, elem_id=name_of("enable")),
                gr.Checkbox(
                    label="Skip img2img", value=False, visible=is_img2img, elem_id=name_of("skip_img2img")
                ),
                gr.Checkbox(
                    label="Before hires",
                    value=False,
                    visible=not is_img2img,
                    info="Redraw before the second pass, not after it.",
                    elem_id=name_of("before_hires"),
                ),
            ]


def _pasted_enable(params: Mapping[str, Any]) -> bool:
    """Return whether a pasted text has units for this panel; those of an ADetailer that is there are its own."""
    own = "ADetailer version" not in params or not has_adetailer()
    return own and bool(_work("units").units_of_text(params))


def _pasted_flag(params: Mapping[str, Any], key: str) -> bool | None:
    work = _work("units")
    return getattr(work, key) in params if work.units_of_text(params) else None


class ConcordAsADetailer(_Detailer):
    """ADetailer's name for clients of the API, where ADetailer itself is not installed; it has nothing to see."""

    job = "concord_as_adetailer"
    create_group = False
    sorting_priority = 21

    def title(self) -> str:
        """Return ADetailer's name."""
        return ADETAILER

    def show(self, is_img2img: bool) -> Any:
        """Be there unless ADetailer is."""
        del is_img2img
        return False if has_adetailer() else scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """Return what takes ADetailer's arguments: two switches and a dict a unit, none of them seen."""
        del is_img2img
        switches = [gr.Checkbox(value=False, visible=False) for _ in range(2)]
        return [*switches, *(gr.State({}) for _ in range(MOST_UNITS))]
