"""Recipes in the cells of a grid: a card's settings in place of the form's, under what the other axes say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from ..core.axis import Axis
from ..core.axis_recipes import NONE
from ..core.image.generation import Generation
from ..core.image.names import sampler_label, scheduler_label
from ..core.recipes import RECIPES, apply_recipe, fit_to_files
from .names_here import fused_here
from .recipes import OF_REQUEST, files_here, kind_here, set_by_hand
from .request import Setter

NOT_LAID = ("refiner", "detailer")
"""Parts of recipes that a request is not given: they name files that the host has menus for."""


def recipe_of(values: Sequence[tuple[Axis, Any]]) -> str | None:
    """Return the last recipe among the ``values`` of axes; None without one, and where it is none."""
    named = [value for axis, value in values if axis.kind == "recipe"]
    return named[-1] if named and named[-1] != NONE else None


def left_open(p: Any, record: Generation) -> Generation:
    """Return ``record`` of the form without what a recipe may set."""
    opened = replace(record, steps=None, sampler=None, scheduler=None, cfg=None, clip_skip=None)
    if not _is_text_to_image(p):
        return opened
    return replace(opened, size=None, hires=None, denoising_strength=None)


def laid_under(
    p: Any, record: Generation, name: str, without: Collection[str] = ()
) -> tuple[Generation, list[str]]:
    """Return ``record`` with what it leaves open as recipe ``name`` has it, and what there is to say."""
    asked: Any = {*NOT_LAID, *without}
    made = apply_recipe(name, record, kind=kind_here(), without=asked, is_image=not _is_text_to_image(p))
    made, lines = fit_to_files(made, files_here())
    if not hasattr(p, "scheduler") and made.sampler and made.scheduler:
        fused = fused_here(sampler_label(made.sampler), scheduler_label(made.scheduler))
        if fused is None:
            lines = [*lines, f"recipe {name}: this web UI has no {made.sampler} with {made.scheduler}"]
        made = replace(made, sampler=fused or made.sampler, scheduler=None)
    rest = [part for part in NOT_LAID if part not in without and getattr(RECIPES[name].settings, part)]
    return made, [*lines, *([set_by_hand(name, rest)] if rest else [])]


def switches_hires_on(p: Any, after: Generation, recipe: str | None, frame: Any) -> bool:
    """Tell whether the cell has a hires pass by its recipe or by the ``frame``, which the form has off."""
    wanted = frame.hires or (
        recipe is not None and RECIPES[recipe].settings.hires is not None and "hires" not in frame.without
    )
    return wanted and after.hires is not None and getattr(p, "enable_hr", None) is False


def recipe_setter(name: str) -> Setter:
    """Return what notes recipe ``name`` in a copy of the request, where the panel sees it."""
    return lambda own: setattr(own, OF_REQUEST, name)


def _is_text_to_image(p: Any) -> bool:
    return hasattr(p, "enable_hr")
