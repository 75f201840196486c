"""The panel "Concord Recipe": a model card's settings into the host's fields, and which line of the card disagrees."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import ConcordError
from ..core.image.generation import Generation
from ..core.image.infotext import format_infotext
from ..core.image.parts import ConcordSettings, DetailerUnit, Hires
from ..core.recipes import (
    RECIPES,
    FilesThere,
    ModelKind,
    apply_recipe,
    find_recipe,
    findings_of,
    fit_to_files,
)
from .gradio_parts import elem_id
from .host import gr, shared
from .names_here import sampler_here, schedule_here
from .panel import Panel
from .request import record_of

log = logging.getLogger(__name__)

TITLE = "Concord Recipe"
KEY = "Concord recipe"
OF_REQUEST = "concord_recipe"
"""The attribute by which a script names the recipe of a request in place of the panel."""
NONE = "none"
FIELDS = (
    *("prompt", "steps", "sampling", "scheduler", "cfg_scale", "width", "height"),
    *("hr-checkbox", "hr_scale", "hires_steps", "hr_upscaler", "denoising_strength"),
)
"""Controls of the host that a recipe fills, by the ends of their ids."""


class ConcordRecipe(Panel):
    """Fills the host's fields from a recipe when asked, and compares each request with its card."""

    label = TITLE
    watched = FIELDS

    def ui(self, is_img2img: bool) -> list[Any]:
        """Make the panel."""
        with gr.Accordion(TITLE, open=False, elem_id=elem_id("recipe", img2img=is_img2img)):
            chosen = gr.Dropdown(
                choices=[NONE, *(recipe.label for recipe in RECIPES.values())],
                value=NONE,
                label="Recipe",
                info="pictures are compared with its card, and what disagrees is said below them",
                elem_id=elem_id("recipe_name", img2img=is_img2img),
            )
            button = gr.Button("Fill in its settings", elem_id=elem_id("recipe_fill", img2img=is_img2img))
            words = gr.HTML(elem_id=elem_id("recipe_words", img2img=is_img2img))
        tab = "img2img" if is_img2img else "txt2img"
        seen = {name: self.seen[f"{tab}_{name}"] for name in FIELDS if f"{tab}_{name}" in self.seen}
        prompt = seen.get("prompt")

        def fill(name: str, text: str = "") -> list[Any]:
            values, said = filled_in(name, text or "", list(seen), is_image=is_img2img)
            return [*(gr.update(value=values[one]) if one in values else gr.update() for one in seen), said]

        inputs = [chosen] if prompt is None else [chosen, prompt]
        button.click(fill, inputs=inputs, outputs=[*seen.values(), words], show_progress=False)
        self.infotext_fields = [(chosen, _pasted)]
        self.paste_field_names = [KEY]
        return [chosen]

    def process(self, p: Any, chosen: str = NONE, *_: Any) -> None:
        """Note the recipe in the picture, and say what disagrees with its card."""
        chosen = getattr(p, OF_REQUEST, None) or chosen
        if not chosen or chosen == NONE:
            return
        try:
            recipe = find_recipe(chosen)
            lines = disagreements(p, recipe.name)
        except ConcordError as error:
            lines = [" ".join(str(error).split())]
        else:
            p.extra_generation_params[KEY] = recipe.name
        for line in lines:
            note(p, f"{TITLE}: {line}")


def register() -> list[type]:
    """Return the panel's class."""
    return [ConcordRecipe]


def disagreements(p: Any, name: str) -> list[str]:
    """Return in which request ``p`` disagrees with the card of recipe ``name``, a line each."""
    record = record_of(p)
    if record.hires is None and hasattr(p, "enable_hr"):  # the strength is the hires pass's, which is off
        record = replace(record, denoising_strength=None)
    if not (record.refiner and _is_named(record.refiner.model)):
        record = replace(record, refiner=None)
    if _has_detailer(p):
        record = replace(record, detailer=(DetailerUnit(),))
    skip = getattr(shared.opts, "CLIP_stop_at_last_layers", None)
    skip = None if skip is None else int(skip)  # a slider may have left 1.0
    record = replace(record, clip_skip=skip, concord=ConcordSettings(recipe=name))
    return [str(finding) for finding in findings_of(record, kind_here())]


