"""What is pasted: names as the host knows them, and a page that reads the settings of any picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sd_concord.core.image import Generation, Hires, format_infotext, infotext_fields, save_image
from stock_graph import STOCK_INFOTEXT, save_stock_picture
from webui_requests import Drawing


@pytest.fixture
def webui(webui_fake):
    """The fake host with our samplers and schedules in its tables, and paste registered."""
    Drawing(webui_fake)
    for part in ("samplers", "schedulers"):
        webui_fake.part(part).register()
    assert webui_fake.part("paste").register() == []
    return webui_fake


def pasted(webui, text):
    """What the host's fields are filled from when ``text`` is pasted."""
    params = infotext_fields(text)
    for callback in webui.callbacks["infotext_pasted"]:
        callback(text, params)
    return params


def sampled(webui, sampler, schedule="Karras"):
    return pasted(
        webui, f"a cat\nSteps: 20, Sampler: {sampler}, Schedule type: {schedule}, CFG scale: 7, Seed: 1"
    )


@pytest.mark.parametrize(
    "name", ["euler", "dpmpp_2m", "euler_ancestral", "ddim_timesteps", "deis", "er_sde", "ddim"]
)
def test_a_sampler_of_the_record_is_one_that_the_host_has(webui, name):
    text = format_infotext(Generation(prompt="a cat", steps=4, sampler=name, seed=1, cfg=7))
    labels = {one.name for one in webui.sd_samplers.all_samplers}
    assert pasted(webui, text)["Sampler"] in labels


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("Euler a", "Euler a"),
        ("dpmpp_2m", "DPM++ 2M"),
        ("concord_dpmpp_2m", "DPM++ 2M (Concord)"),
        ("ddim", "DDIM (Euler)"),
        ("DPM++ 2M (Concord)", "DPM++ 2M (Concord)"),
        ("k_euler_a", "Euler a"),
        ("euler A", "Euler a"),
        ("Nobody's", "Nobody's"),
        ("DPM++ 2M Karras", "DPM++ 2M Karras"),
    ],
)
@pytest.mark.parametrize("webui_fake", ["a1111", "forge", "reforge"], indirect=True)
def test_names_are_those_of_the_host_and_of_those_it_lacks_ours(webui, written, wanted):
    assert sampled(webui, written)["Sampler"] == wanted


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("karras", "Karras"),
        ("Karras", "Karras"),
        ("SGM uniform", "SGM Uniform"),
        ("sgm_uniform", "SGM Uniform"),
        ("concord_karras", "Karras (Concord)"),
        ("Automatic", "Automatic"),
        ("Bong Tangent", "Bong Tangent"),
        ("Nobody's", "Nobody's"),
    ],
)
@pytest.mark.parametrize("webui_fake", ["a1111", "forge", "reforge"], indirect=True)
def test_schedules_too(webui, written, wanted):
    assert sampled(webui, "Euler", written)["Schedule type"] == wanted


@pytest.mark.parametrize("webui_fake", ["a1111", "forge", "reforge"], indirect=True)
def test_of_hires_and_of_each_detailer_unit(webui):
    text = (
        "a cat\nSteps: 20, Sampler: euler, Seed: 1, ADetailer sampler: dpmpp_2m, ADetailer scheduler: karras, "
        "ADetailer sampler 2nd: euler_ancestral, Hires sampler: heun, Hires schedule type: sgm_uniform"
    )
    found = pasted(webui, text)
    assert [found[key] for key in found if "ampler" in key] == ["Euler", "DPM++ 2M", "Euler a", "Heun"]
    assert (found["ADetailer scheduler"], found["Hires schedule type"]) == ("Karras", "SGM Uniform")


def test_what_hires_takes_over_stays_so(webui):
    text = format_infotext(Generation(prompt="a", steps=4, sampler="euler", seed=1, hires=Hires(upscale=2)))
    found = pasted(webui, text)
    assert (found["Hires sampler"], found["Hires schedule type"]) == (
        "Use same sampler",
        "Use same scheduler",
    )


