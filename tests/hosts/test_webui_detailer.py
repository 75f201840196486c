"""Concord Detailer in the real A1111 and Forge: faces of the embedded model found by a trained detector and redrawn."""

import base64
import io

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoint")
from detector_training import is_trained, trained_detector
from miniatures import golden_checkpoint
from PIL import Image
from sd_concord.core.detailer import Scene, load_detector, plan_unit, unit_from_args
from sd_concord.core.image import Generation, parse_infotext
from webui_host import DEMO_MODEL

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not is_trained(), reason="there is no trained detector yet; CONCORD_TRAIN=1 trains one"
    ),
]
REQUEST = {
    "prompt": "a face",
    "steps": 8,
    "width": 128,
    "height": 128,
    "cfg_scale": 4.0,
    "sampler_name": "Euler a",
    "scheduler": "Karras",
    "seed": 4,
}
UNIT = {
    "ad_model": "faces.pt",
    "ad_model_classes": "face",
    "ad_confidence": 0.5,
    "ad_denoising_strength": 0.5,
    "ad_mask_blur": 2,
    "ad_inpaint_only_masked_padding": 16,
}
REACH = 2 + 5 + 2
"""Pixels beyond a box that its mask reaches: grown by 2, blurred over 5, and what is left of the rounding."""


@pytest.fixture(params=["forge", "a1111"], scope="module")
def host(request):
    webui = request.getfixturevalue(request.param)
    folder = webui.folder / "models" / "adetailer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faces.pt").write_bytes(trained_detector().read_bytes())
    webui.use_model(DEMO_MODEL)
    detailed(webui)
    if "need ultralytics" in webui.log():
        pytest.skip(f"{webui.kind}'s interpreter has no ultralytics; pip install --no-deps ultralytics")
    return webui


def asked(*units, title="Concord Detailer", more=()):
    return {"alwayson_scripts": {title: {"args": [True, False, *more, *units]}}}


def detailed(webui, *units, **given):
    return webui.txt2img(**REQUEST | asked(*(units or (UNIT,))) | given)


def pasted(webui, text, **given):
    """Draw what an infotext says; Forge's API cannot read lists from one, so these are the request's own."""
    lists = {"styles": [], "hr_additional_modules": ["Use same choices"]}
    return webui.txt2img(infotext=text, **(lists if webui.kind == "forge" else {}), **given)


def faces(picture):
    return load_detector(trained_detector(), "face", 0.5)(picture).boxes


def outside(picture):
    """Return where no mask reaches, bool (H, W)."""
    kept = np.ones(picture.shape[:2], bool)
    for x1, y1, x2, y2 in faces(picture):
        kept[max(int(y1) - REACH, 0) : int(y2) + REACH + 1, max(int(x1) - REACH, 0) : int(x2) + REACH + 1] = (
            False
        )
    return kept


def gap(first, second):
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@pytest.fixture(scope="module")
def plain(host):
    return host.txt2img(**REQUEST).pictures[0]


@pytest.fixture(scope="module")
def redrawn(host):
    return detailed(host)


def test_the_face_is_redrawn_and_nothing_else(plain, redrawn):
    [picture] = redrawn.pictures
    kept = outside(plain)
    assert (~kept).sum() > 500
    assert np.array_equal(picture[kept], plain[kept])
    assert gap(picture, plain) > 40
    assert len(faces(picture)) == 1


def test_the_infotext_has_the_keys_of_adetailer(redrawn):
    [text] = redrawn.infotexts
    for key in (
        "ADetailer model: faces.pt",
        "ADetailer model classes: face",
        "ADetailer confidence: 0.5",
        "ADetailer denoising strength: 0.5",
        "ADetailer inpaint padding: 16",
        "Concord detailer found: 1",
    ):
        assert key in text
    [unit] = parse_infotext(text).detailer
    assert (unit.model, unit.mask_blur, unit.found) == ("faces.pt", 2, 1)


