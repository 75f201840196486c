"""Which profile a picture's own text asks for, and what old versions of A1111 did otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.image import ConcordSettings, Generation, format_infotext, parse_infotext
from sd_concord.core.profile_choice import borrowed, profile_named, with_profile
from sd_concord.core.run import sampling_of
from sd_concord.core.sigmas import ModelSigmas, get_sigmas

LINE = "Steps: 20, Sampler: {sampler}, CFG scale: 7, Seed: 1, Size: 64x64{more}, Version: {version}"


def read(version: str, prompt: str = "a cat", sampler: str = "Euler", more: str = "") -> Generation:
    return parse_infotext(f"{prompt}\n" + LINE.format(version=version, sampler=sampler, more=more))


@pytest.mark.parametrize(
    ("version", "profile"),
    [
        ("v1.9.4", "a1111"),
        ("1.9.4", "a1111"),
        ("v1.6.0-RC-28-ga0af2852", "a1111"),
        ("v1.10.1", "a1111-1.10"),
        ("v1.10.0", "a1111-1.10"),
        ("f2.0.1v1.10.1-previous-669-gdfdcbab6", "forge"),
        ("f0.0.17v1.8.0rc-latest-276-g29be1da7", "reforge"),
        ("f1.0.0v2-v1.10.1RC-latest-12-gabcdef12", "reforge"),
        ("neo", "forge-classic"),
        ("ComfyUI", "comfyui"),
        ("Fooocus v2.5.5", None),
        ("garbage", None),
    ],
)
def test_the_version_names_the_profile(version: str, profile: str | None) -> None:
    assert profile_named(read(version)) == profile


def test_a_profile_of_its_own_comes_first() -> None:
    assert profile_named(Generation(version="v1.9.4", concord=ConcordSettings(profile="forge"))) == "forge"


def test_a_text_that_names_no_program_is_an_old_a1111() -> None:
    chosen = with_profile(parse_infotext("a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1"))
    assert chosen.concord is not None
    assert chosen.concord.profile == "a1111"


def test_a_profile_asked_for_overrules_and_an_unknown_one_is_refused() -> None:
    chosen = with_profile(read("v1.9.4"), "forge")
    assert chosen.concord is not None
    assert chosen.concord.profile == "forge"
    with pytest.raises(BadValue, match="forge"):
        with_profile(read("v1.9.4"), "forg")


@pytest.mark.parametrize(("version", "is_old"), [("v1.5.2", True), ("v1.6.0", False), ("v1.9.4", False)])
def test_edits_are_timed_as_before_1_6(version: str, is_old: bool) -> None:
    assert bool(with_profile(read(version, "[a:b:0.5]")).old_timelines) == is_old
    assert with_profile(read(version, "a cat")).old_timelines is None


@pytest.mark.parametrize(("version", "is_old"), [("v1.5.2", True), ("v1.6.0", False)])
def test_ddim_padded_prompts_before_1_6(version: str, is_old: bool) -> None:
    assert bool(with_profile(read(version, sampler="DDIM")).pad_conds_v0) == is_old
    assert with_profile(read(version, sampler="Euler")).pad_conds_v0 is None


@pytest.mark.parametrize(
    ("version", "is_old"),
    [("v1.6.0", True), ("v1.7.0-224-g11111111", True), ("v1.7.0-225-g11111111", False), ("v1.9.4", False)],
)
def test_the_table_was_in_half_precision_before_1_7_0_225(version: str, is_old: bool) -> None:
    options = with_profile(read(version)).schedule_options
    assert bool(options and options.downcast_alphas) == is_old


@pytest.mark.parametrize(("version", "is_old"), [("v1.7.0", True), ("v1.8.0", False)])
def test_a_refiner_counted_steps_before_1_8(version: str, is_old: bool) -> None:
    refiner = with_profile(read(version, more=", Refiner: xl, Refiner switch at: 0.8")).refiner
    assert refiner is not None
    assert bool(refiner.by_steps) == is_old


def test_what_the_text_says_stays() -> None:
    chosen = with_profile(read("v1.6.0", more=", Downcast alphas_cumprod: False"))
    assert chosen.schedule_options is not None
    assert chosen.schedule_options.downcast_alphas is False


OURS = "a\nSteps: 4, Sampler: {}, Schedule type: {}, CFG scale: 7, Seed: 5{}, Version: f2.0.1v1.10.1"


@pytest.mark.parametrize(
    ("sampler", "schedule", "more", "own"),
    [
        ("Euler a", "Beta", "", None),
        ("Euler a", "Beta (Concord)", "", ("scheduler",)),
        ("DDIM (Concord)", "Karras", "", ("sampler",)),
        ("Euler", "Beta", ", Hires schedule type: Beta (Concord), Hires upscale: 2", ("hires.scheduler",)),
        ("Nobody's (Concord)", "Beta", "", None),
    ],
)
def test_what_is_ours_by_its_name_stays_ours(
    sampler: str, schedule: str, more: str, own: tuple[str, ...] | None
) -> None:
    text = OURS.format(sampler, schedule, more)
    record = parse_infotext(text)
    assert (record.concord and record.concord.own) == own
    assert format_infotext(replace(record, source="")) == text
    assert parse_infotext(format_infotext(replace(record, source="", seed=6))) == replace(record, seed=6)


def test_a_label_that_only_we_give_is_ours_in_a_web_uis_text_alone() -> None:
    text = OURS.format("DDIM (Euler)", "Karras", "")
    found = with_profile(parse_infotext(text))
    assert found.concord is not None
    assert found.concord.own == ("sampler",)
    assert sampling_of(found, ModelSigmas.sd()).sampler.name == "ddim"
    by_hand = with_profile(Generation(sampler="ddim"), "forge")
    assert sampling_of(by_hand, ModelSigmas.sd()).sampler.name == "ddim_timesteps"


def test_each_pass_has_its_own_sigmas() -> None:
    more = ", Denoising strength: 1, Hires schedule type: Beta (Concord), Hires upscale: 2, Hires steps: 4"
    record = with_profile(parse_infotext(OURS.format("Euler", "Beta", more)))
    model = ModelSigmas.sd()
    assert torch.equal(sampling_of(record, model).sigmas, get_sigmas("beta", 4, model, convention="webui"))
    assert torch.equal(sampling_of(record, model, kind="hires").sigmas, get_sigmas("beta", 4, model))
    assert borrowed(record) == ("schedule Beta: Concord's own sigmas, as its name in the text says",)


def test_a_schedule_that_a_host_lacks_is_ours_and_said_so() -> None:
    record = with_profile(Generation(scheduler="beta57", steps=5), "a1111-1.10")
    model = ModelSigmas.sd()
    wanted = get_sigmas("beta57", 5, model.with_float32_alphas())
    assert torch.equal(sampling_of(record, model).sigmas, wanted)
    assert borrowed(record) == ("schedule Beta57: Concord's own sigmas, as A1111 1.10 has no such schedule",)
    assert borrowed(with_profile(Generation(scheduler="karras"), "a1111")) == ()
