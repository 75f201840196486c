"""Infotexts of the command line and ComfyUI pasted into the real A1111, Forge and reForge: the same request again."""

import base64
import io
import re
import shutil
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from miniatures import golden_checkpoint
from PIL import Image, PngImagePlugin
from sd_concord.core.image import (
    ConcordSettings,
    DetailerUnit,
    Generation,
    Hires,
    Refiner,
    SamplerOptions,
    Variation,
    format_infotext,
    parse_infotext,
    save_image,
)
from stock_graph import STOCK_INFOTEXT, save_stock_picture
from webui_host import DEMO_MODEL

pytestmark = pytest.mark.hosts

PLAIN = Generation(
    prompt="a (red:1.2) circle",
    negative_prompt="blurry",
    steps=4,
    sampler="dpmpp_2m",
    scheduler="karras",
    cfg=4,
    seed=11,
    size=(128, 128),
    rng="CPU",
)
RECORDS = {
    "plain": PLAIN,
    "noise": replace(
        PLAIN,
        sampler="euler_ancestral",
        scheduler="sgm_uniform",
        ensd=31337,
        clip_skip=2,
        sampler_options=SamplerOptions(eta=0.8),
    ),
    "variation": replace(PLAIN, variation=Variation(seed=5, strength=0.3)),
    "hires": replace(
        PLAIN,
        size=(64, 64),
        denoising_strength=0.6,
        hires=Hires(upscale=2, steps=3, upscaler="Latent", sampler="heun", scheduler="exponential"),
    ),
    "a sampler of ours": replace(PLAIN, sampler="seeds_2", scheduler="bong_tangent"),
    "options of ours": replace(
        PLAIN,
        sampler="er_sde",
        concord=ConcordSettings(dialect="concord", sigma_multiply=0.97, sampler_options=(("max_stage", 2),)),
    ),
}
OVERRIDDEN = ("randn_source", "CLIP_stop_at_last_layers", "eta_noise_seed_delta", "eta_ancestral", "emphasis")
"""Settings that the infotexts override; a host keeps those that were never set before."""
NOT_ASKED = {"source", "version", "model", "extras"}


@pytest.fixture
def host(webui):
    if webui.kind == "reforge":
        webui.add_golden_model(golden_checkpoint())
    else:
        webui.use_model(DEMO_MODEL)
    now = webui.get("/sdapi/v1/options")
    webui.post("/sdapi/v1/options", {name: now[name] for name in OVERRIDDEN})
    return webui


def draw(host, text):
    """Draw what an infotext asks for, as the page does when one is pasted.

    The API does not call back when it takes an infotext, so that names are given to it as they come back, and Forge
    fails on the list of styles and has a hires CFG of 1 unless a request says so itself.
    """
    found = parameters(host, text)
    names = {"sampler_name": found["Sampler"], "scheduler": found["Schedule type"]}
    more = {"styles": [], "hr_cfg": 4} if host.kind == "forge" else {}
    return host.txt2img(infotext=text, **names, **more)


def parameters(host, text):
    """What the host fills its fields from when a picture with ``text`` is dropped in its page for that."""
    file = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return host.post("/sdapi/v1/png-info", {"image": base64.b64encode(file.getvalue()).decode()})[
        "parameters"
    ]


