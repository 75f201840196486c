"""Read the tensors of a checkpoint one at a time, so that weights are never held twice.

A safetensors file is eight bytes with the length of a JSON header, the header, and the data.  A tensor that
is kept as it is stored becomes a view of the memory-mapped file (copy on write); one that is cast is read
from there once, and the pages are given back.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import BadFile
from .identify import explain_foreign, head_of

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_HEADER_LIMIT = 100_000_000
_LIGHTNING = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"


def _nothing() -> None:
    """Have nothing to give back."""


@dataclass(frozen=True)
class Lazy:
    """A tensor that is still in its file.

    ``view(lasting)``: the tensor as a view of the mapped file, to keep or to read once.  ``done``: called
    after it was read once, so that the pages can be given back.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    view: Callable[[bool], Tensor]
    done: Callable[[], None] = _nothing

    def load(self, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Return the tensor as ``dtype`` on ``device``; without a cast it is a view of the mapped file."""
        device = torch.device(device)
        if device.type == "cpu" and dtype in (None, self.dtype):
            return self.view(True).contiguous()
        loaded = torch.empty(self.shape, dtype=dtype or self.dtype, device=device)
        loaded.copy_(self.view(False))
        self.done()
        return loaded

    def then(self, shape: tuple[int, ...], change: Callable[[Tensor], Tensor]) -> Lazy:
        """Return this tensor with ``change`` done after reading; ``shape`` is what comes out."""
        return replace(self, shape=shape, view=lambda lasting: change(self.view(lasting)))


Weights = Mapping[str, Lazy]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The tensors of one file, by name, and the text metadata of its header."""

    path: Path
    tensors: dict[str, Lazy]
    metadata: dict[str, str]


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a safetensors file or a pickle of tensors; the contents decide, not the suffix.

    Raises ``BadFile`` when the file is missing, cut short, of another kind, or a pickle that would run code.
    """
    if path.is_dir():
        raise BadFile(f"{path} is a folder but a file was wanted; give the .safetensors file in it")
    if not path.is_file():
        raise BadFile(f"model file {path} does not exist; check the path")
    head = head_of(path)
    explain_foreign(path, head)
    if head[8:9] == b"{":
        return _safetensors(path, int.from_bytes(head[:8], "little"))
    return Checkpoint(path=path, tensors=_pickle(path, head), metadata={})


def _safetensors(path: Path, length: int) -> Checkpoint:
    size = path.stat().st_size
    if length > _HEADER_LIMIT:
        raise BadFile(f"{path} is not a model file: its header claims {length} bytes; download it again")
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(length)
    if len(text) < length:
        raise BadFile(
            f"{path} is cut short: {size} bytes, the header alone has {length + 8}; download it again"
        )
    try:
        header: dict[str, Any] = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        spans = {name: _span(entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"{path} has a damaged header ({error}); download it again") from error
    wanted = 8 + length + max((span[-1] for span in spans.values()), default=0)
    if size < wanted:
        raise BadFile(f"{path} is cut short: {size} bytes of {wanted}; download it again")
    source = _Mapped(path, 8 + length)
    return Checkpoint(
        path=path, tensors={name: source.lazy(*span) for name, span in spans.items()}, metadata=metadata
    )


def _span(entry: dict[str, Any]) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """Return dtype, shape, start and end of one header entry, and see that they agree."""
    dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - start} bytes for shape {shape}")
    return dtype, shape, start, end


class _Mapped:
    """The data of one safetensors file, mapped twice: for views that are kept, and for reading once."""

    def __init__(self, path: Path, base: int) -> None:
        self._path = path
        self._base = base
        self._maps: dict[bool, mmap.mmap] = {}

    def lazy(self, dtype: torch.dtype, shape: tuple[int, ...], start: int, end: int) -> Lazy:
        first, last = self._base + start, self._base + end

        def view(lasting: bool) -> Tensor:
            if start == end:
                return torch.empty(shape, dtype=dtype)
            data = self._map(lasting)
            if first % dtype.itemsize:
                return torch.frombuffer(bytearray(data[first:last]), dtype=dtype).view(shape)
            return torch.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=first).view(shape)

        return Lazy(shape, dtype, view, lambda: self._give_back(first, last))

    def _map(self, lasting: bool) -> mmap.mmap:
        if lasting not in self._maps:
            with self._path.open("rb") as file:
                self._maps[lasting] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return self._maps[lasting]

    def _give_back(self, first: int, last: int) -> None:
        """Let go of the pages that were read once; they count as memory of the process until then."""
        if hasattr(mmap, "MADV_DONTNEED") and False in self._maps:
            start = first - first % mmap.PAGESIZE
            self._maps[False].madvise(mmap.MADV_DONTNEED, start, last - start)


class _ModelCheckpoint:
    """Stands for the Lightning callback that old checkpoints name as a dictionary key."""


def _pickle(path: Path, head: bytes) -> dict[str, Lazy]:
    zipped = head.startswith(b"PK")
    if not zipped and head[:2] not in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        raise BadFile(
            f"{path} is not a checkpoint; give a .safetensors, .ckpt or .pt file, or a diffusers folder"
        )
    allowed = torch.serialization.safe_globals([(_ModelCheckpoint, _LIGHTNING)])
    try:
        with allowed:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped or None)
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise BadFile(
                f"{path} is a pickle that needs to run code, which is not done; convert it to safetensors"
            ) from error
        raise BadFile(f"{path} is damaged ({str(error).splitlines()[0][:120]}); download it again") from error
    while isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        raise BadFile(f"{path} is not a checkpoint: it holds a {type(loaded).__name__}, not named tensors")
    return {
        name: Lazy(tuple(value.shape), value.dtype, lambda _, value=value: value)
        for name, value in loaded.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
