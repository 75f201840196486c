"""Reading files of named tensors (safetensors, or torch's pickles without their code), and their hashes."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import BadFile

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FileHashes:
    """Hashes by which people and sites know a file, all lower-case hex.

    ``sha256`` is of the whole file, ``tensors_sha256`` of what follows the header of a safetensors file
    (of the whole file for any other), so that it survives an edit of the metadata.
    """

    sha256: str
    tensors_sha256: str

    @property
    def autov2(self) -> str:
        """Civitai's AutoV2: 10 digits of the whole file's hash."""
        return self.sha256[:10]

    @property
    def autov3(self) -> str:
        """Civitai's AutoV3, and what A1111 writes under ``Lora hashes``: 12 digits of the tensors' hash."""
        return self.tensors_sha256[:12]


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """What a file of tensors holds: ``data`` by name, and the text ``metadata`` of a safetensors file.

    The values of a pickle need not be tensors: ``data`` is then the dict as it was saved.
    """

    path: Path
    data: Mapping[str, Any]
    metadata: Mapping[str, str]

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, one ``state_dict`` unwrapped, everything else left out."""
        inner: Any = self.data.get("state_dict")
        data = cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else self.data
        return {str(name): value for name, value in data.items() if isinstance(value, Tensor)}


def read_tensor_file(path: str | Path) -> TensorFile:
    """Read a safetensors file, or a torch pickle (.pt, .ckpt, .pth, .bin) weights-only, onto the CPU.

    The content decides which, not the suffix.  Raises ``BadFile`` when the file is missing, cut short,
    neither of the two, or a pickle that would run code.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise BadFile(
            f"cannot read {path}: {error.strerror or error}; check the name and the folder"
        ) from error
    # A safetensors file begins with the size of its header, whose bytes may be those of a pickle's start.
    if head[8:] != b"{" and head.startswith((b"PK", b"\x80")):
        return TensorFile(path=path, data=_read_pickle(path), metadata={})
    return _read_safetensors(path)


def file_hashes(path: str | Path) -> FileHashes:
    """Hash a file once through; raises ``BadFile`` when it cannot be read."""
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            skip = _header_size(file.read(9), Path(path).stat().st_size)
            file.seek(0)
            whole.update(file.read(skip))
            while block := file.read(_BLOCK):
                whole.update(block)
                tensors.update(block)
    except OSError as error:
        raise BadFile(
            f"cannot read {path}: {error.strerror or error}; check the name and the folder"
        ) from error
    digest = whole.hexdigest()
    return FileHashes(sha256=digest, tensors_sha256=tensors.hexdigest() if skip else digest)


def _header_size(start: bytes, file_size: int) -> int:
    """Return how many bytes of a safetensors file come before its tensors; 0 for any other file."""
    size = 8 + int.from_bytes(start[:8], "little")
    return size if start[8:9] == b"{" and size <= file_size else 0


def _read_safetensors(path: Path) -> TensorFile:
    try:
        opened: Any = safe_open(path, framework="pt", device="cpu")
        with opened as file:
            data = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            return TensorFile(path=path, data=data, metadata=file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise BadFile(
            f"{path.name} is not a whole safetensors or torch file ({_one_line(error)}); download it again"
        ) from error


def _read_pickle(path: Path) -> Mapping[str, Any]:
    safe: list[Any] = [torch.nn.ParameterDict, torch.nn.Parameter]
    try:
        with torch.serialization.safe_globals(safe):
            data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadFile(
            f"{path.name} is damaged, or holds code besides weights ({_one_line(error)}); "
            "use a .safetensors version"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, OSError) as error:
        raise BadFile(f"{path.name} is damaged ({_one_line(error)}); download it again") from error
    if not isinstance(data, Mapping):
        raise BadFile(f"{path.name} holds a {type(data).__name__}, not a table of tensors; use another file")
    return cast("Mapping[str, Any]", data)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 120 else text[:117] + "..."
