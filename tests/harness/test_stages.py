"""Stages beyond text to image, on the embedded model: what is kept, what changes, and that a record makes it again."""

from __future__ import annotations

import dataclasses
from random import Random

import numpy as np
import pytest
import torch
from miniatures import miniature
from sd_concord.core.errors import BadFile, BadType, BadValue
from sd_concord.core.image import (
    ConcordSettings,
    Generation,
    Hires,
    Inpaint,
    format_infotext,
    parse_infotext,
)
from sd_concord.harness import Pipeline
from sd_concord.harness.stages.codec import decode, encode
from sd_concord.harness.train.draw import draw
from sd_concord.harness.train.scenes import random_scene

PROMPT = "a red circle on a white background"


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


@pytest.fixture(scope="module")
def image(pipeline):
    return pipeline(PROMPT, steps=6, seed=3, size=(64, 64))[0].image


@pytest.fixture
def mask():
    out = np.zeros((64, 64), np.uint8)
    out[16:40, 24:48] = 255
    return out


def record(**fields):
    wanted = {"prompt": "a blue square", "steps": 4, "seed": 5, "sampler": "euler", "denoising_strength": 0.6}
    return Generation(**wanted | fields)


def by(profile, **fields):
    return ConcordSettings(profile=profile, **fields)


def drawn(pipeline, asked, *given, **options):
    names = dict(zip(("init_image", "mask"), given, strict=False))
    return pipeline.generate(asked, **names, **options)[0]


def test_a_picture_survives_the_way_to_latents_and_back(pipeline):
    image = draw(random_scene(Random(0)))
    (again,) = decode(pipeline.model, encode(pipeline.model, [image]))
    assert np.abs(again * 255 - image).mean() < 6


def test_a_sampled_posterior_follows_the_seed(pipeline, image):
    one, same, other = (encode(pipeline.model, [image], "sample", [seed]) for seed in (1, 1, 2))
    mean = encode(pipeline.model, [image])
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert float((one - mean).abs().max()) > 0.01


@pytest.mark.parametrize("profile", ["concord", "a1111", "forge", "comfyui"])
def test_strength_decides_how_far_it_goes(pipeline, image, profile):
    far, near = (
        drawn(pipeline, record(denoising_strength=strength, concord=by(profile)), image).image.astype(int)
        for strength in (1.0, 0.1)
    )
    assert np.abs(near - image).mean() < np.abs(far - image).mean()


def test_the_web_uis_run_fewer_steps_and_all_when_asked(pipeline, image):
    counts = {}
    for name, own in {
        "rule": by("a1111"),
        "exact": by("a1111", exact_steps=True),
        "own": by("concord"),
    }.items():
        seen = []
        drawn(pipeline, record(concord=own), image, watch=lambda done, _, seen=seen: seen.append(done))
        counts[name] = seen
    assert counts == {"rule": [1, 2, 3], "exact": [1, 2, 3, 4], "own": [1, 2, 3, 4]}


IMAGES = {
    "plain": {},
    "crop": {"size": (64, 40), "concord": by("concord", resize_mode="crop and resize")},
    "latent": {"size": (96, 72), "concord": by("concord", resize_mode="just resize (latent upscale)")},
    "multiplier": {"noise_multiplier": 1.1},
    "extra": {"extra_noise": 0.2},
    "exact": {"concord": by("a1111", exact_steps=True)},
    "sde": {"sampler": "dpmpp_sde", "concord": by("forge")},
    "ddim": {"sampler": "DDIM", "concord": by("a1111")},
}


@pytest.mark.parametrize("case", IMAGES)
def test_a_record_of_image_to_image_makes_the_picture_again(pipeline, image, case):
    first = drawn(pipeline, record(**IMAGES[case]), image)
    again = drawn(pipeline, parse_infotext(format_infotext(first.generation)), image)
    assert np.array_equal(first.image, again.image)
    assert first.image.shape[:2] == IMAGES[case].get("size", (64, 64))[::-1]
    if case != "plain":
        other = drawn(pipeline, record(**{k: v for k, v in IMAGES[case].items() if k == "size"}), image)
        assert not np.array_equal(first.image, other.image)


INPAINTS = {
    "whole": {},
    "only masked": {"inpaint": Inpaint(area="Only masked", padding=8), "size": (64, 64)},
    "blur 0": {"inpaint": Inpaint(mask_blur=0.0)},
    "fill": {"inpaint": Inpaint(content="fill")},
    "noise": {"inpaint": Inpaint(content="latent noise")},
    "nothing": {"inpaint": Inpaint(content="latent nothing")},
    "inverted": {"inpaint": Inpaint(mask_mode="Inpaint not masked")},
    "soft": {"inpaint": Inpaint(soft=True, mask_blur=8.0)},
    "preserving": {"inpaint": Inpaint(soft=True, soft_preservation=8.0, mask_blur=8.0)},
    "biased": {"inpaint": Inpaint(soft=True, soft_bias=4.0, mask_blur=8.0)},
    "contrast": {"inpaint": Inpaint(soft=True, soft_contrast=1.0, mask_blur=8.0)},
    "differential": {"inpaint": Inpaint(differential=True, mask_blur=8.0)},
}


