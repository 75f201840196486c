"""What a unit of the detailer can name: detectors and their files, checkpoints, VAEs, samplers and schedules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.errors import BadFile, unknown
from ..core.image.names import sampler_label, scheduler_label
from .detailer_settings import FOLDERS, setting
from .host import detect, sd_samplers, sd_schedulers, shared
from .labels import samplers_here, schedulers_here

NONE = "None"
OWN = ("face", "face-lbp", "face-mtcnn")
"""The core's detectors that need no file."""
STAND_INS = {"mediapipe_face_full": "face", "mediapipe_face_short": "face"}
"""ADetailer's detectors for which ours stand in."""
PLACES = ("adetailer", "ultralytics", "detectors")
"""Folders of the models folder in which detectors lie."""
SUFFIXES = (".pt", ".safetensors", ".onnx")
_FORGE_LISTS = {"model": "get_all_controlnet_names", "module": "get_all_preprocessor_names"}
_SAME = (None, "", NONE, "Use same checkpoint", "Use same VAE")


def detector_files() -> dict[str, Path]:
    """Return the detectors that lie in the folders, by their names there; the first of a name counts."""
    models = Path(import_module("modules.paths").models_path)
    more = [Path(one.strip()) for one in str(setting(FOLDERS)).split("|") if one.strip()]
    found: dict[str, Path] = {}
    for folder in (*(models / name for name in PLACES), *more):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix.lower() in SUFFIXES and not _is_converted(path):
                found.setdefault(path.relative_to(folder).as_posix(), path)
    return found


def _is_converted(path: Path) -> bool:
    """Tell whether ``path`` is what the core made of a ``.pt`` beside it: <name>.<start of its hash>.safetensors."""
    stem, _, mark = path.stem.rpartition(".")
    return path.suffix == ".safetensors" and len(mark) == 12 and path.with_name(f"{stem}.pt").is_file()


def detector_names() -> list[str]:
    """Return what the panel offers: none, ours, and the files."""
    return [NONE, *OWN, *detector_files()]


def detector_of(name: str) -> str | Path:
    """Return what the core loads for ``name``: one of ours, or a file by its name with or without folder and suffix.

    Raises ``BadFile`` that lists what there is.
    """
    name = STAND_INS.get(name, name)
    if name in OWN:
        return name
    files = detector_files()
    short = {key: path for path in reversed(files.values()) for key in (path.stem, path.name)} | files
    if name not in short:
        raise BadFile(
            f"there is no detector {name!r}; put its file into models/adetailer, or take one of "
            f"{', '.join([*OWN, *files])}"
        )
    return short[name]


def checkpoint_names() -> list[str]:
    """Return the checkpoints for the panel."""
    return ["Use same checkpoint", *import_module("modules.sd_models").checkpoint_tiles()]


def vae_names() -> list[str]:
    """Return the VAEs for the panel."""
    return ["Use same VAE", *_vaes()]


def _vaes() -> list[str]:
    if detect().shape == "forge":
        return [NONE, *import_module("modules_forge.main_entry").module_list]
    return [NONE, "Automatic", *import_module("modules.sd_vae").vae_dict]


def checkpoint_setting(name: str | None) -> dict[str, Any]:
    """Return the setting that loads checkpoint ``name``, none for the same; raises ``BadValue`` for an unknown one."""
    if name in _SAME:
        return {}
    models = import_module("modules.sd_models")
    found = models.get_closet_checkpoint_match(name)
    if found is None:
        raise unknown("checkpoint", str(name), models.checkpoint_tiles())
    return {"sd_model_checkpoint": found.name}


def vae_setting(name: str | None) -> dict[str, Any]:
    """Return the setting that loads VAE ``name``, none for the same; raises ``BadValue`` for an unknown one."""
    if name is None or name in ("", "Use same VAE"):
        return {}
    known = _vaes()
    if name not in known:
        raise unknown("VAE", name, known)
    if detect().shape != "forge":
        return {"sd_vae": name}
    module_list = import_module("modules_forge.main_entry").module_list
    kept = [one for one in shared.opts.forge_additional_modules if Path(one).parent.name != "VAE"]
    return {"forge_additional_modules": [*kept, *([] if name == NONE else [module_list[name]])]}


def sampling_here(sampler: str, scheduler: str | None) -> dict[str, str]:
    """Return the host's names of a sampler and a schedule, given the core's or its own, as fields of a request.

    Raises ``BadValue`` for what the host does not have.
    """
    found = {"sampler_name": _sampler(sampler, scheduler)}
    return found if sd_schedulers is None else {**found, "scheduler": _scheduler(scheduler)}


def _sampler(name: str, scheduler: str | None) -> str:
    known = sd_samplers.all_samplers_map
    names = [name, sampler_label(name), samplers_here().get(name, name)]
    if sd_schedulers is None and scheduler is not None:
        names = [f"{one} {scheduler_label(scheduler)}" for one in names] + names
    found = next((one for one in names if one in known), None)
    if found is None:
        raise unknown("sampler", name, known)
    return found


def _scheduler(name: str | None) -> str:
    if name is None:
        return "Automatic"
    table = sd_schedulers.schedulers_map
    names = [name, scheduler_label(name), schedulers_here().get(name, name)]
    found = next((one for one in names if one in table), None)
    if found is None:
        raise unknown("schedule", name, [one.label for one in sd_schedulers.schedulers])
    return table[found].label


def sampler_names() -> list[str]:
    """Return the samplers for the panel."""
    return ["Use same sampler", *(one.name for one in sd_samplers.all_samplers)]


def scheduler_names() -> list[str]:
    """Return the schedules for the panel."""
    return [
        "Use same scheduler",
        *([] if sd_schedulers is None else [one.label for one in sd_schedulers.schedulers]),
    ]


def controlnet_names(what: str) -> list[str]:
    """Return ControlNet's models ("model") or preprocessors ("module"), as far as one is loaded."""
    forge = sys.modules.get("lib_controlnet.global_state")
    if forge is not None:
        return _without_none(getattr(forge, _FORGE_LISTS[what])())
    other = sys.modules.get("internal_controlnet.external_code") or sys.modules.get("scripts.external_code")
    lister = getattr(other, f"get_{what}s", None)
    return _without_none(lister() if lister else [])


def _without_none(names: Iterable[str]) -> list[str]:
    return [NONE, *(name for name in names if name != NONE)]


_LISTS: dict[str, Callable[[], list[str]]] = {
    "model": detector_names,
    "checkpoint": checkpoint_names,
    "vae": vae_names,
    "sampler": sampler_names,
    "scheduler": scheduler_names,
    "controlnet_model": lambda: controlnet_names("model"),
    "controlnet_module": lambda: controlnet_names("module"),
}


def choices(field: str) -> list[str]:
    """Return what there is for ``field`` of a unit on this host."""
    return _LISTS[field]()
