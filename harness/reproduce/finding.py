"""Finding the files that a picture was made with, by the hash that it records, or by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...core.errors import BadFile
from ...core.image.generation import Generation
from ...core.image.model_ref import ModelRef
from ...core.networks.tensor_files import FileHashes, file_hashes

ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
OLD_DIGITS = 8
"""Digits of the hash that A1111 recorded before its version 1.0: of 64 KB of the file from 1 MB on."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file, and whether the recorded hash says that it is the one: None where there is no hash."""

    path: Path
    certain: bool | None


@dataclass
class Files:
    """Files of models in folders and below; each is hashed once, and only when its hash is asked for."""

    folders: Sequence[Path] = ()
    _hashes: dict[Path, FileHashes] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Path]:
        """Run over the files and the diffusers folders."""
        for folder in self.folders:
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in ENDINGS and not _inside_model(path, folder):
                    yield path
                elif path.name == "model_index.json":
                    yield path.parent

    def find(self, ref: ModelRef) -> Found | None:
        """Return the file that ``ref`` means: by its hash, without one by name; None when it is not there."""
        named = [path for path in self if _is_called(path, ref.name)]
        if ref.hash is None:
            return Found(path=named[0], certain=None) if named else None
        others = (path for path in self if path not in named)
        for path in (*named, *others):
            if self.has_hash(path, ref.hash):
                return Found(path=path, certain=True)
        return Found(path=named[0], certain=False) if named else None

    def has_hash(self, path: Path, digits: str) -> bool:
        """Tell whether the file's hash, in any of the forms that programs record, begins with ``digits``."""
        if path.is_dir():
            return False
        wanted = digits.lower()
        if len(wanted) == OLD_DIGITS and _old_hash(path) == wanted:
            return True
        if path not in self._hashes:
            self._hashes[path] = file_hashes(path)
        hashes = self._hashes[path]
        return any(one.startswith(wanted) for one in (hashes.sha256, hashes.tensors_sha256))


def _inside_model(path: Path, folder: Path) -> bool:
    """Tell whether ``path`` is a part of a diffusers folder."""
    above = path.parent.parent
    return above != folder.parent and (above / "model_index.json").is_file()


def _is_called(path: Path, name: str | None) -> bool:
    if name is None:
        return False
    wanted = name.replace("\\", "/").rpartition("/")[2].casefold()
    return wanted in (path.name.casefold(), path.stem.casefold() if path.is_file() else "")


def _old_hash(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:OLD_DIGITS]


def check_folders(folders: Iterable[Path], option: str) -> None:
    """Raise ``BadFile`` for a folder that is not there; ``option`` names it."""
    for folder in folders:
        if not folder.is_dir():
            raise BadFile(f"{option} {folder} is not a folder; check the path")


def with_network_names(
    record: Generation, loras: Files, embeddings: Files
) -> tuple[Generation, tuple[str, ...]]:
    """Return ``record`` with networks called as their files are, found by the recorded hashes, and notes."""
    notes: list[str] = []
    for kind, refs, files in (
        ("LoRA", record.networks.loras, loras),
        ("embedding", record.networks.embeddings, embeddings),
    ):
        for ref in refs:
            found = files.find(ref)
            if found is None:
                notes.append(f"{kind} {ref.name!r} is not there")
                continue
            if found.certain is False:
                notes.append(f"{kind} {ref.name!r} is another file: its hash is not {ref.hash}")
            if ref.name and found.path.stem.casefold() != ref.name.casefold():
                record = _renamed(record, kind, ref.name, found.path.stem)
    return record, tuple(notes)


def _renamed(record: Generation, kind: str, old: str, new: str) -> Generation:
    """Return ``record`` whose prompts call a network ``new``."""
    before, after = (r"<(?:lora|lyco):", r"(?=[:>])") if kind == "LoRA" else (r"(?<!\w)", r"(?!\w)")
    pattern = re.compile(f"({before}){re.escape(old)}{after}", re.IGNORECASE)

    def named(text: str) -> str:
        return pattern.sub(lambda match: match[1] + new, text)

    return replace(record, prompt=named(record.prompt), negative_prompt=named(record.negative_prompt))
