"""The files that a recipe asks for, and those that are there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ..image.generation import Generation
from .apply import RECIPES
from .recipe import Family, Recipe

DETECTOR = "face"
"""The detector that needs no file, in place of one that is not there."""
UPSCALER = "Lanczos"
"""The upscaler that needs no file, in place of one that is not there."""
Fitted = tuple[Generation, str | None]


@dataclass(frozen=True, kw_only=True)
class FilesThere:
    """The names of files that a front can find; None where it cannot tell.  ``family``: of the model, if known."""

    upscalers: Collection[str] | None = None
    detectors: Collection[str] | None = None
    loras: Collection[str] | None = None
    models: Collection[str] | None = None
    family: Family | None = None


def upscaler_names(files: Iterable[str]) -> list[str]:
    """Return every name that an upscaler can be asked for by, where ``files`` (without endings) are there."""
    from ..image.upscale import LATENT_UPSCALERS, RESAMPLERS  # noqa: PLC0415
    from ..image.upscalers import FILES  # loads torch  # noqa: PLC0415

    own = list(files)
    listed = [name for name, file in FILES.items() if file in own]
    return [*LATENT_UPSCALERS, *RESAMPLERS, *listed, *own]


def fit_to_files(record: Generation, files: FilesThere) -> tuple[Generation, list[str]]:
    """Return ``record`` with files that are there in place of those that its recipe asks for, and what was changed.

    Only what the recipe asks for is changed: what else a record names is for the front to find, or to miss.  A
    file goes by another spelling too (``4x_NMKD-Siax_200k``).  One line says what is used in place of each
    file that is not there, or what is left out, and where to get it.
    """
    name = record.concord and record.concord.recipe
    if not name or name not in RECIPES:
        return record, []
    recipe, lines = RECIPES[name], list[str]()
    for fit in (_fit_upscaler, _fit_detailer, _fit_refiner, _fit_lora):
        record, line = fit(record, recipe, files)
        lines += [line] if line else []
    return record, lines


def _fit_upscaler(record: Generation, recipe: Recipe, files: FilesThere) -> Fitted:
    hires, asked = record.hires, recipe.settings.hires
    if files.upscalers is None or hires is None or asked is None or hires.upscaler != asked.upscaler:
        return record, None
    wanted = hires.upscaler or ""
    found = called(wanted, files.upscalers)
    line = None if found else f"{_asks(recipe, 'upscaler', wanted)}; {UPSCALER} is used instead"
    return replace(record, hires=replace(hires, upscaler=found or UPSCALER)), line


def _fit_detailer(record: Generation, recipe: Recipe, files: FilesThere) -> Fitted:
    units = recipe.settings.detailer
    if files.detectors is None or not units or record.detailer != units:
        return record, None
    wanted = units[0].model or ""
    found = called(wanted, files.detectors)
    if found or DETECTOR in files.detectors:
        line = None if found else f"{_asks(recipe, 'detector', wanted)}; {DETECTOR!r} is used instead"
        fitted = tuple(replace(unit, model=found or DETECTOR) for unit in units)
        return replace(record, detailer=fitted), line
    line = f"{_asks(recipe, 'detector', wanted)}; the picture is made without a detailer"
    return replace(record, detailer=()), line


def _fit_refiner(record: Generation, recipe: Recipe, files: FilesThere) -> Fitted:
    refiner, asked = record.refiner, recipe.settings.refiner
    if files.models is None or refiner is None or asked is None or refiner.model != asked.model:
        return record, None
    wanted = refiner.model or ""
    if found := called(wanted, files.models):
        return replace(record, refiner=replace(refiner, model=found)), None
    line = f"{_asks(recipe, 'model', wanted)}; the picture is made without a refiner"
    return replace(record, refiner=None), line


def _fit_lora(record: Generation, recipe: Recipe, files: FilesThere) -> Fitted:
    if files.loras is None or recipe.lora is None:
        return record, None
    for name in recipe.lora.files.values():
        pattern = re.compile(rf"\s*<lora:{re.escape(name)}:[^>]*>")
        if pattern.search(record.prompt) is None:
            continue
        wanted = recipe.lora.files[files.family] if files.family else name
        if found := called(wanted, files.loras):
            return replace(record, prompt=record.prompt.replace(f"<lora:{name}:", f"<lora:{found}:")), None
        line = f"{_asks(recipe, 'LoRA', wanted)}; the picture is made without it"
        return replace(record, prompt=pattern.sub("", record.prompt)), line
    return record, None


def _asks(recipe: Recipe, sort: str, name: str) -> str:
    url = recipe.files.get(name)
    get_it = f" (get it from {url})" if url else ""
    return f"recipe {recipe.name} asks for the {sort} {name}, which is not there{get_it}"


def called(wanted: str, known: Iterable[str]) -> str | None:
    """Return which of ``known`` is ``wanted``, signs and endings of files apart."""
    return next((name for name in known if _bare(name) == _bare(wanted)), None)


def _bare(name: str) -> str:
    stem = re.sub(r"\.(safetensors|pth|pt|ckpt|bin|onnx)$", "", name.casefold())
    return re.sub(r"[\W_]+", "", stem)
