"""Concord Reproduce in the real web UIs: other hosts' recorded pictures drawn again on their model, and its own."""

import json
import shutil

import pytest
from golden import golden_dir
from golden_checkpoint import golden_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file
from sd_concord.core.image import parse_infotext
from webui_drawn_as import drawn_as, redrawn
from webui_host import DEMO_MODEL, GOLDEN_MODEL

pytestmark = [pytest.mark.hosts, pytest.mark.golden]
WEB_UI = [
    *("000-euler-karras", "004-euler-a-uniform", "010-dpmpp-2m-sde-karras", "102-edit-int", "098-break"),
    *("094-weights", "108-and", "114-long-150", "130-clip-skip-2-weights", "116-empty-negative"),
    *("134-batch-3-ancestral", "184-hires-latent-nearest-exact", "186-hires-lanczos-2x", "196-img2img-0.6"),
    *("074-ddim-automatic", "142-cfg-1-and"),
]
COMFYUI = ["4", "84", "86", "94", "102", "112", "118", "148", "162", "164", "204"]
INPAINTED = [
    *("208-inpaint-whole-noise", "210-inpaint-masked-noise", "212-inpaint-fill-invert"),
    "214-inpaint-masked-blur-0",
]
BETWEEN_LEVELS = [("a1111", "186-hires-lanczos-2x")]
"""A value of the first pass lies between two levels: cut to the other one, it leaves 98 % of the second equal."""
OF_A1111 = ["216-inpaint-euler-a-batch"]
"""Forge draws noise for the whole batch there, and no text says of which one."""
CASES = [(by, one) for by in ("forge", "a1111") for one in (*WEB_UI, *INPAINTED)]
CASES += [("a1111", one) for one in OF_A1111]
CASES += [("comfyui", one) for one in COMFYUI]


@pytest.fixture(scope="module", params=["forge", "a1111"])
def host(request):
    webui = request.getfixturevalue(request.param)
    webui.add_golden_model(golden_checkpoint())
    yield webui
    webui.use_model("demo.safetensors")


def recorded(by, name):
    """The files of a recorded request, the picture that it begins with, and its mask."""
    folder = golden_dir("pictures") / by
    if not (folder / "latents.npz").is_file() or not list(folder.glob("*.png")):
        pytest.skip("the recorded pictures are not there; point CONCORD_GOLDEN at a folder that has them")
    index = json.loads((folder / "index.json").read_text())
    entries = index["pictures" if by == "comfyui" else "entries"]
    entry = next(one for one in entries if str(one["id"]) == name)
    files = [folder / file for file in entry["files"]]
    init = entry.get("request", {}).get("init_images")
    if init:
        mask = entry["request"].get("mask")
        inputs = golden_dir("pictures") / "inputs"
        return files, inputs / init[0], inputs / mask if mask else None
    loads = (
        [
            node["inputs"]["image"]
            for node in json.loads(files[0].with_name(f"{int(name):03d}.json").read_text()).values()
            if node["class_type"] == "LoadImage"
        ]
        if by == "comfyui"
        else []
    )
    return files, folder / "input" / loads[0] if loads else None, None


@pytest.mark.parametrize(("by", "name"), CASES, ids=[f"{by}-{name}" for by, name in CASES])
def test_a_recorded_picture_is_drawn_again(host, by, name):
    files, init, mask = recorded(by, name)
    for file in files:
        drawn = redrawn(host, file, init_image=init, mask=mask)
        enough = "at most 1 of 255" if (by, name) in BETWEEN_LEVELS else "same: "
        assert enough in drawn.said, drawn.said
        assert f"profile {by}" in drawn.said


REQUEST = {
    "prompt": "portrait of an old sailor, (blue coat:1.2)",
    "negative_prompt": "text",
    "steps": 6,
    "width": 64,
    "height": 64,
    "cfg_scale": 5.0,
    "seed": 91,
    "sampler_name": "Euler a",
    "scheduler": "Karras",
    "override_settings": {"randn_source": "CPU"},  # "GPU" is the CPU's without a card, and no text says so
}
OURS = {  # sampler and schedule, "ours" for what stands beside one of the host's
    "schedule beside the host's": ("Euler a", "ours:beta"),
    "schedule that no web UI has": ("Euler a", "ours:beta57"),
    "sampler beside the host's": ("ours:ddim_timesteps", "Karras"),
    "sampler that no web UI has": ("ours:ddim", "Karras"),
    "both": ("ours:dpmpp_2m_sde", "ours:align_your_steps"),
}


