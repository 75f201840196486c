"""Which detections are kept, and their order."""

from __future__ import annotations

import numpy as np
import pytest
from detailer_records import records
from hypothesis import given
from hypothesis import strategies as st
from sd_concord.core.detailer import (
    Detections,
    filter_classes,
    filter_confidence,
    filter_large,
    filter_ratio,
    filter_side,
    select,
    sort,
    top_k,
)
from sd_concord.core.errors import BadValue
from sd_concord.core.image import DetailerUnit
from sd_concord.core.image.keys import SORT_ORDERS

FIELDS = """op image bboxes confidences k by order low high kept out_confidences ties tie_order id defect
    intended_confidences"""


def found(boxes: list[list[float]], confidences: list[float] | None = None, labels: str = "") -> Detections:
    """Return detections in a picture of 100x50, labelled by ``labels`` or by their numbers."""
    names = tuple(labels) or tuple(str(i) for i in range(len(boxes)))
    scores = None if confidences is None else np.array(confidences)
    return Detections.of(np.array(boxes, float), confidences=scores, labels=names, size=(100, 50))


@pytest.mark.golden
def test_every_step_is_as_in_adetailer() -> None:
    for case in records("select", FIELDS):
        start = Detections.of(
            np.array(case["bboxes"], float).reshape(-1, 4),
            confidences=np.array(case["confidences"], float),
            labels=[str(i) for i in range(len(case["bboxes"]))],
            size=tuple(case["image"]),
        )
        result = start
        if case["op"] in ("ratio", "chain"):
            result = filter_ratio(result, case["low"], case["high"])
        if case["op"] in ("top_k", "chain"):
            result = top_k(result, case["k"], case["by"])
        if case["op"] in ("sort", "chain"):
            result = sort(result, case["order"])
        wanted = case.get("intended_confidences", case["out_confidences"])
        assert result.confidences.tolist() == wanted, case["id"]
        if "tie_order" not in case:  # there the host's order of equals is that of its processor's sort
            assert [int(label) for label in result.labels] == case["kept"], case["id"]


@given(st.lists(st.sampled_from([0.1, 0.4, 0.5, 0.9]), max_size=8), st.sampled_from(SORT_ORDERS))
def test_boxes_confidences_labels_and_masks_move_together(confidences: list[float], order: str) -> None:
    rng = np.random.default_rng(len(confidences))
    boxes = np.sort(rng.integers(0, 50, (len(confidences), 2, 2)), axis=1).reshape(-1, 4)
    masks = np.arange(1, len(boxes) + 1, dtype=np.uint8)[:, None, None] * np.ones((1, 50, 100), np.uint8)
    start = Detections.of(
        boxes,
        confidences=confidences,
        labels=[str(i) for i in range(len(boxes))],
        size=(100, 50),
        masks=masks,
    )
    end = sort(start, order)
    assert sorted(end.labels) == sorted(start.labels)
    assert end.masks is not None
    for i, label in enumerate(end.labels):
        assert end.confidences[i] == start.confidences[int(label)]
        np.testing.assert_array_equal(end.boxes[i], start.boxes[int(label)])
        assert end.masks[i, 0, 0] == int(label) + 1


def test_orders() -> None:
    start = found([[60, 20, 70, 30], [45, 20, 55, 30], [0, 0, 40, 40]])
    assert sort(start, "Position (left to right)").labels == ("2", "1", "0")
    assert sort(start, "Position (center to edge)").labels == ("1", "0", "2")
    assert sort(start, "Area (large to small)").labels == ("2", "0", "1")
    assert sort(start, "None").labels == ("0", "1", "2")


def test_a_bound_is_kept_on_both_sides() -> None:
    start = found([[0, 0, 10, 5], [0, 0, 10, 10], [0, 0, 20, 10]], [0.2, 0.3, 0.4])
    assert filter_ratio(start, 0.02, 0.04).labels == ("1", "2")
    assert filter_confidence(start, 0.3).labels == ("1", "2")
    assert filter_side(start, 10).labels == ("1", "2")
    assert filter_side(start, 0, 10).labels == ("0", "1")
    assert filter_side(start, 5).labels == ("0", "1", "2")
    assert filter_large(start, 10).labels == ("0",)
    assert filter_large(start, 0).labels == ("0", "1", "2")


def test_classes_are_chosen_by_name() -> None:
    start = found([[0, 0, 1, 1]] * 3, labels="aBc")
    assert filter_classes(start, [" b", "C", "x"]).labels == ("B", "c")
    assert filter_classes(start, [""]).labels == ("a", "B", "c")
    assert filter_classes(start, ["x"]).labels == ()


def test_first_k_by_area_or_confidence() -> None:
    start = found([[0, 0, 1, 1], [0, 0, 3, 3], [0, 0, 2, 2]], [0.9, 0.5, 0.1])
    assert top_k(start, 2).labels == ("1", "2")
    assert top_k(start, 2, "Confidence").labels == ("0", "1")
    assert top_k(start, 0).labels == ("0", "1", "2")


def test_a_unit_names_every_step() -> None:
    start = found(
        [[0, 0, 4, 4], [50, 0, 90, 40], [10, 0, 30, 20], [0, 0, 30, 30], [90, 0, 99, 9], [5, 0, 27, 22]],
        [0.9, 0.9, 0.9, 0.2, 0.9, 0.9],
        "aaaaba",
    )
    unit = DetailerUnit(
        confidence=0.5,
        model_classes="a, c",
        mask_min_ratio=0.001,
        mask_max_ratio=0.2,
        min_side=5,
        max_side=39,
        mask_k=1,
        sort_order="Position (left to right)",
    )
    assert len(select(start, DetailerUnit(confidence=0.0))) == 6
    assert select(start, unit).boxes.tolist() == [[5, 0, 27, 22]]
    both = DetailerUnit(
        confidence=0.5, model_classes="a", max_side=39, min_side=5, sort_order=unit.sort_order
    )
    assert select(start, both).boxes[:, 0].tolist() == [5, 10]


def test_adetailer_knows_classes_of_world_models_only() -> None:
    start = found([[0, 0, 9, 9]] * 2, labels="ab")
    unit = DetailerUnit(model="face.pt", model_classes="b", faithful=True)
    assert select(start, unit).labels == ("a", "b")
    assert select(
        start, DetailerUnit(model="yolov8x-worldv2.pt", model_classes="b", faithful=True)
    ).labels == ("b",)


def test_bad_names_and_numbers_are_told() -> None:
    start = found([[0, 0, 9, 9]])
    with pytest.raises(BadValue, match="did you mean Area"):
        top_k(start, 1, "Aera")
    with pytest.raises(BadValue, match="k is -1"):
        top_k(start, -1)
    with pytest.raises(BadValue, match=r"Known: None, Position \(left to right\)"):
        sort(start, "left")
