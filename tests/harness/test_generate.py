"""The options of ``sd-concord generate`` that change a picture: each is recorded, and its record makes it again."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import pytest
from PIL import Image
from sd_concord.core.image import format_infotext, parse_infotext, read_image_info
from sd_concord.core.profiles import PROFILES
from sd_concord.harness import Pipeline
from sd_concord.harness.cli import main
from sd_concord.harness.commands import generate

SMALL = ("a red circle", "--steps", "4", "--seed", "3", "--size", "64", "-q")


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("plain"), "--sampler", "dpmpp_2m_sde")


def drawn(folder, *words):
    """Return the picture and the record of a run of the command with ``words``."""
    out = folder / "picture.png"
    assert main(["generate", *SMALL, *map(str, words), "--out", str(out)]) == 0
    with Image.open(out) as image:
        return np.asarray(image.convert("RGB")), read_image_info(out)


SDE = ("--sampler", "dpmpp_2m_sde")
OPTIONS = {
    "profile": (*SDE, "--profile", "a1111"),
    "rng": (*SDE, "--rng", "nv"),
    "gpu": (*SDE, "--rng", "gpu"),
    "ensd": (*SDE, "--ensd", "31337"),
    "eta": (*SDE, "--eta", "0.5"),
    "s-noise": (*SDE, "--s-noise", "1.05"),
    "option": (*SDE, "--option", "solver_type=heun"),
    "sigma-min": (*SDE, "--sigma-min", "0.1"),
    "sigma-max": (*SDE, "--sigma-max", "10"),
    "rho": (*SDE, "--rho", "3"),
    "discard": (*SDE, "--discard-penultimate"),
    "sgm": (*SDE, "--sgm-noise"),
    "multiply": (*SDE, "--sigma-multiply", "0.9", "--sigma-multiply-start", "0.2"),
    "multiply-end": (*SDE, "--sigma-multiply", "1.1", "--sigma-multiply-end", "0.5"),
    "guidance": (*SDE, "--guidance-start", "0.5"),
    "guidance-end": (*SDE, "--guidance-end", "0.4"),
    "rescale": (*SDE, "--cfg-rescale", "0.7"),
    "variation": (*SDE, "--variation-seed", "9", "--variation-strength", "0.4"),
    "resize-seed": (*SDE, "--resize-seed-from", "32x40"),
    "s-churn": ("--sampler", "euler", "--s-churn", "5", "--s-tmin", "0.1", "--s-tmax", "5"),
    "ddim-eta": ("--sampler", "DDIM", "--profile", "forge", "--eta", "0.7"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_the_picture_and_its_record_makes_it_again(name, pipeline, plain, tmp_path):
    image, record = drawn(tmp_path, *OPTIONS[name])
    assert not np.array_equal(image, plain[0])
    assert dataclasses.replace(record, source="") != dataclasses.replace(plain[1], source="")
    (again,) = pipeline.generate(record)
    assert np.array_equal(again.image, image)
    assert parse_infotext(format_infotext(again.generation)) == record


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_recorded_and_makes_the_picture_again(profile, pipeline, tmp_path):
    image, record = drawn(tmp_path, "--profile", profile, "--sampler", "dpmpp_sde", "--steps", "3")
    assert record.concord.profile == profile
    (again,) = pipeline.generate(record)
    assert np.array_equal(again.image, image)


def test_profiles_differ(tmp_path):
    words = ("--sampler", "dpmpp_sde", "--steps", "3")
    images = [drawn(tmp_path, *words, "--profile", name)[0] for name in ("concord", "a1111", "comfyui")]
    assert not any(np.array_equal(images[i], images[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(("sampler", "profile"), [("dpmpp_2m_sde", "concord"), ("seeds_2", "comfyui")])
def test_a_picture_of_a_batch_is_made_alone_from_its_record(sampler, profile, pipeline):
    from sd_concord.core.image import ConcordSettings

    concord = ConcordSettings(profile=profile)
    batch = pipeline("a ring", steps=4, seed=5, batch=3, sampler=sampler, size=(64, 64), concord=concord)
    for picture in batch:
        (alone,) = pipeline.generate(picture.generation)
        assert np.abs(alone.image.astype(int) - picture.image).max() <= 1
        assert alone.generation == picture.generation
    assert not np.array_equal(batch[0].image, batch[1].image)


def test_variations_count_up_over_batches(tmp_path):
    out = tmp_path / "p.png"
    words = ("--variation-seed", "7", "--variation-strength", "0.3", "--batch", "2", "--count", "2")
    assert main(["generate", *SMALL, "--steps", "1", *words, "--out", str(out)]) == 0
    records = [read_image_info(tmp_path / f"p-{i}.png") for i in range(1, 5)]
    assert [(one.seed, one.variation.seed) for one in records] == [(3, 7), (3, 8), (3, 9), (3, 10)]


def test_guidance_off_costs_half(pipeline, monkeypatch):
    from sd_concord.core.image import ConcordSettings

    rows = []
    unet = pipeline.model.unet
    forward = unet.forward

    def counted(x, *args, **kwargs):
        rows.append(len(x))
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", counted)
    own = ConcordSettings(guidance_start=0.3, guidance_end=0.7)
    pipeline("a ring", steps=10, seed=1, scheduler="normal", concord=own, size=(64, 64))
    assert rows == [1, 1, 1, 2, 2, 2, 2, 1, 1, 1]


def test_and_without_a_negative_in_forge_adds_up_the_parts(pipeline):
    from sd_concord.core.image import ConcordSettings

    def first(profile, prompt):
        seen = []
        concord = ConcordSettings(profile=profile)
        pipeline(prompt, steps=1, seed=1, cfg=1, concord=concord, watch=lambda _, x: seen.append(x.clone()))
        return seen[0]

    alone = first("forge", "a ring")
    assert (first("forge", "a ring AND a ring") - 2 * alone).abs().max() < 1e-4 * alone.abs().max()
    a1111 = first("a1111", "a ring AND a ring")
    assert (a1111 - first("forge", "a ring AND a ring")).abs().max() > 0.1 * alone.abs().max()


def test_prompts_repeated_to_one_length_draw_the_same(pipeline):
    from sd_concord.core.image import ConcordSettings

    long = "a red circle " + ", a blue square" * 30
    one, two = (
        pipeline(long, steps=3, seed=1, rng="CPU", concord=ConcordSettings(profile=name), sampler="euler")
        for name in ("forge", "concord")
    )
    difference = np.abs(one[0].image.astype(int) - two[0].image)
    assert difference.max() <= 3


def test_help_names_profiles_and_says_which_are_unverified():
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    (action,) = [one for one in parser._actions if "--profile" in one.option_strings]
    verified, _, unverified = action.help.partition("unverified")
    for name, host in PROFILES.items():
        assert name in (verified if host.verified else unverified)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--profile", "comfy"), "unknown profile 'comfy'; did you mean comfyui"),
        (("--eta", "0.5"), "unknown option of sampler 'dpmpp_2m' with schedule 'karras' 'eta'; "),
        (("--option", "tail_powr=1"), "did you mean tail_power"),
        (("--option", "start=fast"), "start"),
        (("--scheduler", "normal", "--rho", "3"), "'rho'"),
        (("--sigma-multiply", "0"), "factor is 0.0; pass a number above 0"),
        (("--guidance-start", "2"), "concord.guidance_start is 2.0; pass a finite number in 0…1"),
        (("--guidance-start", "0.9", "--guidance-end", "0.1"), "pass start before end"),
        (("--variation-strength", "3"), "--variation-strength is 3; pass 0 to 1"),
        (("--profile", "comfyui", "--variation-strength", "0.3"), "draws noise for the batch at once"),
        (("--sigma-min", "5", "--sigma-max", "3"), "sigma_max is 3 and sigma_min 5"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_settings_are_told_before_the_model_is_looked_for(capsys, tmp_path, words, said):
    nowhere = ("--model", str(tmp_path / "none"), "--out", str(tmp_path))
    assert main(["generate", "a ring", *words, *nowhere]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_an_option_without_a_value_is_wrong_usage(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "a ring", "--option", "eta"])
    assert "'eta' is no option; write NAME=VALUE" in capsys.readouterr().err
