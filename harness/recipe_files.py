"""What a recipe is told of this machine: the files that the options name folders of, and the kind of the model."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from importlib.util import find_spec
from pathlib import Path

from ..core.detailer.detector import SUFFIXES as DETECTORS
from ..core.image.upscalers import SUFFIXES as UPSCALERS
from ..core.recipes import FilesThere, ModelKind, upscaler_names
from ..core.recipes.files import DETECTOR
from .models import Model
from .stages.second import SUFFIXES as MODELS

FAMILIES = {"sd15": "sd1", "sdxl": "sdxl"}
LORAS = (".safetensors", ".pt", ".ckpt", ".bin")


def kind_of(model: Model) -> ModelKind:
    """Return the kind of a loaded model, as recipes ask for it."""
    return ModelKind(family=FAMILIES[model.family], prediction=model.prediction)  # type: ignore[arg-type]


def files_there(args: argparse.Namespace, model: Model) -> FilesThere:
    """Return the names of the files in the folders that the options name, and of what needs none."""
    own = [DETECTOR] if find_spec("skimage") or find_spec("facenet_pytorch") else []
    beside = [model.path.parent] if model.path.name else []
    return FilesThere(
        upscalers=upscaler_names(_stems(args.upscaler_dir, UPSCALERS)),
        detectors=[*own, *(path.name for path in _files(args.detector_dir, DETECTORS, "*"))],
        loras=_stems(args.lora_dir, LORAS),
        models=_models([*args.model_dir, *beside]),
        family=kind_of(model).family,
    )


def _files(folders: Iterable[Path], endings: Collection[str], pattern: str = "**/*") -> list[Path]:
    paths = (path for folder in folders for path in sorted(folder.glob(pattern)))
    return [path for path in paths if path.suffix.lower() in endings]


def _stems(folders: Iterable[Path], endings: Collection[str]) -> list[str]:
    return [path.stem for path in _files(folders, endings)]


def _models(folders: Iterable[Path]) -> list[str]:
    """Return the models in ``folders``: files, and folders of diffusers."""
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return [path.name for path in paths if path.suffix in MODELS or (path / "model_index.json").is_file()]
