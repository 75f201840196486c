"""Masks: moved, grown, merged and blurred as ADetailer and A1111 do."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from detailer_records import assert_masks, mask_of, records
from hypothesis import given
from hypothesis import strategies as st
from sd_concord.core.detailer import (
    Detections,
    Mask,
    blur,
    boxes_of,
    dilate_erode,
    doubled,
    intersects,
    invert,
    mask_from_array,
    mask_from_box,
    masks_of,
    merge,
    merge_masks,
    offset,
    unit_masks,
)
from sd_concord.core.errors import BadType, BadValue
from sd_concord.core.image import DetailerUnit

FIELDS = """op in out kernel value x y mode bboxes shape intersects all_black raises msg id defect intended"""


def unit_of(case: dict[str, Any], faithful: bool) -> DetailerUnit:
    return DetailerUnit(
        x_offset=case["x"],
        y_offset=case["y"],
        dilate_erode=case["kernel"],
        mask_merge_invert=case["mode"],
        faithful=faithful,
    )


def cases(operation: str) -> list[dict[str, Any]]:
    found = [case for case in records("masks", FIELDS) if case["op"] == operation]
    assert found
    return found


@pytest.mark.golden
def test_offset_is_as_in_adetailer_and_by_default_does_not_wrap() -> None:
    for case in cases("offset"):
        masks = [mask_of(image) for image in case["in"]]
        wrapped = [offset(mask, case["x"], case["y"], wrap=True) for mask in masks]
        assert_masks(wrapped, case["out"], case["id"])
        lost = [offset(mask, case["x"], case["y"]) for mask in masks]
        assert_masks(lost, case.get("intended", case["out"]), case["id"])


@pytest.mark.golden
def test_dilate_and_erode_are_as_in_adetailer() -> None:
    for case in cases("dilate_erode"):
        masks = [dilate_erode(mask_of(image), case["value"]) for image in case["in"]]
        assert_masks(masks, case["out"], case["id"])


@pytest.mark.golden
def test_merging_is_as_in_adetailer() -> None:
    for case in cases("merge_invert"):
        masks = [mask_of(image) for image in case["in"]]
        assert_masks(merge_masks(masks, case["mode"]), case["out"], case["id"])


@pytest.mark.golden
def test_the_steps_together_are_as_in_adetailer() -> None:
    for case in cases("preprocess"):
        size = case["in"][0]["size"] if case["in"] else [1, 1]
        found = Detections.of(
            [[0, 0, 1, 1]] * len(case["in"]),
            size=tuple(size),
            masks=np.array([mask_of(image).full() for image in case["in"]], np.uint8).reshape(
                -1, *size[::-1]
            ),
        )
        assert_masks(unit_masks(found, unit_of(case, faithful=True)), case["out"], case["id"])
        if "defect" not in case:
            kept = [image for image in case["out"] if mask_of(image).box]
            assert_masks(unit_masks(found, unit_of(case, faithful=False)), kept, case["id"])


@pytest.mark.golden
def test_intersection_is_as_in_adetailer() -> None:
    for case in cases("intersect"):
        first, second = (mask_of(image) for image in case["in"])
        assert intersects(first, second) == case["intersects"], case["id"]
        assert (first.box is None) == case["all_black"], case["id"]


@pytest.mark.golden
def test_boxes_of_masks_are_as_in_adetailer() -> None:
    for case in cases("bbox_from_mask"):
        masks = [mask_of(image) for image in case["in"]]
        assert [list(box) for box in boxes_of(masks, tuple(case["shape"]))] == case["bboxes"], case["id"]


@pytest.mark.golden
def test_masks_of_boxes_are_as_in_adetailer() -> None:
    for case in cases("mask_from_bbox"):
        size = tuple(case["shape"])
        if "raises" in case:
            with pytest.raises(BadValue, match="x1 <= x2"):
                [mask_from_box(box, size) for box in case["bboxes"]]
        else:
            assert_masks([mask_from_box(box, size) for box in case["bboxes"]], case["out"], case["id"])


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Draw masks of up to 9x9, sparse and grey."""
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    values = st.lists(
        st.sampled_from([0, 0, 0, 1, 200, 255]), min_size=width * height, max_size=width * height
    )
    return np.array(draw(values), np.uint8).reshape(height, width)


@given(arrays())
def test_a_mask_is_what_it_was_made_of(array: np.ndarray) -> None:
    mask = mask_from_array(array)
    np.testing.assert_array_equal(mask.full(), array)
    if mask.box:
        x1, y1, x2, y2 = mask.box
        assert mask.pixels.shape == (y2 - y1, x2 - x1)
    else:
        assert mask.pixels.size == 0


@given(arrays(), st.integers(-9, 9), st.integers(-9, 9))
def test_a_moved_mask_loses_what_leaves_the_picture(array: np.ndarray, x: int, y: int) -> None:
    moved = offset(mask_from_array(array), x, y).full()
    height, width = array.shape
    for row in range(height):
        for column in range(width):
            from_row, from_column = row + y, column - x
            inside = 0 <= from_row < height and 0 <= from_column < width
            assert moved[row, column] == (array[from_row, from_column] if inside else 0)


