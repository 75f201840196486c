"""Every rule of every recipe: a record that agrees with the card, and one that does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sd_concord.core.image import Generation, Hires, Refiner
from sd_concord.core.recipes import RECIPES, ModelKind, apply_recipe, check_recipe
from sd_concord.core.recipes.checks import CHECKS
from sd_concord.core.sigmas import ModelSigmas, get_sigmas

PROMPT = "by wlop BREAK 1girl, solo, species:seal"
HIRES = Hires(upscale=1.5, steps=15, upscaler="4xNMKD-Siax_200k")
SLOW = {"sampler": "euler_ancestral", "scheduler": "normal"}


def hires(**changes: Any) -> dict[str, Any]:
    """Return the fields of a hires pass that is not as the card has it."""
    strength = changes.pop("denoise", None)
    values: dict[str, Any] = {"hires": replace(HIRES, **changes)}
    return values if strength is None else values | {"denoising_strength": strength}


NEITHER: dict[str, Any] = {"hires": None, "denoising_strength": 0.6}
LATE = Refiner(model="b", switch_at=0.8, switch_by="comfyui_steps")
OFF: dict[tuple[str, str], dict[str, Any]] = {
    ("juggernaut-xl-v9", "sampler"): {"sampler": "euler"},
    ("juggernaut-xl-v9", "scheduler"): {"scheduler": "normal"},
    ("juggernaut-xl-v9", "steps"): {"steps": 41},
    ("juggernaut-xl-v9", "cfg"): {"cfg": 7.5},
    ("juggernaut-xl-v9", "size"): {"size": (512, 512)},
    ("juggernaut-xl-v9", "hires-scale"): hires(upscale=2.0),
    ("juggernaut-xl-v9", "hires-steps"): hires(steps=30),
    ("juggernaut-xl-v9", "hires-denoise"): hires(denoise=0.5),
    ("juggernaut-xl-v9", "upscaler"): hires(upscaler="Latent"),
    ("sdxl-base-refiner", "steps"): {"steps": 50},
    ("sdxl-base-refiner", "size"): {"size": (1056, 1024)},
    ("sdxl-base-refiner", "refiner"): {"refiner": None},
    ("sdxl-base-refiner", "refiner-switch"): {"refiner": Refiner(model="b", switch_at=0.5)},
    ("illustrious", "sampler"): {"sampler": "euler"},
    ("illustrious", "steps"): {"steps": 19},
    ("illustrious", "cfg"): {"cfg": 8},
    ("illustrious", "clip-skip"): {"clip_skip": 1},
    ("illustrious", "size"): {"size": (1024, 1536)},
    ("illustrious", "hires-scale"): hires(upscale=1.7),
    ("illustrious", "hires-steps"): hires(steps=15),
    ("illustrious", "hires-denoise"): hires(denoise=0.45),
    ("illustrious", "detailer"): {"detailer": ()},
    ("illustrious-1", "size"): {"size": (832, 1216)},
    ("rouwei-eps", "sampler"): {"sampler": "dpmpp_2m"},
    ("rouwei-eps", "steps"): {"steps": 40},
    ("rouwei-eps", "cfg"): {"cfg": 3.5},
    ("rouwei-eps", "size"): {"size": (1000, 1000)},
    ("rouwei-eps", "hires-denoise"): {
        "hires": Hires(upscale=1.5, upscaler="Latent"),
        "denoising_strength": 0.4,
    },
    ("rouwei-eps", "quality-tags"): {"prompt": f"{PROMPT}, amazing quality"},
    ("rouwei-eps", "own-chunk"): {"prompt": "1girl, by wlop, solo"},
    ("rouwei-eps", "by-artists"): {"prompt": "artist:wlop BREAK 1girl"},
    ("rouwei-v", "cfg"): {"cfg": 6},
    ("noobai-v", "sampler"): {"sampler": "dpmpp_2m"},
    ("noobai-v", "scheduler"): {"scheduler": "karras"},
    ("noobai-v", "steps"): {"steps": 20},
    ("noobai-v", "cfg"): {"cfg": 7},
    ("noobai-v", "size"): {"size": (768, 768)},
    ("sygil", "namespaces"): {"prompt": "a seal on a rock"},
    ("ays-draft", "sampler"): {"sampler": "heun"},
    ("ays-draft", "scheduler"): {"scheduler": "karras"},
    ("ays-draft", "steps"): {"steps": 28},
    ("extra-quality", "sampler"): {"sampler": "dpmpp_3m_sde", "scheduler": "karras"},
    ("extra-quality", "steps"): {"steps": 30},
    ("ipndm-v", "sampler"): {"scheduler": "normal"},
    ("ipndm-v", "steps"): {"steps": 41},
    ("ipndm-v", "cfg"): {"cfg": 7},
    ("deis", "sampler"): {"scheduler": "karras"},
    ("deis", "steps"): {"steps": 20},
    ("lcm", "sampler"): {"sampler": "euler"},
    ("lcm", "scheduler"): {"scheduler": "karras"},
    ("lcm", "steps"): {"steps": 20},
    ("lcm", "cfg"): {"cfg": 7},
    ("lcm", "lora"): {"prompt": "1girl <lora:lcm-lora-sdxl:0.6>"},
    ("v-prediction", "size"): {"size": (512, 512)},
    ("v-prediction", "upscaler"): {"hires": Hires(upscaler="Nearest"), "denoising_strength": 0.4},
    ("v-prediction", "by-artists"): {"prompt": "1girl, @wlop"},
    ("v-prediction", "style-loras"): {"prompt": "1girl <lora:a:1> <lora:b:1>"},
    ("v-prediction", "img2img"): NEITHER,
    ("v-prediction", "refiner"): {"refiner": LATE},
    ("v-prediction", "v-samplers"): {"scheduler": "karras"},
}
"""What disagrees with each rule of a recipe; a general rule stands once, under v-prediction."""
GENERAL = {"size", "upscaler", "by-artists", "style-loras", "img2img", "refiner", "v-samplers"}
SDXL = ModelKind(family="sdxl")


def agreeing(name: str) -> Generation:
    return apply_recipe(name, Generation(prompt=PROMPT), kind=SDXL)


def topics(name: str, record: Generation, kind: ModelKind | None = SDXL) -> list[str]:
    return [finding.code.removeprefix("recipe-") for finding in check_recipe(name, record, kind)]


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_makes_agrees_with_its_card(name: str) -> None:
    assert topics(name, agreeing(name)) == []


def test_every_rule_is_tried() -> None:
    own = {
        (name, rule.topic)
        for name, recipe in RECIPES.items()
        for rule in recipe.rules
        if name == "v-prediction" or (rule.topic not in GENERAL and name not in ("illustrious-1", "rouwei-v"))
    }
    assert own <= set(OFF)
    assert {rule.check for recipe in RECIPES.values() for rule in recipe.rules} == set(CHECKS)


@pytest.mark.parametrize(("name", "topic"), OFF, ids=lambda one: one)
def test_a_record_that_disagrees_is_told_the_line_and_the_card(name: str, topic: str) -> None:
    record = replace(agreeing(name), **OFF[name, topic])
    found = [one for one in check_recipe(name, record, SDXL) if one.code == f"recipe-{topic}"]
    [rule] = [rule for rule in RECIPES[name].rules if rule.topic == topic]
    assert found
    assert all(rule.card.title in one.message and one.message.endswith(rule.line) for one in found)
    assert all(one.advice for one in found)


@pytest.mark.parametrize(
    ("name", "topic", "words"),
    [
        ("noobai-v", "steps", "but the card of NoobAI-XL V-Pred 1.0 says: Steps: 28 to 35"),
        ("rouwei-eps", "cfg", "but the card of RouWei is reported to say: CFG 4 to 9"),
        ("deis", "sampler", "but common advice is: DEIS with SGM Uniform"),
    ],
    ids=["found on the card", "not found on it", "no card of its own"],
)
def test_what_is_not_confirmed_is_not_said_as_if_it_were(name: str, topic: str, words: str) -> None:
    record = replace(agreeing(name), **OFF[name, topic])
    [message] = [one.message for one in check_recipe(name, record, SDXL) if one.code == f"recipe-{topic}"]
    assert message.endswith(words)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "found"),
    [("dpmpp_2m", "karras", []), ("euler_ancestral", "normal", []), ("dpmpp_2m", "exponential", ["sampler"])],
)
def test_the_illustrious_family_takes_the_sampler_of_its_card_too(
    sampler: str, scheduler: str, found: list[str]
) -> None:
    record = replace(agreeing("illustrious"), sampler=sampler, scheduler=scheduler)
    assert topics("illustrious", record) == found


@pytest.mark.parametrize(("name", "topic"), OFF, ids=lambda one: one)
def test_only_what_is_off_is_told(name: str, topic: str) -> None:
    found = set(topics(name, replace(agreeing(name), **OFF[name, topic])))
    allowed = {
        "hires-denoise",
        "hires-scale",
        "hires-steps",
        "upscaler",
        "sampler",
        "scheduler",
        "quality-tags",
    }
    assert found - {topic} <= allowed | {"own-chunk"}


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_left_open_agrees(name: str) -> None:
    open_ones = {"detailer", "refiner", "lora"}  # parts that a recipe asks for
    assert set(topics(name, Generation())) <= open_ones


def test_edges_of_a_range_agree() -> None:
    for steps, found in ((29, ["steps"]), (30, []), (40, []), (41, ["steps"])):
        assert topics("juggernaut-xl-v9", replace(agreeing("juggernaut-xl-v9"), steps=steps)) == found


@pytest.mark.parametrize("strength", [0.1, 0.2, 0.3, 0.5, 0.65, 0.75])
def test_strengths_of_image_to_image_that_mean_something_agree(strength: float) -> None:
    assert topics("ays-draft", Generation(denoising_strength=strength)) == []


@pytest.mark.parametrize("strength", [0.05, 0.25, 0.6, 0.9])
def test_strengths_between_are_told(strength: float) -> None:
    assert topics("ays-draft", Generation(denoising_strength=strength)) == ["img2img"]


@pytest.mark.parametrize(("step", "found"), [(1, ["refiner"]), (2, []), (4, []), (5, ["refiner"])])
def test_a_refiner_takes_over_after_two_to_four_steps(step: int, found: list[str]) -> None:
    refiner = Refiner(model="b", switch_at=step / 20, switch_by="comfyui_steps")
    assert topics("v-prediction", Generation(steps=20, refiner=refiner)) == found


def test_a_refiner_by_noise_is_counted_in_steps_too() -> None:
    record = Generation(
        sampler="dpmpp_2m", scheduler="karras", steps=20, refiner=Refiner(model="b", switch_at=0.8)
    )
    [finding] = [one for one in check_recipe("ays-draft", record) if one.code == "recipe-refiner"]
    sigmas = get_sigmas("karras", 20, ModelSigmas.sd())
    late = int((sigmas > ModelSigmas.sd().table[200]).sum())  # 0.8 of 1000 timesteps lie above
    assert f"after {late} steps" in finding.message


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("<lora:a:0.6> <lora:b:0.6>", False),
        ("<lora:a:0.5> <lora:b:0.5>", True),
        ("<lora:a:1.5>", False),
        ("<lora:a:0.4> <lora:b:0.4> <lora:c:0.4>", True),
        ("<lora:a:0.6> <lora:b:0.6> <lora:lcm-lora-sdxl:1>", False),
        ("<lora:a:x> <lora:b:1>", False),
    ],
)
def test_style_loras(prompt: str, found: bool) -> None:
    assert ("style-loras" in topics("ays-draft", Generation(prompt=prompt))) == found


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("(artist:wlop:1.2), 1girl", "write by wlop"),
        ("@wlop, 1girl", "write by wlop"),
        ("wlop_\\(artist\\), 1girl", "write by wlop"),
        ("wlop \\(artist\\), 1girl", "write by wlop"),
        ("in the style of wlop, 1girl", "write by wlop"),
        ("by wlop BREAK 1girl", None),
        ("1girl, artist at work", None),
    ],
)
def test_artists_are_called_with_by(prompt: str, said: str | None) -> None:
    found = [
        one.advice for one in check_recipe("illustrious", Generation(prompt=prompt)) if "by-" in one.code
    ]
    assert found == ([said] if said else [])


@pytest.mark.parametrize(
    ("prompt", "negative", "count"),
    [
        ("masterpiece, best quality, 1girl", "low quality, worst quality", 0),
        ("masterpiece, Best_Quality, (best quality:1.2)", "", 0),
        ("low quality, 1girl", "", 1),
        ("1girl", "masterpiece", 1),
        ("very aesthetic, score_9, great quality", "", 3),
    ],
)
def test_the_four_quality_tags(prompt: str, negative: str, count: int) -> None:
    assert (
        topics("rouwei-eps", Generation(prompt=prompt, negative_prompt=negative)).count("quality-tags")
        == count
    )


def test_styles_stand_in_a_chunk_of_their_own() -> None:
    for prompt, found in (("by wlop BREAK 1girl", False), ("by wlop, 1girl", True), ("1girl", False)):
        assert ("own-chunk" in topics("rouwei-eps", Generation(prompt=prompt))) == found


def test_labels_and_fused_labels_are_understood() -> None:
    for sampler in ("DPM++ 2M", "DPM++ 2M Karras", "dpmpp_2m", "k_nonsense"):
        found = topics("juggernaut-xl-v9", Generation(sampler=sampler))
        assert found == ([] if sampler != "k_nonsense" else ["sampler"])


def test_the_model_decides_which_general_rules_hold() -> None:
    record = Generation(sampler="dpmpp_2m", scheduler="align_your_steps", steps=12, size=(512, 512))
    assert topics("ays-draft", record, None) == []
    assert topics("ays-draft", record, ModelKind(family="sd1", prediction="eps")) == []
    assert topics("ays-draft", record, SDXL) == ["size"]
    assert topics("ays-draft", record, ModelKind(family="sd1", prediction="v")) == ["v-samplers"]


def test_a_model_of_another_kind_is_told() -> None:
    [finding] = check_recipe("noobai-v", Generation(), ModelKind(family="sdxl", prediction="eps"))
    assert finding.code == "recipe-model"
    assert "SDXL with v-prediction" in finding.message
    assert check_recipe("noobai-v", Generation(), ModelKind(family="sdxl", prediction="v")) == []


def test_an_upscaler_goes_by_its_files_name_too() -> None:
    for upscaler in ("4x_NMKD-Siax_200k", "4xNMKD-Siax_200k.pth"):
        record = replace(agreeing("juggernaut-xl-v9"), **hires(upscaler=upscaler))
        assert topics("juggernaut-xl-v9", record) == []
    record = Generation(hires=Hires(upscaler="RealESRGAN_x4plus_anime_6B"))
    assert topics("illustrious", replace(record, detailer=agreeing("illustrious").detailer)) == []
