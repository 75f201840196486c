"""Second models of a run, for its hires pass or as refiner: found by path or recorded name, loaded once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import BadFile, BadValue

if TYPE_CHECKING:
    from ..models import Model
    from ..pipeline import Pipeline

SUFFIXES = (".safetensors", ".ckpt", ".pt")
_HASHED = re.compile(r"(.*?)\s*\[([0-9a-fA-F]{6,64})\]")


def recorded_name(model: Model) -> str:
    """Return how a record names a second model: A1111's "name [hash]"."""
    return f"{model.name} [{model.hash}]"


class SecondModels:
    """The other models that a pipeline may call, by what a record calls them."""

    def __init__(self, folders: Sequence[Path], load: Callable[[Path], Pipeline]) -> None:
        """Look names up in ``folders``; ``load`` makes a pipeline of a path."""
        self._folders, self._load = tuple(folders), load
        self._loaded: dict[str, Pipeline] = {}

    def add(self, name: str, pipeline: Pipeline) -> None:
        """Give a pipeline that is loaded already the name ``name``, beside the one that records use."""
        self._loaded[name] = self._loaded[recorded_name(pipeline.model)] = pipeline

    def get(self, name: str) -> Pipeline:
        """Return the pipeline of a model: a path, a file's name, or A1111's "name [hash]".

        Raises ``BadFile`` for one that is not there.
        """
        if name not in self._loaded:
            self.add(name, self._load(find_model(name, self._folders)))
        return self._loaded[name]


def find_model(name: str, folders: Sequence[Path]) -> Path:
    """Return the file or folder of a model: a path, or a name as records have it of one in ``folders``.

    Raises ``BadFile`` for one that is not there.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    match = _HASHED.fullmatch(name)
    wanted = match[1] if match else name
    for folder in folders:
        for found in _models(folder):
            if wanted in (found.name, found.stem):
                return found
    where = ", ".join(map(str, folders)) or "no folder"
    raise BadFile(f"no model {name!r} (looked in {where}); pass its path")


def _models(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES or (path / "model_index.json").is_file():
            yield path


def check_same_latents(first: Model, second: Model, role: str) -> None:
    """Raise ``BadValue`` unless both have one kind of latents."""
    if (first.family, first.latent_channels) != (second.family, second.latent_channels):
        names = {"sd15": "SD1.5", "sdxl": "SDXL"}
        raise BadValue(
            f"{role} {second.name} is an {names[second.family]} model but {first.name} is "
            f"{names[first.family]}; pass one of the same family"
        )
