"""ComfyUI graphs of stock nodes, carried out node by node over the core."""

from __future__ import annotations

from . import latents, models, own, sampling, schedules, texts
from .playing import NODES, Images, missing_nodes, output_of, play_graph

__all__ = [
    "NODES",
    "Images",
    "latents",
    "missing_nodes",
    "models",
    "output_of",
    "own",
    "play_graph",
    "sampling",
    "schedules",
    "texts",
]
