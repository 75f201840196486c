"""Detectors as ONNX files, as ultralytics exports them, run by onnxruntime."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import BadFile, Missing
from .decode import Reading
from .letterbox import letterbox, letterbox_into
from .yolo import Answer, YoloDetector

_IMAGE_SIZE = 640
_STRIDE = 32


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """An ONNX file that is ready to run.

    ``names``: its classes.  ``size``: (width, height) of its input, or None where any multiple of ``stride``
    will do, and then ``image_size`` is that of training.  ``ready``: it leaves out what overlaps by itself,
    None where it does not say.
    """

    session: Any
    names: tuple[str, ...]
    size: tuple[int, int] | None
    image_size: int
    stride: int
    ready: bool | None
    dtype: np.dtype[Any]


def load_onnx(path: Path) -> OnnxModel:
    """Return the model in ``path``, on the CPU.  It may not refer to other files.

    Raises `BadFile` for what is no detector, and `Missing` without onnxruntime.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise Missing(f"{path.name} needs onnxruntime; pip install onnxruntime") from error
    try:
        session: Any = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    except OSError as error:
        raise BadFile(
            f"cannot read {path}: {error.strerror or error}; check the name and the folder"
        ) from error
    except Exception as error:  # its errors have no common base but this
        raise BadFile(
            f"{path.name} is no ONNX model that runs here ({' '.join(str(error).split())[:160]})"
        ) from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape: list[Any] = list(inputs[0].shape) if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, "3") or len(outputs) not in (1, 2):
        raise BadFile(
            f"{path.name} takes {[one.shape for one in inputs]} and gives {len(outputs)} answers; a detector takes one "
            "picture (1, 3, h, w) and gives boxes, and prototypes where it segments: export it with ultralytics"
        )
    if inputs[0].type not in ("tensor(float)", "tensor(float16)"):
        raise BadFile(f"{path.name} takes {inputs[0].type}; export it in float32 or float16")
    notes = session.get_modelmeta().custom_metadata_map
    return OnnxModel(
        session=session,
        names=_names(notes, path, outputs[0].shape),
        size=(shape[3], shape[2]) if type(shape[2]) is int and type(shape[3]) is int else None,
        image_size=_image_size(notes),
        stride=_whole(_literal(notes.get("stride")), _STRIDE),
        ready=_ready(notes),
        dtype=np.dtype(np.float32 if inputs[0].type == "tensor(float)" else np.float16),
    )


def onnx_detector(name: str, model: OnnxModel, reading: Reading) -> YoloDetector:
    """Return the detector that asks ``model`` for what ``reading`` says."""
    size = model.size
    ready = model.ready if model.ready is not None else _looks_ready(model)

    def answer(image: Tensor) -> Answer:
        said = model.session.run(
            None, {model.session.get_inputs()[0].name: image.numpy().astype(model.dtype)}
        )
        rows, *prototypes = (torch.tensor(part[0].astype(np.float32)) for part in said)
        return rows, prototypes[0] if prototypes else None

    return YoloDetector(
        name=name,
        labels=model.names,
        reading=dataclasses.replace(reading, ready=ready),
        fit=(lambda picture: letterbox_into(picture, size))
        if size
        else (lambda picture: letterbox(picture, model.image_size, model.stride)),
        answer=answer,
    )


def _looks_ready(model: OnnxModel) -> bool:
    """Tell by the shape of the answer, for exports that do not say: rows of 6 numbers are ready."""
    outputs = model.session.get_outputs()
    extra = outputs[1].shape[1] if len(outputs) == 2 else 0
    shape = outputs[0].shape
    return shape[2] == 6 + extra and shape[1] != 4 + len(model.names) + extra


def _ready(notes: Mapping[str, str]) -> bool | None:
    said = _literal(notes.get("end2end"))
    arguments = _literal(notes.get("args"))
    if isinstance(arguments, dict) and cast("dict[str, Any]", arguments).get("nms") is True:
        return True
    return said if isinstance(said, bool) else None


def _names(notes: Mapping[str, str], path: Path, shape: list[Any]) -> tuple[str, ...]:
    found = _literal(notes.get("names"))
    task = notes.get("task", "detect")
    if task not in ("detect", "segment", "pose"):
        raise BadFile(f"{path.name} is for the task {task[:40]!r}; a detector's is detect, segment or pose")
    if isinstance(found, dict):
        return tuple(str(name) for name in cast("dict[Any, Any]", found).values())
    if isinstance(found, list | tuple):
        return tuple(str(name) for name in cast("list[Any]", found))
    if len(shape) == 3 and type(shape[1]) is int and shape[1] > 4 and task == "detect" and shape[2] != 6:
        return tuple(str(number) for number in range(shape[1] - 4))
    raise BadFile(f"{path.name} does not name its classes; export it with ultralytics")


def _image_size(notes: Mapping[str, str]) -> int:
    found = _literal(notes.get("imgsz"))
    sizes: list[Any] = list(cast("list[Any]", found)) if isinstance(found, list | tuple) else [found]
    return max(_whole(size, 0) for size in sizes) or _IMAGE_SIZE


def _whole(value: object, default: int) -> int:
    return value if type(value) is int and 1 <= value <= 8192 else default


def _literal(text: str | None) -> Any:
    """Return the value of a Python literal, or None for anything else."""
    if text is None or len(text) > 1 << 20:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
