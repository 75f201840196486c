"""The page in a real browser: the menu, marks in prompt boxes, and pictures of the web UIs that become graphs."""

import base64
import io
import json
import os
import re
import shutil
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed; pip install playwright")
pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
from comfy_host import PACK
from PIL import Image, PngImagePlugin
from playwright.sync_api import sync_playwright
from sd_concord.core.image import Generation, format_infotext, parse_infotext, read_image_info, save_image

pytestmark = pytest.mark.hosts
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
INFOTEXT = (
    "a (red:1.2) circle [left:right:0.5]\nNegative prompt: dog\nSteps: 3, Sampler: DPM++ 2M, Schedule type: Karras, "
    "CFG scale: 4, Seed: 7, Size: 64x64, Model: mini-sd15, Denoising strength: 0.6, Hires upscale: 2, "
    "Hires upscaler: Latent, Version: v1.9.4"
)
LONG = "masterpiece, best quality, (red:1.3) cat [by day:by night:0.5], " + "very detailed, sharp, 8k, " * 9
READY = "window.app?.extensionManager && window.app.graph && document.querySelector('#graph-canvas')"
NEW_NODE = """([kind, size]) => {
    const { app, LiteGraph } = window;
    app.graph.clear();
    const node = LiteGraph.createNode(kind);
    node.pos = [60, 60];
    app.graph.add(node);
    node.setSize(size);
    Object.assign(app.canvas.ds, { scale: 1.3 });
    app.canvas.ds.offset = [60, 60];
    app.graph.setDirtyCanvas(true, true);
}"""
DROP = """([data, name, type]) => {
    const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    const event = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
    document.querySelector("#graph-canvas").dispatchEvent(event);
}"""
READ = """async ([url, data, type]) => {
    const { infotextOf } = await import(url);
    const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    return infotextOf(new File([bytes], "picture", { type }));
}"""
EMPTY = """async () => {
    const { app } = window;
    const { toast, workflow, sidebarTab } = app.extensionManager;
    toast.removeAll();
    sidebarTab.activeSidebarTabId = null;
    await app.loadGraphData({ version: 0.4, nodes: [], links: [], groups: [], last_node_id: 0, last_link_id: 0 });
    for (const one of workflow.openWorkflows.filter((one) => one !== workflow.activeWorkflow)) {
        await workflow.closeWorkflow(one);
    }
    Object.assign(app.canvas.ds, { scale: 1 });
    app.canvas.ds.offset = [0, 0];
}"""
KINDS = "window.app.graph.nodes.map((node) => node.type).sort()"
LOADED = ["CheckpointLoaderSimple", "ConcordHires", "ConcordSampler", "ConcordSaveImage"]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; install the package chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser, comfy, checkpoints):
    """ComfyUI's page, past its greeting."""
    done = json.dumps({"Comfy.TutorialCompleted": True}).encode()
    request = urllib.request.Request(f"{comfy.url}/settings", done, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()
    page = browser.new_page(viewport={"width": 1500, "height": 950})
    page.set_default_timeout(30_000)
    page.goto(comfy.url)
    page.wait_for_function(READY)
    page.wait_for_function("window.app.graph.nodes.length > 0")
    return page


@pytest.fixture
def page(opened):
    """The page with an empty graph in a single tab, and nothing open over it."""
    opened.keyboard.press("Escape")
    opened.evaluate(EMPTY)
    return opened


def keep(page, name):
    """Save a picture of the page where the environment asks for it."""
    folder = os.environ.get("CONCORD_KEEP_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(600)
        page.screenshot(path=Path(folder) / f"{name}.png")


def prompt_box(page, kind="ConcordTextEncode", size=(460, 520)):
    page.evaluate(NEW_NODE, [kind, list(size)])
    field = page.locator(".concord-field textarea").first
    field.wait_for()
    return field


def strip_says(page, said, timeout=30_000):
    page.locator(".concord-strip", has_text=said).first.wait_for(timeout=timeout)


def png(text=None, **chunks):
    info = PngImagePlugin.PngInfo()
    for name, value in ({"parameters": text} if text else {} | chunks).items():
        info.add_text(name, value)
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def drop(page, data, name="old.png", kind="image/png"):
    page.evaluate(DROP, [base64.b64encode(data).decode(), name, kind])


def wait_for_kinds(page, kinds):
    page.wait_for_function(f"kinds => JSON.stringify({KINDS}) === JSON.stringify(kinds)", arg=kinds)


# The menu


def test_the_search_finds_the_nodes(page):
    page.mouse.dblclick(700, 500)
    page.locator(".comfy-vue-node-search-container input").first.wait_for()
    page.keyboard.type("Concord")
    page.locator("li", has_text="Concord Sampler").first.wait_for()
    keep(page, "search")


def test_the_node_library_has_a_folder_of_them(page):
    page.keyboard.press("n")
    folder = page.locator(".p-tree-node", has_text=re.compile(r"^Concord\d*$")).first
    folder.wait_for()
    folder.click()
    page.locator(".p-tree-node", has_text=re.compile("^prompt")).first.wait_for()
    keep(page, "library")


def test_the_command_opens_a_picture(page, tmp_path):
    path = tmp_path / "old.png"
    path.write_bytes(png(INFOTEXT))
    page.locator(".comfyui-logo").first.click()
    page.locator(".p-tieredmenu-item", has_text="File").first.hover()
    item = page.get_by_text("Open A1111 image as Concord workflow").first
    item.wait_for()
    keep(page, "menu")
    with page.expect_file_chooser() as chooser:
        item.click()
    chooser.value.set_files(path)
    wait_for_kinds(page, LOADED)


# Prompt boxes


def test_the_counter_counts_as_one_types(page):
    field = prompt_box(page)
    strip_says(page, "0/75")
    field.type("a red cat")
    strip_says(page, "3/75")
    field.fill(LONG + "(open")
    strip_says(page, "/150")
    strip_says(page, "2 texts over the steps")
    strip_says(page, "this bracket is never closed")
    assert page.locator(".concord-mirror .edge").count() == 1
    assert "red" in page.locator(".concord-mirror .weighted").all_inner_texts()
    assert page.locator(".concord-mirror .warned").inner_text() == "("
    keep(page, "marks")


def test_marks_lie_behind_the_words_they_mean(page):
    field = prompt_box(page, size=(420, 560))
    field.fill(LONG)
    strip_says(page, "/150")
    heights = page.evaluate(
        "() => ['.concord-field textarea', '.concord-mirror'].map((one) => document.querySelector(one).scrollHeight)"
    )
    assert abs(heights[0] - heights[1]) <= 4


def test_a_click_on_a_warning_selects_its_place(page):
    field = prompt_box(page)
    field.fill("a cat, (dog")
    page.locator(".concord-strip .warning").click()
    assert field.evaluate("(one) => one.value.slice(one.selectionStart, one.selectionEnd)") == "("


def test_a_change_of_dialect_is_followed(page):
    field = prompt_box(page)
    field.fill("[a:b:0.5]")
    strip_says(page, "1/75")
    page.evaluate(
        "() => { const node = window.app.graph.nodes[0]; const widget = node.widgets.find((one) => one.name === "
        "'dialect'); widget.setValue('comfyui', { e: {}, node, canvas: window.app.canvas }); }"
    )
    strip_says(page, "9/75")


def test_the_sampler_has_both_prompts_counted(page):
    prompt_box(page, "ConcordSampler", (420, 1000))
    fields = page.locator(".concord-field textarea")
    assert fields.count() == 2
    fields.nth(0).fill("a b AND c")
    fields.nth(1).fill("a b AND c")
    page.locator(".concord-strip", has_text="2 + 1").or_(
        page.locator(".concord-strip", has_text="2 AND 1")
    ).wait_for()
    page.locator(".concord-strip", has_text="4/75").wait_for()


def test_a_slow_server_does_not_hold_up_typing(page):
    field = prompt_box(page)
    strip_says(page, "0/75")

    def slow(route):
        time.sleep(1)
        route.continue_()

    page.route("**/concord/explain", slow)
    start = time.monotonic()
    field.type("one two three four")
    assert time.monotonic() - start < 8
    assert field.input_value() == "one two three four"
    strip_says(page, "4/75")
    page.unroute("**/concord/explain")


def test_a_server_that_is_gone_is_waited_for(page):
    field = prompt_box(page)
    strip_says(page, "0/75")
    page.route("**/concord/explain", lambda route: route.abort())
    field.fill("a cat")
    strip_says(page, "no answer from the server")
    page.unroute("**/concord/explain")
    strip_says(page, "2/75")


def test_a_workflow_is_saved_and_loaded_as_without_marks(page, comfy):
    field = prompt_box(page)
    field.fill("a (cat:1.2)")
    page.evaluate("async () => { const { app } = window; await app.loadGraphData(app.graph.serialize()); }")
    kept = page.evaluate("window.app.graph.serialize().nodes[0].widgets_values")
    assert kept == page.evaluate("window.app.graph.nodes[0].widgets.map((widget) => widget.value)")
    assert kept[0] == "a (cat:1.2)"
    node = comfy.object_info()["ConcordTextEncode"]["input_order"]
    widgets = page.evaluate("window.app.graph.nodes[0].widgets.map((widget) => widget.name)")
    assert widgets == [name for name in (*node["required"], *node["optional"]) if name != "clip"]
    strip_says(page, "2/75")


def test_marks_move_with_the_text(page):
    moved = page.evaluate(
        """async (url) => {
            const { moved } = await import(url);
            const marks = { chunks: [], warnings: [], weights: [{ start: 0, end: 1 }, { start: 4, end: 6 }] };
            return moved({ text: "a bbcc", marks }, "a XbbYcc").weights;
        }""",
        f"/extensions/{PACK}/prompt_marks.js",
    )
    assert moved == [{"start": 0, "end": 1}, {"start": 6, "end": 8}]


# Pictures


def test_a_dropped_picture_becomes_a_graph_that_makes_it(page, comfy):
    before = set(comfy.get("/history"))
    drop(page, png(INFOTEXT))
    wait_for_kinds(page, LOADED)
    page.locator(".concord-strip", has_text="tokens").first.wait_for()
    keep(page, "dropped")
    page.get_by_test_id("queue-button").locator("button").first.click()
    end = time.monotonic() + 200
    while not (made := set(comfy.get("/history")) - before):
        assert time.monotonic() < end, "nothing was finished"
        time.sleep(0.3)
    [done] = [comfy.get(f"/history/{one}")[one] for one in made]
    assert done["status"]["status_str"] == "success"
    [image] = [image for output in done["outputs"].values() for image in output.get("images", ())]
    page.wait_for_timeout(800)
    keep(page, "finished")
    path = comfy.folder / image["type"] / image["subfolder"] / image["filename"]
    assert Image.open(path).size == (128, 128)
    found, wanted = read_image_info(path), parse_infotext(INFOTEXT)
    for name in ("prompt", "negative_prompt", "steps", "sampler", "scheduler", "cfg", "seed", "size"):
        assert getattr(found, name) == getattr(wanted, name)
    assert found.hires is not None
    assert found.hires.upscale == 2


REFINED = ", Refiner: mini-sd15, Refiner switch at: 0.7"


def test_every_pass_of_a_picture_is_in_the_graph(page):
    drop(page, png(f"{INFOTEXT}{REFINED}, ADetailer model: face, ADetailer confidence: 0.5"), name="all.png")
    kinds = ["ConcordDetailer", "ConcordDetailerUnit", "ConcordDetectorLoader", "ConcordRefiner"]
    wait_for_kinds(page, sorted([*LOADED, *kinds, "CheckpointLoaderSimple"]))
    keep(page, "every-pass")
    assert page.evaluate(
        "window.app.graph.nodes.every((node) => (node.inputs ?? []).every(one => !one.link || "
        "window.app.graph.links.get(one.link)?.target_id === node.id))"
    )


def test_a_graph_with_a_refiner_runs(page, comfy):
    drop(page, png(INFOTEXT + REFINED))
    wait_for_kinds(page, sorted([*LOADED, "ConcordRefiner", "CheckpointLoaderSimple"]))
    graph = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    assert comfy.queue(graph).pictures[-1].shape == (128, 128, 3)


def test_what_it_leaves_out_is_said(page):
    drop(page, png(INFOTEXT.replace("mini-sd15", "gone")))
    page.locator(".p-toast", has_text="gone.safetensors").wait_for()
    wait_for_kinds(page, sorted([*LOADED, "Note"]))
    keep(page, "notes")


def test_a_picture_with_a_graph_of_its_own_is_the_pages(page):
    prompt_box(page)
    graph = page.evaluate("JSON.stringify(window.app.graph.serialize())")
    drop(page, png(parameters=INFOTEXT, workflow=graph), name="own.png")
    wait_for_kinds(page, ["ConcordTextEncode"])
    page.wait_for_function("window.app.extensionManager.workflow.activeWorkflow?.filename === 'own'")


def test_a_picture_without_anything_is_the_pages(page):
    prompt_box(page)
    drop(page, png(), name="nothing.png")
    page.locator(".p-toast", has_text="nothing.png").wait_for()
    assert page.evaluate(KINDS) == ["ConcordTextEncode"]


def test_a_text_without_settings_is_said_to_have_none(page):
    prompt_box(page)
    drop(page, png("just a few words"), name="words.png")
    page.locator(".p-toast", has_text="words.png: the text has no settings").wait_for()


RECORD = Generation(
    prompt="a cat, 日本 😀", negative_prompt="dog", steps=20, sampler="euler", seed=3, size=(64, 64)
)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".avif"])
def test_the_page_reads_what_the_core_writes(page, tmp_path, ending):
    path = save_image(tmp_path / f"picture{ending}", Image.new("RGB", (64, 64), "red"), RECORD)
    found = page.evaluate(
        READ,
        [
            f"/extensions/{PACK}/infotext.js",
            base64.b64encode(path.read_bytes()).decode(),
            f"image/{ending[1:]}",
        ],
    )
    assert found == {"text": format_infotext(RECORD), "hasGraph": False}