def test_it_answers_to_adetailers_name_too(host, redrawn):
    again = host.txt2img(**REQUEST | asked(UNIT, title="ADetailer"))
    assert np.array_equal(again.pictures[0], redrawn.pictures[0])
    bare = host.txt2img(**REQUEST, alwayson_scripts={"ADetailer": {"args": [UNIT]}})
    assert np.array_equal(bare.pictures[0], redrawn.pictures[0])


def test_an_infotext_pasted_in_is_the_same_request(host):
    units = (
        UNIT | {"ad_prompt": "a face, [PROMPT]", "ad_use_steps": True, "ad_steps": 6},
        UNIT | {"cycle": 2},
    )
    first = detailed(host, *units)
    again = pasted(host, first.infotexts[0])
    assert np.array_equal(first.pictures[0], again.pictures[0])
    assert first.infotexts == again.infotexts


def test_a_batch_of_three_is_three_pictures(host):
    together = detailed(host, batch_size=3, seed=2)
    for i, picture in enumerate(together.pictures):
        alone = detailed(host, seed=2 + i)
        assert gap(picture, alone.pictures[0]) <= 1
        assert len(faces(picture)) == len(faces(alone.pictures[0]))
    assert all("Concord detailer found: 1" in text for text in together.infotexts)


def test_nothing_of_a_unit_is_left_for_the_next_request(host, plain):
    before = host.get("/sdapi/v1/options")
    own = {
        "ad_use_clip_skip": True,
        "ad_clip_skip": 2,
        "ad_use_sampler": True,
        "ad_sampler": "DPM++ 2M",
        "ad_scheduler": "Exponential",
        "ad_use_checkpoint": True,
        "ad_checkpoint": DEMO_MODEL,
        "ad_use_vae": True,
        "ad_vae": "None",
        "ad_use_noise_multiplier": True,
        "ad_noise_multiplier": 1.05,
        "noise_mask": True,
        "noise_mask_feather": 4,
    }
    [drawn] = detailed(host, UNIT | own).pictures
    kept = outside(plain)
    assert np.array_equal(drawn[kept], plain[kept])
    assert gap(drawn, plain) > 20
    assert host.get("/sdapi/v1/options") == before
    assert np.array_equal(host.txt2img(**REQUEST).pictures[0], plain)


def test_a_detector_that_is_not_there_keeps_the_picture_and_says_so(host, plain):
    [picture] = detailed(host, UNIT | {"ad_model": "hands.pt"}).pictures
    assert np.array_equal(picture, plain)
    assert "there is no detector 'hands.pt'" in host.log()


def axis_request(host, label, values):
    """Return the arguments of the host's X/Y/Z plot over one axis of the detailer."""
    [info] = [
        one
        for one in host.get("/sdapi/v1/script-info")
        if one["name"] == "x/y/z plot" and not one["is_img2img"]
    ]
    args = [one.get("value") for one in info["args"]]
    labels = [one["label"] for one in info["args"]]
    kinds = info["args"][labels.index("X type")]["choices"]
    for axis in ("X", "Y", "Z"):
        args[labels.index(f"{axis} type")] = 0
        args[labels.index(f"{axis} values")] = ""
    args[labels.index("X type")] = kinds.index(label)
    args[labels.index("X values")] = values
    args[labels.index("Draw legend")] = False  # which wants an older Pillow than the hosts have here
    args[labels.index("Include Sub Images")] = True
    args[labels.index("Use text inputs instead of dropdowns")] = True
    return {"script_name": "x/y/z plot", "script_args": args}


def test_an_axis_takes_effect(host, plain):
    label = "[Concord Detailer] Denoising strength 1st"
    drawn = detailed(host, **axis_request(host, label, "0.3, 0.7"))
    cells = [one for one in drawn.pictures if one.shape == plain.shape][-2:]
    for picture, strength in zip(cells, (0.3, 0.7), strict=True):
        [alone] = detailed(host, UNIT | {"ad_denoising_strength": strength}).pictures
        assert np.array_equal(picture, alone)
    assert gap(*cells) > 10