@pytest.fixture(scope="module")
def painted(pipeline, image):
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 24:48] = 255
    return {name: drawn(pipeline, record(**fields), image, mask) for name, fields in INPAINTS.items()}


@pytest.mark.parametrize("case", INPAINTS)
def test_outside_the_mask_nothing_changes_by_a_bit(painted, image, mask, case):
    settings = INPAINTS[case].get("inpaint", Inpaint())
    blur = 4.0 if settings.mask_blur is None else settings.mask_blur
    reach = int(2.5 * blur + 0.5)
    near = np.zeros_like(mask)
    near[max(16 - reach, 0) : 40 + reach, max(24 - reach, 0) : 48 + reach] = 255
    if settings.mask_mode:
        near = np.full_like(mask, 255)
        near[16 + reach : 40 - reach, 24 + reach : 48 - reach] = 0
    result = painted[case].image
    assert np.array_equal(result[near == 0], image[near == 0])
    assert not np.array_equal(result[mask > 0], image[mask > 0]) or settings.mask_mode


def test_every_setting_of_inpainting_changes_the_picture(painted):
    seen = {picture.image.tobytes() for picture in painted.values()}
    assert len(seen) == len(INPAINTS)


@pytest.mark.parametrize("case", INPAINTS)
def test_a_record_of_inpainting_makes_the_picture_again(pipeline, painted, image, mask, case):
    written = parse_infotext(format_infotext(painted[case].generation))
    assert written.inpaint == painted[case].generation.inpaint
    assert np.array_equal(drawn(pipeline, written, image, mask).image, painted[case].image)


@pytest.mark.parametrize("profile", ["concord", "forge", "comfyui"])
@pytest.mark.parametrize("masked", [True, False], ids=["inpaint", "image"])
def test_each_picture_of_a_batch_is_the_one_its_record_makes(pipeline, image, mask, profile, masked):
    given = {"init_image": image, **({"mask": mask} if masked else {})}
    both = pipeline.generate(
        record(sampler="euler_ancestral", steps=3, concord=by(profile)), batch=2, **given
    )
    for one in both:
        (alone,) = pipeline.generate(parse_infotext(format_infotext(one.generation)), **given)
        assert (
            np.abs(alone.image.astype(int) - one.image).max() <= 1
        )  # sums of a batch differ in the last bit
    assert not np.array_equal(both[0].image, both[1].image)


def test_not_a_number_in_a_picture_leaves_what_was_there(pipeline, image, mask, monkeypatch):
    plain = pipeline.model.vae.decode

    def broken(latent, **options):
        (out,) = plain(latent, **options)
        out[:, :, 20:30] = float("nan")
        return (out,)

    monkeypatch.setattr(pipeline.model.vae, "decode", broken)
    result = drawn(pipeline, record(), image, mask).image
    assert np.array_equal(result[20:30], image[20:30])
    assert not np.array_equal(result, image)


def test_what_is_given_is_not_changed(pipeline, image, mask):
    before = image.copy(), mask.copy()
    drawn(pipeline, record(inpaint=Inpaint(content="fill")), image, mask)
    assert np.array_equal(image, before[0])
    assert np.array_equal(mask, before[1])


def test_a_mask_may_be_bool(pipeline, image, mask, painted):
    assert np.array_equal(drawn(pipeline, record(), image, mask > 0).image, painted["whole"].image)


BAD = {
    "mask size": ({}, {"mask": np.zeros((32, 64), np.uint8)}, "mask is 64x32 but the picture is 64x64"),
    "empty mask": ({}, {"mask": np.zeros((64, 64), np.uint8)}, "the mask is empty"),
    "mask shape": ({}, {"mask": np.zeros((64, 64, 3), np.uint8)}, "pass .H, W."),
    "mask alone": ({}, {"init_image": None, "mask": np.ones((64, 64), bool)}, "pass init_image too"),
    "float mask": ({}, {"mask": np.zeros((64, 64))}, "mask is float64"),
    "float image": ({}, {"init_image": np.zeros((64, 64, 3))}, "init_image is float64"),
    "grey image": ({}, {"init_image": np.zeros((64, 64), np.uint8)}, "pass .H, W, 3."),
    "hires": ({"hires": Hires(upscale=2)}, {}, "hires is a second pass of text to image"),
    "content": ({"inpaint": Inpaint(content="fil")}, {"mask": np.ones((64, 64), bool)}, "did you mean fill"),
    "latent mode": (
        {"concord": by("concord", resize_mode="just resize (latent upscale)")},
        {"mask": np.ones((64, 64), bool)},
        "takes no mask",
    ),
    "strength": ({"denoising_strength": 1.5}, {}, "denoising_strength"),
}


