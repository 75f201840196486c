"""Concord Grid and Concord Compare in the real A1111, Forge and reForge, by the API's ``script_name``."""

import base64
import json
import re

import numpy as np
import pytest
from miniatures import golden_checkpoint
from webui_host import DEMO_MODEL

pytestmark = pytest.mark.hosts

ASKED = {"prompt": "a red circle", "steps": 2, "width": 64, "height": 64, "seed": 3, "cfg_scale": 3}
NONE = ("Nothing", "")
PLAIN = ("", "", False)
"""No plan, the request's seed alone, no gallery."""


@pytest.fixture
def host(webui):
    if webui.kind == "reforge":
        webui.add_golden_model(golden_checkpoint())
    else:
        webui.use_model(DEMO_MODEL)
    return webui


def grid(host, *axes, **more):
    arguments = [value for axis in (*axes, NONE, NONE, NONE)[:3] for value in axis]
    return host.txt2img(
        **{**ASKED, **more}, script_name="Concord Grid", script_args=[*arguments, True, 4, 0, *PLAIN]
    )


def holds(sheet, picture):
    """Whether ``picture`` is somewhere in ``sheet``, pixel by pixel."""
    height, width = picture.shape[:2]
    corners = np.argwhere((sheet[: 1 - height or None, : 1 - width or None] == picture[0, 0]).all(-1))
    return any((sheet[y : y + height, x : x + width] == picture).all() for y, x in corners)


def test_the_scripts_are_listed_for_both_tabs(host):
    listed = host.get("/sdapi/v1/scripts")
    for tab in ("txt2img", "img2img"):
        assert {"concord grid", "concord compare"} <= set(listed[tab])
    told = {one["name"]: one for one in host.get("/sdapi/v1/script-info") if not one["is_img2img"]}
    assert [len(told[name]["args"]) for name in ("concord grid", "concord compare")] == [12, 4]


def test_a_grid_of_two_by_two_has_the_pictures_that_are_drawn_one_by_one(host):
    drawn = grid(host, ("Sampler", "Euler, DPM++ 2M Karras"), ("CFG scale", "2-4 (+2)"))
    sheet, *cells = drawn.pictures
    assert len(cells) == 4
    assert all(holds(sheet, cell) for cell in cells)
    for cell, (sampler, schedule, cfg) in zip(
        cells,
        [
            ("Euler", "Automatic", 2),
            ("DPM++ 2M", "Karras", 2),
            ("Euler", "Automatic", 4),
            ("DPM++ 2M", "Karras", 4),
        ],
        strict=True,
    ):
        [alone] = host.txt2img(
            **{**ASKED, "cfg_scale": cfg}, sampler_name=sampler, scheduler=schedule
        ).pictures
        assert np.array_equal(cell, alone)


def test_the_grid_has_an_infotext_of_its_own_and_each_cell_its_own(host):
    drawn = grid(host, ("Steps", "2, 3"))
    assert len(drawn.infotexts) == len(drawn.pictures) == 3
    assert [re.findall(r"Steps: (\d)", text) for text in drawn.infotexts[1:]] == [["2"], ["3"]]
    assert "Script: Concord Grid" in drawn.infotexts[0]
    assert 'Concord grid X values: "2, 3"' in drawn.infotexts[0]
    assert "Concord grid" not in "".join(drawn.infotexts[1:])


def test_a_setting_of_a_cell_does_not_leak(host):
    before = host.get("/sdapi/v1/options")
    drawn = grid(host, ("RNG", "CPU, NV"), ("Clip skip", "1, 2"))
    assert len({picture.tobytes() for picture in drawn.pictures[1:]}) == 4
    after = host.get("/sdapi/v1/options")
    for name in ("randn_source", "CLIP_stop_at_last_layers"):
        assert after[name] == before[name]


def test_text_and_seeds_and_batches(host):
    drawn = grid(host, ("Prompt S/R", "red, blue"), ("Seed", "3, 4"), batch_size=2)
    sheet, *pictures = drawn.pictures
    assert len(pictures) == 8
    assert all(holds(sheet, picture) for picture in pictures)
    assert np.abs(pictures[1].astype(int) - pictures[4]).max() <= 1, "seed 3's second image is seed 4's first"
    assert [text.split("\n")[0] for text in drawn.infotexts[1:5]] == ["a red circle"] * 2 + [
        "a blue circle"
    ] * 2


def test_dialects_in_a_grid_are_the_panels(host):
    drawn = grid(host, ("dialect", "a1111, concord"), prompt="a [red:blue:1] circle", steps=4)
    found = [re.findall("Concord prompt dialect: ([a-z0-9]+)", text) for text in drawn.infotexts[1:]]
    assert found == [["a1111"], ["concord"]]
    assert not np.array_equal(drawn.pictures[1], drawn.pictures[2])


def test_a_panel_has_the_value_of_its_cell(host):
    drawn = grid(host, ("Concord sigma multiply", "0.9, 1"), steps=4)
    found = [re.findall("Concord sigma multiply: ([0-9.]+)", text) for text in drawn.infotexts[1:]]
    assert found == [["0.9"], []]
    assert not np.array_equal(drawn.pictures[1], drawn.pictures[2])


def test_ours_and_the_hosts_are_compared(host):
    drawn = host.txt2img(
        **ASKED, script_name="Concord Compare", script_args=["Sampler", "Euler, dpmpp_2m, deis", 8, True]
    )
    sheet, *rest = drawn.pictures
    apart, pictures = rest[:2], rest[2:]
    assert len(pictures) == 3
    for shown, picture in zip(apart, pictures[1:], strict=True):
        levels = np.abs(picture.astype(int) - pictures[0])
        assert np.array_equal(shown, np.minimum(levels * 8, 255))
        assert holds(sheet, shown)
    assert all(holds(sheet, picture) for picture in pictures)
    assert 'Concord compare values: "Euler, dpmpp_2m, deis"' in drawn.infotexts[0]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("Concord Grid", ["Sampler", "eulr", *NONE, *NONE, True, 4, 0, *PLAIN], "unknown sampler 'eulr'"),
        ("Concord Grid", ["Hires steps", "1, 2", *NONE, *NONE, True, 4, 0, *PLAIN], "hires is off"),
        ("Concord Compare", ["Steps", "2", 8, True], "write two or more"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_drawn(host, name, arguments, said):
    with pytest.raises(RuntimeError, match=re.escape(said)):
        host.txt2img(**ASKED, script_name=name, script_args=arguments)
    assert host.calls() == []


def test_image_to_image(host):
    [first] = host.txt2img(**ASKED).files
    drawn = host.img2img(
        **ASKED,
        init_images=[base64.b64encode(first).decode()],
        script_name="Concord Grid",
        script_args=["Denoising strength", "0.3, 0.9", *NONE, *NONE, True, 4, 0, *PLAIN],
    )
    _, low, high = drawn.pictures
    assert not np.array_equal(low, high)
    assert json.dumps(drawn.infotexts).count("Denoising strength: 0.3") == 2
