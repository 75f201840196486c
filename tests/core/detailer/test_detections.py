"""Detections: parallel arrays that stay parallel."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from sd_concord.core.detailer import Detections, concat
from sd_concord.core.errors import BadValue

SIZE = (12, 10)


def three(masks: bool = True) -> Detections:
    layers = np.zeros((3, 10, 12), bool)
    for i in range(3):
        layers[i, i, i] = True
    return Detections.of(
        [[i, i, i + 2, i + 3] for i in range(3)],
        confidences=[0.1, 0.2, 0.3],
        labels=("a", "b", "c"),
        size=SIZE,
        masks=layers if masks else None,
    )


@pytest.mark.parametrize(
    ("index", "labels"),
    [
        (1, "b"),
        (-1, "c"),
        (slice(1, None), "bc"),
        ([2, 0], "ca"),
        ([], ""),
        (np.array([], int), ""),
        (np.array([True, False, True]), "ac"),
        (np.array([2, 2]), "cc"),
    ],
    ids=str,
)
def test_an_index_takes_from_all_arrays_alike(index: Any, labels: str) -> None:
    part = three()[index]
    rows = ["abc".index(label) for label in labels]
    assert part.labels == tuple(labels)
    assert len(part) == len(labels)
    np.testing.assert_array_equal(part.boxes, three().boxes[rows])
    np.testing.assert_array_equal(part.confidences, three().confidences[rows])
    assert part.masks is not None
    np.testing.assert_array_equal(part.masks, three().masks[rows])  # type: ignore[index]


def test_an_index_that_is_not_there_raises() -> None:
    with pytest.raises(IndexError):
        three()[3]


def test_numbers_are_float32_and_float64_arrays_stay() -> None:
    assert three().boxes.dtype == three().confidences.dtype == np.float32
    exact = Detections.of(np.array([[0, 0, 1, 0.1]]), size=SIZE)
    assert exact.boxes[0, 3] == 0.1
    assert exact.confidences.tolist() == [1.0]


def test_areas_are_in_pixels() -> None:
    assert three().areas.tolist() == [6, 6, 6]


def test_nothing_found_is_no_special_case() -> None:
    none = Detections.of([], size=SIZE)
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    assert len(none[np.array([], bool)]) == 0


def test_parts_are_joined_in_order() -> None:
    joined = concat([three()[[2]], three()[:2]])
    assert joined.labels == ("c", "a", "b")
    assert joined.masks is not None
    assert joined.masks[0, 2, 2] == 255
    assert concat([three(), three(masks=False)]).masks is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[1, 2, 3]]}, "boxes are (1, 3); pass (1, 4)"),
        ({"confidences": [1, 2]}, "confidences are (2,); pass (3,), one a box"),
        ({"labels": ("a",)}, "labels has 1 names for 3 boxes"),
        (
            {"masks": np.zeros((3, 12, 10), bool)},
            "masks are (3, 12, 10); pass (3, 10, 12), (box, row, column)",
        ),
        ({"masks": np.zeros((3, 10, 12))}, "masks are float64; pass bool, or uint8"),
        ({"size": (0, 10)}, "size is (0, 10); pass (width, height)"),
        ({"boxes": [[0, 0, np.nan, 1]] * 3}, "boxes are float32 or not finite"),
        ({"confidences": np.array([1, 2, np.inf])}, "confidences are float64 or not finite"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_arrays_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    given = {"boxes": [[0, 0, 1, 1]] * 3, "size": SIZE, "labels": ("a", "b", "c")} | change
    with pytest.raises(BadValue, match=re.escape(message)):
        Detections.of(given.pop("boxes"), **given)


def test_parts_of_two_pictures_are_not_joined() -> None:
    with pytest.raises(BadValue, match="pass those of one picture"):
        concat([three(), Detections.of([], size=(1, 1))])
