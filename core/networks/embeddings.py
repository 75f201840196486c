"""Embeddings (textual inversion): learned vectors that stand for a word in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..errors import BadFile
from .tensor_files import FileHashes, TensorFile, file_hashes, read_tensor_file

Encoder = Literal["clip_l", "clip_g", "clip_h"]

_WIDTHS: dict[int, Encoder] = {768: "clip_l", 1280: "clip_g", 1024: "clip_h"}
_ENCODERS: tuple[Encoder, ...] = ("clip_l", "clip_g", "clip_h")


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """An embedding by the name of its file: for each text encoder that it was made for ``(n, D)`` vectors.

    Encoders: "clip_l" (D = 768: SD1.5, and the first of SDXL), "clip_g" (1280: the second of SDXL), "clip_h"
    (1024: SD2).  ``n`` is the same for all of them.
    """

    name: str
    vectors: Mapping[Encoder, Tensor]
    hashes: FileHashes

    @property
    def n(self) -> int:
        """Number of vectors, which is the number of token positions it takes."""
        return next(iter(self.vectors.values())).shape[0]


def load_embedding(path: str | Path) -> Embedding:
    """Read an embedding file.

    A1111's: ``string_to_param`` (.pt) or ``emb_params``; SDXL's: ``clip_l`` and ``clip_g``; diffusers': one
    vector or matrix under the token.  The vectors stay on the CPU in the file's dtype.  Raises ``BadFile``
    when the file is missing, cut short, or holds something else.
    """
    file = read_tensor_file(path)
    vectors = _named_by_encoder(file) or _named_by_width(file)
    if len({v.shape[0] for v in vectors.values()}) != 1:
        sizes = ", ".join(f"{name} {tuple(v.shape)}" for name, v in vectors.items())
        raise BadFile(
            f"{file.path.name} has as many vectors for one text encoder as for another? No: {sizes}"
        )
    return Embedding(name=file.path.stem, vectors=vectors, hashes=file_hashes(file.path))


def _named_by_encoder(file: TensorFile) -> dict[Encoder, Tensor]:
    return {
        name: _matrix(file, file.data[name]) for name in _ENCODERS if isinstance(file.data.get(name), Tensor)
    }


def _named_by_width(file: TensorFile) -> dict[Encoder, Tensor]:
    """Return the file's single matrix under the encoder that has its width."""
    tensors = _candidates(file)
    if len(tensors) != 1:
        raise BadFile(
            f"{file.path.name} is no embedding: it holds {len(tensors)} tensors, wanted are emb_params, "
            "clip_l and clip_g, string_to_param, or a single one; use it as what it is"
        )
    vectors = _matrix(file, tensors[0])
    if vectors.shape[1] not in _WIDTHS:
        raise BadFile(
            f"{file.path.name} has vectors of {vectors.shape[1]} values; known are "
            f"{', '.join(f'{width} ({name})' for width, name in _WIDTHS.items())}; "
            "use an embedding for SD1.5, SD2 or SDXL"
        )
    return {_WIDTHS[vectors.shape[1]]: vectors}


def _candidates(file: TensorFile) -> list[Tensor]:
    inner: Any = file.data.get("string_to_param")
    if inner is not None:
        return [value for _, value in inner.items() if isinstance(value, Tensor)]
    if isinstance(file.data.get("emb_params"), Tensor):
        return [file.data["emb_params"]]
    return list(file.tensors().values())


def _matrix(file: TensorFile, vectors: Tensor) -> Tensor:
    if vectors.ndim not in (1, 2) or not vectors.is_floating_point():
        raise BadFile(
            f"{file.path.name} holds {vectors.dtype} {tuple(vectors.shape)}, not vectors (n, D); "
            "use an embedding file"
        )
    return vectors.detach().reshape(-1, vectors.shape[-1])
