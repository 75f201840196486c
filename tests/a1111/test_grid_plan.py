"""Concord Grid with plans, seeds, recipes and galleries, in the four shapes of host."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from webui_requests import Drawing, request

NONE = ("Nothing", "")
BARE = (*NONE, *NONE, *NONE, True, 0, 0)


@pytest.fixture
def drawing(webui_fake):
    drawing = Drawing(webui_fake)
    shared = drawing.webui.modules["modules.shared"]
    shared.sd_upscalers = [SimpleNamespace(name="Lanczos"), SimpleNamespace(name="4x_NMKD-Siax_200k")]
    shared.sd_model = SimpleNamespace(is_sdxl=True, is_sd1=False, parameterization="eps")
    return drawing


@pytest.fixture
def grid(drawing, tmp_path):
    """Return a function that runs the script; what it says below the pictures is ``grid.said``."""
    webui = drawing.webui
    for part in ("samplers", "schedulers"):
        webui.part(part).register()
    [script] = webui.part("grid").register()

    def run(plan="", *, seeds="", gallery=False, axes=BARE, **given):
        p = request(webui, **{"outpath_grids": str(tmp_path / "grids"), "comments": {}} | given)
        p.comment = lambda line: p.comments.update({line: 1})
        run.said = p.comments
        return script().run(p, *axes, plan, seeds, gallery)

    return run


def table(page):
    text = Path(page).with_name("cells.js").read_text(encoding="ascii")
    return json.loads(text.partition(" = ")[2].removesuffix(";\n"))


PLAN = """
prompt: a red circle, on white
negative: blurry
x: sampler=euler,dpmpp_2m
y: {steps: [4, 6]}
cfg: 3
size: 64
seed: 9
out: somewhere
threads: 1
"""


def test_a_pasted_plan_says_axes_and_settings(grid, drawing):
    answer = grid(PLAN)
    asked = [(one.sampler_name, one.steps) for one in drawing.requests]
    assert asked == [("Euler", 4), ("DPM++ 2M", 4), ("Euler", 6), ("DPM++ 2M", 6)]
    one = drawing.requests[0]
    assert (one.prompt, one.negative_prompt, one.cfg_scale) == ("a red circle, on white", "blurry", 3)
    assert (one.width, one.height, one.seed) == (64, 64, 9)
    assert list(grid.said) == ["Concord Grid: left to this web UI's own settings, of the plan: out, threads"]
    assert answer.comments == "".join(f"{line}\n" for line in grid.said)
    assert 'Concord grid X: Sampler, Concord grid X values: "euler,dpmpp_2m"' in answer.infotexts[0]


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_plan_is_named_by_its_file(grid, drawing, tmp_path, ending):
    path = tmp_path / f"plan.{ending}"
    plan = {"x": "cfg=3,5", "steps": 4}
    path.write_text(json.dumps(plan) if ending == "json" else "x: cfg=3,5\nsteps: 4\n")
    grid(f" {path} ")
    assert [(one.cfg_scale, one.steps) for one in drawing.requests] == [(3, 4), (5, 4)]


def test_an_axis_of_the_fields_takes_the_place_of_the_plans(grid, drawing):
    grid("x: cfg=3,5\nz: seed=1,2", axes=("CFG scale", "8, 9", "Sampler", "", *NONE, True, 0, 0))
    assert [(one.cfg_scale, one.seed) for one in drawing.requests] == [(8, 1), (9, 1), (8, 2), (9, 2)]


def test_every_setting_of_a_plan_has_its_place(grid, drawing):
    plan = """
    x: cfg=3
    clip_skip: 2
    variation-seed: 4
    variation-strength: 0.5
    resize-seed-from: 32x64
    hires: 2
    hires-steps: 5
    hires-denoise: 0.4
    hires-sampler: DPM++ 2M
    eta: 0.5
    """
    grid(plan, hr_second_pass_steps=0, seed_resize_from_w=0, seed_resize_from_h=0, hr_cfg=1.0)
    [one] = drawing.requests
    assert one.override_settings == {"CLIP_stop_at_last_layers": 2}
    assert (one.subseed, one.subseed_strength) == (4, 0.5)
    assert (one.seed_resize_from_w, one.seed_resize_from_h) == (32, 64)
    assert (one.enable_hr, one.hr_scale, one.hr_second_pass_steps) == (True, 2, 5)
    assert (one.denoising_strength, one.hr_sampler_name, one.eta) == (0.4, "DPM++ 2M", 0.5)
    assert one.hr_cfg == 3, "Forge's own default of the API, 1, is no guidance"


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("stepz: 4\nx: cfg=1,2", "unknown setting of a plan 'stepz'; did you mean steps"),
        ("x: 3", "the plan's x is 3; write x: sampler=euler,dpmpp_2m"),
        ("x: sampler", "has no values"),
        ("- a", "the plan is no mapping"),
        ("{", "the plan is no JSON"),
        ("a: [", "the plan is no YAML"),
        ("none.yaml", "cannot be read"),
        ("x: cfg=1,2\nsteps: many", "axis steps: 'many' is not accepted"),
        ("x: cfg=1,2\nsteps: {a: b}", "the plan's steps is a mapping"),
        ("x: cfg=1,2\nwithout: hirez", "unknown part of a recipe 'hirez'"),
        ("x: cfg=1,2\nseeds: many", "seeds 'many'; write how many"),
        ("x: seed=1,2\nseeds: [7, 9]", "contradict each other"),
        ("x: cfg=1,2\ny: cfg=3,4", "the axis cfg is there twice"),
        ("steps: 4", "no axis is chosen"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line_before_anything_runs(grid, drawing, plan, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the pack's own class is imported anew with each fake)
        grid(plan)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert drawing.requests == []


def test_seeds_are_counted_up_and_each_has_a_sheet(grid, drawing):
    answer = grid("x: cfg=3,5", seeds="3")
    asked = [(one.seed, one.cfg_scale) for one in drawing.requests]
    assert asked == [(seed, cfg) for seed in (5, 6, 7) for cfg in (3, 5)]
    assert answer.index_of_first_image == 3
    assert len(answer.images) == len(answer.infotexts) == 3 + 6
    assert answer.infotexts[0].endswith("Concord grid seeds: 3")


def test_seeds_are_named(grid, drawing):
    grid("x: cfg=3\nseeds: [9, 4]")
    assert [one.seed for one in drawing.requests] == [9, 4]


def test_seeds_alone_are_a_grid(grid, drawing):
    grid(seeds="2")
    assert [one.seed for one in drawing.requests] == [5, 6]


def test_seeds_beside_an_axis_of_seeds_are_added(grid, drawing):
    grid("x: seed=10,20", seeds="2")
    assert [one.seed for one in drawing.requests] == [10, 20, 11, 21]


# Galleries


def test_the_gallery_has_every_picture_and_its_path_is_said(grid, drawing, tmp_path):
    drawing.fail_at = {1}
    answer = grid("x: steps=4,5,6\ny: sampler=euler,dpmpp_2m", seeds="2", gallery=True)
    folder = tmp_path / "grids" / "concord-grid-00001"
    page = folder / "index.html"
    assert page.is_file()
    assert f"Concord Grid: the gallery is {page}" in answer.comments
    assert answer.extra_generation_params["Concord Grid gallery"] == str(page)
    found = table(page)
    assert [(axis["label"], axis["values"]) for axis in found["axes"]] == [
        ("Steps", ["4", "5", "6"]),
        ("Sampler", ["Euler", "DPM++ 2M"]),
        ("Seed", ["5", "6"]),
    ]
    assert len(found["cells"]) == 12
    assert [cell[4] for cell in found["cells"][:4]] == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]]
    assert found["cells"][1][0] is None
    assert found["cells"][1][5] == "out of memory"
    first = Image.open(folder / found["cells"][0][0])
    assert first.text["parameters"] == found["cells"][0][6] == answer.infotexts[2]
    assert first.getpixel((0, 0)) == answer.images[2].getpixel((0, 0))


def test_each_grid_has_a_gallery_of_its_own_and_a_batch_is_an_axis(grid, tmp_path):
    grid("x: steps=4,5", gallery=True)
    grid("x: steps=4,5", gallery=True, batch_size=2)
    found = table(tmp_path / "grids" / "concord-grid-00002" / "index.html")
    assert found["axes"][-1] == {"name": "picture", "label": "Picture", "values": [1, 2]}
    assert [cell[4] for cell in found["cells"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_without_metadata_the_pictures_have_none(grid, drawing, tmp_path):
    drawing.webui.opts.data["enable_pnginfo"] = False
    grid("x: steps=4", gallery=True)
    [path] = (tmp_path / "grids" / "concord-grid-00001" / "pictures").iterdir()
    assert Image.open(path).text == {}


def test_a_gallery_that_cannot_be_written_stops_no_picture(grid, tmp_path):
    (tmp_path / "grids").write_text("a file")
    answer = grid("x: steps=4,5", gallery=True)
    assert len(answer.images) == 3
    assert "cannot make the gallery" in answer.comments


def test_a_disk_that_fills_up_ends_the_gallery_alone(grid, drawing, tmp_path, monkeypatch):
    module = drawing.webui.part("grid_gallery")
    put, calls = module.put, []

    def full(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        put(path, content)

    monkeypatch.setattr(module, "put", full)
    answer = grid("x: steps=4,5,6", gallery=True)
    assert len(answer.images) == 4
    assert "No space left on device" in answer.comments
    assert len(table(tmp_path / "grids" / "concord-grid-00001" / "index.html")["cells"]) == 1


def test_what_was_not_drawn_stands_in_the_gallery(grid, drawing, tmp_path):
    drawing.stop_after = 1
    grid("x: steps=4,5", gallery=True)
    cells = table(tmp_path / "grids" / "concord-grid-00001" / "index.html")["cells"]
    assert [cell[5] for cell in cells] == [None, "stopped before it was drawn"]


def test_there_is_no_gallery_unless_it_is_asked_for(grid, tmp_path):
    grid("x: steps=4,5")
    assert not (tmp_path / "grids").exists()


# Recipes


def told(one):
    """Sampler with schedule, steps and CFG of a request."""
    return one.sampler_name, getattr(one, "scheduler", None), one.steps, one.cfg_scale


def test_an_axis_of_recipes_puts_each_cards_settings_in_the_forms_place(grid, drawing):
    grid("x: recipe=none,ays-draft,lcm\nnegative: bad", cfg_scale=6.5)
    none, ays, lcm = drawing.requests
    assert none.steps == 20
    assert none.cfg_scale == 6.5
    assert (ays.steps, ays.cfg_scale) == (12, 6.5)
    assert ays.sampler_name.startswith("DPM++ 2M")
    assert (lcm.steps, lcm.cfg_scale) == (5, 1)
    assert lcm.prompt == "a cat <lora:lcm-lora-sdxl:1>"
    assert [getattr(one, "concord_recipe", None) for one in drawing.requests] == [None, "ays-draft", "lcm"]
    if drawing.webui.shape != "classic":
        assert (ays.scheduler, lcm.scheduler) == ("Align Your Steps", "SGM Uniform")


def test_other_axes_and_the_plans_settings_come_before_the_recipe(grid, drawing):
    grid("x: recipe=ays-draft,deis\ny: steps=7,9\nsampler: euler\nprompt: a dog")
    assert [(one.steps, one.prompt) for one in drawing.requests] == [
        (steps, "a dog") for steps in (7, 7, 9, 9)
    ]
    assert all(one.sampler_name.startswith("Euler") for one in drawing.requests)


def test_a_recipe_switches_its_hires_pass_on(grid, drawing):
    grid("x: recipe=none,juggernaut-xl-v9", hr_upscaler=None, hr_cfg=1.0, hr_additional_modules=None)
    none, one = drawing.requests
    assert none.enable_hr is False
    assert (one.enable_hr, one.hr_scale, one.hr_second_pass_steps, one.denoising_strength) == (
        True,
        1.5,
        15,
        0.3,
    )
    assert one.hr_upscaler == "4x_NMKD-Siax_200k"
    assert (one.width, one.height) == (832, 1216)
    assert (one.hr_cfg, one.hr_additional_modules) == (5, ["Use same choices"])


def test_parts_of_a_recipe_are_left_out_and_what_is_set_by_hand_is_said_once(grid, drawing):
    grid("x: steps=4,5\nrecipe: illustrious\nwithout: hires")
    assert {one.enable_hr for one in drawing.requests} == {False}
    lines = [line for line in grid.said if "to be set by hand" in line]
    assert lines == ["Concord Grid: recipe illustrious, to be set by hand: ADetailer model: face_yolov8n.pt"]


def test_image_to_image_keeps_its_size(grid, drawing):
    grid("x: recipe=juggernaut-xl-v9", kind="img2img")
    [one] = drawing.requests
    assert (one.steps, one.width, one.denoising_strength) == (35, 16, 0.75)


def test_the_recipe_panel_judges_each_cell_and_says_a_line_once(grid, drawing, caplog):
    module = drawing.webui.part("recipes")
    draw = drawing.webui.processing.process_images

    def processed(p):
        module.ConcordRecipe().process(p, "none")
        return draw(p)

    drawing.webui.processing.process_images = processed
    answer = grid("x: recipe=none,ays-draft\ny: steps=28,30", seeds="2")
    assert answer.comments.count("steps is 28, but the card of Align Your Steps") == 1
    assert caplog.text.count("steps is 28, but the card of Align Your Steps") == 1
    named = [one.extra_generation_params.get("Concord recipe") for one in drawing.requests]
    assert named == [None, "ays-draft"] * 4
