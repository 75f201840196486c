"""The script "Concord Grid" in the four shapes of host: what is drawn, what comes back, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from webui_requests import Drawing, request


@pytest.fixture
def drawing(webui_fake):
    return Drawing(webui_fake)


@pytest.fixture
def grid(drawing):
    """Return a function that runs the script; its modules are imported against the fake host."""
    webui = drawing.webui
    for part in ("samplers", "schedulers"):
        webui.part(part).register()
    [script] = webui.part("grid").register()

    def run(p, *arguments):
        return script().run(p, *arguments)

    run.script = script
    return run


def colours(picture):
    """The colours of whole cells in a grid."""
    found, counts = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, colour)) for colour, count in zip(found, counts, strict=True) if count >= 16 * 16}


def test_the_script_is_in_the_list_of_both_tabs_and_its_controls_have_names_of_their_own(drawing):
    webui = drawing.webui
    webui.part("samplers").register()
    [script] = webui.part("grid").register()
    ids = []
    for img2img in (False, True):
        made, controls = webui.make_ui(script, img2img=img2img)
        assert made.title() == "Concord Grid"
        assert made.show(img2img) is True
        assert len(controls) == 12
        ids += [control.elem_id for control in controls]
    assert len(set(ids)) == 24
    assert all(one.startswith("concord_") for one in ids)


def test_each_cell_is_drawn_with_its_values_and_shown_in_its_place(grid, drawing):
    p = request(drawing.webui)
    answer = grid(p, "Steps", "10, 20", "CFG scale", "5-7")
    asked = [(one.steps, one.cfg_scale) for one in drawing.requests]
    assert asked == [(steps, cfg) for cfg in (5, 6, 7) for steps in (10, 20)]
    assert all(one.seed == 5 and one is not p for one in drawing.requests)
    sheet, *pictures = answer.images
    assert len(pictures) == 6
    assert {picture.getpixel((0, 0)) for picture in pictures} <= colours(sheet)


def test_a_third_axis_makes_grids_side_by_side(grid, drawing):
    answer = grid(request(drawing.webui), "Steps", "1-2", "CFG scale", "1-2", "Seed", "7, 8")
    assert [one.seed for one in drawing.requests] == [7] * 4 + [8] * 4
    assert answer.images[0].width > 4 * 16


def test_the_request_itself_stays_as_it_was(grid, drawing):
    p = request(drawing.webui, extra_generation_params={"a": 1}, subseed=3)
    before = dict(vars(p))
    grid(p, "Clip skip", "1, 2", "Prompt S/R", "cat, dog")
    assert vars(p) == before
    assert p.override_settings == {}


def test_the_infotext_says_what_the_grid_is_of_and_each_cell_keeps_its_own(grid, drawing):
    answer = grid(request(drawing.webui), "steps", "10, 20")
    assert answer.infotexts[0].endswith(
        'Script: Concord Grid, Concord grid X: Steps, Concord grid X values: "10, 20"'
    )
    assert [text.count("Steps: 10") for text in answer.infotexts] == [1, 1, 0]
    assert len(answer.infotexts) == len(answer.images) == 3
    assert answer.info == answer.infotexts[0]
    assert answer.index_of_first_image == 1
    assert len(answer.all_seeds) == len(answer.all_prompts) == 2


def test_pasting_that_infotext_fills_the_controls(grid, drawing):
    script, controls = drawing.webui.make_ui(grid.script)
    answer = grid(request(drawing.webui), "steps", "10, 20", "prompt s/r", "cat, dog")
    keys = {key: control for control, key in script.infotext_fields}
    for key, control in zip(("X", "X values", "Y", "Y values"), controls, strict=False):
        assert keys[f"Concord grid {key}"] is control
        assert f"Concord grid {key}: " in answer.infotexts[0]


def test_cells_can_be_left_out_of_the_answer(grid, drawing):
    answer = grid(request(drawing.webui), "Steps", "1-3", "Nothing", "", "Nothing", "", False)
    assert len(answer.images) == len(answer.infotexts) == 1


def test_margin_and_cell_size_are_followed(grid, drawing):
    wide = grid(request(drawing.webui), "Steps", "1, 2", "Nothing", "", "Nothing", "", True, 50, 0).images[0]
    small = grid(request(drawing.webui), "Steps", "1, 2", "Nothing", "", "Nothing", "", True, 0, 8).images[0]
    assert (wide.width, small.width) == (16 * 2 + 50, 16)


def test_the_sampler_is_the_hosts_and_of_those_it_lacks_ours(grid, drawing):
    grid(request(drawing.webui), "Sampler", "dpmpp_2m, k_euler_a, Euler A, ER-SDE, deis")
    names = [one.sampler_name for one in drawing.requests]
    assert names[:3] == ["DPM++ 2M", "Euler a", "Euler a"]
    assert set(names) <= {one.name for one in drawing.webui.sd_samplers.all_samplers}
    assert drawing.webui.shape == "reforge" or names[3:] == ["ER-SDE", "DEIS"]


@pytest.mark.parametrize("webui_fake", ["a1111", "forge", "reforge"], indirect=True)
def test_an_old_label_is_a_sampler_and_a_schedule(grid, drawing):
    grid(request(drawing.webui), "Sampler", "DPM++ 2M Karras", "Schedule type", "karras, SGM uniform")
    assert drawing.requests[0].sampler_name == "DPM++ 2M"
    assert [one.scheduler for one in drawing.requests] == ["Karras", "SGM Uniform"]


@pytest.mark.parametrize("webui_fake", ["classic"], indirect=True)
def test_a_label_that_the_host_has_with_its_schedule_stays_whole(grid, drawing):
    grid(request(drawing.webui), "Sampler", "DPM++ 2M Karras, Euler")
    assert [one.sampler_name for one in drawing.requests] == ["DPM++ 2M Karras", "Euler"]


def test_a_setting_is_overridden_for_its_cell_alone(grid, drawing):
    opts = drawing.webui.opts
    grid(request(drawing.webui), "Clip skip", "1, 2")
    asked = [one.override_settings for one in drawing.requests]
    assert asked == [{"CLIP_stop_at_last_layers": 1}, {"CLIP_stop_at_last_layers": 2}]
    assert opts.data["CLIP_stop_at_last_layers"] == 1, "or the host keeps the override after the request"


def runner_of(*panels):
    """The host's runner of scripts: (module of the script, its controls with what they are pasted from)."""
    scripts, inputs, pasted = [], [None], []
    for module, fields in panels:
        script = type("Panel", (), {"__module__": module})()
        script.args_from, script.args_to = len(inputs), len(inputs) + len(fields)
        inputs += [control for control, _ in fields]
        pasted += fields
        scripts.append(script)
    return SimpleNamespace(alwayson_scripts=scripts, inputs=inputs, infotext_fields=pasted)


