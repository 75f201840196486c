"""A recipe's settings laid under a record: what the record says itself stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar

from ..errors import unknown
from ..image.generation import Generation
from ..image.parts import ConcordSettings, Hires
from ..prompt.networks import NetworkTag, extract_networks
from .reading import read_recipes
from .recipe import ModelKind, Recipe

Part = Literal["hires", "refiner", "detailer", "lora"]
PARTS: tuple[Part, ...] = ("hires", "refiner", "detailer", "lora")
"""What of a recipe can be left out by itself."""
RECIPES: Mapping[str, Recipe] = read_recipes()
"""Every recipe by name."""
_PLAIN = ("steps", "sampler", "scheduler", "cfg", "clip_skip", "size")
_T = TypeVar("_T")


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name or label, upper and lower case being one.

    Raises ``BadValue`` that offers the nearest names.
    """
    folded = " ".join(name.split()).casefold()
    for recipe in RECIPES.values():
        if folded in (recipe.name, recipe.label.casefold()):
            return recipe
    raise unknown("recipe", name, RECIPES)


def apply_recipe(
    name: str,
    record: Generation,
    *,
    kind: ModelKind | None = None,
    without: Collection[Part] = (),
    is_image: bool = False,
) -> Generation:
    """Return ``record`` with what it leaves open filled in from a recipe, and the recipe's name noted.

    ``kind``: of the model, where it is known; it decides which file a network is.  ``without``: parts of the
    recipe that are not wanted.  ``is_image``: it is image to image, which has no hires pass and the size of its
    picture.
    Raises ``BadValue`` for an unknown recipe.
    """
    recipe = find_recipe(name)
    settings = recipe.settings
    values: dict[str, Any] = {
        field: getattr(settings, field) for field in _PLAIN if getattr(record, field) is None
    }
    if is_image:
        values.pop("size", None)
    if settings.hires is not None and not is_image and "hires" not in without:
        values["hires"] = _hires(record.hires, settings.hires)
        if record.denoising_strength is None:
            values["denoising_strength"] = settings.denoising_strength
    if settings.refiner is not None and "refiner" not in without:
        values["refiner"] = _under(record.refiner, settings.refiner)
    if not record.detailer and "detailer" not in without:
        values["detailer"] = settings.detailer
    if recipe.lora is not None and "lora" not in without:
        values["prompt"] = _with_lora(recipe, record.prompt, kind)
    values["concord"] = replace(record.concord or ConcordSettings(), recipe=recipe.name)
    return replace(record, **values)


def _under(own: _T | None, given: _T) -> _T:
    """Return the record ``own`` with what it leaves open as in ``given``."""
    if own is None:
        return given
    names = [field.name for field in fields(own) if getattr(own, field.name) is None]  # type: ignore[arg-type]
    return replace(own, **{name: getattr(given, name) for name in names})  # type: ignore[type-var]


def _hires(own: Hires | None, given: Hires) -> Hires:
    if own is not None and own.resize is not None:
        given = replace(given, upscale=None)
    return _under(own, given)


# Networks


def _with_lora(recipe: Recipe, prompt: str, kind: ModelKind | None) -> str:
    """Return ``prompt`` with the tag of the network that the recipe needs, unless it has one of the sort."""
    lora = recipe.lora
    assert lora
    if any(lora.mark in name.casefold() for name in lora_names(prompt)):
        return prompt
    family = (kind or recipe.kind).family or "sdxl"
    return f"{prompt} <lora:{lora.files[family]}:{lora.weight:g}>".strip()


def lora_tags(prompt: str) -> list[NetworkTag]:
    """Return the tags of LoRAs in ``prompt`` that name one."""
    return [tag for tag in extract_networks(prompt)[1] if tag.kind in ("lora", "lyco") and tag.positional]


def lora_names(prompt: str) -> list[str]:
    """Return the names in the tags of LoRAs in ``prompt``."""
    return [tag.positional[0] for tag in lora_tags(prompt)]
