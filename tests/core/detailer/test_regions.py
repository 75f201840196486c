"""Crop regions, sizes to work at, and strengths by area."""

from __future__ import annotations

import numpy as np
import pytest
from detailer_records import records
from hypothesis import given
from hypothesis import strategies as st
from sd_concord.core.detailer import (
    Guide,
    Mask,
    crop_region,
    expanded_region,
    factor_region,
    guided_size,
    mask_from_array,
    mask_from_box,
    matched_size,
    padded_region,
    padded_region_v1,
    strength_by_area,
    to_multiple,
)
from sd_concord.core.errors import BadValue

NUMBER_FIELDS = "fn power strength bbox image result defect raises msg id mode sdxl inpaint"
SIDES = st.integers(1, 300)


def painted(case: dict) -> Mask:
    """Return the mask of a record's rectangles."""
    width, height = case["size"]
    array = np.zeros((height, width), np.uint8)
    for x, y, w, h, value in case["rects"]:
        array[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = value
    return mask_from_array(array)


@pytest.mark.golden
def test_crop_regions_are_a1111s() -> None:
    for case in records("crop", "size rects pad process v1 v2 expanded"):
        mask = painted(case)
        v1 = padded_region_v1(mask, case["pad"])
        assert list(v1) == case["v1"], case
        assert padded_region(mask, case["pad"]) == (case["v2"] and tuple(case["v2"])), case
        if case["expanded"] == "ZeroDivisionError":
            with pytest.raises(BadValue, match="has no area"):
                expanded_region(v1, tuple(case["process"]), mask.size)
        else:
            assert list(expanded_region(v1, tuple(case["process"]), mask.size)) == case["expanded"], case
            if case["v2"]:
                whole = crop_region(mask, case["pad"], tuple(case["process"]))
                assert whole == tuple(case["expanded"]), case


@pytest.mark.golden
def test_strengths_by_area_are_adetailers_and_by_default_within_bounds() -> None:
    cases = [case for case in records("numbers", NUMBER_FIELDS) if case["fn"] == "dynamic_denoise"]
    assert cases
    for case in cases:
        asked = (case["strength"], case["bbox"], case["image"], case["power"])
        mended = strength_by_area(*asked)
        assert 0 <= mended <= 1, case
        if "raises" in case:
            with pytest.raises(BadValue, match="has no strength at power"):
                strength_by_area(*asked, clamp=False)
            continue
        assert strength_by_area(*asked, clamp=False) == pytest.approx(case["result"], rel=1e-9), case
        if "defect" not in case:
            assert mended == pytest.approx(case["result"], rel=1e-9), case


@pytest.mark.golden
def test_matched_sizes_are_adetailers() -> None:
    cases = [case for case in records("numbers", NUMBER_FIELDS) if case["fn"] == "crop_size"]
    assert cases
    for case in cases:
        size = matched_size(tuple(case["inpaint"]), case["bbox"], case["mode"], sdxl=case["sdxl"])
        assert size == tuple(case["inpaint"] if "raises" in case else case["result"]), case


@pytest.mark.parametrize(
    ("strength", "box", "power", "wanted"),
    [
        (0.4, (0, 0, 100, 100), 1, 0.0),
        (0.4, (0, 0, 100, 100), -1, 1.0),
        (0.0, (0, 0, 100, 100), -1, 0.0),
        (0.4, (-50, 0, 150, 100), 0.5, 0.0),
        (0.4, (-50, 0, 150, 100), -0.5, 1.0),
        (0.4, (0, 0, 99, 100), -10, 1.0),
        (0.4, (0, 0, 50, 100), 2, 0.1),
        (0.4, (0, 0, 100, 99.9999999), -1000, 1.0),
        (0.4, (0, 0, 100, 100), 0, 0.4),
    ],
)
def test_strength_stays_within_bounds(strength: float, box: tuple, power: float, wanted: float) -> None:
    assert strength_by_area(strength, box, (100, 100), power) == pytest.approx(wanted)


def test_a_strength_that_is_not_real_is_told() -> None:
    with pytest.raises(BadValue, match="clamp it, or use power 0"):
        strength_by_area(0.4, (-50, 0, 150, 100), (100, 100), 0.5, clamp=False)


@given(SIDES, SIDES, st.data())
def test_a_region_lies_in_the_picture_and_holds_what_it_was_made_of(
    width: int, height: int, data: st.DataObject
) -> None:
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (x1, y1, data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height)))
    shape = (data.draw(SIDES) * 8, data.draw(SIDES) * 8)
    regions = [
        expanded_region(box, shape, (width, height)),
        factor_region(box, data.draw(st.floats(1, 5)), (width, height)),
    ]
    for x1, y1, x2, y2 in regions:
        assert 0 <= x1 <= box[0] < box[2] <= x2 <= width
        assert 0 <= y1 <= box[1] < box[3] <= y2 <= height


