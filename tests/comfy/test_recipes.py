"""Concord Recipe over the stand-in of ComfyUI, and its way into Concord Sampler and Concord Hires."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from comfy_fake import FakeComfy
from sd_concord.core.errors import BadValue
from sd_concord.core.image import ConcordSettings, Generation
from sd_concord.core.recipes import RECIPES


@pytest.fixture
def recipes(fake_comfy: FakeComfy) -> ModuleType:
    (fake_comfy.folder / "upscale_models").mkdir()
    return fake_comfy.module("recipes")


class EPS:
    pass


class V_PREDICTION(EPS):  # noqa: N801  (ComfyUI's name)
    pass


def model(*bases: type, sdxl: bool = True) -> Any:
    inner = SimpleNamespace(adm_channels=2816, noise_augmentor=None) if sdxl else SimpleNamespace()
    sampling = type("ModelSampling", bases, {})()
    return SimpleNamespace(model=inner, get_model_object=lambda name: sampling)


def ran(recipes: ModuleType, recipe: str, **given: Any) -> Any:
    return recipes.ConcordRecipe.execute(recipe, **{"positive": "a cat", "negative": "", "own": ""} | given)


def test_a_recipe_gives_a_record_and_its_values(recipes: ModuleType) -> None:
    out = ran(recipes, "illustrious", model=model(EPS))
    record, prompt, *values, warnings = out.args
    assert isinstance(record, Generation)
    assert prompt == "a cat"
    assert values == [28, 5, "dpmpp_2m", "karras", 832, 1216]
    assert record.concord.recipe == "illustrious"  # type: ignore[union-attr]
    assert record.seed is None
    assert "R-ESRGAN 4x+ Anime6B, which is not there" in warnings
    assert record.hires.upscaler == "Lanczos"  # type: ignore[union-attr]
    assert out.ui == {"text": [warnings]}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs(recipes: ModuleType, name: str) -> None:
    assert ran(recipes, name).args[0].concord.recipe == name


def test_settings_of_ones_own_come_first_and_are_judged(recipes: ModuleType) -> None:
    record, *_, warnings = ran(recipes, "ays-draft", own="steps=28, sampler=Euler a\ncfg=6").args
    assert (record.steps, record.sampler, record.cfg, record.scheduler) == (
        28,
        "euler_ancestral",
        6,
        "align_your_steps",
    )
    assert "the sampler is Euler a, but the card of Align Your Steps" in warnings
    assert ran(recipes, "ays-draft", own="hires.upscale=2, hires.upscaler=Lanczos").args[0].hires.upscale == 2
    for text, said in (("steps", "NAME=VALUE"), ("stepps=3", "steps"), ("steps=x", "whole number")):
        with pytest.raises(BadValue, match=said):
            ran(recipes, "ays-draft", own=text)


def test_what_agrees_says_nothing(recipes: ModuleType) -> None:
    out = ran(recipes, "ays-draft")
    assert (out.args[-1], out.ui) == ("", None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (model(EPS), "is for SDXL with v-prediction, but here it is SDXL with epsilon prediction"),
        (model(V_PREDICTION), ""),
        (model(V_PREDICTION, sdxl=False), "but here it is SD1.5 with v-prediction"),
        (model(), ""),
        (None, ""),
    ],
    ids=["eps", "v", "sd1", "unknown", "none"],
)
def test_the_kind_of_the_model_is_told(recipes: ModuleType, given: Any, said: str) -> None:
    warnings = ran(recipes, "noobai-v", model=given).args[-1]
    assert said in warnings if said else warnings == ""


def test_a_lora_is_found_in_comfyuis_folder(recipes: ModuleType, fake_comfy: FakeComfy) -> None:
    (fake_comfy.folder / "loras" / "LCM-LoRA_SDXL.safetensors").touch()
    assert ran(recipes, "lcm").args[1] == "a cat <lora:LCM-LoRA_SDXL:1>"


def test_concord_sampler_takes_the_record_with_its_own_seed_and_profile(
    recipes: ModuleType, fake_comfy: FakeComfy
) -> None:
    records = fake_comfy.module("records")
    record = ran(recipes, "noobai-v").args[0]
    widgets = Generation(
        steps=20,
        cfg=7,
        sampler="dpmpp_2m",
        seed=5,
        size=(64, 64),
        concord=ConcordSettings(profile="a1111", dialect="concord"),
    )
    run = records.merged(record, widgets, own_seed=True)
    assert (run.prompt, run.steps, run.sampler, run.seed, run.size) == ("a cat", 30, "euler", 5, (832, 1216))
    assert run.concord == ConcordSettings(profile="a1111", dialect="concord", recipe="noobai-v")


def test_concord_hires_takes_its_hires_pass(recipes: ModuleType, fake_comfy: FakeComfy) -> None:
    (fake_comfy.folder / "upscale_models" / "4x_NMKD-Siax_200k.pth").touch()
    record = ran(recipes, "juggernaut-xl-v9").args[0]
    hires = fake_comfy.module("hires")
    made = hires.with_hires(Generation(), record.hires, record.denoising_strength, None, None)
    assert (made.hires.upscale, made.hires.steps, made.hires.upscaler) == (1.5, 15, "4x_NMKD-Siax_200k")
    assert made.denoising_strength == 0.3
