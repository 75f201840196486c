"""Textual inversions from folders, given to a model's text encoders."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import ConcordError
from ..core.image import ModelRef
from ..core.networks import Embedding, load_embedding
from .models import Model

_ENDINGS = (".safetensors", ".pt", ".bin")


@dataclass
class EmbeddingShelf:
    """The embeddings of some folders; ``warnings`` has one line for each file that cannot be used."""

    folders: Sequence[Path]
    warnings: list[str] = field(default_factory=list)
    _known: dict[str, Embedding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read every file; embeddings are small."""
        for folder in self.folders:
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in _ENDINGS:
                    self._read(path)

    def _read(self, path: Path) -> None:
        try:
            embedding = load_embedding(path)
        except ConcordError as error:
            self.warnings.append(f"embedding {path.stem!r} is left out: {error}")
        else:
            self._known.setdefault(embedding.name, embedding)

    def given_to(self, model: Model) -> Model:
        """Return ``model`` with text encoders that know those embeddings that fit them."""
        encoders = tuple(
            dataclasses.replace(
                encoder,
                embeddings={
                    name: vectors
                    for name, embedding in self._known.items()
                    if (vectors := embedding.vectors.get(encoder.name)) is not None  # pyright: ignore[reportArgumentType, reportCallIssue]
                },
            )
            for encoder in model.text_encoders
        )
        return dataclasses.replace(model, text_encoders=encoders)

    def refs(self, names: Sequence[str]) -> tuple[ModelRef, ...]:
        """Return how a record names these embeddings: A1111 takes twelve digits of the file's sha256."""
        return tuple(ModelRef(name=name, hash=self._known[name].hashes.sha256[:12]) for name in names)
