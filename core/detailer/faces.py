"""Face detectors that need no download: scikit-image's cascade, and facenet-pytorch's MTCNN where installed."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import Missing
from ..torchvision_stand_in import nms, torchvision_stand_in
from .detections import Detections
from .yolo import check_image

LABEL = "face"
SMALLEST = 1 / 14
"""The least width of a face that is looked for, as a part of the picture's shorter side."""

_WINDOW = 24  # pixels: the cascade's own
_SAME = 0.4  # windows that overlap more than this (intersection over union) are of one face
_HALF = 16  # windows that make a face as likely as not: false finds have one to six, faces ten and more


@dataclass(frozen=True, kw_only=True)
class CascadeFaces:
    """Finds upright frontal faces with the cascade of local binary patterns that ships with scikit-image."""

    confidence: float = 0.3
    smallest: float = SMALLEST
    name: str = "face-lbp"
    labels: tuple[str, ...] = (LABEL,)

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Return the faces in ``image``, uint8 (H, W, 3) RGB, most confident first.

        The cascade gives no confidence: n windows on one face make it n / (n + 16).
        """
        check_image(image)
        height, width = image.shape[:2]
        side = max(_WINDOW, round(min(height, width) * self.smallest))
        windows = np.zeros((0, 4)) if side > min(height, width) else _windows(image, side)
        boxes, counts = grouped(windows)
        confidences = counts / (counts + _HALF)
        kept = confidences > self.confidence
        return _faces(boxes[kept], confidences[kept], (width, height))


@dataclass(frozen=True, kw_only=True)
class NetworkFaces:
    """Finds faces with MTCNN, three small networks that ship with facenet-pytorch."""

    confidence: float = 0.3
    name: str = "face-mtcnn"
    labels: tuple[str, ...] = (LABEL,)

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Return the faces in ``image``, uint8 (H, W, 3) RGB, most confident first."""
        check_image(image)
        height, width = image.shape[:2]
        if min(height, width) < 20:  # the smallest face it knows
            return _faces(np.zeros((0, 4)), np.zeros(0), (width, height))
        with torch.inference_mode():
            found, confidences = _mtcnn().detect(np.ascontiguousarray(image))
        if found is None:
            return _faces(np.zeros((0, 4)), np.zeros(0), (width, height))
        kept = confidences > self.confidence
        return _faces(found[kept], confidences[kept].astype(np.float64), (width, height))


def has_mtcnn() -> bool:
    """Return whether facenet-pytorch is installed."""
    return importlib.util.find_spec("facenet_pytorch") is not None


def grouped(windows: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean box of each group of overlapping windows (n, 4), and how many there are in it.

    The window with most others on it takes them first; groups that still overlap are one, the larger's.
    """
    boxes, counts, left = list[NDArray[np.float64]](), list[int](), windows.astype(np.float64)
    while len(left):
        on = _overlaps(left) > _SAME
        mine = on[on.sum(axis=1).argmax()]
        boxes.append(left[mine].mean(axis=0))
        counts.append(int(mine.sum()))
        left = left[~mine]
    if not boxes:
        return np.zeros((0, 4)), np.zeros(0, np.int64)
    array, number = np.stack(boxes), np.array(counts, np.int64)
    kept = nms(torch.tensor(array), torch.tensor(number.astype(np.float64)), _SAME / 2).numpy()
    return array[kept], number[kept]


def _overlaps(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with each, (n, n)."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return common / (areas[:, None] + areas[None] - common)


def _windows(image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Return the windows, ``side`` pixels wide and more, in which the cascade sees a face, (n, 4)."""
    limit = min(image.shape[:2])
    found: list[dict[str, int]] = _cascade().detect_multi_scale(
        img=image,
        scale_factor=1.1,
        step_ratio=1,
        min_size=(side, side),
        max_size=(limit, limit),
        min_neighbor_number=1,
        intersection_score_threshold=1.1,  # above 1: it groups nothing
    )
    rows = [(one["c"], one["r"], one["c"] + one["width"], one["r"] + one["height"]) for one in found]
    return np.array(rows, np.float64).reshape(-1, 4)


def _faces(boxes: NDArray[Any], confidences: NDArray[Any], size: tuple[int, int]) -> Detections:
    order = np.argsort(-confidences, kind="stable")
    inside = np.clip(boxes[order], 0, [*size, *size]).astype(np.float32)
    return Detections(
        boxes=inside,
        confidences=confidences[order].astype(np.float32),
        labels=(LABEL,) * len(inside),
        size=size,
    )


@cache
def _cascade() -> Any:
    try:
        feature, data = importlib.import_module("skimage.feature"), importlib.import_module("skimage.data")
    except ImportError as error:
        raise Missing("the face detector needs scikit-image; pip install scikit-image") from error
    return feature.Cascade(data.lbp_frontal_face_cascade_filename())


@cache
def _mtcnn() -> Any:
    with torchvision_stand_in():
        try:
            facenet: Any = importlib.import_module("facenet_pytorch")
        except ImportError as error:
            raise Missing(
                "face-mtcnn needs facenet-pytorch; pip install --no-deps facenet-pytorch"
            ) from error
        return facenet.MTCNN(keep_all=True, device="cpu")