def test_a_panel_gets_the_value_that_pasting_would_give_it(grid, drawing):
    gr = drawing.webui.gradio
    fields = [(gr.Checkbox(value=False), "Other"), (gr.Slider(value=0.5), "Concord CFG rescale")]
    p = request(drawing.webui, scripts=runner_of(("someone_elses", fields)), script_args=(0, False, 0.5))
    grid(p, "cfg_rescale", "0.2, 0.7")
    assert [one.script_args for one in drawing.requests] == [(0, False, 0.2), (0, False, 0.7)]
    assert p.script_args == (0, False, 0.5)


def test_a_function_that_pastes_is_asked_of_our_panels_alone_and_sets_what_it_changes(grid, drawing):
    gr = drawing.webui.gradio

    def fields():
        return [
            (gr.Slider(value=0.5), lambda params: params.get("Concord CFG rescale", "0.5")),
            (gr.Checkbox(value=True), lambda params: False),
        ]

    runner = runner_of(("sd_concord.a1111_scripts.any_panel", fields()), ("someone_elses", fields()))
    p = request(drawing.webui, scripts=runner, script_args=(0, 0.9, True, 0.9, True))
    grid(p, "cfg_rescale", "0.2, 0.5")
    asked = [one.script_args for one in drawing.requests]
    assert asked[0] == (0, 0.2, True, 0.9, True)
    assert asked[1] == (0, 0.5, True, 0.9, True), "though 0.5 is what an infotext without the key says"


def test_the_dialect_is_the_panels(grid, drawing):
    grid(request(drawing.webui), "dialect", "a1111, concord")
    assert [one.concord_dialect for one in drawing.requests] == ["a1111", "concord"]


@pytest.mark.parametrize("on", [True, False])
def test_units_of_the_detailer_are_set_where_it_is_on(grid, drawing, on):
    [panel, _] = drawing.webui.part("detailer_panel").register()
    panel = panel()
    panel.args_from, panel.args_to = 1, 3
    scripts = SimpleNamespace(alwayson_scripts=[panel])
    p = request(drawing.webui, scripts=scripts, script_args=(0, on, False))
    if not on:
        with pytest.raises(ValueError, match="nothing in this web UI takes 'ADetailer confidence'"):
            grid(p, "ADetailer confidence", "0.2, 0.5")
        return
    grid(p, "ADetailer confidence", "0.2, 0.5", "ADetailer steps 2nd", "9")
    assert [one.concord_detailer_values for one in drawing.requests] == [
        {0: {"confidence": 0.2}, 1: {"use_steps": True, "steps": 9}},
        {0: {"confidence": 0.5}, 1: {"use_steps": True, "steps": 9}},
    ]


def test_text_and_networks_are_set_in_the_prompt(grid, drawing):
    p = request(drawing.webui, prompt="a cat <lora:fur:1>")
    grid(p, "Prompt S/R", "cat, dog", "lora fur", "0.5, 1")
    assert [one.prompt for one in drawing.requests] == [
        *("a cat <lora:fur:0.5>", "a dog <lora:fur:0.5>", "a cat <lora:fur:1>", "a dog <lora:fur:1>"),
    ]


