"""Recipes: the settings that model cards publish, with their source, ranges and rules."""

from typing import TYPE_CHECKING, Any

from .apply import PARTS, RECIPES, apply_recipe, find_recipe
from .files import FilesThere, fit_to_files, upscaler_names
from .recipe import Card, Lora, ModelKind, Recipe, Rule

if TYPE_CHECKING:
    from .judge import check_recipe, findings_of

__all__ = [
    "PARTS",
    "RECIPES",
    "Card",
    "FilesThere",
    "Lora",
    "ModelKind",
    "Recipe",
    "Rule",
    "apply_recipe",
    "check_recipe",
    "find_recipe",
    "findings_of",
    "fit_to_files",
    "upscaler_names",
]


def __getattr__(name: str) -> Any:
    """Return what needs torch, which loads slowly, when it is asked for."""
    if name not in ("check_recipe", "findings_of"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import judge  # noqa: PLC0415

    return getattr(judge, name)