@given(st.integers(10, 60), st.integers(10, 60), st.sampled_from([(512, 512), (832, 1216), (1344, 768)]))
def test_a_region_has_the_aspect_of_its_size_where_there_is_room(
    w: int, h: int, shape: tuple[int, int]
) -> None:
    x1, y1, x2, y2 = expanded_region((500, 500, 500 + w, 500 + h), shape, (1000, 1000))
    assert abs((x2 - x1) - (y2 - y1) * shape[0] / shape[1]) < max(1, shape[0] / shape[1])
    assert abs((x1 + x2) - (1000 + w)) <= 1
    assert abs((y1 + y2) - (1000 + h)) <= 1


def test_a_crop_factor_is_round_the_boxs_centre() -> None:
    assert factor_region((40, 40, 60, 50), 3, (200, 200)) == (20, 30, 80, 60)
    assert factor_region((0, 0, 20, 10), 3, (200, 200)) == (0, 0, 60, 30)
    assert factor_region((190, 0, 200, 10), 3, (200, 20)) == (170, 0, 200, 20)
    with pytest.raises(BadValue, match="crop factor is"):
        factor_region((0, 0, 1, 1), 0.5, (9, 9))


@given(SIDES, SIDES, st.integers(64, 2048), st.integers(64, 2048), st.booleans())
def test_a_guided_size_is_in_eights_and_bounded(
    w: int, h: int, size: int, longest: int, box_first: bool
) -> None:
    guide = Guide(size=size, longest=longest, box_first=box_first)
    width, height = guided_size((0, 0, w, h), (0, 0, w / 2, h / 2), guide)
    assert width % 8 == height % 8 == 0
    assert min(width, height) >= 8
    assert max(width, height) <= longest


def test_a_guide_size_is_that_of_the_box_or_of_the_crop() -> None:
    crop, box = (0, 0, 200, 300), (0, 0, 100, 128)
    assert guided_size(crop, box, Guide(size=256)) == (512, 768)
    assert guided_size(crop, box, Guide(size=256, box_first=False)) == (256, 384)
    assert guided_size(crop, box, Guide(size=512, longest=768)) == (512, 768)


def test_sides_are_rounded_to_the_nearest_eight() -> None:
    assert to_multiple((703, 100)) == (704, 104)
    assert to_multiple((1, 3)) == (8, 8)


def test_a_box_without_area_does_not_change_the_size() -> None:
    assert matched_size((512, 512), (5, 5, 5, 9), "Free") == (512, 512)
    assert matched_size((512, 512), (5, 9, 50, 9), "Strict (SDXL only)", sdxl=True) == (512, 512)
    with pytest.raises(BadValue, match="did you mean Free"):
        matched_size((512, 512), (0, 0, 1, 1), "free")


def test_an_empty_mask_has_no_region() -> None:
    empty = mask_from_array(np.zeros((9, 9), bool))
    assert padded_region(empty, 4) is None
    assert crop_region(empty, 4, (512, 512)) is None
    assert crop_region(mask_from_box((3, 3, 4, 4), (9, 9)), 1, (512, 512)) == (2, 2, 6, 6)
