"""The weights of a network as they go into files."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import keys


def plain_state(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights on the CPU as ``dtype``, under the module's own names."""
    return {name: value.to("cpu", dtype).contiguous() for name, value in module.state_dict().items()}


def text_state(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights of a CLIP text encoder as ``dtype``, under the names ``text_model.…``."""
    state = plain_state(module, dtype)
    return {keys.with_text_model(k): v for k, v in state.items() if not k.endswith("position_ids")}