@pytest.mark.parametrize("case", BAD)
def test_image_to_image_that_cannot_be_is_refused(pipeline, image, case):
    fields, given, words = BAD[case]
    with pytest.raises((BadValue, BadType), match=words):
        pipeline.generate(record(**fields), **{"init_image": image, **given})


HIRES = {
    "latent": Hires(upscale=1.5, upscaler="Latent"),
    "pixels": Hires(upscale=1.5, upscaler="Lanczos"),
    "target": Hires(resize=(80, 64), upscaler="Latent (nearest-exact)"),
    "side": Hires(resize=(0, 96), upscaler="Latent (bicubic antialiased)"),
    "own": Hires(upscale=1.5, steps=2, sampler="euler_ancestral", scheduler="simple", cfg=2.0),
    "prompt": Hires(upscale=1.5, prompt="a green star", negative_prompt="red"),
}
FINAL = {"target": (64, 80), "side": (96, 96)}


@pytest.mark.parametrize("case", HIRES)
def test_a_hires_pass_is_larger_and_its_record_makes_it_again(pipeline, case):
    asked = record(size=(64, 64), hires=HIRES[case])
    seen, stages = [], {}
    first = drawn(
        pipeline,
        asked,
        watch=lambda done, _: seen.append(done),
        on_stage=lambda stage, images: stages.update({stage: images[0].shape[:2]}),
    )
    final = FINAL.get(case, (96, 96))
    steps = 2 if case == "own" else 4
    assert seen == list(range(1, 4 + steps + 1))
    assert first.image.shape[:2] == final
    assert stages["first pass"] == (64, 64)
    assert stages["result"] == final
    again = drawn(pipeline, parse_infotext(format_infotext(first.generation)))
    assert np.array_equal(first.image, again.image)


def test_the_hires_pass_has_settings_of_its_own(pipeline):
    plain = drawn(pipeline, record(size=(64, 64), hires=HIRES["latent"])).image
    for name in ("pixels", "own", "prompt"):
        assert not np.array_equal(drawn(pipeline, record(size=(64, 64), hires=HIRES[name])).image, plain)


@pytest.mark.parametrize(("edit", "changes"), [("1.5", True), ("0.5", False)])
def test_an_edit_above_one_belongs_to_the_hires_pass(pipeline, edit, changes):
    """At 1.5 the first pass never sees the second word; at 0.5 the hires pass sees nothing else."""
    stages = {}
    asked = record(prompt=f"a [red:blue:{edit}] circle", size=(64, 64), hires=HIRES["latent"])
    drawn(pipeline, asked, on_stage=lambda stage, images: stages.update({stage: images[0]}))
    plain = drawn(pipeline, record(prompt="a red circle", size=(64, 64))).image
    assert np.array_equal(stages["first pass"], plain) == changes


BAD_HIRES = {
    "small": (Hires(upscale=0.01), "would be 0x0"),
    "upscaler": (Hires(upscaler="ESRGAM"), "no upscaler 'ESRGAM'.*Lanczos.*Latent"),
    "checkpoint": (Hires(checkpoint="nowhere.safetensors"), "no model 'nowhere.safetensors'"),
    "sampler": (Hires(sampler="eulr"), "did you mean euler"),
}


@pytest.mark.parametrize("case", BAD_HIRES)
def test_a_hires_pass_that_cannot_be_is_refused(pipeline, case):
    hires, words = BAD_HIRES[case]
    with pytest.raises((BadValue, BadFile), match=words):
        drawn(pipeline, record(size=(64, 64), hires=hires))


def test_a_hires_pass_may_have_a_model_of_its_own(pipeline):
    second = Pipeline(dataclasses.replace(miniature(), path=pipeline.model.path, files=pipeline.model.files))
    pipeline.second.add("other", second)
    base = record(size=(64, 64), steps=2, hires=Hires(upscale=1.5, upscaler="Lanczos"))
    own = dataclasses.replace(base, hires=dataclasses.replace(base.hires, checkpoint="other"))
    first = drawn(pipeline, own)
    assert not np.array_equal(first.image, drawn(pipeline, base).image)
    assert np.array_equal(drawn(pipeline, first.generation).image, first.image)
    assert first.generation.hires.checkpoint == "mini-sd15-eps [" + second.model.hash + "]"
