"""Which detections are worked on, and in which order; each step a pure function.

The order of the steps and the meaning of their numbers are ADetailer 25.3.0's;
tests/golden/detailer/select.jsonl.gz.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadValue, unknown
from ..image.keys import MASK_FILTERS, SORT_ORDERS
from ..image.parts import DetailerUnit
from .detections import Detections
from .unit import with_defaults


def filter_confidence(detections: Detections, at_least: float) -> Detections:
    """Keep what a detector is sure of: confidence ``at_least`` or more, 0…1."""
    return detections[detections.confidences >= at_least]


def filter_classes(detections: Detections, names: Iterable[str]) -> Detections:
    """Keep the classes ``names``; no name keeps all.  A name that nothing found has keeps nothing."""
    wanted = {name.strip().casefold() for name in names} - {""}
    if not wanted:
        return detections
    return detections[np.array([label.casefold() in wanted for label in detections.labels], bool)]


def filter_ratio(detections: Detections, low: float = 0.0, high: float = 1.0) -> Detections:
    """Keep boxes whose area is ``low`` … ``high`` of the image's, both included."""
    width, height = detections.size
    ratios = detections.areas / (width * height)
    return detections[np.flatnonzero((ratios >= low) & (ratios <= high))]


def filter_side(detections: Detections, low: float = 0.0, high: float = 0.0) -> Detections:
    """Keep boxes of which both sides are ``low`` … ``high`` pixels; ``high`` 0 is no bound."""
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    kept = np.all((sides >= low) & (sides <= (high or np.inf)), axis=1)
    return detections[np.flatnonzero(kept)]


def filter_large(detections: Detections, size: float) -> Detections:
    """Drop boxes that are large enough as they are: the short side ``size`` pixels or more; 0 drops none."""
    if size == 0:
        return detections
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    return detections[np.flatnonzero(np.min(sides, axis=1) < size)]


def top_k(detections: Detections, k: int, by: str = "Area") -> Detections:
    """Keep the first ``k`` by "Area" or "Confidence", largest first; 0 keeps all as they stand.

    Of equals the later comes first, as mostly in ADetailer, whose order of them is the processor's.  Raises
    ``BadValue`` for an unknown ``by``.
    """
    if by not in MASK_FILTERS:
        raise unknown("way to choose masks", by, MASK_FILTERS)
    if k < 0:
        raise BadValue(f"k is {k}; pass 0 for all masks, or how many to keep")
    if k == 0:
        return detections
    keys: NDArray[Any] = detections.areas if by == "Area" else detections.confidences
    return detections[np.argsort(keys, kind="stable")[::-1][:k]]


def sort(detections: Detections, order: str = "None") -> Detections:
    """Order detections, confidences, labels and masks with them; equals stay as they stand.

    ``order``: "None", "Position (left to right)" (by the left side), "Position (center to edge)" (by the
    distance of the box's centre from the image's), "Area (large to small)".  Raises ``BadValue``.
    """
    if order not in SORT_ORDERS:
        raise unknown("order", order, SORT_ORDERS)
    if order == "None":
        return detections
    boxes = detections.boxes.astype(np.float64)
    if order == "Position (left to right)":
        keys = boxes[:, 0]
    elif order == "Area (large to small)":
        keys = -detections.areas
    else:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array(detections.size) / 2
        keys = np.hypot(centres[:, 0], centres[:, 1])
    return detections[np.argsort(keys, kind="stable")]


def select(detections: Detections, unit: DetailerUnit) -> Detections:
    """Return the detections that ``unit`` works on, in its order.

    Confidence, classes, area, sides, first k, of these the ones not large enough, order.  A detector has mostly
    looked at confidence and classes before; to look again changes nothing.  ADetailer knows classes for models
    called "…-world…" only.
    """
    u = with_defaults(unit)
    found = filter_confidence(detections, u.confidence)
    if not u.faithful or "-world" in (u.model or ""):
        found = filter_classes(found, u.model_classes.split(","))
    found = filter_ratio(found, u.mask_min_ratio, u.mask_max_ratio)
    found = filter_side(found, u.min_side, u.max_side)
    found = top_k(found, u.mask_k, u.mask_filter_method)
    return sort(filter_large(found, u.skip_size), u.sort_order)
