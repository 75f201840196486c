"""A CLIP text encoder of transformers in the form that the core's prompt code asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import BadValue
from ...core.prompt.encoder import Insert
from ...core.prompt.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ClipEncoder:
    """One text encoder of a model; it is a ``TextEncoder`` of ``core.prompt``.

    ``module``: transformers' CLIP text model.  ``final_norm``: whether the last norm follows the layer that
    is read (SD1.5 yes, SDXL no).  ``pools``: whether the projected vector at the EOS is part of the
    conditioning (CLIP-G). The other fields are the core's; to obey another host's clip skips, or to know
    embeddings, use ``dataclasses.replace``.
    """

    name: str
    module: nn.Module
    tokenizer: Tokenizer
    clip_skips: tuple[int, int]
    final_norm: bool
    pools: bool
    embeddings: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def width(self) -> int:
        """Features of a hidden vector."""
        return int(self._config.hidden_size)

    @property
    def pooled_width(self) -> int:
        """Features of the pooled vector, 0 for an encoder that gives none."""
        return int(self._config.projection_dim) if self.pools else 0

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self._config.num_hidden_layers)

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return int(self._config.num_attention_heads)

    @property
    def positions(self) -> int:
        """The longest sequence taken, 77."""
        return int(self._config.max_position_embeddings)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The table from ids to vectors."""
        return self._inner.embeddings.token_embedding

    @property
    def _inner(self) -> Any:
        return getattr(self.module, "text_model", self.module)

    @property
    def _config(self) -> Any:
        return self.module.config

    @torch.no_grad()
    def __call__(
        self, ids: Tensor, clip_skip: int, inserts: Sequence[Insert] = ()
    ) -> tuple[Tensor, Tensor | None]:
        """Encode chunks.

        ``ids``: (n, length) int64, length at most ``positions``.  ``clip_skip``: 1 is the last layer, 2 the
        one before; clamped into ``clip_skips`` and to the layers there are.  Returns hidden states (n,
        length, width) and the pooled vectors (n, ``pooled_width``) at the first EOS of each row, or None, on
        the encoder's device. Raises ``BadValue`` for a chunk that is too long or an insert of another width.
        """
        if ids.shape[1] > self.positions:
            raise BadValue(
                f"a chunk has {ids.shape[1]} tokens, the text encoder takes {self.positions}; "
                f"use an embedding of at most {self.positions - 2} vectors"
            )
        least, most = self.clip_skips
        layer = max(least, min(clip_skip, most, self.layers))
        table = self.token_embedding
        with _inserted(table, inserts):
            out = self._inner(
                input_ids=ids.to(table.weight.device), output_hidden_states=True, return_dict=True
            )
        hidden = out.hidden_states[-layer]
        if self.final_norm:
            hidden = self._inner.final_layer_norm(hidden)
        return hidden, self._pooled(ids, out.last_hidden_state) if self.pools else None

    def _pooled(self, ids: Tensor, last: Tensor) -> Tensor:
        at = (ids == self.tokenizer.eos).int().argmax(-1).to(last.device)
        projection: Any = self.module.text_projection
        return projection(last[torch.arange(len(last), device=last.device), at])


@contextmanager
def _inserted(table: nn.Embedding, inserts: Sequence[Insert]) -> Iterator[None]:
    """Put the vectors of ``inserts`` into what ``table`` returns, within the block."""
    for insert in inserts:
        if insert.vectors.shape[-1] != table.embedding_dim:
            raise BadValue(
                f"embedding has vectors of {insert.vectors.shape[-1]} numbers, the text encoder's have "
                f"{table.embedding_dim}; use one made for this kind of model"
            )

    def put(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        for insert in inserts:
            output[insert.row, insert.position : insert.position + len(insert.vectors)] = insert.vectors.to(
                output
            )
        return output

    if not inserts:
        yield
        return
    handle = table.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()
