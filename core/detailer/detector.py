"""Detectors by name or file, behind one protocol."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFile, BadValue, unknown
from .checkpoint import Network, build_network, convert_detector, read_converted
from .checkpoint.convert import sha256
from .decode import Reading
from .detections import Detections
from .faces import CascadeFaces, NetworkFaces, has_mtcnn
from .onnx import OnnxModel, load_onnx, onnx_detector
from .yolo import yolo_detector

SUFFIXES = (".pt", ".safetensors", ".onnx")
NAMES = {
    "face": "faces, by MTCNN where facenet-pytorch is installed, else by scikit-image's cascade",
    "face-lbp": "faces, by the cascade that ships with scikit-image",
    "face-mtcnn": "faces, by the networks that ship with facenet-pytorch",
}
"""The detectors that need no file, and what they find."""

_KEPT = 4  # models in memory


class Detector(Protocol):
    """Finds things in a picture.  ``name`` tells it from others, ``labels`` are the classes it knows."""

    @property
    def name(self) -> str:
        """Return the name."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the classes."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Return what is in ``image``, uint8 (H, W, 3) RGB, most confident first."""
        ...


def load_detector(
    path_or_name: str | Path,
    classes: str | Sequence[str] | None = None,
    confidence: float = 0.3,
    *,
    device: str = "cpu",
    cache: str | Path | None = None,
) -> Detector:
    """Return the detector of a file (.pt, .onnx, converted .safetensors) or of a name in `NAMES`.

    ``classes``: names of those that count, a sequence or one text with commas; all by default.
    ``confidence``: 0…1; a detection counts when its own is above.  ``device``: torch's, for YOLO networks.
    ``cache``: folder of converted checkpoints, for those whose own folder cannot be written.

    A ``.pt`` is read inertly, converted once and built anew: it is never unpickled.  A model stays in memory,
    by its content, until others have been used.  Raises `BadFile`, `BadValue`, or `Missing` for a package.
    """
    if not 0 <= confidence <= 1:
        raise BadValue(f"confidence is {confidence}; pass 0 to 1")
    name = str(path_or_name)
    if name in NAMES:
        _class_numbers(classes, ("face",), name)
        mtcnn = name == "face-mtcnn" or (name == "face" and has_mtcnn())
        return NetworkFaces(confidence=confidence) if mtcnn else CascadeFaces(confidence=confidence)
    path = Path(path_or_name)
    suffix = path.suffix.lower()
    if not path.is_file():
        if suffix in SUFFIXES or len(path.parts) > 1:
            raise BadFile(
                f"there is no detector {path}; check the name and the folder, or use {', '.join(NAMES)}"
            )
        raise unknown("detector", name, NAMES)
    if suffix not in SUFFIXES:
        raise BadFile(
            f"{path.name} is no detector that can be read; pass a file that ends in {', '.join(SUFFIXES)}"
        )
    if suffix == ".onnx":
        model: OnnxModel = _MODELS.get((suffix, sha256(path)), lambda: load_onnx(path))
        return onnx_detector(path.name, model, _reading(model.names, classes, confidence, path.name))
    network: Network = _MODELS.get((suffix, sha256(path), device), lambda: _network(path, device, cache))
    reading = _reading(
        network.architecture.names, classes, confidence, path.name, texts=network.texts is not None
    )
    return yolo_detector(path.name, network, reading, device)


def _network(path: Path, device: str, cache: str | Path | None) -> Network:
    converted = convert_detector(path, cache=cache) if path.suffix.lower() == ".pt" else path
    try:
        return build_network(read_converted(converted)).to(device)
    except BadFile as error:
        raise BadFile(
            f"{path.name} is refused: {str(error).removeprefix(f'{path.name} is refused: ')}"
        ) from error


def _reading(
    names: tuple[str, ...],
    classes: str | Sequence[str] | None,
    confidence: float,
    name: str,
    *,
    texts: bool = False,
) -> Reading:
    wanted = _class_numbers(classes, names, name, texts=texts)
    return Reading(classes=len(names), confidence=confidence, wanted=wanted)


def _class_numbers(
    classes: str | Sequence[str] | None, names: tuple[str, ...], detector: str, *, texts: bool = False
) -> frozenset[int] | None:
    """Return the numbers of ``classes``, None for all; raises `BadValue` that lists the known ones."""
    listed = classes.split(",") if isinstance(classes, str) else list(classes or ())
    wanted = [name.strip() for name in listed if name.strip()]
    for name in wanted:
        if name not in names:
            error = unknown(f"class of {detector}", name, names)
            if texts:
                raise BadValue(
                    f"{error}; a new class needs CLIP: set_classes([...]) and save(...) of YOLOWorld bake it in"
                )
            raise error
    return frozenset(number for number, name in enumerate(names) if name in wanted) if wanted else None


@dataclass
class _Models:
    """The models that were used last, by their content."""

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    def get(self, key: tuple[str, ...], load: Callable[[], Any]) -> Any:
        """Return the model of ``key``, loading it where it is not kept."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = load()
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def forget(self) -> None:
        """Let all models go."""
        with self._lock:
            self._kept.clear()


_MODELS = _Models()


def unload_detectors() -> None:
    """Free the memory of the models that are kept between pictures."""
    _MODELS.forget()