def set_fields(record, prefix=""):
    """Path → value of what a record says."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in NOT_ASKED or value is None or value == ():
            continue
        if is_dataclass(value):
            found |= set_fields(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


@pytest.mark.parametrize("name", RECORDS)
def test_an_infotext_of_ours_is_the_same_request_again(host, name):
    record = RECORDS[name]
    drawn = draw(host, format_infotext(record))
    found = set_fields(parse_infotext(drawn.infotexts[0]))
    asked = set_fields(record)
    assert {path: found.get(path) for path in asked} == asked


@pytest.mark.parametrize("name", ["plain", "noise", "variation", "hires"])
def test_it_is_the_command_lines_picture(host, name):
    """Within what rounding of timesteps and the order of sums leave, as without pasting."""
    if host.kind == "reforge":
        pytest.skip("reForge does not know the embedded model")
    harness = pytest.importorskip("sd_concord.harness", reason="diffusers is not installed, which draws it")
    record = replace(RECORDS[name], concord=ConcordSettings(profile=host.kind))
    [wanted] = harness.Pipeline.load().generate(record)
    [found] = draw(host, format_infotext(wanted.generation)).pictures
    assert np.abs(found.astype(int) - wanted.image).mean() < 1


@pytest.mark.parametrize(
    ("label", "written", "wanted"),
    [
        ("Sampler", "dpmpp_2m", "DPM++ 2M"),
        ("Sampler", "concord_euler", "Euler (Concord)"),
        ("Sampler", "bong", "bong"),
        ("Schedule type", "sgm_uniform", "SGM Uniform"),
        ("Hires sampler", "euler_ancestral", "Euler a"),
        ("Hires schedule type", "karras", "Karras"),
        ("ADetailer sampler 2nd", "heun", "Heun"),
    ],
)
def test_names_of_comfyui_become_the_hosts(host, label, written, wanted):
    line = {"Steps": "4", "Sampler": "Euler", "Seed": "1", "CFG scale": "4", label: written}
    found = parameters(host, "a\n" + ", ".join(f"{key}: {value}" for key, value in line.items()))
    assert found[label] == wanted


def test_what_is_not_a_name_reaches_the_host_as_it_was_written(host):
    record = replace(
        RECORDS["hires"],
        refiner=Refiner(model="demo", switch_at=0.7),
        detailer=(
            DetailerUnit(model="face.pt", confidence=0.4, colour_match=0.5),
            DetailerUnit(model="hand.pt"),
        ),
    )
    found = parameters(host, format_infotext(record))
    for key, value in {
        "Refiner": "demo",
        "Refiner switch at": "0.7",
        "ADetailer model": "face.pt",
        "ADetailer model 2nd": "hand.pt",
        "Concord detailer colour match": "0.5",
        "Hires upscaler": "Latent",
        "Hires upscale": "2",
        "Hires CFG Scale": "4",
        "Denoising strength": "0.6",
        "RNG": "CPU",
        "Size-1": "64",
    }.items():
        assert found[key] == value, key


def test_a_picture_file_of_ours_is_read_by_the_host(host, tmp_path):
    path = save_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8), PLAIN)
    answer = host.post("/sdapi/v1/png-info", {"image": base64.b64encode(path.read_bytes()).decode()})
    assert answer["info"] == format_infotext(PLAIN)
    assert answer["parameters"]["Sampler"] == "DPM++ 2M"


def test_the_page_is_served(host):
    labels = [one.get("props", {}).get("elem_id") for one in host.get("/config")["components"]]
    assert {"concord_paste_settings", "concord_paste_txt2img", "concord_paste_img2img"} <= set(labels)
    assert {f"concord_{tab}_grid_x" for tab in ("txt2img", "img2img")} <= set(labels)


def test_a_comfyui_picture_is_read_by_the_page_and_sent_on(host, tmp_path):
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; pip install playwright"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium; install the package chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(90_000)
        api.expect.set_options(timeout=90_000)
        page.goto(host.url)
        prompt = page.locator("#txt2img_prompt textarea")
        prompt.wait_for()
        page.locator("#tabs > .tab-nav button", has_text=re.compile("^ *Concord *$")).click()
        page.locator("#tab_concord input[type=file]").set_input_files(save_stock_picture(tmp_path / "a.png"))
        settings = page.locator("#concord_paste_settings textarea")
        api.expect(settings).to_have_value(re.compile(f"^{re.escape(STOCK_INFOTEXT)}"))
        page.locator("#concord_paste_txt2img").click()
        api.expect(prompt).to_have_value("a red circle")
        api.expect(page.locator("#txt2img_steps input[type=number]")).to_have_value("12")
        api.expect(page.locator("#txt2img_sampling input")).to_have_value("DPM++ 2M")
        api.expect(page.locator("#txt2img_neg_prompt textarea")).to_have_value("bad")
        browser.close()
