"""Detectors that answer as YOLO networks do: a letterboxed picture in, rows of boxes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadType, BadValue
from .checkpoint import Network
from .decode import Reading, decode
from .detections import Detections
from .letterbox import Letterbox, letterbox

Answer = tuple[Tensor, Tensor | None]
"""Rows of boxes, and prototypes of masks where the network segments, of one picture."""


@dataclass(frozen=True, kw_only=True)
class YoloDetector:
    """Finds what a YOLO network was trained for.

    ``name``: the file's.  ``labels``: all the classes it knows, by number.  ``fit``: where a picture of a size
    (width, height) lies in the input.  ``answer``: input (1, 3, h, w) → the network's answer.
    """

    name: str
    labels: tuple[str, ...]
    reading: Reading
    fit: Callable[[tuple[int, int]], Letterbox]
    answer: Callable[[Tensor], Answer]

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Return what is in ``image``, uint8 (H, W, 3) RGB, most confident first."""
        check_image(image)
        size = (image.shape[1], image.shape[0])
        place = self.fit(size)
        found = decode(*self.answer(place.image(image)), self.reading)
        boxes = place.boxes(found.boxes.numpy())
        masks = None
        if found.masks is not None:
            pairs = zip(found.masks, boxes, strict=True)
            made = [place.mask(logits, box) for logits, box in pairs]
            masks = np.stack(made) if made else np.zeros((0, *image.shape[:2]), np.bool_)
        return Detections(
            boxes=boxes,
            confidences=found.confidences.numpy().astype(np.float32),
            labels=tuple(self.labels[int(number)] for number in found.classes),
            size=size,
            masks=masks,
        )


def yolo_detector(name: str, network: Network, reading: Reading, device: str = "cpu") -> YoloDetector:
    """Return the detector that asks ``network`` for what ``reading`` says, on ``device``."""
    head: Any = network.model[-1]
    size, stride = network.architecture.image_size, network.stride

    def answer(image: Tensor) -> Answer:
        with torch.inference_mode():
            said: Any = network(image.to(device))[0]
        rows: Any
        prototypes: Any
        rows, prototypes = cast("tuple[Any, Any]", said) if isinstance(said, tuple) else (said, None)
        return rows[0].float().cpu(), None if prototypes is None else prototypes[0].float().cpu()

    return YoloDetector(
        name=name,
        labels=network.architecture.names,
        reading=dataclasses.replace(reading, ready=bool(head.end2end)),
        fit=lambda picture: letterbox(picture, size, stride),
        answer=answer,
    )


def check_image(image: Any) -> None:
    """Raise unless ``image`` is uint8 (H, W, 3) with at least a pixel: `BadType` or `BadValue`."""
    if not isinstance(image, np.ndarray):
        raise BadType(f"image is a {type(image).__name__}; pass a numpy array, uint8 (H, W, 3)")
    array = cast("NDArray[Any]", image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise BadValue(f"image is {array.dtype} {array.shape}; pass uint8 (H, W, 3), RGB")
