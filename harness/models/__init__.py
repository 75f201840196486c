"""Text-to-image models for the standalone front: reading, recognising, building and writing them."""

from __future__ import annotations

from .folder import expand_rows
from .load import load_model, pick_device, pick_dtype
from .record import Betas, Model, alpha_bar
from .text import ClipEncoder
from .write_folder import materialise
from .write_single import export_ldm

__all__ = [
    "Betas",
    "ClipEncoder",
    "Model",
    "alpha_bar",
    "expand_rows",
    "export_ldm",
    "load_model",
    "materialise",
    "pick_device",
    "pick_dtype",
]
