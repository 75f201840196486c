"""The host's text encoders as the core's, with the embeddings that a prompt may name.

A1111 and reForge keep them in ``cond_stage_model`` or in the embedders of ``conditioner``, Forge in its text processing
engines; all of them encode a batch of chunks with ``encode_with_transformers``, at the clip skip of the settings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..core.errors import BadType
from ..core.prompt import Insert, clip_tokenizer

devices: Any = import_module("modules.devices")

ENGINES = ("text_processing_engine", "text_processing_engine_l", "text_processing_engine_g")
"""What Forge calls the encoders of SD1.5, and of SDXL in the order in which their channels are joined."""
WIDE = ("FrozenOpenCLIPEmbedder2WithCustomWords", "CLIP_SD_XL_G")
"""The classes of SDXL's second encoder in A1111 and reForge."""


@dataclass(kw_only=True, eq=False)
class HostTokenizer:
    """The tokenizer of one encoder of the host: ``part.tokenize``; ``size`` is CLIP's."""

    part: Any
    bos: int
    eos: int
    pad: int
    size: int

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, as the host has them."""
        return [int(one) for one in self.part.tokenize([text])[0]]

    def decode(self, ids: Iterable[int]) -> str:
        """Return readable text of CLIP's ``ids``."""
        return clip_tokenizer().decode(ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class HostEncoder:
    """One text encoder of the host as a ``TextEncoder`` of the core.

    ``fixes``: what holds the vectors of embeddings for the next call.  ``clip_skips``: the host's own setting rules,
    whatever is asked.
    """

    part: Any
    fixes: Any
    tokenizer: HostTokenizer
    embeddings: Mapping[str, Tensor]
    clip_skips: tuple[int, int] = (1, 1)

    def __call__(
        self, ids: Tensor, clip_skip: int, inserts: Sequence[Insert] = ()
    ) -> tuple[Tensor, Tensor | None]:
        """Encode chunks, as ``TextEncoder`` says."""
        del clip_skip
        rows: list[list[tuple[int, Any]]] = [[] for _ in ids]
        for insert in inserts:
            rows[insert.row].append((insert.position - 1, SimpleNamespace(vec=insert.vectors)))
        self.fixes.fixes = rows
        try:
            with torch.no_grad(), devices.autocast():
                hidden = self.part.encode_with_transformers(ids.to(devices.device))
        finally:
            self.fixes.fixes = None
        pooled = getattr(hidden, "pooled", None)
        return hidden.float().cpu(), None if pooled is None else pooled.float().cpu()


def encoders_of(model: Any, texts: Iterable[str] = ()) -> tuple[HostEncoder, ...]:
    """Return the text encoders of the host's ``model``, with the embeddings that ``texts`` may name.

    Raises ``BadType`` for a model whose text encoders are not CLIP alone.
    """
    parts = _parts(model)
    other = [
        name for name in vars(model) if name.startswith("text_processing_engine") and name not in ENGINES
    ]
    if not parts or other:
        raise BadType(
            f"the text encoder of {type(model).__name__} is not CLIP alone; Concord encodes for SD1.5, SD2 and SDXL: "
            "set the dialect to host for other models"
        )
    load(model)
    squeezed = _squeezed("\n".join(texts))
    return tuple(_encoder(part, squeezed) for part in parts)


def known_embeddings(model: Any) -> dict[str, int]:
    """Return how many tokens each embedding of the host takes; none while no model is there."""
    tables = [_database(part)[0].word_embeddings for part in _parts(model)]
    return {name: int(one.vectors) for name, one in tables[0].items()} if tables else {}


def embedding_hashes(model: Any, names: Iterable[str]) -> dict[str, str]:
    """Return A1111's short hashes of embeddings, those that have one; without colons and commas in the names."""
    table = _database(_parts(model)[0])[0].word_embeddings
    hashes = {name: getattr(table[name], "shorthash", None) for name in names if name in table}
    return {name.replace(":", "").replace(",", ""): one for name, one in hashes.items() if one}


def _parts(model: Any) -> list[Any]:
    engines = [getattr(model, name) for name in ENGINES if hasattr(model, name)]
    if engines:
        return [one for one in engines if hasattr(one, "encode_with_transformers")]
    conditioner = getattr(model, "conditioner", None)
    parts = getattr(conditioner, "embedders", None) or [getattr(model, "cond_stage_model", None)]
    return [one for one in parts if hasattr(one, "encode_with_transformers")]


def _database(part: Any) -> tuple[Any, Any]:
    """Return the embeddings of one encoder, and what holds the vectors for its next call."""
    hijack = getattr(part, "hijack", None)
    return (part.embeddings, part.embeddings) if hijack is None else (hijack.embedding_db, hijack)


def _encoder(part: Any, squeezed: str) -> HostEncoder:
    database, fixes = _database(part)
    key = getattr(part, "embedding_key", "clip_g" if type(part).__name__ in WIDE else "clip_l")
    named = {name: one.vec for name, one in database.word_embeddings.items() if _squeezed(name) in squeezed}
    vectors = {name: vec.get(key) if isinstance(vec, dict) else vec for name, vec in named.items()}
    return HostEncoder(
        part=part,
        fixes=fixes,
        tokenizer=HostTokenizer(
            part=part, bos=part.id_start, eos=part.id_end, pad=part.id_pad, size=clip_tokenizer().size
        ),
        embeddings={name: vec for name, vec in vectors.items() if vec is not None},
    )


def load(model: Any) -> None:
    """Let Forge and its kin bring the text encoders, with the networks that are on, to where they run."""
    patcher = getattr(getattr(getattr(model, "forge_objects", None), "clip", None), "patcher", None)
    if patcher is None:
        return
    engine = type(patcher).__module__.partition(".")[0]
    name = "backend.memory_management" if engine == "backend" else "ldm_patched.modules.model_management"
    import_module(name).load_model_gpu(patcher)


def _squeezed(text: str) -> str:
    """Return ``text`` as tokens see it, near enough to find names: lower case, no white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