def exif(comment):
    block = Image.Exif()
    block.get_ifd(0x8769)[0x9286] = comment
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG", exif=block)
    return file.getvalue()


def compressed(name):
    info = PngImagePlugin.PngInfo()
    if name == "zTXt":
        info.add_text("parameters", INFOTEXT, zip=True)
    else:
        info.add_itxt("parameters", INFOTEXT, zip=True)
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(compressed("zTXt"), INFOTEXT, id="zTXt"),
        pytest.param(compressed("iTXt"), INFOTEXT, id="iTXt"),
        pytest.param(
            exif(b"UNICODE\0" + INFOTEXT.encode("utf-16-le")), INFOTEXT, id="UTF-16, low byte first"
        ),
        pytest.param(exif(b"ASCII\0\0\0" + INFOTEXT.encode()), INFOTEXT, id="ASCII"),
        pytest.param(png(INFOTEXT)[:60], "", id="cut"),
        pytest.param(b"", "", id="empty"),
        pytest.param(exif(b"UNICODE\0")[:40], "", id="cut EXIF"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\xff" * 40, "", id="broken"),
    ],
)
def test_the_page_reads_other_forms_and_survives_broken_ones(page, data, text):
    given = [f"/extensions/{PACK}/infotext.js", base64.b64encode(data).decode(), "image/png"]
    assert page.evaluate(READ, given)["text"] == text


