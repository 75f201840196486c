"""``--recipe`` and ``sd-concord recipes``: what a user types, is told, and finds in the picture."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image
from sd_concord.core.image import read_image_info
from sd_concord.core.recipes import RECIPES
from sd_concord.harness.cli import main
from sd_concord.harness.recipe_pages import FILE, document

SMALL = ("--size", "64", "--seed", "3", "-q")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> Any:
    def run(command: str, *words: object) -> tuple[int, Any, str]:
        """Return the exit code, the record of the picture if one is made, and what was said of it."""
        out = tmp_path / "picture.png"
        code = main([command, *map(str, words), *SMALL, "--out", str(out)])
        return code, read_image_info(out) if out.is_file() else None, capsys.readouterr().err

    return run


def test_a_recipe_fills_in_what_is_not_said_and_is_recorded(run: Any) -> None:
    code, record, _ = run("generate", "a red circle", "--recipe", "AYS draft", "--steps", 10)
    assert code == 0
    assert (record.sampler, record.scheduler, record.steps) == ("dpmpp_2m", "align_your_steps", 10)
    assert record.cfg == 4
    assert record.concord.recipe == "ays-draft"


def test_what_agrees_is_silent_and_what_does_not_names_the_card(run: Any) -> None:
    _, _, said = run("generate", "a red circle", "--recipe", "ays-draft")
    assert said == ""
    _, record, said = run(
        "generate", "a red circle", "--recipe", "ays-draft", "--steps", 4, "--sampler", "euler"
    )
    assert (record.sampler, record.scheduler, record.steps) == ("euler", "align_your_steps", 4)
    assert len(said.splitlines()) == 2
    assert all(
        line.startswith("warning: ") and "the card of Align Your Steps" in line for line in said.splitlines()
    )


def test_a_model_of_another_kind_and_a_file_that_is_not_there_are_told(run: Any) -> None:
    words = ("a red circle", "--recipe", "juggernaut-xl-v9", "--steps", 2, "--hires-steps", 1)
    _, record, said = run("generate", *words)
    assert "asks for the upscaler 4xNMKD-Siax_200k, which is not there" in said
    assert "Lanczos is used instead" in said
    assert "is for SDXL with epsilon prediction, but here it is SD1.5" in said
    assert (record.hires.upscaler, record.hires.upscale, record.hires.steps) == ("Lanczos", 1.5, 1)
    assert record.denoising_strength == 0.3


def test_the_users_hires_pass_is_over_the_recipes(run: Any) -> None:
    words = (
        "a red circle",
        "--recipe",
        "rouwei-eps",
        "--steps",
        2,
        "--hires",
        "80x80",
        "--hires-denoise",
        0.5,
    )
    _, record, _ = run("generate", *words)
    assert (record.hires.resize, record.hires.upscale, record.hires.upscaler) == ((80, 80), None, "Latent")
    assert record.denoising_strength == 0.5
    assert (record.sampler, record.cfg) == ("euler_ancestral", 6)


def test_parts_are_left_out(run: Any) -> None:
    words = ("a red circle", "--recipe", "juggernaut-xl-v9", "--steps", 2, "--without", "hires")
    _, record, said = run("generate", *words)
    assert record.hires is None
    assert "Siax" not in said
    code, _, said = run("generate", "a", "--without", "hires")
    assert code == 1
    assert "--recipe" in said


def test_lcm_without_its_file_is_made_without_it(run: Any) -> None:
    _, record, said = run("generate", "a red circle", "--recipe", "lcm", "--steps", 5)
    assert record.prompt == "a red circle"
    assert "asks for the LoRA lcm-lora-sdv1-5" in said
    assert "the picture is made without it" in said


def test_a_refiner_that_is_not_there_is_left_out(run: Any) -> None:
    _, record, said = run("generate", "a red circle", "--recipe", "sdxl-base-refiner", "--steps", 2)
    assert record.refiner is None
    assert "made without a refiner" in said


def test_image_to_image_keeps_its_size_and_has_no_hires_pass(run: Any, tmp_path: Any) -> None:
    picture = tmp_path / "in.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    code, record, said = run(
        "img2img", picture, "a red circle", "--recipe", "rouwei-eps", "--steps", 4, "--denoise", 0.6
    )
    assert code == 0
    assert (record.hires, record.size, record.sampler) == (None, (64, 64), "euler_ancestral")
    assert "image to image: 0.1 to 0.2 polishes" in said


def test_an_unknown_recipe_offers_the_nearest(run: Any) -> None:
    code, _, said = run("generate", "a", "--recipe", "juggernaut")
    assert code == 1
    assert "did you mean juggernaut-xl-v9" in said


def test_the_list_the_page_and_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in RECIPES)
    assert main(["recipes", "noobai-v"]) == 0
    assert "V-prediction does not support the Karras schedule" in capsys.readouterr().out
    assert main(["recipes", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == list(RECIPES)
    assert main(["recipes", "lcm", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ranges"] == {"steps": [2, 8], "cfg": [1, 1.5]}
    assert {rule["topic"]: rule["confirmed"] for rule in told["rules"]}["scheduler"] is False
    assert told["card"]["url"].startswith("https://")
    assert main(["recipes", "lmc"]) == 1


def test_the_document_is_made_from_the_recipes() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text == document(), "write it anew with: python -m sd_concord.harness.recipe_pages"
    assert all(f"| `{name}` " in text for name in RECIPES)
    assert "| cfg | CFG 4 to 9 | [RouWei](https://civitai.com/models/950531), not confirmed |" in text