def _has_detailer(p: Any) -> bool:
    """Tell whether our detailer or ADetailer is on in request ``p``."""
    for script in getattr(getattr(p, "scripts", None), "alwayson_scripts", ()):
        ours = type(script).__module__ == f"{__package__}.detailer_panel"
        has_switch = (ours or script.title() == "ADetailer") and script.args_to > script.args_from
        if has_switch and p.script_args[script.args_from] not in (False, None):
            return True
    return False


def note(p: Any, line: str) -> None:
    """Say ``line`` in the log and below the pictures, once a request and the copies of it."""
    if line not in (getattr(p, "comments", None) or ()):
        log.warning("%s", line)
    comment = getattr(p, "comment", None)
    if comment is not None:
        comment(line)


def set_by_hand(name: str, parts: Iterable[str]) -> str:
    """Return in words what of recipe ``name`` is left to its own controls."""
    settings = RECIPES[name].settings
    left = Generation(**{part: getattr(settings, part) for part in parts})
    return f"recipe {name}, to be set by hand: {format_infotext(left)}"


def _is_named(model: str | None) -> bool:
    return model not in (None, "", "None")


def kind_here() -> ModelKind:
    """Return the kind of the model that is loaded, as far as the host tells it."""
    model = shared.sd_model
    if model is None:
        return ModelKind()
    family = (
        "sdxl" if getattr(model, "is_sdxl", False) else "sd1" if getattr(model, "is_sd1", False) else None
    )
    said = str(getattr(model, "parameterization", "") or "")
    predictor = getattr(getattr(getattr(model, "forge_objects", None), "unet", None), "model", None)
    said = said or str(getattr(getattr(predictor, "predictor", None), "prediction_type", ""))
    prediction = "v" if said.startswith("v") else "eps" if said.startswith("eps") else None
    return ModelKind(family=family, prediction=prediction)


def filled_in(name: str, prompt: str, fields: list[str], *, is_image: bool) -> tuple[dict[str, Any], str]:
    """Return what recipe ``name`` puts into which of ``fields``, and what there is to say.

    What the host has no field for, or no such entry, is said, so that it can be set by hand.
    """
    if not name or name == NONE:
        return {}, "choose a recipe"
    try:
        asked = apply_recipe(name, Generation(prompt=prompt), kind=kind_here(), is_image=is_image)
        record, lines = fit_to_files(asked, files_here())
    except ConcordError as error:
        return {}, str(error)
    values = {
        field: value for field, value in _values(record).items() if field in fields and value is not None
    }
    rest = _rest(record, values)
    said = [*lines, *([f"to be set by hand: {rest}"] if rest else [])]
    return values, "<br>".join(said) or "filled in"


def files_here() -> FilesThere:
    """Return the upscalers of the host."""
    named = [str(one.name) for one in getattr(shared, "sd_upscalers", ())]
    return FilesThere(upscalers=[*getattr(shared, "latent_upscale_modes", ()), *named] or None)


def _values(record: Generation) -> Mapping[str, Any]:
    """Return what the host's controls are to hold, None for nothing."""
    hires = record.hires or Hires()
    width, height = record.size or (None, None)
    return {
        "prompt": record.prompt or None,
        "steps": record.steps,
        "sampling": sampler_here(record.sampler) if record.sampler else None,
        "scheduler": schedule_here(record.scheduler) if record.scheduler else None,
        "cfg_scale": record.cfg,
        "width": width,
        "height": height,
        "hr-checkbox": True if record.hires else None,
        "hr_scale": hires.upscale,
        "hires_steps": hires.steps,
        "hr_upscaler": hires.upscaler,
        "denoising_strength": record.denoising_strength,
    }


def _rest(record: Generation, values: Mapping[str, Any]) -> str:
    """Return the settings of a record that ``values`` do not fill, as an infotext has them."""
    there = set(values)
    hires = None if {"hr-checkbox", "hr_scale", "hr_upscaler"} <= there else record.hires
    left = replace(
        record,
        prompt="",
        steps=None if "steps" in there else record.steps,
        sampler=None if "sampling" in there else record.sampler,
        scheduler=None if "scheduler" in there else record.scheduler,
        cfg=None if "cfg_scale" in there else record.cfg,
        size=None if {"width", "height"} <= there else record.size,
        hires=hires,
        denoising_strength=None if "denoising_strength" in there else record.denoising_strength,
        concord=None,
    )
    return format_infotext(left)


def _pasted(params: Mapping[str, Any]) -> str:
    """Return the label of the recipe that an infotext names; none without one."""
    recipe = RECIPES.get(str(params.get(KEY, "")))
    return recipe.label if recipe else NONE