def test_a_seed_of_minus_one_is_drawn_once(grid, drawing):
    grid(request(drawing.webui, seed=-1), "Steps", "1, 2", "Variation seed", "-1, 3")
    assert {one.seed for one in drawing.requests} == {1234}
    assert drawing.requests[0].subseed == drawing.requests[1].subseed >= 0
    assert drawing.requests[2].subseed == 3


def test_a_batch_is_one_cell_and_all_its_pictures_come_back(grid, drawing):
    answer = grid(request(drawing.webui, batch_size=2, n_iter=2), "Steps", "1, 2")
    assert len(drawing.requests) == 2
    sheet, *pictures = answer.images
    assert len(pictures) == len(answer.infotexts) - 1 == len(answer.all_seeds) == 8
    assert {picture.getpixel((0, 0)) for picture in pictures} <= colours(sheet)
    assert [text.partition("Seed: ")[2][:1] for text in answer.infotexts[1:]] == list("56785678")
    assert drawing.webui.shared.state.job_count == 4


def test_stopping_leaves_the_rest_empty(grid, drawing):
    drawing.stop_after = 2
    answer = grid(request(drawing.webui), "Steps", "1-4")
    assert len(drawing.requests) == 2
    assert len(answer.images) == 3
    assert answer.images[0].getpixel((answer.images[0].width - 1, answer.images[0].height - 1)) == (
        238,
        238,
        240,
    )


def test_stopped_before_anything_was_drawn_is_an_empty_answer(grid, drawing):
    drawing.webui.shared.state.interrupted = True
    assert grid(request(drawing.webui), "Steps", "1-4").images == []


def test_a_cell_that_fails_is_empty_and_the_others_go_on(grid, drawing, caplog):
    drawing.fail_at = {1}
    answer = grid(request(drawing.webui), "Steps", "1-3")
    assert len(drawing.requests) == 3
    assert len(answer.images) == 3
    assert "cell 2 of 3 failed" in caplog.text


def test_if_all_fail_the_reason_is_raised(grid, drawing):
    drawing.fail_at = {0, 1}
    with pytest.raises(RuntimeError, match="out of memory"):
        grid(request(drawing.webui), "Steps", "1-2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Nothing", ""), "no axis is chosen"),
        (("Sampler", "eulr"), "unknown sampler 'eulr'"),
        (("Steps", "1-x"), "axis steps: '1-x' is not accepted"),
        (("Steps", ""), "axis steps has no values"),
        (("Stepz", "1"), "unknown axis 'Stepz'; did you mean steps"),
        (("Prompt S/R", "bird, dog"), "'bird' stands in none of the prompts"),
        (("Hires steps", "1, 2"), "hires is off; switch it on"),
        (("Denoising strength", "0.1, 0.2"), "text to image without hires"),
        (("Concord aesthetic score", "1, 2"), "nothing in this web UI takes 'Concord aesthetic score'"),
        (("Steps", "1-200", "CFG scale", "1-100"), "20000 cells"),
        (("Size", "4096x4096, 4096x4096", "Seed", "1-30"), None),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_runs(grid, drawing, arguments, said):
    if said is None:
        drawing.webui.opts.data["img_max_size_mp"] = 0.001
        said = "the settings allow 0.001"
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the pack's own class is imported anew with each fake)
        grid(request(drawing.webui), *arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert drawing.requests == []


def test_image_to_image_has_other_fields(grid, drawing):
    p = request(drawing.webui, kind="img2img")
    grid(p, "Denoising strength", "0.3-0.6 [4]")
    assert [one.denoising_strength for one in drawing.requests] == [0.3, 0.4, 0.5, 0.6]
    with pytest.raises(ValueError, match="image to image has no hires pass"):
        grid(p, "Hires steps", "1, 2")
    with pytest.raises(ValueError, match="there is no mask"):
        grid(p, "Mask blur", "1, 2")


def test_hires_fields_are_set_where_hires_is_on(grid, drawing):
    p = request(drawing.webui, enable_hr=True)
    grid(p, "Hires steps", "3, 5", "Hires sampler", "dpmpp_2m")
    assert [(one.hr_second_pass_steps, one.hr_sampler_name) for one in drawing.requests] == [
        (3, "DPM++ 2M"),
        (5, "DPM++ 2M"),
    ]


def test_the_grid_is_saved_where_the_host_keeps_grids(grid, drawing):
    drawing.webui.opts.data["grid_save"] = True
    answer = grid(request(drawing.webui), "Steps", "1, 2")
    assert [(name, text) for _, name, text in drawing.saved] == [("concord_grid", answer.infotexts[0])]
    grid(request(drawing.webui, do_not_save_grid=True), "Steps", "1, 2")
    assert len(drawing.saved) == 1


def test_an_image_is_what_a_cell_is(grid, drawing):
    assert all(isinstance(one, Image.Image) for one in grid(request(drawing.webui), "Steps", "1").images)