def label(host, kind, name):
    """The host's label of ours called ``name``."""
    if not name.startswith("ours:"):
        return name
    name = name.removeprefix("ours:")
    listed = host.get(f"/sdapi/v1/{kind}")
    names = (f"concord_{name}", name)
    for wanted in names:
        for one in listed:
            if wanted in (one.get("label") and one["name"], *(one.get("aliases") or ())):
                return one.get("label") or one["name"]
    raise AssertionError(f"{names} are not among the {kind}")


def saved(folder, drawn):
    """The file of the one picture of a request."""
    [file] = drawn.files
    path = folder / "own.png"
    path.write_bytes(file)
    return path


@pytest.mark.parametrize(("sampler", "schedule"), OURS.values(), ids=OURS)
def test_what_is_drawn_by_ours_in_the_host_is_drawn_again(host, tmp_path, sampler, schedule):
    named = {
        "sampler_name": label(host, "samplers", sampler),
        "scheduler": label(host, "schedulers", schedule),
    }
    again = redrawn(host, saved(tmp_path, host.txt2img(**REQUEST | named)))
    assert again.said.startswith("same: "), (named, again.said)
    assert f"profile {host.kind}" in again.said


@pytest.fixture(scope="module")
def refiner(host):
    """A second checkpoint of the same shape."""
    path = host.models / "second.safetensors"
    if not path.exists():
        weights = load_file(host.models / GOLDEN_MODEL)
        name = "model.diffusion_model.out.2.bias"
        weights[name] = weights[name] + 0.05
        save_file(weights, path)
        shutil.copy((host.models / GOLDEN_MODEL).with_suffix(".yaml"), path.with_suffix(".yaml"))
        host.post("/sdapi/v1/refresh-checkpoints", {})
    return path.name


@pytest.mark.parametrize("hires", [False, True], ids=["one pass", "hires"])
def test_a_refiner_takes_over_as_in_the_host(host, refiner, tmp_path, hires):
    asked = {"refiner_checkpoint": refiner, "refiner_switch_at": 0.5}
    second = {
        "enable_hr": True,
        "hr_scale": 1.5,
        "hr_upscaler": "Latent",
        "denoising_strength": 0.6,
        "hr_prompt": "",
        "hr_negative_prompt": "",
    }
    if host.kind == "forge":
        second["hr_cfg"] = 5.0
    drawn = host.txt2img(**REQUEST | asked | (second if hires else {}))
    assert "Refiner: second" in drawn.infotexts[0]
    host.use_model(GOLDEN_MODEL)
    again = redrawn(host, saved(tmp_path, drawn))
    assert again.said.startswith("same: "), again.said
    assert parse_infotext(again.infotexts[0]).model.name == GOLDEN_MODEL.removesuffix(".safetensors")
    plain = redrawn(host, saved(tmp_path, host.txt2img(**REQUEST)))
    assert plain.said.startswith("same: "), plain.said


def test_a_detailer_works_as_its_panel_does(host, tmp_path):
    """The embedded model draws faces that the detector needs no file for."""
    host.use_model(DEMO_MODEL)
    try:
        face = {"prompt": "a face", "width": 128, "height": 128, "steps": 8, "seed": 4, "cfg_scale": 4.0}
        unit = {"ad_model": "face", "ad_confidence": 0.01, "ad_denoising_strength": 0.5, "ad_mask_blur": 2}
        asked = {"alwayson_scripts": {"Concord Detailer": {"args": [True, False, unit]}}}
        drawn = host.txt2img(**REQUEST | face | asked)
        found = parse_infotext(drawn.infotexts[0]).detailer[0].found
        again = redrawn(host, saved(tmp_path, drawn))
    finally:
        host.use_model(GOLDEN_MODEL)
    assert found
    assert again.said.startswith("same: "), again.said


def test_a_mask_in_the_tab_paints_there_alone(host, tmp_path):
    text = "a cat\nSteps: 4, Sampler: Euler, CFG scale: 5, Seed: 3, Size: 64x64, Denoising strength: 0.8, "
    Image.new("RGB", (64, 64), (200, 90, 40)).save(tmp_path / "grey.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    mask.save(tmp_path / "mask.png")
    given = {"init_image": tmp_path / "grey.png", "mask": tmp_path / "mask.png"}
    [picture] = drawn_as(host, f"{text}Mask blur: 0, Version: v1.9.4", **given).pictures
    assert (picture[:, :32] == (200, 90, 40)).all()
    assert not (picture[:, 32:] == (200, 90, 40)).all()
