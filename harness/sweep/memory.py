"""Text encoders that remember: each distinct chunk is encoded once in a sweep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ...core.prompt.encoder import Insert
from ..models import Model

MOST = 256
"""Chunks that are kept; SDXL's take 0.9 MB each."""

Encoded = tuple[Tensor, Tensor | None]


class Memory:
    """The chunks encoded last; ``runs`` counts those that were encoded."""

    def __init__(self, most: int = MOST) -> None:
        """Keep ``most`` chunks."""
        self.runs = 0
        self._most = most
        self._known: OrderedDict[Hashable, Encoded] = OrderedDict()

    def get(self, key: Hashable) -> Encoded | None:
        """Return what is kept under ``key``."""
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def put(self, key: Hashable, encoded: Encoded) -> None:
        """Keep ``encoded``, and drop the oldest."""
        self._known[key] = encoded
        while len(self._known) > self._most:
            self._known.popitem(last=False)


@dataclass(frozen=True, kw_only=True)
class RememberingEncoder:
    """A text encoder of a model with a memory; all else is the encoder's own.

    Chunks run one by one, so that no chunk depends on what was encoded before.  What was encoded with other
    weights, as networks make them, is not taken for what these give.
    """

    encoder: Any
    memory: Memory
    embeddings: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def __getattr__(self, name: str) -> Any:
        """Return what the encoder has."""
        return getattr(self.encoder, name)

    def __call__(self, ids: Tensor, clip_skip: int, inserts: Sequence[Insert] = ()) -> Encoded:
        """Encode chunks as the encoder does, (n, 77) ids to hidden states and the pooled output."""
        writes = sum(parameter._version for parameter in self.encoder.module.parameters())
        rows = [
            self._row(
                ids[i : i + 1], clip_skip, [replace(one, row=0) for one in inserts if one.row == i], writes
            )
            for i in range(len(ids))
        ]
        pooled = [row[1] for row in rows if row[1] is not None]
        return torch.cat([row[0] for row in rows]), torch.cat(pooled) if pooled else None

    def _row(self, ids: Tensor, clip_skip: int, inserts: list[Insert], writes: int) -> Encoded:
        """Return one chunk, encoded after so many ``writes`` to the weights."""
        placed = tuple((one.position, tuple(one.vectors.flatten().tolist())) for one in inserts)
        key = (self.encoder.name, writes, clip_skip, tuple(ids[0].tolist()), placed)
        found = self.memory.get(key)
        if found is None:
            self.memory.runs += 1
            found = self.encoder(ids, clip_skip, inserts)
            self.memory.put(key, found)
        return found


def remembering(model: Model, memory: Memory) -> Model:
    """Return ``model`` with text encoders that share ``memory``."""
    encoders = tuple(
        RememberingEncoder(encoder=one, memory=memory, embeddings=one.embeddings)
        for one in model.text_encoders
    )
    return replace(model, text_encoders=encoders)  # pyright: ignore[reportArgumentType]
