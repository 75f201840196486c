"""Checkpoints of ultralytics made from its tables with random weights, and files that attack who unpickles them."""

from __future__ import annotations

import copy
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sd_concord.core.torchvision_stand_in import import_ultralytics

SMALL: dict[str, Any] = {
    "nc": 2,
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "C2f", [16, True]]],
    "head": [[-1, 1, "Conv", [16, 3, 2]], [[2, 3], 1, "Detect", ["nc"]]],
}
KINDS = {"seg": "SegmentationModel", "pose": "PoseModel", "world": "WorldModel", "worldv2": "WorldModel"}


def tasks() -> Any:
    """Return the module in which ultralytics has its models."""
    return import_ultralytics("ultralytics.nn.tasks")


def make(table: str | dict[str, Any], seed: int = 0) -> Any:
    """Return a model made from ultralytics' table of that name, or from a table, with random weights."""
    torch.manual_seed(seed)
    kind = (
        KINDS.get(table.partition("-")[2], "DetectionModel") if isinstance(table, str) else "DetectionModel"
    )
    given = f"{table}.yaml" if isinstance(table, str) else copy.deepcopy(table)
    model = getattr(tasks(), kind)(given, verbose=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def small(seed: int = 0) -> Any:
    """Return a model of two classes that is made in a moment."""
    model = make(SMALL, seed)
    model.names = {0: "face", 1: "hand"}
    return model


def save(model: Any, path: Path, **more: Any) -> Path:
    """Save as ultralytics does after training."""
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": {"imgsz": 64}, **more}, path)
    return path


class Calls:
    """Pickled as a call of ``function`` with ``args``: unpickling it makes the call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def rewritten(
    path: Path, change: Callable[[bytes], bytes], out: Path, method: int = zipfile.ZIP_STORED
) -> Path:
    """Write the archive ``path`` to ``out`` with its pickle changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", method) as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, change(data) if entry.filename.endswith("data.pkl") else data)
    return out


def archive(path: Path, pickled: bytes, entries: dict[str, bytes] | None = None) -> Path:
    """Write an archive as torch does, with ``pickled`` as its pickle and ``entries`` beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", b"little")
        for name, data in (entries or {}).items():
            file.writestr(f"archive/{name}", data)
    return path


def pickled(value: Any, protocol: int = 2) -> bytes:
    """Pickle ``value``."""
    return pickle.dumps(value, protocol=protocol)
