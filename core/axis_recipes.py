"""The axis of recipes: a model card's settings for whatever else is left open."""

from __future__ import annotations

from dataclasses import replace

from .axis import Axis
from .image.generation import Generation
from .recipes import RECIPES, apply_recipe, find_recipe

NONE = "none"
"""The value that lays no recipe under the record."""


def recipe_axis(axis: Axis) -> Axis:
    """Return ``axis``, that of the recipe's name in the record, with values that bring the recipe's settings too."""
    wants = f"names of recipes such as {next(iter(RECIPES))!r}, or {NONE!r}"
    return replace(axis, kind="recipe", wants=wants, read=_read, write=str, assign=_laid_under)


def _read(text: str) -> str:
    return NONE if text.casefold() == NONE else find_recipe(text).name


def _laid_under(record: Generation, name: str) -> Generation:
    """Return ``record`` with what it leaves open as recipe ``name`` has it, and the name noted."""
    if name != NONE:
        return apply_recipe(name, record)
    own = record.concord
    return record if own is None else replace(record, concord=replace(own, recipe=None))
