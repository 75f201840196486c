"""The plan of one unit: what is drawn where, with which words, seeds and sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from detailer_records import array_of, assert_masks, mask_of, records
from sd_concord.core.detailer import (
    Detections,
    Run,
    Scene,
    crop_region,
    mask_from_array,
    mask_from_box,
    of_picture,
    plan_unit,
    unit_from_args,
)
from sd_concord.core.errors import BadValue
from sd_concord.core.image import DetailerUnit, Generation, Variation
from sd_concord.core.image.names import sampler_name, scheduler_name, split_fused

FIELDS = """id image bboxes confidences args p sr settings sdxl user_mask processed runs defects intended_masks
    masks_in"""
RUN_FIELDS = """prompt negative_prompt seed subseed subseed_strength denoising_strength width height steps
    cfg_scale sampler scheduler mask_blur only_masked padding noise_multiplier restore_faces override fill
    resize_mode init mask mask_bbox"""
PICTURE = Generation(
    prompt="main",
    negative_prompt="bad",
    seed=100,
    variation=Variation(seed=7, strength=0.1),
    size=(512, 768),
    steps=20,
    sampler="euler",
    scheduler="karras",
    cfg=6.5,
)
SCENE = Scene(picture=PICTURE)


def planned(case: dict[str, Any], faithful: bool) -> list[Run]:
    """Return the runs of a record.  Its detector does not look at confidence; img2img is at the image's size."""
    p, host = case["p"], case["settings"]
    index = p["iteration"] * p["batch_size"] + p["batch_index"]
    variation = Variation(
        seed=of_picture(p["all_subseeds"], index, p["subseed"]), strength=p["subseed_strength"]
    )
    picture = Generation(
        prompt=of_picture(p["all_prompts"], index, p["prompt"]),
        negative_prompt=of_picture(p["all_negative_prompts"], index, p["negative_prompt"]),
        seed=of_picture(p["all_seeds"], index, p["seed"]),
        variation=variation,
        size=None if case["user_mask"] else (p["width"], p["height"]),
        steps=p["steps"],
        cfg=p["cfg_scale"],
        sampler=sampler_name(p["sampler_name"]),
        scheduler=scheduler_name(p["scheduler"]),
    )
    unit = replace(
        unit_from_args(case["args"]),
        confidence=0.0,
        sort_order=host["ad_bbox_sortby"],
        same_seed=host["ad_same_seed_for_each_tab"],
        dynamic_denoise_power=host["ad_dynamic_denoise_power"],
        match_box_size=host["ad_match_inpaint_bbox_size"],
        faithful=faithful,
    )
    width, height = case["image"]
    masks = case["masks_in"]
    found = Detections.of(
        np.array(case["bboxes"], float).reshape(-1, 4),
        confidences=np.array(case["confidences"], float),
        size=(width, height),
        masks=None
        if masks is None
        else np.array([array_of(mask) for mask in masks], np.uint8).reshape(-1, height, width),
    )
    scene = Scene(
        picture=picture,
        sdxl=case["sdxl"],
        user_mask=mask_of(case["user_mask"]) if case["user_mask"] else None,
        replacements=tuple((sought, put) for sought, put in case["sr"] or ()),
    )
    return plan_unit(found, unit, scene)


def seen(run: Run) -> dict[str, Any]:
    """Return a run in the words of the records."""
    overrides = {
        "sd_model_checkpoint": run.checkpoint,
        "sd_vae": run.vae,
        "CLIP_stop_at_last_layers": run.clip_skip,
    }
    assert run.variation is not None
    return {
        "prompt": run.prompt,
        "negative_prompt": run.negative_prompt,
        "seed": run.seed,
        "subseed": run.variation.seed,
        "subseed_strength": run.variation.strength,
        "denoising_strength": pytest.approx(run.strength, rel=1e-9),
        "width": run.size[0],
        "height": run.size[1],
        "steps": run.steps,
        "cfg_scale": run.cfg,
        "sampler": run.sampler,
        "scheduler": run.scheduler,
        "mask_blur": run.mask_blur,
        "only_masked": run.only_masked,
        "padding": run.padding,
        "noise_multiplier": run.noise_multiplier,
        "restore_faces": run.restore_face,
        "override": {key: value for key, value in overrides.items() if value is not None},
        "mask_bbox": list(run.mask.box or ()),
        # A1111 begins each run with the picture of the one before, and with its own pixels under the mask.
        "fill": 1,
        "resize_mode": 0,
    }


