"""What stands in for torchvision, which cannot be had beside a CPU-only torch, while others are imported.

ultralytics, spandrel and facenet-pytorch import torchvision for a few functions.  Within
`torchvision_stand_in` an import of it succeeds; outside, and for everyone else, there is no torchvision:
transformers and diffusers, which look for it, see none.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .errors import Missing

_VERSION = "0.28.0"  # the torchvision that belongs to torch 2.13
_LOCK = threading.RLock()


@contextmanager
def torchvision_stand_in() -> Generator[None]:
    """Let `import torchvision` succeed within the block: the real one where it works, else a stand-in.

    The stand-in has ``ops.nms`` and ``ops.batched_nms``; any other name of it can be imported, and raises
    `Missing` when it is called.  When the block ends it is gone from ``sys.modules``, and
    ``importlib.metadata`` and ``sys.meta_path`` are as they were.
    """
    with _LOCK:
        if _real_one_works():
            yield
            return
        version, finder = importlib.metadata.version, _Finder()

        def versions(name: str) -> str:
            return _VERSION if name == "torchvision" else version(name)

        importlib.metadata.version = versions
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            importlib.metadata.version = version
            sys.meta_path.remove(finder)
            _forget("torchvision")


def import_ultralytics(name: str) -> Any:
    """Import the module ``name`` of ultralytics so that it changes nothing for others; return it.

    It goes online for nothing, installs nothing, and keeps its settings out of the user's folder.
    Raises `Missing` when it, or what it needs, is not installed.
    """
    with ExitStack() as stack:
        stack.enter_context(torchvision_stand_in())
        if "ultralytics.utils" not in sys.modules:
            stack.enter_context(_as_it_was())
            os.environ.update(
                YOLO_OFFLINE="true",
                YOLO_AUTOINSTALL="false",
                YOLO_VERBOSE="false",
                YOLO_CONFIG_DIR=_settings(),
            )
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise Missing(
                f"YOLO detectors need ultralytics ({error}); pip install --no-deps ultralytics, "
                "then pip install opencv-python-headless pyyaml requests psutil"
            ) from error


def _settings() -> str:
    """Make a folder for ultralytics' settings, which goes when Python ends."""
    folder = tempfile.mkdtemp(prefix="sd-concord-ultralytics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def _as_it_was() -> Generator[None]:
    """Undo, when the block ends, what ultralytics rebinds in others while it is imported."""
    places: list[tuple[Any, str]] = [(Image, "open"), (torch, "save")]
    if cv2 := _optional("cv2"):
        places += [(cv2, "imread"), (cv2, "imwrite"), (cv2, "imshow")]
    bound = [(place, name, getattr(place, name)) for place, name in places if hasattr(place, name)]
    environ, numpy_prints = dict(os.environ), np.get_printoptions()
    torch_prints: Any = importlib.import_module("torch._tensor_str").PRINT_OPTS
    torch_printed: dict[str, Any] = dict(torch_prints.__dict__)
    cv2_threads = cv2.getNumThreads() if cv2 else 0
    try:
        yield
    finally:
        for place, name, value in bound:
            setattr(place, name, value)
        os.environ.clear()
        os.environ.update(environ)
        np.set_printoptions(**numpy_prints)
        torch_prints.__dict__.update(torch_printed)
        if cv2:
            cv2.setNumThreads(cv2_threads)


def _optional(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _real_one_works() -> bool:
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision").ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError):  # built for another torch
        _forget("torchvision")
        return False
    return True


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]


class _Finder(importlib.abc.Loader):
    """Answers for torchvision and everything below it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of a module of the stand-in, or None for any other name."""
        del path, target
        if name != "torchvision" and not name.startswith("torchvision."):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return an empty module whose every name exists, and is absent when it is called."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Put in what the stand-in can do."""
        if module.__name__ == "torchvision":
            vars(module)["__version__"] = _VERSION
        if module.__name__ in {"torchvision.ops", "torchvision.ops.boxes"}:
            vars(module).update(nms=nms, batched_nms=batched_nms)


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        if full in {"torchvision.ops", "torchvision.transforms", "torchvision.models"}:
            return importlib.import_module(full)
        return _absent(full)


class _Absent(type):
    """A class that can be named, and made a base of others, but not called."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Raise `Missing`."""
        del args, kwargs
        raise Missing(
            f"{cls.__module__}.{cls.__name__} is needed and torchvision is not there; install the one of your torch"
        )


def _absent(full: str) -> Any:
    module, _, name = full.rpartition(".")
    return _Absent(name, (), {"__module__": module})


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indexes of the boxes (n, 4) that survive, best score first, as torchvision.ops.nms does.

    A box is dropped when its intersection over union with a better one that was kept exceeds
    ``iou_threshold``.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left, kept = scores.argsort(descending=True, stable=True), list[Tensor]()
    while left.numel():
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = (
            torch.maximum(boxes[best, :2], boxes[left, :2]),
            torch.minimum(boxes[best, 2:], boxes[left, 2:]),
        )
        common = (high - low).clamp(min=0).prod(dim=1)
        left = left[common <= iou_threshold * (areas[best] + areas[left] - common)]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64, device=boxes.device)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Return what `nms` keeps within each group; ``idxs`` (n,) holds the group of each box."""
    if not boxes.numel():
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    apart = idxs.to(boxes) * (boxes.max() - boxes.min() + 1)
    return nms(boxes + apart[:, None], scores, iou_threshold)