@pytest.mark.parametrize("webui_fake", ["classic"], indirect=True)
@pytest.mark.parametrize(
    ("sampler", "schedule", "wanted"),
    [
        ("DPM++ 2M", "Karras", "DPM++ 2M Karras"),
        ("DEIS", "Simple", "DEIS Simple"),
        ("dpmpp_2m", "karras", "DPM++ 2M Karras"),
        ("Euler", "Automatic", "Euler"),
        ("Heun", "Bong Tangent", "Heun"),
    ],
)
def test_without_a_list_of_schedules_a_sampler_of_both_names_is_taken(webui, sampler, schedule, wanted):
    assert sampled(webui, sampler, schedule)["Sampler"] == wanted


def test_hires_has_the_first_passes_cfg_where_nothing_else_is_said(webui):
    hires = "a\nSteps: 20, Sampler: Euler, Seed: 1, CFG scale: 4.5, Hires upscale: 2"
    assert pasted(webui, hires)["Hires CFG Scale"] == "4.5"
    assert pasted(webui, f"{hires}, Hires CFG Scale: 2")["Hires CFG Scale"] == "2"
    assert "Hires CFG Scale" not in pasted(webui, hires.replace("Hires upscale", "Foo"))


def test_everything_else_stays_as_the_host_read_it(webui):
    text = 'a, (b:1.2)\nNegative prompt: c\nSteps: 20, Sampler: Euler, Seed: 1, Foo: "x, y", Size: 64x32, ENSD: 31337'
    before = infotext_fields(text)
    assert pasted(webui, text) == before


def test_a_key_that_forge_reads_by_another_word_is_read(webui):
    webui.opts.add_option(
        "beta_dist_alpha", webui.options.OptionInfo(0.6, "", infotext="Beta scheduler alpha")
    )
    found = pasted(
        webui, "a\nSteps: 20, Sampler: Euler, Seed: 1, Beta schedule alpha: 0.7, Beta schedule beta: 0.5"
    )
    assert found["Beta scheduler alpha"] == "0.7"
    assert "Beta scheduler beta" not in found


def test_registering_again_after_a_reload_listens_once(webui):
    webui.load()
    webui.load()
    names = [callback.__module__ for callback in webui.callbacks["infotext_pasted"]]
    assert names.count("sd_concord.a1111_scripts.paste") == 1


def test_the_page_sends_its_text_to_every_tab(webui):
    bound = []
    webui.infotext_utils.register_paste_params_button = bound.append
    [tab] = webui.callbacks["ui_tabs"]
    [(_, title, name)] = tab()
    assert (title, name) == ("Concord", "concord")
    assert [one.tabname for one in bound] == ["txt2img", "img2img", "inpaint"]
    [text] = {id(one.source_text_component): one.source_text_component for one in bound}.values()
    assert text.elem_id == "concord_paste_settings"


@pytest.mark.parametrize("as_object", [False, True])
def test_the_page_reads_a_picture_of_ours(webui, tmp_path, as_object):
    record = Generation(prompt="a cat", steps=4, sampler="dpmpp_2m", seed=1)
    path = save_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8), record)
    given = type("File", (), {"name": str(path)})() if as_object else str(path)
    assert webui.part("paste").settings_of(given) == (format_infotext(record), "")


def test_the_page_reads_a_comfyui_graph_without_infotext(webui, tmp_path):
    text, said = webui.part("paste").settings_of(str(save_stock_picture(tmp_path / "a.png")))
    assert said == ""
    assert text.startswith(STOCK_INFOTEXT)


def test_the_page_says_in_one_line_why_it_found_nothing(webui, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    text, said = webui.part("paste").settings_of(str(tmp_path / "a.png"))
    assert text == ""
    assert "holds no generation settings" in said
    assert webui.part("paste").settings_of(None) == ("", "")
