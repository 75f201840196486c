"""The web UI's own modules, which everything else here takes from this one; which UI it is, and what it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Literal


def _has(module: str) -> bool:
    """Tell whether there is a module, without importing it."""
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


gr: Any = import_module("gradio")
images: Any = import_module("modules.images")
infotext_utils: Any = import_module("modules.infotext_utils")
processing: Any = import_module("modules.processing")
script_callbacks: Any = import_module("modules.script_callbacks")
scripts: Any = import_module("modules.scripts")
sd_models: Any = import_module("modules.sd_models")
sd_samplers: Any = import_module("modules.sd_samplers")
sd_samplers_common: Any = import_module("modules.sd_samplers_common")
sd_samplers_kdiffusion: Any = import_module("modules.sd_samplers_kdiffusion")
sd_schedulers: Any = import_module("modules.sd_schedulers") if _has("modules.sd_schedulers") else None
shared: Any = import_module("modules.shared")

SCRIPT = Path(__file__).parents[1] / "scripts" / "concord.py"
"""The file that the host has executed."""
Shape = Literal["a1111", "forge", "reforge", "classic"]


@dataclass(frozen=True, kw_only=True)
class Host:
    """A web UI and what it can.

    ``shape``: which of the four it is built like.  ``profile``: the core's name for what it draws.  ``gradio``: its
    major version.  ``schedulers``: it keeps a table of schedules.  ``before_sampling``: it calls
    ``process_before_every_sampling``.  ``denoised``: it calls back with what the model saw of the positive and the
    negative prompt (``on_cfg_denoised``).  ``image_index``: ``PostprocessImageArgs`` is also told the image's place.
    """

    shape: Shape
    profile: str
    gradio: int
    schedulers: bool
    before_sampling: bool
    denoised: bool
    image_index: bool


PROFILES: dict[Shape, str] = {
    "a1111": "a1111",
    "forge": "forge",
    "reforge": "reforge",
    "classic": "forge-classic",
}


def detect() -> Host:
    """Return what runs here."""
    # Forge and its kin patch the UNet for a run, each by its own engine.
    prepare = getattr(sd_samplers_kdiffusion, "sampling_prepare", None)
    shape: Shape = "a1111"
    if prepare is not None and prepare.__module__.partition(".")[0] == "backend":
        shape = "forge"
    elif prepare is not None:
        shape = "reforge" if sd_schedulers is not None else "classic"
    return Host(
        shape=shape,
        profile=PROFILES[shape],
        gradio=int(gr.__version__.partition(".")[0]),
        schedulers=sd_schedulers is not None,
        before_sampling=hasattr(scripts.Script, "process_before_every_sampling"),
        denoised=prepare is None,
        image_index="index" in signature(scripts.PostprocessImageArgs.__init__).parameters,
    )


def listen(category: str, function: Callable[..., Any]) -> None:
    """Let the host call ``function``; ``category``: of its callbacks, "cfg_denoiser" for ``on_cfg_denoiser``.

    A host that is not told the file looks for it through the whole stack, which takes a tenth of a second or two.
    """
    add = getattr(script_callbacks, "add_callback", None)
    if add is not None and {"filename", "category"} <= signature(add).parameters.keys():
        known = script_callbacks.callback_map[f"callbacks_{category}"]
        add(known, function, category=category, filename=str(SCRIPT))
    else:
        getattr(script_callbacks, f"on_{category}")(function)
