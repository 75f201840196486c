"""What is put back: only under the mask, without bias, and where it was."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.detailer import (
    Mask,
    Patch,
    blur,
    crop,
    crop_region,
    mask_from_array,
    mask_from_box,
    paste,
    paste_all,
)
from sd_concord.core.errors import BadType, BadValue

DTYPES = (np.uint8, np.float16, np.float32, np.float64)
BAD = (np.nan, np.inf, -np.inf, 1e4, -1e4, 1e300)


def noise(seed: int, width: int, height: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(width: int, height: int) -> np.ndarray:
    """Return a picture with large and small forms and noise, as a photograph has."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width]
    waves = sum(np.sin(x * rng.normal(0, 0.2) + y * rng.normal(0, 0.2) + i) for i in range(12))
    levels = 128 + 20 * waves[..., None] + rng.normal(0, 6, (height, width, 3))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int], np.ndarray]:
    """Draw (image, mask array, region, patch): any sizes, kinds and numbers that are none."""
    width, height = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    mask = rng.choice(np.array([0, 0, 0, 1, 128, 255], np.uint8), (height, width))
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    region = (x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height)))
    same = draw(st.booleans())
    shape = (region[3] - y1, region[2] - x1) if same else (draw(st.integers(1, 32)), draw(st.integers(1, 32)))
    dtype = draw(st.sampled_from(DTYPES))
    if dtype == np.uint8:
        patch = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    else:
        patch = rng.random((*shape, 3)).astype(dtype)
        broken = rng.random(patch.shape) < draw(st.sampled_from([0, 0.1, 1]))
        with np.errstate(over="ignore"):
            patch[broken] = rng.choice(np.array(BAD), patch.shape).astype(dtype)[broken]
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), mask, region, patch


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_outside_mask_and_region_no_pixel_changes(
    scene: tuple[np.ndarray, np.ndarray, tuple[int, int, int, int], np.ndarray],
) -> None:
    image, mask, (x1, y1, x2, y2), patch = scene
    before = image.copy()
    with np.errstate(all="raise"):
        after = paste(image, patch, (x1, y1, x2, y2), mask_from_array(mask))
    outside = mask == 0
    outside[:y1] = outside[y2:] = outside[:, :x1] = outside[:, x2:] = True
    assert after.dtype == np.uint8
    assert np.count_nonzero(after[outside] != before[outside]) == 0
    np.testing.assert_array_equal(image, before)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(DTYPES))
def test_disjoint_patches_give_one_picture_in_any_order(order: list[int], dtype: type) -> None:
    image = noise(0, 60, 40)
    patches: list[Patch] = []
    for i in range(4):
        x, y = i % 2 * 30, i // 2 * 20
        drawn = noise(i + 1, 40, 32)
        mask = blur(mask_from_box((x + 9, y + 6, x + 20, y + 13), (60, 40)), 1)
        pixels = drawn if dtype == np.uint8 else (drawn / 255).astype(dtype)
        patches.append(Patch(pixels=pixels, region=(x, y, x + 30, y + 20), mask=mask))
    wanted = paste_all(image, patches)
    assert (wanted != image).any()
    np.testing.assert_array_equal(paste_all(image, [patches[i] for i in order]), wanted)


