"""The recipes as data, and how they are laid under a record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sd_concord.core.errors import BadValue
from sd_concord.core.image import DetailerUnit, Generation, Hires, Refiner, format_infotext, parse_infotext
from sd_concord.core.recipes import (
    PARTS,
    RECIPES,
    FilesThere,
    ModelKind,
    apply_recipe,
    find_recipe,
    findings_of,
    fit_to_files,
)
from sd_concord.core.run import sampling_of
from sd_concord.core.sigmas import ModelSigmas

PROMISED = {
    "juggernaut-xl-v9": ("dpmpp_2m", "karras", 35, 5, (832, 1216)),
    "sdxl-base-refiner": (None, None, 30, None, (1024, 1024)),
    "illustrious": ("dpmpp_2m", "karras", 28, 5, (832, 1216)),
    "illustrious-1": ("dpmpp_2m", "karras", 28, 5, (1024, 1536)),
    "rouwei-eps": ("euler_ancestral", None, 24, 6, (832, 1216)),
    "rouwei-v": ("euler_ancestral", "normal", 24, 4, (832, 1216)),
    "noobai-v": ("euler", "normal", 30, 4.5, (832, 1216)),
    "sygil": (None, None, None, None, None),
    "ays-draft": ("dpmpp_2m", "align_your_steps", 12, None, None),
    "extra-quality": ("dpmpp_3m_sde", "exponential", 60, None, None),
    "ipndm-v": ("ipndm_v", "karras", 40, 5, None),
    "deis": ("deis", "sgm_uniform", 50, None, None),
    "lcm": ("lcm", "sgm_uniform", 5, 1, None),
    "v-prediction": ("dpmpp_2m", "sgm_uniform", None, None, None),
}
SIAX = "4xNMKD-Siax_200k"


def test_the_promised_recipes_and_no_others() -> None:
    found = {
        name: (own.sampler, own.scheduler, own.steps, own.cfg, own.size)
        for name, own in ((name, recipe.settings) for name, recipe in RECIPES.items())
    }
    assert found == PROMISED
    assert RECIPES["juggernaut-xl-v9"].settings.hires == Hires(upscale=1.5, steps=15, upscaler=SIAX)
    assert RECIPES["juggernaut-xl-v9"].settings.denoising_strength == 0.3
    assert RECIPES["illustrious-1"].settings.clip_skip == 2
    assert RECIPES["sdxl-base-refiner"].ranges == {"steps": (20, 40), "refiner.switch_at": (0.7, 0.9)}


@pytest.mark.parametrize("name", RECIPES)
def test_every_rule_names_a_card_and_a_line(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.card.title
    assert all(rule.card.title and rule.line for rule in recipe.rules)
    assert len({rule.topic for rule in recipe.rules}) == len(recipe.rules) > 0
    cards = [recipe.card, *(rule.card for rule in recipe.rules)]
    assert all(card.url is None or card.url.startswith("https://") for card in cards)
    assert all(rule.card.url for rule in recipe.rules if rule.confirmed), "a confirmed line has a page"


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("model", [ModelSigmas.sd(), ModelSigmas.zsnr()], ids=["sd", "zsnr"])
def test_the_core_takes_what_a_recipe_makes(name: str, model: ModelSigmas) -> None:
    record = apply_recipe(name, Generation(prompt="a", seed=1))
    sampling = sampling_of(record, model)
    assert len(sampling.sigmas) == (record.steps or 20) + 1
    if record.hires:
        assert sampling_of(record, model, kind="hires").steps == record.hires.steps or record.steps


@pytest.mark.parametrize("name", RECIPES)
def test_the_defaults_lie_in_the_ranges(name: str) -> None:
    recipe = RECIPES[name]
    record = apply_recipe(name, Generation())
    for field, (low, high) in recipe.ranges.items():
        owner, _, end = field.rpartition(".")
        holder = getattr(record, owner) if owner else record
        value = record.denoising_strength if end == "denoise" else getattr(holder, end)
        assert low <= value <= high, field


def test_what_the_user_says_stays() -> None:
    own = Generation(
        prompt="a",
        steps=30,
        sampler="euler",
        cfg=8,
        size=(64, 64),
        hires=Hires(upscale=2.0, upscaler="Latent"),
        denoising_strength=0.7,
        detailer=(DetailerUnit(model="face"),),
    )
    made = apply_recipe("illustrious", own)
    assert made == replace(
        own,
        scheduler="karras",
        clip_skip=2,
        hires=Hires(upscale=2.0, upscaler="Latent", steps=20),
        concord=made.concord,
    )
    assert {"recipe-sampler", "recipe-steps", "recipe-cfg"} <= {one.code for one in findings_of(made)}


def test_a_size_of_hires_takes_no_factor_from_the_recipe() -> None:
    made = apply_recipe("illustrious", Generation(hires=Hires(resize=(1024, 0))))
    assert made.hires
    assert (made.hires.resize, made.hires.upscale, made.hires.steps) == ((1024, 0), None, 20)


def test_parts_can_be_left_out_and_image_to_image_has_no_hires_pass() -> None:
    made = apply_recipe("illustrious", Generation(), without=PARTS)
    assert (made.hires, made.denoising_strength, made.detailer) == (None, None, ())
    assert apply_recipe("sdxl-base-refiner", Generation(), without=("refiner",)).refiner is None
    assert apply_recipe("lcm", Generation(prompt="a"), without=("lora",)).prompt == "a"
    image = apply_recipe("illustrious", Generation(), is_image=True)
    assert (image.hires, image.denoising_strength, len(image.detailer)) == (None, None, 1)


@pytest.mark.parametrize(
    ("family", "file"), [("sdxl", "lcm-lora-sdxl"), ("sd1", "lcm-lora-sdv1-5"), (None, "lcm-lora-sdxl")]
)
def test_lcm_brings_its_lora_once(family: str | None, file: str) -> None:
    kind = ModelKind(family=family)  # type: ignore[arg-type]
    made = apply_recipe("lcm", Generation(prompt="a cat"), kind=kind)
    assert made.prompt == f"a cat <lora:{file}:1>"
    assert apply_recipe("lcm", made, kind=kind).prompt == made.prompt
    assert apply_recipe("lcm", Generation(prompt="<lora:my_LCM:0.5>")).prompt == "<lora:my_LCM:0.5>"


def test_names_labels_and_near_names() -> None:
    assert find_recipe("Juggernaut XL v9").name == find_recipe("JUGGERNAUT-XL-V9").name == "juggernaut-xl-v9"
    with pytest.raises(BadValue, match="did you mean juggernaut-xl-v9"):
        apply_recipe("juggernaut", Generation())


def test_the_recipe_is_recorded() -> None:
    made = apply_recipe("deis", Generation(prompt="a", steps=45, seed=1))
    text = format_infotext(made)
    assert "Concord recipe: deis" in text
    assert parse_infotext(text).concord == made.concord
    assert findings_of(made) == []
    assert findings_of(Generation(concord=replace(made.concord, recipe="of another version"))) == []  # type: ignore[type-var]


# Files


def test_files_that_are_there_are_taken_by_any_spelling() -> None:
    files = FilesThere(
        upscalers=["4x_NMKD-Siax_200k"],
        detectors=["face_yolov8n"],
        loras=["LCM_LoRA_SDXL"],
        models=["sd_xl_refiner_1.0"],
    )
    made = {name: fit_to_files(apply_recipe(name, Generation(prompt="a")), files) for name in RECIPES}
    assert made["juggernaut-xl-v9"][0].hires.upscaler == "4x_NMKD-Siax_200k"  # type: ignore[union-attr]
    assert made["illustrious"][0].detailer[0].model == "face_yolov8n"
    assert made["lcm"][0].prompt == "a <lora:LCM_LoRA_SDXL:1>"
    assert [line for name in ("juggernaut-xl-v9", "lcm", "sdxl-base-refiner") for line in made[name][1]] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("juggernaut-xl-v9", ["Siax_200k, which is not there", "Lanczos is used instead"]),
        ("illustrious", ["R-ESRGAN 4x+ Anime6B", "Lanczos is used instead"]),
        ("sdxl-base-refiner", ["sd_xl_refiner_1.0", "made without a refiner"]),
        ("lcm", ["lcm-lora-sdxl", "made without it", "https://huggingface.co/latent-consistency"]),
    ],
)
def test_a_file_that_is_not_there_is_one_line(name: str, said: list[str]) -> None:
    files = FilesThere(upscalers=["Lanczos", "Latent"], detectors=["face"], loras=[], models=[])
    record, lines = fit_to_files(apply_recipe(name, Generation(prompt="a")), files)
    [line] = [line for line in lines if "detector" not in line]
    assert all(part in line for part in said)
    assert "\n" not in line
    if record.hires:
        assert record.hires.upscaler == "Lanczos"
    assert record.refiner is None
    assert record.prompt == "a"


@pytest.mark.parametrize(("there", "model"), [(["face"], ["face"]), ([], [])])
def test_a_detector_that_is_not_there(there: list[str], model: list[str]) -> None:
    record, lines = fit_to_files(apply_recipe("illustrious", Generation()), FilesThere(detectors=there))
    assert [unit.model for unit in record.detailer] == model
    assert len(lines) == 1
    assert "face_yolov8n.pt" in lines[0]


def test_a_lora_of_the_models_family_takes_the_place_of_the_other() -> None:
    files = FilesThere(loras=["lcm-lora-sdv1-5"], family="sd1")
    record, lines = fit_to_files(apply_recipe("lcm", Generation(prompt="a")), files)
    assert (record.prompt, lines) == ("a <lora:lcm-lora-sdv1-5:1>", [])


def test_what_the_user_names_is_left_to_the_front() -> None:
    own = Generation(
        hires=Hires(upscaler="mine"), refiner=Refiner(model="mine"), detailer=(DetailerUnit(model="mine"),)
    )
    record = apply_recipe("illustrious", own)
    assert fit_to_files(record, FilesThere(upscalers=[], detectors=[], loras=[], models=[])) == (record, [])
    assert fit_to_files(own, FilesThere(upscalers=[])) == (own, [])
    unknown = apply_recipe("illustrious", Generation())
    assert fit_to_files(unknown, FilesThere()) == (unknown, [])