def recorded(run: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded run with the registries' names; an old label gives sampler and schedule."""
    sampler, scheduler = sampler_name(run["sampler"]), scheduler_name(run["scheduler"])
    sampler, scheduler = split_fused(sampler) or (sampler, scheduler)
    kept = {key: value for key, value in run.items() if key not in ("mask", "init")}
    return kept | {"sampler": sampler, "scheduler": scheduler}


@pytest.mark.golden
def test_plans_are_adetailers() -> None:
    for case in records("plans", FIELDS):
        assert set().union(*case["runs"]) <= set(RUN_FIELDS.split())
        runs = planned(case, faithful=True)
        assert_masks([run.mask for run in runs], [run["mask"] for run in case["runs"]], case["id"])
        for run, wanted in zip(runs, case["runs"], strict=True):
            assert seen(run) == recorded(wanted), case["id"]
        assert bool(runs) == case["processed"], case["id"]
        assert [wanted["init"] for wanted in case["runs"]] == list(range(9, 9 + len(runs))), case["id"]


@pytest.mark.golden
def test_what_is_no_defect_is_the_same_by_default() -> None:
    cases = [case for case in records("plans", FIELDS) if "defects" not in case]
    assert cases
    for case in cases:
        mended, faithful = planned(case, faithful=False), planned(case, faithful=True)
        assert [seen(run) for run in mended] == [
            seen(run) | {"denoising_strength": run.strength} for run in faithful
        ]


@pytest.mark.golden
def test_the_intended_masks_are_the_default() -> None:
    cases = [case for case in records("plans", FIELDS) if "intended_masks" in case]
    assert cases
    for case in cases:
        wanted = [mask for mask in case["intended_masks"] if array_of(mask).any()]
        assert_masks([run.mask for run in planned(case, faithful=False)], wanted, case["id"])


@pytest.mark.golden
def test_strengths_stay_within_bounds_by_default() -> None:
    cases = [case for case in records("plans", FIELDS) if "strength out of range" in case.get("defects", ())]
    assert cases
    for case in cases:
        assert all(0 <= run.strength <= 1 for run in planned(case, faithful=False))


def faces(*boxes: tuple[float, ...], labels: str = "", size: tuple[int, int] = (400, 300)) -> Detections:
    return Detections.of(np.array(boxes, float).reshape(-1, 4), labels=tuple(labels), size=size)


FIRST, SECOND = (20.0, 30.0, 60.0, 90.0), (200.0, 100.0, 300.0, 220.0)
TWO = faces(FIRST, SECOND, labels="ab")
UNIT = DetailerUnit(model="face.pt")


def test_each_mask_has_one_run_with_seeds_of_its_own() -> None:
    runs = plan_unit(TWO, UNIT, SCENE)
    assert [run.seed for run in runs] == [100, 101]
    assert [run.variation for run in runs] == [
        Variation(seed=7, strength=0.1),
        Variation(seed=8, strength=0.1),
    ]
    assert [run.box for run in runs] == [FIRST, SECOND]
    assert [run.label for run in runs] == ["a", "b"]
    assert [(run.strength, run.steps, run.cfg, run.size) for run in runs] == [(0.4, 20, 6.5, (512, 768))] * 2
    assert [(run.sampler, run.scheduler) for run in runs] == [("euler", "karras")] * 2
    same = plan_unit(TWO, replace(UNIT, same_seed=True, seed=5), SCENE)
    assert [(run.seed, run.variation) for run in same] == [(5, PICTURE.variation)] * 2


def test_seeds_follow_the_order_of_work_and_a_part_may_name_its_own() -> None:
    runs = plan_unit(TWO, replace(UNIT, prompt="[DSC] x [SEP:9] y"), SCENE)
    assert [(run.box, run.prompt, run.seed) for run in runs] == [(SECOND, "x", 100), (FIRST, "y", 9)]


def test_a_skipped_mask_keeps_its_seed() -> None:
    runs = plan_unit(TWO, replace(UNIT, prompt="[SKIP][SEP]x", negative_prompt="n"), SCENE)
    assert [(run.prompt, run.negative_prompt, run.seed) for run in runs] == [("x", "n", 101)]


def test_prompts_go_by_label() -> None:
    runs = plan_unit(TWO, replace(UNIT, prompt="[LAB][a] one [b] two", negative_prompt="[LAB][b] no"), SCENE)
    assert [(run.prompt, run.negative_prompt) for run in runs] == [("one", "bad"), ("two", "no")]


def test_words_are_replaced_in_both_prompts() -> None:
    runs = plan_unit(TWO, UNIT, replace(SCENE, replacements=(("ai", "oo"), ("bad", "good"))))
    assert [(run.prompt, run.negative_prompt) for run in runs] == [("moon", "good")] * 2


def test_a_region_holds_the_soft_mask_and_its_padding() -> None:
    for run in plan_unit(TWO, replace(UNIT, padding=16, mask_blur=8), SCENE):
        assert run.region == crop_region(run.overlay, 16, (512, 768))
        assert run.overlay.box != run.mask.box
    whole = plan_unit(TWO, replace(UNIT, only_masked=False), SCENE)[0]
    assert whole.region == (0, 0, 400, 300)
    np.testing.assert_array_equal(whole.overlay.full() > 0, plan_unit(TWO, UNIT, SCENE)[0].overlay.full() > 0)
    assert whole.overlay.full().sum() > plan_unit(TWO, UNIT, SCENE)[0].overlay.full().sum()


def test_a_box_of_a_mask_that_vanished_is_not_anothers() -> None:
    found = faces((10, 10, 12, 12), SECOND)
    unit = replace(UNIT, dilate_erode=-8, dynamic_denoise_power=1)
    runs = plan_unit(found, unit, SCENE)
    assert [run.box for run in runs] == [SECOND]
    assert runs[0].strength == pytest.approx(0.4 * (1 - 100 * 120 / (400 * 300)))
    assert [run.box for run in plan_unit(found, replace(unit, faithful=True), SCENE)] == [(10, 10, 12, 12)]


def test_a_merged_mask_goes_by_the_boxes_it_was_made_of() -> None:
    unit = replace(UNIT, mask_merge_invert="Merge")
    (run,) = plan_unit(TWO, unit, SCENE)
    assert run.box == (20, 30, 300, 220)
    assert run.label == ""
    (run,) = plan_unit(faces(FIRST, SECOND, labels="aa"), unit, SCENE)
    assert run.label == "a"
    assert plan_unit(TWO, replace(unit, faithful=True), SCENE)[0].box == FIRST
    (run,) = plan_unit(TWO, replace(UNIT, mask_merge_invert="Merge and Invert", dilate_erode=0), SCENE)
    np.testing.assert_array_equal(run.mask.full()[30:90, 20:60], 0)
    assert run.mask.full()[0, 0] == 255


def test_what_leaves_the_picture_is_dropped_and_adetailers_comes_in_again() -> None:
    unit = replace(UNIT, x_offset=150)
    assert [run.box for run in plan_unit(TWO, unit, SCENE)] == [FIRST, SECOND]
    assert plan_unit(TWO, replace(unit, x_offset=500), SCENE) == []
    assert plan_unit(TWO, replace(unit, faithful=True), SCENE)[1].mask.box == (0, 99, 400, 223)


def test_faces_that_are_large_enough_are_left_alone() -> None:
    assert [run.box for run in plan_unit(TWO, replace(UNIT, skip_size=100), SCENE)] == [FIRST]
    assert len(plan_unit(TWO, replace(UNIT, skip_size=101), SCENE)) == 2


def test_only_what_the_user_masked_is_worked_on() -> None:
    scene = replace(SCENE, user_mask=mask_from_box((210, 110, 220, 120), (400, 300)))
    assert [run.box for run in plan_unit(TWO, UNIT, scene)] == [SECOND]
    with pytest.raises(BadValue, match="pass masks of one picture"):
        plan_unit(TWO, UNIT, replace(SCENE, user_mask=mask_from_box((0, 0, 9, 9), (300, 400))))


def test_own_values_hold_where_their_switch_is_on() -> None:
    unit = replace(
        UNIT,
        inpaint_width=640,
        inpaint_height=512,
        steps=5,
        cfg=2,
        sampler="DPM++ 2M Karras",
        noise_multiplier=1.1,
        clip_skip=2,
        checkpoint="m",
        vae="v",
    )
    run = plan_unit(TWO, unit, SCENE)[0]
    assert (run.size, run.steps, run.cfg) == ((640, 512), 5, 2)
    assert (run.sampler, run.scheduler) == ("dpmpp_2m", "karras")
    assert (run.noise_multiplier, run.clip_skip, run.checkpoint, run.vae) == (1.1, 2, "m", "v")
    off = DetailerUnit(**{**vars(unit), **{name: False for name in vars(unit) if name.startswith("use_")}})
    run = plan_unit(TWO, off, SCENE)[0]
    assert (run.size, run.steps, run.cfg, run.sampler) == ((512, 768), 20, 6.5, "euler")
    assert (run.noise_multiplier, run.clip_skip, run.checkpoint, run.vae) == (1, None, None, None)


def test_sizes_are_in_eights_unless_adetailers() -> None:
    unit = replace(UNIT, inpaint_width=500, inpaint_height=604)
    assert plan_unit(TWO, unit, SCENE)[0].size == (504, 608)
    assert plan_unit(TWO, replace(unit, faithful=True), SCENE)[0].size == (500, 604)


def test_a_size_may_follow_the_box() -> None:
    unit = replace(UNIT, match_box_size="Strict (SDXL only)")
    assert plan_unit(TWO, unit, replace(SCENE, sdxl=True))[0].size == (832, 1216)
    assert plan_unit(TWO, unit, SCENE)[0].size == (512, 768)
    assert plan_unit(TWO, replace(unit, match_box_size="Free"), SCENE)[0].size == (512, 768)
    assert plan_unit(TWO, replace(unit, match_box_size="Free"), SCENE)[1].size == (640, 768)


def test_a_crop_factor_and_a_guide_size_stand_in_for_padding() -> None:
    unit = replace(UNIT, crop_factor=2.0, guide_size=160, max_size=512, feather=3)
    run = plan_unit(TWO, unit, SCENE)[1]
    assert run.size == (320, 384)
    x1, y1, x2, y2 = run.region
    assert (x2 - x1, y2 - y1) == (200, 240)
    assert run.overlay.box == (
        run.mask.box[0] - 3,
        run.mask.box[1] - 3,
        run.mask.box[2] + 3,
        run.mask.box[3] + 3,
    )  # type: ignore[index]
    padded = plan_unit(TWO, replace(unit, crop_factor=None, padding=0), SCENE)[1]
    assert padded.size == (176, 208)
    assert plan_unit(TWO, replace(unit, guide_size_for="crop"), SCENE)[1].size == (160, 192)


def test_a_crop_has_the_aspect_of_its_size() -> None:
    (x1, y1, x2, y2) = plan_unit(TWO, replace(UNIT, crop_factor=1.0, feather=0), SCENE)[1].region
    assert (x2 - x1, y2 - y1) == (104, 156)  # at 512x768


def test_a_crop_never_cuts_the_mask() -> None:
    run = plan_unit(TWO, replace(UNIT, crop_factor=1.0, dilate_erode=40), SCENE)[0]
    (x1, y1, x2, y2), box = run.region, run.overlay.box
    assert box is not None
    assert x1 <= box[0] < box[2] <= x2
    assert y1 <= box[1] < box[3] <= y2


def test_options_of_drawing_are_handed_on() -> None:
    unit = replace(UNIT, noise_mask=True, noise_mask_feather=20, cycle=3, colour_match=0.5, restore_face=True)
    run = plan_unit(TWO, unit, SCENE)[0]
    assert (run.noise_mask, run.noise_mask_feather, run.cycle, run.colour_match) == (True, 20, 3, 0.5)
    assert run.restore_face


def test_nothing_found_is_no_run() -> None:
    assert plan_unit(faces(), UNIT, SCENE) == []
    for mode in ("Merge", "Merge and Invert"):
        assert plan_unit(faces(), replace(UNIT, mask_merge_invert=mode), SCENE) == []
    empty = Detections.of([[0, 0, 9, 9]], size=(20, 20), masks=np.zeros((1, 20, 20), bool))
    assert plan_unit(empty, replace(UNIT, dilate_erode=0), SCENE) == []
    kept = plan_unit(empty, replace(UNIT, dilate_erode=0, faithful=True), SCENE)
    assert [run.region for run in kept] == [(0, 0, 20, 20)]


def test_a_picture_without_its_settings_is_told() -> None:
    with pytest.raises(BadValue, match="lacks seed, steps; fill it in first"):
        Scene(picture=replace(PICTURE, seed=None, steps=None))


def test_without_a_size_the_picture_is_worked_on_at_its_own() -> None:
    scene = Scene(picture=replace(PICTURE, size=None))
    assert plan_unit(TWO, UNIT, scene)[0].size == (400, 304)


def test_a_mask_of_segmentation_is_used_as_it_is() -> None:
    layer = np.zeros((300, 400), bool)
    layer[50, 40] = True
    found = Detections.of(np.array([FIRST]), size=(400, 300), masks=layer[None])
    (run,) = plan_unit(found, replace(UNIT, dilate_erode=0), SCENE)
    np.testing.assert_array_equal(run.mask.full(), mask_from_array(layer).full())
