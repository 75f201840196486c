"""The panel "Concord Recipe" over the stand-in of the web UIs."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from webui_requests import Drawing, request

HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 15, "hr_upscaler": "4xNMKD-Siax_200k"}


@pytest.fixture
def drawing(webui_fake):
    return Drawing(webui_fake)


@pytest.fixture
def recipes(drawing):
    webui = drawing.webui
    for part in ("samplers", "schedulers"):
        webui.part(part).register()
    module = webui.part("recipes")
    shared = webui.modules["modules.shared"]
    shared.sd_upscalers = [SimpleNamespace(name="Lanczos"), SimpleNamespace(name="4x_NMKD-Siax_200k")]
    shared.latent_upscale_modes = {"Latent": {}}
    shared.sd_model = SimpleNamespace(is_sdxl=True, is_sd1=False, parameterization="eps")
    module.webui = webui
    return module


def panel(recipes, *, img2img=False, fields=None):
    """Return the script, its dropdown, and its button, on a tab whose controls of ``fields`` have been made."""
    webui, tab = recipes.webui, "img2img" if img2img else "txt2img"
    script = recipes.ConcordRecipe()
    controls = {}
    for name in recipes.FIELDS if fields is None else fields:
        controls[name] = webui.gradio.Textbox(value="", elem_id=f"{tab}_{name}")
        script.after_component(controls[name], elem_id=f"{tab}_{name}")
    script.after_component(webui.gradio.Textbox(), elem_id=f"{tab}_seed")
    [chosen] = script.ui(img2img)
    button = next(one for one in reversed(webui.gradio.made) if one.kind == "Button")
    return script, chosen, button, controls


def pressed(button, name, prompt="a cat"):
    """Return what pressing the button puts into which control, and what it says."""
    [event] = button.events["click"]
    *updates, said = event.fn(name, prompt)
    found = {
        control.elem_id: update["value"]
        for control, update in zip(event.outputs, updates, strict=False)
        if "value" in update
    }
    return found, said


def test_it_is_a_panel_on_both_tabs(recipes):
    ids = []
    for img2img in (False, True):
        script, chosen, *_ = panel(recipes, img2img=img2img)
        assert script.title() == "Concord Recipe"
        assert chosen.value == "none"
        assert "Juggernaut XL v9" in chosen.choices
        ids.append(chosen.elem_id)
    assert ids == ["concord_txt2img_recipe_name", "concord_img2img_recipe_name"]


def test_the_button_fills_the_hosts_fields(recipes):
    _, _, button, _ = panel(recipes)
    found, said = pressed(button, "Juggernaut XL v9")
    assert found.pop("txt2img_sampling").startswith("DPM++ 2M")
    found.pop("txt2img_scheduler", None)
    assert found == {
        "txt2img_prompt": "a cat",
        "txt2img_steps": 35,
        "txt2img_cfg_scale": 5,
        "txt2img_width": 832,
        "txt2img_height": 1216,
        "txt2img_hr-checkbox": True,
        "txt2img_hr_scale": 1.5,
        "txt2img_hires_steps": 15,
        "txt2img_hr_upscaler": "4x_NMKD-Siax_200k",
        "txt2img_denoising_strength": 0.3,
    }
    assert "Siax" not in said


def test_what_has_no_field_is_said(recipes):
    _, _, button, _ = panel(recipes, fields=("steps", "sampling"))
    found, said = pressed(button, "Illustrious family")
    assert set(found) == {"txt2img_steps", "txt2img_sampling"}
    for part in (
        "to be set by hand",
        "CFG scale: 5",
        "Clip skip: 2",
        "Size: 832x1216",
        "ADetailer model: face_yolov8n.pt",
    ):
        assert part in said
    assert "R-ESRGAN 4x+ Anime6B, which is not there" in said
    assert "Steps" not in said.replace("Hires steps", "")


def test_image_to_image_keeps_its_size_and_strength(recipes):
    _, _, button, _ = panel(recipes, img2img=True)
    found, _ = pressed(button, "RouWei epsilon")
    assert not {"img2img_width", "img2img_denoising_strength", "img2img_hr-checkbox"} & set(found)
    assert found["img2img_steps"] == 24


def test_the_lora_goes_into_the_prompt(recipes):
    _, _, button, _ = panel(recipes)
    assert pressed(button, "LCM")[0]["txt2img_prompt"] == "a cat <lora:lcm-lora-sdxl:1>"


def test_nothing_is_filled_without_a_recipe(recipes):
    _, _, button, _ = panel(recipes)
    assert pressed(button, "none") == ({}, "choose a recipe")
    assert "did you mean" in pressed(button, "juggernaut")[1]


def process(recipes, name, **given):
    """Return the request after the panel has looked at it, and what it said below the picture."""
    script, *_ = panel(recipes)
    p = request(recipes.webui, **{"width": 832, "height": 1216} | given)
    said = []
    p.comment, p.extra_generation_params = said.append, {}
    script.process(p, name)
    return p, said


def test_a_request_that_disagrees_is_told_the_line(recipes):
    p, said = process(recipes, "Juggernaut XL v9", steps=60, cfg_scale=5, sampler_name="Euler")
    assert p.extra_generation_params == {"Concord recipe": "juggernaut-xl-v9"}
    assert any("steps is 60, but the card of Juggernaut XL v9" in line for line in said)
    assert any("the sampler is Euler" in line for line in said)
    assert not any("CFG" in line for line in said)
    assert all(line.startswith("Concord Recipe: ") for line in said)


def test_a_setting_that_a_slider_left_as_a_fraction_is_taken(recipes):
    sys.modules["modules.shared"].opts.CLIP_stop_at_last_layers = 2.0
    p, said = process(recipes, "illustrious", sampler_name="Euler")
    assert p.extra_generation_params == {"Concord recipe": "illustrious"}
    assert not any("clip" in line.lower() for line in said)


def test_no_recipe_says_nothing_and_an_unknown_one_offers_others(recipes):
    p, said = process(recipes, "none")
    assert (p.extra_generation_params, said) == ({}, [])
    p, said = process(recipes, "juggernaut")
    assert p.extra_generation_params == {}
    assert "did you mean juggernaut-xl-v9" in said[0]


def test_strength_counts_where_there_is_a_pass_for_it(recipes):
    def strengths(**given):
        return [line for line in process(recipes, "AYS draft", steps=12, **given)[1] if "strength" in line]

    assert strengths(denoising_strength=0.6, enable_hr=False) == []
    assert len(strengths(denoising_strength=0.6, kind="img2img")) == 1


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_a_detailer_that_is_on_is_no_detailer_left_out(recipes, on, ours):
    module = f"{recipes.__package__}.detailer_panel" if ours else "someone_elses"
    title = {"title": lambda self: "Concord Detailer" if ours else "ADetailer"}
    detailer = type("Detailer", (), {"__module__": module, **title})()
    detailer.args_from, detailer.args_to = 1, 3
    other = SimpleNamespace(title=lambda: "Other", args_from=0, args_to=1)
    given = {"scripts": SimpleNamespace(alwayson_scripts=[other, detailer]), "script_args": (True, on, False)}
    _, said = process(recipes, "Illustrious family", steps=28, **given)
    assert any("a detailer is left out" in line for line in said) is not on


def test_what_a_script_asks_for_comes_before_the_panel(recipes):
    p, _ = process(recipes, "none", concord_recipe="lcm")
    assert p.extra_generation_params == {"Concord recipe": "lcm"}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (SimpleNamespace(is_sdxl=True, parameterization="v"), False),
        (SimpleNamespace(is_sdxl=True, parameterization="eps"), True),
        (SimpleNamespace(is_sd1=True, parameterization="v"), True),
        (None, False),
    ],
)
def test_the_kind_of_the_loaded_model_is_looked_at(recipes, model, said):
    recipes.webui.modules["modules.shared"].sd_model = model
    lines = process(recipes, "NoobAI v-prediction")[1]
    assert any("is for SDXL with v-prediction" in line for line in lines) == said


def test_forge_tells_the_prediction_elsewhere(recipes):
    predictor = SimpleNamespace(prediction_type="v_prediction")
    unet = SimpleNamespace(model=SimpleNamespace(predictor=predictor))
    model = SimpleNamespace(is_sdxl=True, forge_objects=SimpleNamespace(unet=unet))
    recipes.webui.modules["modules.shared"].sd_model = model
    assert recipes.kind_here().prediction == "v"


def test_a_pasted_infotext_chooses_its_recipe(recipes):
    script, chosen, *_ = panel(recipes)
    [(component, read)] = script.infotext_fields
    assert component is chosen
    assert read({"Concord recipe": "lcm"}) == "LCM"
    assert read({}) == read({"Concord recipe": "of another version"}) == "none"
