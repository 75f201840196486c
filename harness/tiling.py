"""Pictures that tile: at an edge every convolution sees the opposite one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .models import Model


@contextmanager
def tiled(model: Model, is_wanted: bool) -> Iterator[None]:
    """Let the UNet and the VAE of ``model`` wrap round while the block runs, if ``is_wanted``.

    Source: A1111 1.9.4, "Tiling", which pads every convolution circularly.
    """
    parts = (model.unet, model.vae) if is_wanted else ()
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Conv2d)]
    before: list[Any] = [layer.padding_mode for layer in layers]
    for layer in layers:
        layer.padding_mode = "circular"
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.padding_mode = mode