@given(arrays(), st.integers(-4, 4))
def test_growing_is_the_same_on_the_small_part_as_on_the_whole(array: np.ndarray, kernel: int) -> None:
    height, width = array.shape
    size = abs(kernel)
    before, after = size // 2, size - 1 - size // 2
    best, out = (max, 0) if kernel > 0 else (min, 255)
    grown = dilate_erode(mask_from_array(array), kernel).full()
    for row in range(height if size else 0):
        for column in range(width):
            seen = [
                array[i, j] if 0 <= i < height and 0 <= j < width else out
                for i in range(row - before, row + after + 1)
                for j in range(column - before, column + after + 1)
            ]
            assert grown[row, column] == best(seen)


@given(arrays(), st.sampled_from([0.5, 1, 2.5, 7]))
def test_blur_is_the_same_on_the_small_part_as_on_the_whole(array: np.ndarray, sigma: float) -> None:
    size = array.shape[::-1]
    whole = Mask(size=size, corner=(0, 0), pixels=array)
    full = np.pad(array, 40, mode="reflect") if min(array.shape) > 1 else None
    soft = blur(whole, sigma)
    if full is not None:
        padded = blur(mask_from_array(full), sigma).full()[40 : 40 + size[1], 40 : 40 + size[0]]
        np.testing.assert_array_equal(soft.full(), padded)
    np.testing.assert_array_equal(invert(invert(soft)).full(), soft.full())


# Recorded from OpenCV 4.11, GaussianBlur of rows, then of columns, as A1111 calls it.
STEP = [0] * 10 + [255] * 14
OPENCV_STEP = [
    2,
    3,
    7,
    12,
    21,
    32,
    48,
    67,
    90,
    115,
    140,
    165,
    188,
    207,
    223,
    234,
    243,
    248,
    252,
    254,
    255,
    255,
    255,
    255,
]
OPENCV_CORNER = [
    [0, 0, 1, 8, 27, 65, 112, 149, 162],
    [0, 0, 1, 6, 23, 55, 95, 126, 137],
    [0, 0, 1, 4, 14, 34, 58, 77, 84],
    [0, 0, 0, 2, 6, 14, 25, 33, 35],
    [0, 0, 0, 0, 2, 4, 7, 9, 10],
    [0, 0, 0, 0, 0, 1, 1, 2, 2],
    [0, 0, 0, 0, 0, 0, 0, 0, 0],
]


def test_blur_is_opencvs_along_a_step() -> None:
    row = np.array([STEP], np.uint8)
    soft = blur(mask_from_array(np.repeat(row, 5, axis=0)), 4).full()
    assert soft[2].tolist() == OPENCV_STEP
    assert (soft == soft[2]).all()


def test_blur_is_opencvs_at_a_corner() -> None:
    corner = np.zeros((7, 9), np.uint8)
    corner[:2, 6:] = 255
    assert blur(mask_from_array(corner), 1.5).full().tolist() == OPENCV_CORNER


def test_a_blur_of_nothing_is_nothing() -> None:
    mask = mask_from_box((2, 2, 4, 4), (9, 9))
    assert blur(mask, 0) is mask
    assert blur(mask, 10, 0) is mask
    assert blur(mask_from_array(np.zeros((3, 3), bool)), 4).box is None


def test_a_feather_of_a_radius_reaches_as_far_as_that() -> None:
    assert blur(mask_from_box((20, 20, 29, 29), (50, 50)), 10, 5).box == (15, 15, 35, 35)


def test_a_whole_picture_is_laid_over_twice_as_strong() -> None:
    mask = mask_from_array(np.array([[0, 1, 127, 128, 255]], np.uint8))
    assert doubled(mask).full().tolist() == [[0, 2, 254, 255, 255]]


def test_masks_are_of_segmentation_else_of_boxes() -> None:
    layers = np.zeros((1, 5, 6), bool)
    layers[0, 1, 2] = True
    found = Detections.of([[0, 0, 1.9, 1]], size=(6, 5), masks=layers)
    assert masks_of(found)[0].box == (2, 1, 3, 2)
    assert masks_of(Detections.of([[0, 0, 1.9, 1]], size=(6, 5)))[0].box == (0, 0, 2, 2)


def test_masks_that_do_not_fit_are_told() -> None:
    with pytest.raises(
        BadValue, match=re.escape("mask is (2, 3) but image is (3, 2); pass masks as (height, width)")
    ):
        mask_from_array(np.zeros((2, 3), bool), (2, 3))
    with pytest.raises(BadType, match="mask is float64; pass bool, or uint8"):
        mask_from_array(np.zeros((2, 3)))
    with pytest.raises(BadValue, match="leaves the image of 2x2"):
        Mask(size=(2, 2), corner=(1, 1), pixels=np.zeros((2, 2), np.uint8))
    with pytest.raises(BadValue, match=r"pass uint8 \(height, width\)"):
        Mask(size=(2, 2), corner=(0, 0), pixels=np.zeros((2, 2, 1), np.uint8))
    one, two = mask_from_box((0, 0, 1, 1), (4, 4)), mask_from_box((0, 0, 1, 1), (5, 4))
    with pytest.raises(BadValue, match="pass masks of one picture"):
        intersects(one, two)
    with pytest.raises(BadValue, match="pass one or more of one size"):
        merge([one, two])
    with pytest.raises(BadValue, match="did you mean Merge"):
        merge_masks([one], "merge")
