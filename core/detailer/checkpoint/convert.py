"""Turn a ``.pt`` into safetensors and JSON, once, and read those."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...errors import BadFile, BadValue
from .architecture import Architecture
from .contents import Contents, read_checkpoint

FORMAT = "sd-concord detector 1"
_LIMIT_JSON = 16 << 20


def convert_detector(
    path: str | Path, out: str | Path | None = None, *, cache: str | Path | None = None
) -> Path:
    """Read a ``.pt`` of ultralytics inertly and write safetensors with JSON beside it; return the former's path.

    ``out`` names the safetensors file.  Without it that is the name of ``path`` with twelve digits of its
    SHA-256, beside ``path``, or in ``cache`` (by default `cache_folder`) where that cannot be written; a
    conversion that is there already is left as it is.

    Raises `BadFile` for a file that is refused, and `BadValue` when nothing can be written.
    """
    path = Path(path)
    digest = sha256(path)
    if out is not None:
        target = Path(out)
        if target.suffix != ".safetensors":
            raise BadValue(f"--out is {target.name}; pass a name that ends in .safetensors")
        _write(path.name, digest, read_checkpoint(path), target)
        return target
    places = [path.parent, Path(cache) if cache is not None else cache_folder()]
    targets = [place / f"{path.stem}.{digest[:12]}.safetensors" for place in places]
    for target in targets:
        if _is_of(target, digest):
            return target
    contents = read_checkpoint(path)
    for target in targets:
        try:
            _write(path.name, digest, contents, target)
        except BadValue:
            continue
        return target
    raise BadValue(
        f"cannot write {targets[0].name} into {places[0]} or {places[1]}; name another place with --out"
    )


def read_converted(path: str | Path) -> Contents:
    """Return the network that `convert_detector` wrote to ``path``, checked as if it came from a stranger.

    Raises `BadFile` when the JSON or the safetensors file is missing, damaged, or not of the other.
    """
    path = Path(path)
    note = _note(path)
    if note.get("format") != FORMAT:
        raise BadFile(
            f"{path.with_suffix('.json').name} does not describe a detector; "
            "convert the .pt with: sd-concord convert-detector"
        )
    if note.get("tensors_sha256") != sha256(path):
        raise BadFile(f"{path.name} is not the file that its JSON describes; convert the .pt again")
    try:
        architecture = Architecture.from_json(note.get("architecture"))
        return Contents(architecture=architecture, tensors=_tensors(path))
    except BadFile as error:
        raise BadFile(f"{path.name} is refused: {error}") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise BadFile(f"{path.name} is damaged ({error}); convert the .pt again") from error


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hex; raises `BadFile` when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BadFile(
            f"cannot read {path}: {error.strerror or error}; check the name and the folder"
        ) from error
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return the folder of converted detectors of this user, which need not exist."""
    if own := os.environ.get("CONCORD_CACHE"):
        return Path(own) / "detectors"
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sd-concord" / "detectors"


def _note(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    try:
        if beside.stat().st_size > _LIMIT_JSON:
            raise BadFile(f"{beside.name} is larger than the description of a detector ever is")
        note: Any = json.loads(beside.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(
            f"cannot read {beside}: {error.strerror or error}; it belongs to {path.name}: copy it too, or make both "
            "with sd-concord convert-detector"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{beside.name} is damaged; convert the .pt again") from error
    return cast("dict[str, Any]", note) if isinstance(note, dict) else {}


def _is_of(target: Path, digest: str) -> bool:
    """Return whether ``target`` is a whole conversion of the file that has the SHA-256 ``digest``."""
    try:
        note = _note(target)
        return (note.get("format"), note.get("source_sha256")) == (FORMAT, digest) and note.get(
            "tensors_sha256"
        ) == sha256(target)
    except BadFile:
        return False


def _tensors(path: Path) -> dict[str, Tensor]:
    opened: Any = safe_open(path, framework="pt", device="cpu")
    with opened as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)


def _write(source: str, digest: str, contents: Contents, target: Path) -> None:
    data = save(contents.tensors, metadata={"format": "pt", "source_sha256": digest})
    note = {
        "format": FORMAT,
        "source": source,
        "source_sha256": digest,
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
        "architecture": contents.architecture.to_json(),
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, data)
        _replace(target.with_suffix(".json"), (json.dumps(note, indent=1) + "\n").encode())
    except OSError as error:
        raise BadValue(
            f"cannot write {target}: {error.strerror or error}; name another place with --out"
        ) from error


def _replace(target: Path, data: bytes) -> None:
    """Write ``target`` whole or not at all."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(target)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