def test_an_axis_turns_on_what_it_needs(host, plain):
    drawn = detailed(host, **axis_request(host, "[Concord Detailer] Steps 1st", "4, 12"))
    cells = [one for one in drawn.pictures if one.shape == plain.shape][-2:]
    [alone] = detailed(host, UNIT | {"ad_use_steps": True, "ad_steps": 12}).pictures
    assert np.array_equal(cells[1], alone)
    assert gap(*cells) > 10


SAME = {"hr_sampler_name": "Euler a", "hr_scheduler": "Karras"}
"""What the hosts' own API reads wrongly from an infotext, as the words of the page."""
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 4, "denoising_strength": 0.3}


@pytest.mark.parametrize("upscaler", ["Lanczos", "Latent"])
def test_it_can_work_before_the_second_pass(host, upscaler):
    hires = HIRES | {"hr_upscaler": upscaler}
    before = host.txt2img(**REQUEST | hires | asked(UNIT, more=(True,)))
    without = host.txt2img(**REQUEST | hires)
    after = host.txt2img(**REQUEST | hires | asked(UNIT))
    assert before.pictures[0].shape == (192, 192, 3)
    assert "Concord detailer before hires: True" in before.infotexts[0]
    assert "Concord detailer found: 1" in before.infotexts[0]
    assert gap(before.pictures[0], without.pictures[0]) > 20
    assert gap(before.pictures[0], after.pictures[0]) > 10
    assert np.array_equal(pasted(host, before.infotexts[0], **SAME).pictures[0], before.pictures[0])


def test_the_dialect_of_prompts_holds_in_the_passes_too(host, redrawn):
    def drawn(dialect, prompt):
        scripts = asked(UNIT | {"ad_prompt": prompt})["alwayson_scripts"]
        return host.txt2img(
            **REQUEST | {"alwayson_scripts": {**scripts, "Concord Prompt": {"args": [dialect]}}}
        ).pictures[0]

    assert gap(drawn("a1111", ""), redrawn.pictures[0]) <= 2
    prompt = "[a face:a blue square:0.5]"
    assert gap(drawn("a1111", prompt), drawn("host", prompt)) <= 2
    assert gap(drawn("concord", prompt), drawn("host", prompt)) > 2  # the host switches one call later


def test_img2img_can_be_left_out(host, plain):
    file = io.BytesIO()
    Image.fromarray(plain).save(file, "png")
    args = {"alwayson_scripts": {"ADetailer": {"args": [True, True, UNIT]}}}
    drawn = host.img2img(
        **REQUEST
        | {"init_images": [base64.b64encode(file.getvalue()).decode()], "denoising_strength": 0.4}
        | args
    )
    kept = outside(plain)
    assert np.array_equal(drawn.pictures[0][kept], plain[kept])
    assert gap(drawn.pictures[0], plain) > 20
    record = parse_infotext(drawn.infotexts[0])
    assert (record.steps, record.size) == (8, (128, 128))


def test_reforge_redraws_what_a_detector_says(reforge):
    """ReForge does not know the embedded model; the golden one draws no faces, so what is most like one will do."""
    reforge.add_golden_model(golden_checkpoint())
    folder = reforge.folder / "models" / "adetailer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faces.pt").write_bytes(trained_detector().read_bytes())
    request = REQUEST | {"width": 64, "height": 64, "steps": 3}
    unit = UNIT | {"ad_confidence": 0.0, "ad_mask_k": 1, "ad_mask_max_ratio": 0.3}
    [plain] = reforge.txt2img(**request).pictures
    drawn = reforge.txt2img(**request | asked(unit))
    if "need ultralytics" in reforge.log():
        pytest.skip("reForge's interpreter has no ultralytics; pip install --no-deps ultralytics")
    found = load_detector(trained_detector(), "face", 0.0)(plain)
    scene = Scene(picture=Generation(seed=4, steps=3, cfg=4.0, sampler="euler_ancestral", size=(64, 64)))
    [run] = plan_unit(found, unit_from_args(unit), scene)
    changed = (drawn.pictures[0] != plain).any(axis=2)
    assert changed.sum() > 50
    assert not changed[run.overlay.full() == 0].any()
    assert "Concord detailer found: 1" in drawn.infotexts[0]
    assert np.array_equal(reforge.txt2img(**request).pictures[0], plain)
