"""Concord Grid with a plan, seeds, recipes and a gallery in the real A1111, Forge and reForge."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from miniatures import golden_checkpoint
from PIL import Image
from sd_concord.core.image import read_image_info
from webui_host import DEMO_MODEL

pytestmark = pytest.mark.hosts
BARE = ["Nothing", ""] * 3 + [True, 4, 0]
ASKED = {"prompt": "a red circle", "steps": 2, "width": 64, "height": 64, "seed": 3, "cfg_scale": 3}


@pytest.fixture
def host(webui):
    if webui.kind == "reforge":
        webui.add_golden_model(golden_checkpoint())
    else:
        webui.use_model(DEMO_MODEL)
    return webui


def run(host, plan, *, seeds="", **more):
    """Return the host's answer as the API has it, and its ``info``."""
    body = {**ASKED, **more, "script_name": "Concord Grid", "script_args": [*BARE, plan, seeds, True]}
    host.post("/concord-probe/forget", {})
    answer = host.post("/sdapi/v1/txt2img", body)
    return answer, json.loads(answer["info"])


def table(page):
    return json.loads(
        page.with_name("cells.js").read_text(encoding="ascii").partition(" = ")[2].removesuffix(";\n")
    )


def page_of(info):
    return Path(info["extra_generation_params"]["Concord Grid gallery"])


def test_a_plan_draws_what_single_requests_draw_and_leaves_a_gallery(host, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("x: sampler=euler,dpmpp_2m\ny: {steps: [2, 3]}\ncfg: 4\nout: nowhere\n", encoding="utf-8")
    answer, info = run(host, str(plan), seeds="2")
    page = page_of(info)
    assert page.is_file()
    assert f"the gallery is {page}" in host.log()
    found = table(page)
    assert [axis["label"] for axis in found["axes"]] == ["Sampler", "Steps", "Seed"]
    assert len(found["cells"]) == 8
    assert len(answer["images"]) == 2 + 8
    for cell in found["cells"]:
        assert not cell[5], cell[5]
        x, y, seed = cell[4]
        alone = host.txt2img(
            **{**ASKED, "cfg_scale": 4.0, "seed": 3 + seed, "steps": 2 + y},
            sampler_name=("Euler", "DPM++ 2M")[x],
        )
        with Image.open(page.parent / cell[0]) as picture:
            assert np.array_equal(np.asarray(picture), alone.pictures[0])
        assert cell[6] == alone.infotexts[0].replace("CFG scale: 4.0", "CFG scale: 4"), "the API has floats"
        assert read_image_info(page.parent / cell[0]).seed == 3 + seed
    picture = Image.open(io.BytesIO(base64.b64decode(answer["images"][2])))
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(page.parent / found["cells"][0][0])))


def test_an_axis_of_recipes_varies_the_settings_and_its_cards_are_heard_once(host):
    if host.kind == "reforge":
        pytest.skip("reForge does not know the embedded model")
    _, info = run(host, "x: recipe=none,ays-draft,lcm\ny: cfg=3,6\nseeds: 2")
    texts = [cell[6] for cell in table(page_of(info))["cells"][:3]]
    assert ["Concord recipe: " in text for text in texts] == [False, True, True]
    assert "Steps: 2, Sampler: Euler" in texts[0]
    assert "Steps: 12, Sampler: DPM++ 2M, Schedule type: Align Your Steps" in texts[1]
    assert "Steps: 5, Sampler: LCM, Schedule type: SGM Uniform" in texts[2]
    assert host.log().count("CFG is 6, but common advice is: LCM with CFG 1 to 1.5") == 1


def test_a_recipe_switches_the_hires_pass_on(host):
    if host.kind == "reforge":
        pytest.skip("reForge does not know the embedded model")
    plan = "x: recipe=none,rouwei-eps\nsize: 64\nsteps: 2\nprompt: a red circle"
    _, info = run(host, plan)
    none, hires = (cell[6] for cell in table(page_of(info))["cells"])
    assert "Hires" not in none
    assert "Denoising strength: 0.6" in hires
    assert "Hires upscale: 1.5, Hires upscaler: Latent" in hires
    assert "Hires CFG Scale: 1," not in hires


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("x: stepz=1", "did you mean steps"),
        ("x: cfg=1\nsteps: many", "'many' is not accepted"),
        ("{", "is no JSON"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_anything_is_drawn(host, plan, said):
    with pytest.raises(RuntimeError, match=said):
        run(host, plan)
    assert host.calls() == []
