"""The zip archive in which torch keeps a checkpoint: a pickle, and each storage of numbers as a file beside it."""

from __future__ import annotations

import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import torch
from torch import Tensor

from ...errors import BadFile
from .names import permitted
from .pickles import Made, Name, Stored, read_pickle

LIMIT_ENTRIES = 50_000
DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


@dataclass(frozen=True)
class Storage:
    """A storage of the archive: the entry that holds it, and how many numbers of which type it has."""

    entry: str
    dtype: torch.dtype
    count: int


class Archive:
    """An open checkpoint.  Raises `BadFile` when it is not an archive as torch writes it."""

    def __init__(self, path: Path) -> None:
        """Open ``path`` and check every entry against the size of the file."""
        self._zip = _open(path)
        try:
            self._sizes = _sizes(self._zip, path.stat().st_size)
            self._prefix = self._find_prefix()
        except BaseException:
            self._zip.close()
            raise
        self._budget = path.stat().st_size  # shared storages may not make more of the file than it is

    def __enter__(self) -> Archive:
        """Return the archive itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._zip.close()

    def value(self) -> Any:
        """Return what the pickle of the archive describes, inert."""
        return read_pickle(self._read(self._prefix + "data.pkl"), permitted)

    def tensor(self, made: Any) -> Tensor:
        """Return the tensor that ``made`` describes, on the CPU, in the type in which it is stored.

        Every number must lie within its storage, and no tensor may have more numbers than its storage.
        """
        made = _unwrapped(made)
        storage, offset, size, stride = self._parts(made)
        count, element = math.prod(size), storage.dtype.itemsize
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if count > storage.count or (count and last >= storage.count):
            raise BadFile(
                f"a tensor of shape {size} does not fit into its storage of {storage.count} numbers"
            )
        self._budget -= count * element
        if self._budget < 0:
            raise BadFile("its tensors have more numbers than the file")
        if not count:
            return torch.zeros(size, dtype=storage.dtype)
        flat = torch.frombuffer(bytearray(self._read(storage.entry)), dtype=storage.dtype)
        return flat.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)

    def _parts(self, made: Made) -> tuple[Storage, int, tuple[int, ...], tuple[int, ...]]:
        fields: list[Any] = [*made.args, None, None, None, None]
        stored, offset, size, stride = fields[:4]
        if not (isinstance(stored, Stored) and _counts((offset,)) and _counts(size) and _counts(stride)):
            raise BadFile("a tensor is not described as torch describes one")
        if len(size) != len(stride):
            raise BadFile("a tensor has a shape and a stride of different lengths")
        return self._storage(stored), offset, size, stride

    def _storage(self, stored: Stored) -> Storage:
        found: Any = stored.key
        fields: list[Any] = [*found, *[None] * 5] if isinstance(found, tuple) else [None] * 5
        tag, kind, key, _, count = fields[:5]
        dtype = DTYPES.get(kind.name) if isinstance(kind, Name) and kind.module == "torch" else None
        if tag != "storage" or dtype is None or not isinstance(key, str) or not _counts((count,)):
            raise BadFile("a storage is not described as torch describes one")
        entry = f"{self._prefix}data/{key}"
        if re.fullmatch(r"[0-9]{1,9}", key) is None or self._sizes.get(entry) != count * dtype.itemsize:
            raise BadFile(
                f"the storage {key[:20]!r} of {count} numbers is not in the file, or has another size"
            )
        return Storage(entry=entry, dtype=dtype, count=count)

    def _find_prefix(self) -> str:
        pickles = [name for name in self._sizes if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise BadFile(f"it has {len(pickles)} files data.pkl, and a checkpoint has one")
        prefix = pickles[0].removesuffix("data.pkl")
        order = prefix + "byteorder"
        if order in self._sizes and self._read(order) != b"little":
            raise BadFile("its numbers have their bytes in big-endian order; save it on a usual machine")
        return prefix

    def _read(self, entry: str) -> bytes:
        try:
            return self._zip.read(entry)
        except (
            zipfile.BadZipFile,
            OSError,
            RuntimeError,
            NotImplementedError,
            EOFError,
            ValueError,
        ) as error:
            raise BadFile(f"the part {entry[:80]!r} is damaged ({error}); download the file again") from error


def _open(path: Path) -> zipfile.ZipFile:
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head != b"PK\x03\x04":
            raise BadFile(
                "it is no zip archive, as torch has written them since 1.6; "
                "an older pickle is not read, since that would run it"
            )
        return zipfile.ZipFile(path)
    except OSError as error:
        raise BadFile(f"it cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError, LookupError) as error:
        raise BadFile(f"its archive is damaged ({error}); download it again") from error


def _sizes(archive: zipfile.ZipFile, file_size: int) -> dict[str, int]:
    """Return the size of each entry by name; raise for whatever torch would not have written."""
    entries = archive.infolist()
    sizes = {entry.filename: entry.file_size for entry in entries}
    if len(sizes) != len(entries) or len(entries) > LIMIT_ENTRIES:
        raise BadFile("its archive names an entry twice, or has too many")
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or any(entry.file_size != entry.compress_size for entry in entries):
        raise BadFile("its archive is compressed, which torch never does; unpacking it might fill the memory")
    if sum(sizes.values()) > file_size:
        raise BadFile("its archive claims more bytes than the file has")
    return sizes


def _unwrapped(made: Any) -> Made:
    """Return the tensor within a parameter."""
    for _ in range(2):
        if isinstance(made, Made) and made.name.module == "torch._utils":
            if made.name.name == "_rebuild_tensor_v2":
                return made
            if made.name.name == "_rebuild_parameter" and made.args:
                made = made.args[0]
    raise BadFile(
        f"a {made.name if isinstance(made, Made) else type(made).__name__} stands where a tensor belongs"
    )


def _counts(numbers: Any) -> bool:
    """Return whether ``numbers`` is a tuple of at most 8 counts."""
    if not isinstance(numbers, tuple):
        return False
    row = cast("tuple[Any, ...]", numbers)
    return len(row) <= 8 and all(type(number) is int and 0 <= number < 1 << 40 for number in row)