# A gallery's "Open in ComfyUI"


def address(text):
    return f"#concord={urllib.parse.quote(text)}"


def test_the_address_of_a_gallery_opens_a_graph_beside_the_one_of_before(browser, opened, comfy):
    page = browser.new_page(viewport={"width": 1500, "height": 950})
    page.set_default_timeout(30_000)
    page.goto(f"{comfy.url}/{address(INFOTEXT)}")
    page.wait_for_function(READY)
    wait_for_kinds(page, LOADED)
    assert "#" not in page.url
    workflows = "window.app.extensionManager.workflow.openWorkflows.length"
    before = page.evaluate(workflows)
    page.evaluate("(hash) => { location.hash = hash; }", address(INFOTEXT + REFINED))
    wait_for_kinds(page, sorted([*LOADED, "ConcordRefiner", "CheckpointLoaderSimple"]))
    assert page.evaluate(workflows) == before + 1
    keep(page, "from-a-gallery")
    page.close()


def test_an_address_without_settings_is_said_to_have_none(page):
    page.evaluate("(hash) => { location.hash = hash; }", address("just words"))
    page.locator(".p-toast", has_text="the text has no settings").wait_for()
    page.evaluate("() => { location.hash = '#concord=%E0%A4%A'; }")
    assert page.evaluate(KINDS) == []
