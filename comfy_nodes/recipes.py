"""Concord Recipe: the settings of a model's card, for Concord Sampler and Concord Hires, and the doctor of recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.axes import axis_named
from ..core.errors import BadValue
from ..core.filled import filled
from ..core.image.generation import Generation
from ..core.recipes import (
    RECIPES,
    FilesThere,
    ModelKind,
    apply_recipe,
    findings_of,
    fit_to_files,
    upscaler_names,
)
from ..core.value_lists import split_values
from .host import folder_paths, io, samplers, schema
from .loras import lora_stems
from .rig import Rig
from .wires import RECORD, listed

PREDICTIONS = {"V_PREDICTION": "v", "EPS": "eps"}
"""What ComfyUI's classes of model sampling are called, the more special one first."""


class ConcordRecipe(io.ComfyNode):
    """Concord Recipe."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordRecipe",
            display_name="Concord Recipe",
            category="Concord/sampling",
            description="The settings that a model's card publishes, and a word where yours disagree with it.",
            search_aliases=[
                "preset",
                "model card",
                "recommended settings",
                "illustrious",
                "noobai",
                "lcm",
                "ays",
            ],
            inputs=[
                io.Combo.Input("recipe", options=list(RECIPES), tooltip="Whose settings."),
                *(
                    io.String.Input(
                        name,
                        default="",
                        multiline=True,
                        dynamic_prompts=False,
                        tooltip=f"The {name} prompt; the card's rules look at it too.",
                    )
                    for name in ("positive", "negative")
                ),
                io.String.Input(
                    "own",
                    default="",
                    dynamic_prompts=False,
                    tooltip="Settings of your own, which come first, such as steps=24, cfg=6, hires.upscale=2.",
                ),
                io.Model.Input(
                    "model", optional=True, tooltip="The model that will run; some rules depend on its kind."
                ),
            ],
            outputs=[
                RECORD.Output(
                    "record",
                    display_name="record",
                    tooltip="For the record of Concord Sampler and the settings of Concord Hires.",
                ),
                io.String.Output(
                    "prompt", display_name="prompt", tooltip="The positive prompt, LoRA and all."
                ),
                io.Int.Output("steps", display_name="steps"),
                io.Float.Output("cfg", display_name="cfg"),
                io.AnyType.Output("sampler_name", display_name="sampler_name"),
                io.AnyType.Output("scheduler", display_name="scheduler"),
                io.Int.Output("width", display_name="width"),
                io.Int.Output("height", display_name="height"),
                io.String.Output(
                    "warnings", display_name="warnings", tooltip="Which line of which card disagrees."
                ),
            ],
        )

    @classmethod
    def execute(cls, recipe: str, positive: str, negative: str, own: str, model: Any = None) -> Any:
        """Lay the recipe under what is asked for."""
        kind = ModelKind() if model is None else kind_of(model)
        asked = with_own(Generation(prompt=positive, negative_prompt=negative), own)
        whole = apply_recipe(recipe, asked, kind=kind)
        found = findings_of(whole, kind)
        record, lines = fit_to_files(whole, files_there(kind))
        words = "\n\n".join([*lines, *map(str, found)])
        values = values_of(record, kind)
        return io.NodeOutput(record, *values, words, ui={"text": [words]} if words else None)


def values_of(record: Generation, kind: ModelKind) -> tuple[Any, ...]:
    """Return prompt, steps, CFG, sampler, schedule, width and height, as stock nodes take them."""
    whole = filled(replace(record, seed=0))
    size = record.size or ((512, 512) if kind.family == "sd1" else (1024, 1024))
    sampler = listed(whole.sampler or "", samplers.KSampler.SAMPLERS)
    scheduler = listed(whole.scheduler or "", samplers.KSampler.SCHEDULERS)
    return record.prompt, whole.steps, whole.cfg, sampler, scheduler, *size


def with_own(record: Generation, text: str) -> Generation:
    """Return ``record`` with settings such as ``steps=24, cfg=6``; raises ``BadValue`` that names the one."""
    for one in split_values(text):
        name, sign, value = one.partition("=")
        if not sign:
            raise BadValue(f"the setting {one!r} has no value; write NAME=VALUE, such as steps=24")
        axis = axis_named(name)
        record = axis.apply(record, axis.parse(value.strip()))
    return record


def kind_of(model: Any) -> ModelKind:
    """Return the kind of a MODEL, as far as it can be told."""
    names = {one.__name__ for one in type(model.get_model_object("model_sampling")).__mro__}
    prediction = next((ours for theirs, ours in PREDICTIONS.items() if theirs in names), None)
    return ModelKind(family=Rig(model=model, clip=None).family, prediction=prediction)  # type: ignore[arg-type]


def files_there(kind: ModelKind) -> FilesThere:
    """Return the names of ComfyUI's own files; detectors and refiners are wired, and not looked for."""
    upscalers = [Path(name).stem for name in folder_paths.get_filename_list("upscale_models")]
    return FilesThere(upscalers=upscaler_names(upscalers), loras=lora_stems(), family=kind.family)


NODES: list[type] = [ConcordRecipe]
