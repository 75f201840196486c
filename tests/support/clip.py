"""Tiny CLIP text encoders for tests, in plain torch, with the weights that golden data is recorded from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from sd_concord.core.prompt import Insert, Tokenizer
from torch import Tensor
from torch.nn import functional as F


@dataclass(kw_only=True)
class TinyClip:
    """A CLIP text model of Hugging Face tensor names; ``calls`` keeps the ids of every call.

    ``final_norm``: whether the hidden layer that is chosen goes through the final layer norm (SD1.5 yes).
    """

    weights: Mapping[str, Tensor]
    heads: int
    act: str
    tokenizer: Tokenizer
    final_norm: bool = True
    clip_skips: tuple[int, int] = (1, 12)
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    with_pooled: bool = True
    calls: list[Tensor] = field(default_factory=list)

    def __call__(
        self, ids: Tensor, clip_skip: int, inserts: Sequence[Insert] = ()
    ) -> tuple[Tensor, Tensor | None]:
        self.calls.append(ids)
        x = self.weights["text_model.embeddings.token_embedding.weight"][ids].clone()
        for insert in inserts:
            x[insert.row, insert.position : insert.position + len(insert.vectors)] = insert.vectors
        x = x + self.weights["text_model.embeddings.position_embedding.weight"][: ids.shape[1]]
        layers = [x]
        depth = sum(name.endswith("self_attn.q_proj.weight") for name in self.weights)
        for i in range(depth):
            layers.append(self._layer(layers[-1], f"text_model.encoder.layers.{i}."))
        last = self._norm(layers[-1], "text_model.final_layer_norm")
        if self.final_norm:
            hidden = self._norm(layers[-clip_skip], "text_model.final_layer_norm")
        else:
            hidden = layers[-clip_skip]
        return hidden, self._pooled(last, ids)

    def _pooled(self, last: Tensor, ids: Tensor) -> Tensor | None:
        if not self.with_pooled:
            return None
        first_eos = (ids == self.tokenizer.eos).int().argmax(dim=1)
        pooled = last[torch.arange(len(ids)), first_eos]
        projection = self.weights.get("text_projection.weight")
        return pooled if projection is None else pooled @ projection.T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        return F.layer_norm(x, weight.shape, weight, bias, 1e-5)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def _layer(self, x: Tensor, name: str) -> Tensor:
        n, length, width = x.shape
        normed = self._norm(x, name + "layer_norm1")
        q, k, v = (
            self._linear(normed, f"{name}self_attn.{which}_proj")
            .view(n, length, self.heads, width // self.heads)
            .transpose(1, 2)
            for which in "qkv"
        )
        mixed = (
            F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, length, width)
        )
        x = x + self._linear(mixed, name + "self_attn.out_proj")
        inner = self._linear(self._norm(x, name + "layer_norm2"), name + "mlp.fc1")
        inner = inner * torch.sigmoid(1.702 * inner) if self.act == "quick_gelu" else F.gelu(inner)
        return x + self._linear(inner, name + "mlp.fc2")


@dataclass(kw_only=True)
class FakeEncoder:
    """A text encoder of a few lines: a token's vector plus the mean of those before it; ``calls`` keeps the ids."""

    tokenizer: Tokenizer
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    clip_skips: tuple[int, int] = (1, 12)
    width: int = 4
    with_pooled: bool = False
    shift: float = 0.5
    skips: list[int] = field(default_factory=list)
    calls: list[Tensor] = field(default_factory=list)
    inserts: list[Insert] = field(default_factory=list)

    def __call__(
        self, ids: Tensor, clip_skip: int, inserts: Sequence[Insert] = ()
    ) -> tuple[Tensor, Tensor | None]:
        self.calls.append(ids)
        self.skips.append(clip_skip)
        self.inserts += inserts
        x = torch.sin(ids[..., None] * torch.arange(1, self.width + 1) * 0.37) + self.shift
        for insert in inserts:
            x[insert.row, insert.position : insert.position + len(insert.vectors)] = insert.vectors
        hidden = x + x.cumsum(dim=1) / torch.arange(1, ids.shape[1] + 1)[:, None]
        return hidden, hidden[:, 1, :2] if self.with_pooled else None

    @property
    def rows(self) -> int:
        return sum(len(ids) for ids in self.calls)


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return numpy arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def load_script(path: Path) -> ModuleType:
    """Run a golden folder's own script and return it as a module."""
    module = ModuleType("golden_script")
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module
