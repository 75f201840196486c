"""What runs along Concord's wires, and the way between ComfyUI's pictures and the core's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import BadValue
from .host import io

RECORD: Any = io.Custom("CONCORD_RECORD")
"""A ``Generation``: of one picture, or of the first of a batch."""
REFINER: Any = io.Custom("CONCORD_REFINER")
DETECTOR: Any = io.Custom("CONCORD_DETECTOR")
DETECTIONS: Any = io.Custom("CONCORD_DETECTIONS")
"""What was detected in a batch: a list of ``Detections``, one a picture."""
UNITS: Any = io.Custom("CONCORD_DETAILER_UNITS")
"""A tuple of `detailer.UnitOf`, in the order in which they work."""


def pixels_of(images: Tensor) -> list[NDArray[np.uint8]]:
    """Return the pictures of an IMAGE (B, H, W, C), 0 … 1, as uint8 (H, W, 3), cut to levels as ComfyUI saves.

    Raises ``BadValue`` for another shape.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        raise BadValue(
            f"the images are {tuple(images.shape)}; wire an IMAGE of one or more pictures (B, H, W, 3)"
        )
    rgb = images[..., :3] if images.shape[-1] > 1 else images.expand(-1, -1, -1, 3)
    levels = rgb.detach().cpu().float().nan_to_num().mul(255).clamp_(0, 255).to(torch.uint8)
    return [one.contiguous().numpy() for one in levels]


def image_of(pictures: Iterable[NDArray[Any]]) -> Tensor:
    """Return pictures of one size, uint8 or float 0 … 1 (H, W, 3), as an IMAGE (B, H, W, 3), float32."""
    rows = [
        torch.tensor(one.astype(np.float32) / 255 if one.dtype == np.uint8 else one.astype(np.float32))
        for one in pictures
    ]
    return torch.stack(rows)


def listed(name: str, known: Iterable[str]) -> str:
    """Return what a dropdown with the entries ``known`` calls the sampler or schedule ``name``."""
    entries = list(known)
    prefixed = f"concord_{name}"
    return prefixed if name not in entries and prefixed in entries else name


def upstream_value(prompt: Mapping[str, Any] | None, node: str | None, names: tuple[str, ...]) -> str | None:
    """Return the text that the nearest node above ``node`` in a queued graph has for one of ``names``.

    ``prompt``: ComfyUI's hidden PROMPT.  Wires called "model" are followed first.
    """
    waiting, seen = [str(node)], set[str]()
    while prompt and waiting:
        at = waiting.pop(0)
        if at in seen or at not in prompt:
            continue
        seen.add(at)
        inputs = prompt[at].get("inputs", {})
        found = next((inputs[name] for name in names if isinstance(inputs.get(name), str)), None)
        if found is not None:
            return found
        links = [(key, str(value[0])) for key, value in inputs.items() if isinstance(value, list) and value]
        first = [link for key, link in links if "model" in key]
        waiting = [*first, *waiting, *(link for key, link in links if "model" not in key)]
    return None


def is_wired(prompt: Mapping[str, Any] | None, node: str | None, output: int) -> bool:
    """Tell whether output number ``output`` of ``node`` goes anywhere in a queued graph."""
    wanted = [str(node), output]
    return any(
        isinstance(value, list) and [str(one) if i == 0 else one for i, one in enumerate(value)] == wanted
        for other in (prompt or {}).values()
        for value in other.get("inputs", {}).values()
    )