def test_later_patches_lie_over_earlier_ones() -> None:
    image = noise(0, 8, 8)
    mask = mask_from_box((0, 0, 7, 7), (8, 8))
    first, second = (Patch(pixels=noise(i, 8, 8), region=(0, 0, 8, 8), mask=mask) for i in (1, 2))
    np.testing.assert_array_equal(paste_all(image, [first, second]), second.pixels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_under_a_full_mask_the_patch_is_seen_as_it_is(dtype: type) -> None:
    drawn = noise(1, 9, 7)
    patch = drawn if dtype == np.uint8 else (drawn / 255).astype(dtype)
    after = paste(noise(0, 20, 20), patch, (5, 6, 14, 13), mask_from_box((0, 0, 19, 19), (20, 20)))
    np.testing.assert_array_equal(after[6:13, 5:14], drawn)


def test_a_mask_mixes_and_rounds_to_the_nearest() -> None:
    image = np.full((1, 256, 3), 10, np.uint8)
    mask = mask_from_array(np.arange(256, dtype=np.uint8)[None])
    after = paste(image, np.full((1, 256, 3), 201, np.uint8), (0, 0, 256, 1), mask)
    exact = 10 + 191 * np.arange(256) / 255
    assert np.abs(after[0, :, 0] - exact).max() <= 0.5


def test_what_is_not_a_number_leaves_the_picture_as_it_is() -> None:
    image = noise(0, 6, 6)
    patch = np.full((6, 6, 3), np.nan, np.float32)
    patch[2, 3] = 0.5
    after = paste(image, patch, (0, 0, 6, 6), mask_from_box((0, 0, 5, 5), (6, 6)))
    assert after[2, 3].tolist() == [128, 128, 128]
    after[2, 3] = image[2, 3]
    np.testing.assert_array_equal(after, image)


@pytest.mark.parametrize("worked_at", [None, (512, 512), (344, 344), (128, 128)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pass_that_changes_nothing_does_not_darken(worked_at: tuple[int, int] | None, dtype: type) -> None:
    image = picture(400, 360)
    mask = blur(mask_from_box((100, 90, 260, 230), (400, 360)), 4)
    region = crop_region(mask, 32, worked_at or (1, 1))
    assert region is not None
    patch = crop(image, region, worked_at)
    if dtype != np.uint8:
        patch = (patch / 255).astype(dtype)
    change = paste(image, patch, region, mask).astype(int) - image
    full = mask.full()
    feather = (full > 0) & (full < 255)
    # A third of a level is what the web UIs lose here in each pass.
    assert abs(change[feather].mean()) <= 0.05


@pytest.mark.parametrize("worked_at", [(512, 512), (704, 1000), (344, 344), (1000, 216)], ids=str)
@pytest.mark.parametrize("box", [(100, 90, 263, 231), (3, 5, 90, 200), (300, 201, 399, 359)], ids=str)
def test_a_pass_that_changes_nothing_does_not_move_the_picture(
    worked_at: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    image = picture(400, 360)
    mask = mask_from_box(box, (400, 360))
    region = crop_region(mask, 32, worked_at)
    assert region is not None
    after = paste(image, crop(image, region, worked_at), region, mask)
    x1, y1, x2, y2 = box
    shift = phase_shift(image[y1:y2, x1:x2, 1], after[y1:y2, x1:x2, 1])
    assert max(map(abs, shift)) < 0.25


def phase_shift(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return (x, y) by which ``second`` is moved against ``first``, by the phase of their low frequencies."""
    window = np.outer(np.hanning(first.shape[0]), np.hanning(first.shape[1]))
    spectra = [np.fft.fft2((part - part.mean()) * window) for part in (first, second)]
    cross = spectra[0] * np.conj(spectra[1])
    fy, fx = (
        np.fft.fftfreq(side)[index] for side, index in zip(first.shape, np.indices(first.shape), strict=True)
    )
    low = (np.hypot(fx, fy) < 0.1) & (np.abs(cross) > 0)
    weight = np.abs(cross[low])
    design = 2 * np.pi * np.stack([fx[low], fy[low]], axis=1) * weight[:, None] ** 0.5
    solution, *_ = np.linalg.lstsq(design, np.angle(cross[low]) * weight**0.5, rcond=None)
    return float(solution[0]), float(solution[1])


def test_the_measure_of_a_shift_sees_one() -> None:
    image = picture(200, 200)[..., 0]
    assert phase_shift(image[:, 20:180], image[:, 19:179]) == pytest.approx((1, 0), abs=0.1)
    assert phase_shift(image[20:180], image[22:182]) == pytest.approx((0, -2), abs=0.1)


def test_only_what_lies_under_the_mask_is_resized_and_is_as_of_the_whole() -> None:
    image, drawn = noise(0, 90, 80), noise(1, 64, 64)
    region = (5, 5, 85, 75)
    small = mask_from_box((40, 30, 44, 33), (90, 80))
    full = mask_from_box((0, 0, 89, 79), (90, 80))
    part = paste(image, drawn, region, small)[30:34, 40:45]
    np.testing.assert_array_equal(part, paste(image, drawn, region, full)[30:34, 40:45])


def test_a_crop_is_a_copy_at_the_asked_size() -> None:
    image = noise(0, 20, 10)
    part = crop(image, (2, 3, 8, 9))
    np.testing.assert_array_equal(part, image[3:9, 2:8])
    part[:] = 0
    assert image[3:9, 2:8].any()
    assert crop(image, (2, 3, 8, 9), (16, 24)).shape == (24, 16, 3)


IMAGE = noise(0, 6, 4)
PATCH = noise(1, 6, 4)
WHOLE = mask_from_box((0, 0, 9, 9), (6, 4))


@pytest.mark.parametrize(
    ("image", "patch", "region", "mask", "message"),
    [
        (
            IMAGE,
            PATCH,
            (0, 0, 6, 4),
            mask_from_box((0, 0, 1, 1), (4, 6)),
            "mask is (6, 4) but image is (4, 6)",
        ),
        (IMAGE, PATCH, (0, 0, 7, 4), WHOLE, "region (0, 0, 7, 4) is no part of an image of 6x4"),
        (IMAGE, PATCH, (3, 0, 3, 4), WHOLE, "region (3, 0, 3, 4) is no part"),
        (IMAGE, PATCH[..., 0], (0, 0, 6, 4), WHOLE, "patch is (4, 6); pass (height, width, 3)"),
        (IMAGE, PATCH.astype(int), (0, 0, 6, 4), WHOLE, "patch is int64; pass uint8 0…255, or float 0…1"),
        (IMAGE / 255, PATCH, (0, 0, 6, 4), WHOLE, "image is float64; pass uint8, 0…255"),
        (IMAGE[..., :1], PATCH, (0, 0, 6, 4), WHOLE, "image is (4, 6, 1); pass (height, width, 3)"),
    ],
)
def test_what_does_not_fit_is_told(
    image: np.ndarray, patch: np.ndarray, region: tuple[int, int, int, int], mask: Mask, message: str
) -> None:
    with pytest.raises((BadValue, BadType), match=re.escape(message)):
        paste(image, patch, region, mask)
