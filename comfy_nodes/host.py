"""ComfyUI's own modules, as they are while it runs; everything else here takes them from this module."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

io: Any = import_module("comfy_api.latest").io
folder_paths: Any = import_module("folder_paths")
hooks: Any = import_module("comfy.hooks")
k_diffusion: Any = import_module("comfy.k_diffusion.sampling")
lora_convert: Any = import_module("comfy.lora_convert")
lora_files: Any = import_module("comfy.lora")
model_patcher: Any = import_module("comfy.model_patcher")
model_sampling: Any = import_module("comfy.model_sampling")
samplers: Any = import_module("comfy.samplers")
patcher_extension: Any = import_module("comfy.patcher_extension")
sd: Any = import_module("comfy.sd")
ui: Any = import_module("comfy_api.latest").ui
utils: Any = import_module("comfy.utils")


def schema(**given: Any) -> Any:
    """Return the ``io.Schema`` of a node; a ComfyUI that knows no ``search_aliases`` goes without."""
    known = {field.name for field in fields(io.Schema)}
    if "search_aliases" not in known:
        given.pop("search_aliases", None)
    return io.Schema(**given)
