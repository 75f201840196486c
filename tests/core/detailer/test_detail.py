"""The detailer's flow: waves, batches, memory that runs out, numbers that are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.detailer import (
    Detections,
    Options,
    Scene,
    detail,
    match_colours,
    plan_unit,
    preview,
    waves,
)
from sd_concord.core.errors import BadValue
from sd_concord.core.image import ConcordSettings, DetailerUnit, Generation

SIZE = (256, 192)
PICTURE = Generation(
    prompt="p", seed=5, steps=20, sampler="euler", cfg=7.0, scheduler="karras", size=(64, 64)
)
APART = [(10, 10, 40, 40), (120, 10, 150, 40), (200, 120, 240, 170)]
TOGETHER = [(10, 10, 40, 40), (30, 30, 70, 70)]


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def found(boxes):
    return Detections.of(boxes, size=SIZE, confidences=[0.9] * len(boxes), labels=["face"] * len(boxes))


def options(batch=8, **unit):
    return Options(
        unit=DetailerUnit(model="m", **{"padding": 8, **unit}), scene=Scene(picture=PICTURE), batch=batch
    )


def seeded(crops):
    """Redraw a crop as a function of what it shows and of its seed."""
    return [255 - one.image // 2 + np.uint8(one.run.seed % 7) for one in crops]


class Recorder:
    """Redraws, and keeps how many crops came at once."""

    def __init__(self, limit=99):
        self.counts, self.limit = [], limit

    def __call__(self, crops):
        if len(crops) > self.limit:
            raise MemoryError
        self.counts.append(len(crops))
        return seeded(crops)


def test_crops_that_do_not_touch_go_through_the_model_together():
    recorder = Recorder()
    result = detail(picture(), found(APART), recorder, options())
    assert recorder.counts == [3]
    assert result.batches == (3,)
    assert [run.seed for run in result.runs] == [5, 6, 7]


def test_a_crop_waits_for_what_is_painted_in_it():
    recorder = Recorder()
    detail(picture(), found(TOGETHER), recorder, options())
    assert recorder.counts == [1, 1]


boxes = st.builds(
    lambda x, y, w, h: (x, y, min(x + w, SIZE[0]), min(y + h, SIZE[1])),
    st.integers(0, 230), st.integers(0, 170), st.integers(8, 60), st.integers(8, 60),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(boxes, min_size=1, max_size=7), padding=st.integers(0, 24))
def test_batches_give_the_picture_of_one_by_one(boxes, padding):
    together = detail(picture(), found(boxes), seeded, options(padding=padding))
    alone = detail(picture(), found(boxes), seeded, options(batch=1, padding=padding))
    assert np.array_equal(together.image, alone.image)


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(3)))
def test_disjoint_things_give_one_picture_in_any_order(order):
    """Each keeps its seed: nothing but the order differs."""
    same = options(same_seed=True)
    first = detail(picture(), found(APART), seeded, same)
    assert np.array_equal(
        first.image, detail(picture(), found([APART[i] for i in order]), seeded, same).image
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
@pytest.mark.parametrize(
    "unit",
    [{}, {"mask_blur": 0}, {"feather": 12}, {"colour_match": 1.0}, {"cycle": 2}, {"dilate_erode": 24},
     {"mask_merge_invert": "Merge"}, {"guide_size": 64}, {"crop_factor": 2.0}, {"only_masked": False}],
    ids=str,
)  # fmt: skip
def test_outside_the_masks_no_pixel_changes(unit, dtype):
    def broken(crops):
        out = []
        for one in crops:
            drawn = np.random.default_rng(1).random(one.image.shape).astype(np.float32)
            if dtype != np.uint8:
                drawn[:4, :9] = np.nan
                drawn[-3:] = np.inf
            out.append((drawn * 255).astype(dtype) if dtype == np.uint8 else drawn.astype(dtype))
        return out

    before = picture()
    result = detail(before, found(APART + TOGETHER[1:]), broken, options(**unit))
    outside = np.ones(before.shape[:2], bool)
    for run in result.runs:
        outside &= run.overlay.full() == 0
    if "only_masked" not in unit:
        assert outside.any()
    assert (result.image[outside] == before[outside]).all()
    assert not np.array_equal(result.image, before)
    assert len(result.spoilt) == (0 if dtype == np.uint8 else len(result.runs))


def test_the_batch_is_halved_when_memory_runs_out():
    recorder = Recorder(limit=2)
    many = [(x, y, x + 12, y + 12) for x in (10, 70, 130, 190) for y in (20, 120)]
    result = detail(picture(), found(many), recorder, options(padding=4))
    assert max(recorder.counts) == 2
    assert sum(recorder.counts) == len(result.runs) == 8
    assert np.array_equal(result.image, detail(picture(), found(many), seeded, options(padding=4)).image)


def test_one_crop_that_does_not_fit_into_memory_is_an_error():
    with pytest.raises(MemoryError):
        detail(picture(), found(APART), Recorder(limit=0), options())


def test_a_cycle_redraws_the_same_place_with_the_next_seed():
    seeds = []
    detail(picture(), found(APART[:1]), lambda c: seeds.append(c[0].run.seed) or seeded(c), options(cycle=3))
    assert seeds == [5, 6, 7]


def test_nothing_found_gives_the_picture_back():
    result = detail(picture(), found([]), Recorder(limit=0), options())
    assert np.array_equal(result.image, picture())
    assert result.runs == result.batches == ()


def test_detections_of_another_picture_are_refused():
    with pytest.raises(BadValue, match="256x192, this one is 8x6"):
        detail(np.zeros((6, 8, 3), np.uint8), found(APART), seeded, options())


def test_a_model_that_returns_too_few_is_named():
    with pytest.raises(BadValue, match="returned 2 pictures for 3 crops"):
        detail(picture(), found(APART), lambda crops: seeded(crops)[1:], options())


def test_crops_are_at_the_size_of_the_run_and_multiples_of_8():
    def check(crops):
        for one in crops:
            assert one.image.shape[1::-1] == one.run.size
            assert one.mask.shape == one.image.shape[:2]
            assert all(side % 8 == 0 for side in one.run.size)
        return seeded(crops)

    detail(picture(), found(APART), check, options(guide_size=50, max_size=100))


def test_waves_keep_the_order_of_what_touches():
    runs = plan_unit(found([*TOGETHER, *APART[1:]]), options().unit, options().scene)
    assert [[run.seed for run in wave] for wave in waves(runs)] == [[5, 7, 8], [6]]


@pytest.mark.parametrize(
    ("profile", "level"), [("forge", 100), ("a1111", 100), ("comfyui", 101), ("concord", 101)]
)
def test_what_is_drawn_is_cut_to_levels_where_a_web_ui_would_hand_on_a_picture(profile, level):
    drawn = np.float32(100.9) / 255
    scene = Scene(picture=replace(PICTURE, concord=ConcordSettings(profile=profile)))
    done = detail(
        picture(),
        found([(16, 16, 40, 40)]),
        lambda crops: [np.full(one.image.shape, drawn, np.float32) for one in crops],
        Options(unit=DetailerUnit(model="m", mask_blur=0), scene=scene),
    )
    assert (done.image[20:36, 20:36] == level).all()


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_colours_are_brought_back_by_what_should_not_have_changed(amount):
    before = picture()
    mask = np.zeros(before.shape[:2], np.uint8)
    mask[60:120, 60:120] = 255
    shifted = (before.astype(np.float32) * 0.9 + 11) / 255
    drift = np.abs(match_colours(shifted, before, mask, amount) * 255 - before).mean()
    assert drift == pytest.approx((1 - amount) * np.abs(shifted * 255 - before).mean(), abs=0.02)


def test_colours_stay_where_nothing_lies_outside_the_mask():
    shifted = np.full((16, 16, 3), 0.4, np.float32)
    out = match_colours(shifted, np.full((16, 16, 3), 30, np.uint8), np.full((16, 16), 255, np.uint8), 1.0)
    assert out == pytest.approx(shifted)


def test_the_preview_shows_boxes_and_leaves_the_picture():
    before = picture()
    shown = preview(before, found(APART))
    assert np.array_equal(before, picture())
    assert (shown != before).any()
    assert np.array_equal(shown[185:], before[185:])
