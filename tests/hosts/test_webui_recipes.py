"""Concord Recipe in the real A1111, Forge and reForge."""

import pytest

pytestmark = pytest.mark.hosts


def test_the_panel_is_there_on_both_tabs_with_its_button_wired(webui):
    config = webui.get("/config")
    ids = {one["props"].get("elem_id"): one["id"] for one in config["components"]}
    for tab in ("txt2img", "img2img"):
        button = ids[f"concord_{tab}_recipe_fill"]
        wired = [one for one in config["dependencies"] if _starts_at(one, button)]
        outputs = {number for one in wired for number in one["outputs"]}
        names = ("steps", "sampling", "width", "height", "cfg_scale", "prompt")
        assert {ids[f"{tab}_{name}"] for name in names} <= outputs
    hires = {ids[f"txt2img_{name}"] for name in ("hr-checkbox", "hr_scale", "hires_steps", "hr_upscaler")}
    button = ids["concord_txt2img_recipe_fill"]
    assert hires <= {
        number for one in config["dependencies"] if _starts_at(one, button) for number in one["outputs"]
    }


def _starts_at(dependency, number):
    targets = dependency["targets"]
    return any(number == (one[0] if isinstance(one, list) else one) for one in targets)


def test_a_request_notes_its_recipe(webui):
    if webui.kind == "reforge":
        pytest.skip("reForge does not know the embedded model")
    scripts = {"Concord Recipe": {"args": ["AYS draft"]}}
    drawn = webui.txt2img(
        prompt="a red circle",
        steps=2,
        width=64,
        height=64,
        seed=1,
        sampler_name="Euler",
        alwayson_scripts=scripts,
    )
    assert "Concord recipe: ays-draft" in drawn.infotexts[0]
    assert "the card of Align Your Steps, quick start says" in webui.log()
