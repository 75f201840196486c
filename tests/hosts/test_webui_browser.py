"""The web UI in a real browser, over real Forge: panels open, typed prompts are explained, a picture fills fields."""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed; pip install playwright")
pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoint")
from PIL import Image, PngImagePlugin
from playwright.sync_api import expect, sync_playwright

pytestmark = pytest.mark.hosts
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 90_000
PROMPT = "masterpiece, a (red:1.3) [cat:dog:0.5] on a table, " + "very detailed, " * 14 + "BREAK the (night"
NEGATIVE = "blurry AND bad hands, [ugly"
INFOTEXT = (
    "a (red:1.2) circle [left:right:0.5]\nNegative prompt: dog\nSteps: 7, Sampler: Euler, Schedule type: Karras, "
    "CFG scale: 4, Seed: 77, Size: 64x64, Concord prompt dialect: concord, Concord sigma multiply: 0.95, "
    "ADetailer model: face, ADetailer confidence: 0.45, ADetailer dilate erode: 6, ADetailer mask blur: 5, "
    "ADetailer denoising strength: 0.3, ADetailer inpaint only masked: True, ADetailer inpaint padding: 24, "
    "ADetailer version: 25.3.0, Version: f2.0.1"
)


@pytest.fixture(scope="module")
def page(forge):
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; install the package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
        opened.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        opened.goto(forge.url)
        opened.locator("#txt2img_prompt textarea").wait_for()
        yield opened
        browser.close()


def keep(page, name, locator=None):
    """Save a picture of a part of the page where the environment asks for it."""
    folder = os.environ.get("CONCORD_KEEP_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(600)
        (locator or page).screenshot(path=Path(folder) / f"{name}.png")


def open_panel(page, name):
    panel = page.locator(f"#concord_txt2img_{name}")
    panel.scroll_into_view_if_needed()
    inside = panel.locator("> div").last
    if not inside.is_visible():
        panel.locator("> button").click()
        inside.wait_for(state="visible")
    return panel


def type_prompts(page, prompt, negative):
    page.locator("#txt2img_prompt textarea").fill(prompt)
    page.locator("#txt2img_neg_prompt textarea").fill(negative)


def test_what_is_typed_is_explained(page):
    panel = open_panel(page, "explain")
    type_prompts(page, PROMPT, NEGATIVE)
    counts = panel.locator(".edge")
    expect(counts).to_have_count(3)
    expect(panel.locator("h4").first).to_contain_text("tokens")
    assert [text.partition("/")[2] for text in counts.all_inner_texts()] == ["75"] * 3
    expect(panel.locator("img")).to_have_count(1)
    expect(panel.locator(".warning").first).to_be_visible()
    keep(page, "webui-explain", panel)


def test_the_count_follows_the_typing(page):
    panel = open_panel(page, "explain")
    type_prompts(page, "one two three", "")
    expect(panel.locator(".edge").first).to_have_text("3/75")
    type_prompts(page, "one two three four", "")
    expect(panel.locator(".edge").first).to_have_text("4/75")


def test_the_explanation_is_in_the_dialect_chosen(page):
    panel = open_panel(page, "explain")
    type_prompts(page, "masterpiece:1.4", "")
    expect(panel.locator(".warning")).to_have_count(1)
    open_panel(page, "prompt")
    choose(page, "concord")
    expect(panel.locator(".warning")).to_have_count(0)
    choose(page, "host")


def choose(page, dialect):
    field = page.locator("#concord_txt2img_prompt_dialect input")
    field.click()
    page.get_by_role("option", name=dialect, exact=True).click()


def test_a_picture_fills_our_fields(page, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", INFOTEXT)
    file = tmp_path / "picture.png"
    Image.new("RGB", (64, 64), "gray").save(file, pnginfo=info)
    page.get_by_role("tab", name="PNG Info").click()
    page.locator("#pnginfo_image input[type=file]").first.set_input_files(file)
    expect(page.locator("#tab_pnginfo")).to_contain_text("Concord prompt dialect")
    page.locator("#tab_pnginfo #txt2img_tab").click()
    expect(page.locator("#txt2img_prompt textarea")).to_have_value("a (red:1.2) circle [left:right:0.5]")
    expect(page.locator("#concord_txt2img_prompt_dialect input")).to_have_value("concord")
    expect(page.locator("#concord_txt2img_sigmas_factor input[type=number]")).to_have_value("0.95")
    expect(page.locator("#txt2img_steps input[type=number]")).to_have_value("7")
    panel = open_panel(page, "detailer")
    expect(page.locator("#concord_txt2img_detailer_1_confidence input[type=number]")).to_have_value("0.45")
    keep(page, "webui-detailer", panel)
