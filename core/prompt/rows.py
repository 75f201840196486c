"""Chunks → encoder output, each distinct chunk once, in batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .chunks import LENGTH, Chunk
from .encoder import Insert, TextEncoder

if TYPE_CHECKING:
    from torch import Tensor

ROWS_AT_ONCE = 32
Key = tuple[int, tuple[int, ...], tuple[tuple[int, str], ...]]


def key_of(chunk: Chunk) -> Key:
    """Return what makes a chunk's encoder output: the encoder's state, the ids and the embeddings."""
    return chunk.state, chunk.ids, chunk.embeddings


class EncodedRows:
    """Output of one encoder for every chunk given to it so far."""

    def __init__(self, encoder: TextEncoder, clip_skip: int) -> None:
        """Keep ``clip_skip`` clamped to what ``encoder`` obeys."""
        low, high = encoder.clip_skips
        self.encoder = encoder
        self.clip_skip = min(max(clip_skip, low), high)
        self._hidden: dict[Key, Tensor] = {}
        self._pooled: dict[Key, Tensor] = {}

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Encode the distinct ones of ``chunks``."""
        todo = list({key_of(chunk): chunk for chunk in chunks}.values())
        for start in range(0, len(todo), ROWS_AT_ONCE):
            self._run(todo[start : start + ROWS_AT_ONCE])

    def hidden(self, chunk: Chunk) -> Tensor:
        """Return the hidden states ``(77, D)`` of a chunk that was added."""
        return self._hidden[key_of(chunk)]

    def pooled(self, chunk: Chunk) -> Tensor | None:
        """Return the pooled output ``(Dp,)`` of a chunk that was added, or ``None``."""
        return self._pooled.get(key_of(chunk))

    def _run(self, chunks: list[Chunk]) -> None:
        import torch  # noqa: PLC0415

        ids = torch.tensor([chunk.ids for chunk in chunks], dtype=torch.long)
        inserts = [insert for row, chunk in enumerate(chunks) for insert in self._inserts(row, chunk)]
        hidden, pooled = self.encoder(ids, self.clip_skip, inserts)
        for row, chunk in enumerate(chunks):
            self._hidden[key_of(chunk)] = hidden[row]
            if pooled is not None:
                self._pooled[key_of(chunk)] = pooled[row]

    def _inserts(self, row: int, chunk: Chunk) -> Iterable[Insert]:
        """Yield the vectors of a chunk's embeddings, what would reach over its end cut off."""
        placed = [*chunk.embeddings, (1 + LENGTH, "")]
        for (position, name), (following, _) in zip(chunk.embeddings, placed[1:], strict=True):
            first = max(position, 1)
            vectors = self.encoder.embeddings[name][first - position : following - position]
            yield Insert(row=row, position=first, vectors=vectors)
