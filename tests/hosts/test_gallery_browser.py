"""The gallery in a real browser, opened from the disk: speed, filters, zoom, comparison, keys, escaping, phone."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright", reason="playwright is not installed; pip install playwright")
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from sd_concord.core.gallery import GalleryAxis, GalleryCell, write_gallery

pytestmark = pytest.mark.hosts
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = {"width": 390, "height": 844}
SCREEN = {"width": 1360, "height": 860}
STEPS, SAMPLERS, SEEDS = (3, 5, 8, 20), ("Euler", "Euler a", "DPM++ 2M"), (7, 2**60)
WORKFLOW = json.dumps({"nodes": [], "version": 0.4})
NASTY = "</script><img src=x onerror='window.hacked=1'> \"q\" 'a' {x}\nsecond line שלום \u202e 日本 😀"
LOADED = "[...document.querySelectorAll('.tile img')].every((one) => one.complete && one.naturalWidth)"
TYPED = """async (words) => {
    const field = document.querySelector("#search");
    const start = performance.now();
    field.value = words;
    field.dispatchEvent(new Event("input"));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start;
}"""
TICKED = """async (i) => {
    const start = performance.now();
    document.querySelectorAll("#facets input[type=checkbox]")[i].click();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start;
}"""


def noise(path, size=96, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(cells).resize((size, size)).save(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A gallery of 24 pictures on three axes, one of them failed."""
    folder = tmp_path_factory.mktemp("a gallery #1") / "100% of it?"
    cells = []
    for z, seed in enumerate(SEEDS):
        for y, sampler in enumerate(SAMPLERS):
            for x, steps in enumerate(STEPS):
                name = f"pictures/{steps} # {y}-{z}.png"
                noise(folder / name, seed=100 * z + 10 * y + x)
                failed = "the model is gone" if (x, y, z) == (3, 2, 0) else None
                cells.append(
                    GalleryCell(
                        file=None if failed else name,
                        fields={
                            "Steps": steps,
                            "Sampler": sampler,
                            "Prompt": f"{sampler} cat in {steps} days",
                        },
                        infotext=f"{sampler} cat\nSteps: {steps}, Seed: {seed}",
                        position=(x, y, z),
                        failed=failed,
                        workflow=WORKFLOW if (x, y, z) == (0, 0, 0) else None,
                    )
                )
    axes = [
        GalleryAxis(name="steps", label="Steps", values=STEPS),
        GalleryAxis(name="sampler", label="Sampler", values=SAMPLERS),
        GalleryAxis(name="seed", label="Seed", values=SEEDS),
    ]
    return write_gallery(folder, title="Cats", axes=axes, cells=cells)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; install the package chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A page that may ask nobody for anything, and that makes no mistake."""
    context = browser.new_context(viewport=SCREEN, permissions=["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and problems.append(said.text))
    opened.on("request", lambda asked: asked.url.startswith("http") and problems.append(asked.url))
    yield opened
    context.close()
    assert not problems


@pytest.fixture
def cats(page, small):
    page.goto(small.as_uri())
    page.wait_for_function(LOADED)
    return page


def labels(page):
    """Return what the pictures in sight are called, by lines and columns."""
    return [one.get_attribute("aria-label") for one in page.locator(".row .tile").all()]


def count(page):
    return page.locator("#count").inner_text()


def facet(page, label):
    return page.locator(f"details[data-field='{label}']")


def tick(page, label, value):
    facet(page, label).locator(".choice", has=page.get_by_text(str(value), exact=True)).click()


def tile(page, words):
    return page.locator(f".tile[aria-label='{words}']")


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label')")


# Speed


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """A gallery of 1,000 pictures of 512 pixels, with thumbnails, long prompts and infotexts."""
    folder = tmp_path_factory.mktemp("thousand")
    noise(folder / "0.jpg", 512)
    write_gallery(folder, title="One", cells=[GalleryCell(file="0.jpg")])
    rng = np.random.default_rng(1)
    words = [f"word{i}" for i in range(400)]
    cells = []
    for i in range(1000):
        if i:
            os.link(folder / "0.jpg", folder / f"{i}.jpg")
            os.link(folder / "thumbnails" / "0.jpg.webp", folder / "thumbnails" / f"{i}.jpg.webp")
        prompt = ", ".join(rng.choice(words, 60))
        score = round(float(rng.random()), 4)
        fields = {
            "Prompt": prompt,
            "Seed": i,
            "CFG scale": (3.0, 4.5, 7.0)[i % 3],
            "Model": "abcd"[i % 4],
            "Score": score,
        }
        infotext = f"{prompt}\nNegative prompt: {prompt}\nSteps: 20, Seed: {i}"
        cells.append(
            GalleryCell(
                file=f"{i}.jpg", fields=fields, infotext=infotext, position=(i % 10, i // 10 % 10, i // 100)
            )
        )
    axes = [
        GalleryAxis(name=name, label=name, values=tuple(range(10))) for name in ("Steps", "Width", "Batch")
    ]
    return write_gallery(folder, title="A thousand", axes=axes, cells=cells)


def test_a_thousand_pictures_open_in_two_seconds(page, thousand):
    times = []
    while len(times) < 6 and min(times, default=2000) >= 2000:  # other programs run on the machine too
        page.goto(thousand.as_uri())
        page.wait_for_function(LOADED)
        times.append(page.evaluate("performance.now()"))
    assert min(times) < 2000, times
    assert count(page) == "1000 pictures"
    page.keyboard.press("l")
    assert page.locator(".tile").count() < 100, "pictures out of sight are on the page"


@pytest.mark.parametrize("view", ["g", "l"])
def test_a_filter_of_a_thousand_takes_a_tenth_of_a_second(page, thousand, view):
    page.goto(thousand.as_uri())
    page.keyboard.press(view)
    page.wait_for_function(LOADED)
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy():
        """Return the seconds that the page's thread has worked, which other programs do not lengthen."""
        found = cdp.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == "TaskDuration")

    acts = [(TYPED, "word7"), (TYPED, "word7 -word9"), (TYPED, ""), (TICKED, 0), (TICKED, 12), (TICKED, 0)]
    for act, given in acts:
        worked, took = [], []
        for _ in range(3):
            before = busy()
            took.append(page.evaluate(act, given))
            worked.append(1000 * (busy() - before))
        assert min(worked) < 100, (given, worked)
        if os.getloadavg()[0] < 1:
            assert min(took) < 100, (given, took)


# The grid


def test_the_grid_has_its_labels_and_pictures(cats):
    assert count(cats) == "24 pictures"
    assert cats.locator(".head").all_inner_texts() == ["3", "5", "8", "20"]
    assert cats.locator(".rowhead").all_inner_texts() == list(SAMPLERS)
    wanted = [f"Steps {x}, Sampler {y}, Seed 7" for y in SAMPLERS for x in STEPS]
    wanted[-1] += ": the model is gone"
    assert labels(cats) == wanted
    assert cats.get_by_role("grid", name="Pictures").get_attribute("aria-rowcount") == "4"


def test_pages_of_the_grid_are_turned(cats):
    cats.get_by_role("button", name="Seed: the next one").click()
    assert labels(cats)[0] == f"Steps 3, Sampler Euler, Seed {2**60}"
    cats.keyboard.press("[")
    assert labels(cats)[0] == "Steps 3, Sampler Euler, Seed 7"


def test_any_axis_lies_across_or_down(cats):
    cats.get_by_label("Across", exact=True).select_option(label="Seed")
    assert cats.locator(".head").all_inner_texts() == ["7", str(2**60)]
    cats.get_by_role("button", name="Swap across and down").click()
    assert cats.locator(".rowhead").all_inner_texts() == ["7", str(2**60)]
    assert cats.locator(".head").all_inner_texts() == list(SAMPLERS)
    cats.get_by_label("Across", exact=True).select_option(label="Seed")
    assert cats.locator(".rowhead").all_inner_texts() == list(SAMPLERS)


def test_labels_stay_in_sight(page, thousand):
    page.goto(thousand.as_uri())
    page.evaluate("document.querySelector('#scroller').scrollTo(900, 900)")
    page.wait_for_function(LOADED)
    box = page.locator("#scroller").bounding_box()
    assert page.locator(".heads").bounding_box()["y"] == box["y"]
    lefts = {round(one.bounding_box()["x"]) for one in page.locator(".rowhead").all()}
    assert lefts == {round(box["x"])}
    assert page.locator(".tile").first.get_attribute("aria-label") != "Steps 0, Width 0, Batch 0"


# Filters, search and order


def test_choices_of_a_field_add_up_and_of_two_fields_meet(cats):
    tick(cats, "Sampler", "Euler")
    assert count(cats) == "8 of 24"
    assert cats.locator(".rowhead").all_inner_texts() == ["Euler"]
    tick(cats, "Sampler", "DPM++ 2M")
    assert count(cats) == "16 of 24"
    tick(cats, "Steps", 8)
    assert count(cats) == "4 of 24"
    assert facet(cats, "Sampler").locator(".of").all_inner_texts() == ["2", "2", "2"]
    assert facet(cats, "Steps").locator(".of").all_inner_texts() == ["4", "4", "4", "4"]
    cats.get_by_role("button", name="Clear all").first.click()
    assert count(cats) == "24 pictures"


def test_the_failed_ones_are_found(cats):
    cats.get_by_label("Failed or missing").check()
    assert count(cats) == "1 of 24"
    expect(cats.locator(".problem")).to_have_text("the model is gone")
    cats.get_by_label("Drawn").check()
    assert count(cats) == "23 of 24"


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("cat", "24 pictures"),
        ("EULER 20", "4 of 24"),
        ("euler -a", "0 of 24"),
        ('"euler a cat"', "8 of 24"),
        ('euler -"euler a"', "8 of 24"),
        ("seed: 1152921504606846976", "12 of 24"),
        ("the model is gone", "1 of 24"),
        ("dog", "0 of 24"),
        ('"', "24 pictures"),
    ],
)
def test_words_are_searched(cats, search, found):
    cats.get_by_role("searchbox").fill(search)
    assert count(cats) == found
    assert cats.locator("#nothing").is_visible() == found.startswith("0")


def test_a_filter_turns_to_a_page_with_pictures(cats):
    cats.get_by_role("searchbox").fill(str(2**60))
    assert labels(cats)[0] == f"Steps 3, Sampler Euler, Seed {2**60}"


def test_numbers_have_a_range(page, thousand):
    page.goto(thousand.as_uri())
    facet(page, "Seed").locator("summary").click()
    page.get_by_label("Seed, from").fill("990")
    assert count(page) == "10 of 1000"
    page.get_by_label("Seed, to").fill("992.5")
    assert count(page) == "3 of 1000"


def test_the_list_is_sorted_by_any_field(cats):
    cats.keyboard.press("l")
    cats.get_by_label("Sort by").select_option(label="Steps")
    assert labels(cats)[:2] == ["Steps 3, Sampler Euler, Seed 7", "Steps 3, Sampler Euler a, Seed 7"]
    cats.get_by_role("button", name="Rising").click()
    assert labels(cats)[:2] == ["Steps 20, Sampler Euler, Seed 7", "Steps 20, Sampler Euler a, Seed 7"]
    cats.get_by_label("Sort by").select_option(label="Sampler")
    assert labels(cats)[0] == "Steps 3, Sampler DPM++ 2M, Seed 7"
    expect(cats.locator(".caption").first).to_contain_text("DPM++ 2M")


# One picture


def test_a_picture_opens_with_its_settings_and_the_next(cats):
    tile(cats, "Steps 5, Sampler Euler, Seed 7").click()
    panel = cats.locator(".panel")
    expect(panel).to_contain_text("Euler cat in 5 days")
    expect(panel.get_by_role("heading")).to_have_text("5 # 0-0.png")
    assert cats.locator(".picture-a").evaluate("(one) => one.complete && one.naturalWidth") == 96
    assert cats.locator(".place").inner_text() == "2 of 12"
    cats.keyboard.press("ArrowRight")
    expect(panel).to_contain_text("Euler cat in 8 days")
    cats.keyboard.press("ArrowDown")
    expect(panel).to_contain_text("Euler a cat in 8 days")
    cats.keyboard.press("Escape")
    assert focused(cats) == "Steps 8, Sampler Euler a, Seed 7"


def test_a_picture_is_made_larger_about_the_pointer(cats):
    tile(cats, "Steps 5, Sampler Euler, Seed 7").click()
    image = cats.locator(".picture-a")
    before = image.bounding_box()
    x, y = before["x"] + before["width"] / 4, before["y"] + before["height"] / 4
    cats.mouse.move(x, y)
    cats.mouse.wheel(0, -400)
    after = image.bounding_box()
    assert after["width"] > 1.5 * before["width"]
    assert (x - after["x"]) / after["width"] == pytest.approx(0.25, abs=0.01)
    cats.mouse.down()
    cats.mouse.move(x + 50, y + 20)
    cats.mouse.up()
    assert image.bounding_box()["x"] == pytest.approx(after["x"] + 50, abs=1)
    cats.keyboard.press("0")
    assert image.bounding_box() == before


def test_the_infotext_is_copied(cats):
    tile(cats, "Steps 5, Sampler Euler, Seed 7").click()
    cats.get_by_role("button", name="Copy infotext").click()
    expect(cats.locator("#toast")).to_have_text("Infotext copied")
    assert cats.evaluate("navigator.clipboard.readText()") == "Euler cat\nSteps: 5, Seed: 7"


def test_the_infotext_is_copied_without_the_browsers_leave(cats):
    cats.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tile(cats, "Steps 8, Sampler Euler, Seed 7").click()
    cats.get_by_role("button", name="Copy infotext").click()
    expect(cats.locator("#toast")).to_have_text("Infotext copied")
    cats.evaluate("document.querySelector('dialog').append(document.createElement('textarea'))")
    field = cats.locator("dialog textarea")
    field.focus()
    cats.keyboard.press("Control+v")
    assert field.input_value() == "Euler cat\nSteps: 8, Seed: 7"


def test_a_workflow_is_saved(cats):
    tile(cats, "Steps 3, Sampler Euler, Seed 7").click()
    with cats.expect_download() as saved:
        cats.get_by_role("button", name="Workflow").click()
    assert saved.value.suggested_filename == "3 # 0-0.json"
    assert json.loads(Path(saved.value.path()).read_text()) == json.loads(WORKFLOW)
    cats.keyboard.press("ArrowRight")
    assert not cats.get_by_role("button", name="Workflow").count()


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (None, "http://127.0.0.1:8188/#concord="),
        ("http://box:9000/comfy?x#y", "http://box:9000/comfy/#concord="),
        ("javascript:alert(1)", "http://127.0.0.1:8188/#concord="),
    ],
)
def test_settings_are_opened_in_comfyui(cats, address, wanted):
    cats.evaluate("window.open = (...given) => { window.opened = given; }")
    tile(cats, "Steps 5, Sampler Euler, Seed 7").click()
    if address:
        cats.get_by_text("Where ComfyUI is").click()
        cats.get_by_label("Address").fill(address)
        cats.get_by_label("Address").blur()
    cats.get_by_role("button", name="Open in ComfyUI").click()
    assert cats.evaluate("window.opened") == [
        f"{wanted}Euler%20cat%0ASteps%3A%205%2C%20Seed%3A%207",
        "concord-comfyui",
    ]


# Two pictures


@pytest.fixture
def pair(cats):
    """The comparison of two pictures, chosen by keyboard and by mouse."""
    tile(cats, "Steps 3, Sampler Euler, Seed 7").focus()
    cats.keyboard.press("c")
    other = cats.locator(".cell", has=tile(cats, "Steps 8, Sampler Euler a, Seed 7"))
    other.hover()
    other.locator(".mark").click()
    cats.get_by_role("button", name="Compare", exact=True).click()
    cats.wait_for_function("[...document.querySelectorAll('.picture')].every((one) => one.complete)")
    return cats


def shot(page):
    """Return the stage as it looks, int16 (H, W, 3)."""
    data = page.locator(".layers").screenshot(style=".handle, .name { opacity: 0 }")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


def test_a_slider_shows_one_picture_on_each_side(pair):
    both = shot(pair)
    handle = pair.get_by_role("slider", name="How much of picture A is seen")
    handle.focus()
    pair.keyboard.press("Home")
    b = shot(pair)
    pair.keyboard.press("End")
    a = shot(pair)
    half = both.shape[1] // 2
    assert np.abs(a - b).mean() > 5
    assert np.array_equal(both[:, : half - 30], a[:, : half - 30])
    assert np.array_equal(both[:, half + 30 :], b[:, half + 30 :])
    box = pair.locator(".stage").bounding_box()
    grip = handle.bounding_box()
    pair.mouse.move(grip["x"] + 8, grip["y"] + grip["height"] / 2)
    pair.mouse.down()
    pair.mouse.move(box["x"] + box["width"] / 4, grip["y"] + 200)
    pair.mouse.up()
    assert handle.get_attribute("aria-valuenow") == "25"


def test_a_difference_is_what_the_pixels_say(pair):
    pair.keyboard.press("Tab")
    pair.get_by_role("slider", name="How much").focus()
    pair.keyboard.press("End")
    a = shot(pair)
    pair.keyboard.press("Home")
    b = shot(pair)
    pair.get_by_role("button", name="Difference").click()
    pair.get_by_label("Brightness").fill("1")
    inside = np.s_[200:600, 350:700]
    assert np.abs(shot(pair)[inside] - np.abs(a - b)[inside]).max() <= 2
    pair.get_by_label("Brightness").fill("3")
    assert np.abs(shot(pair)[inside] - np.minimum(np.abs(a - b) * 3, 255)[inside]).max() <= 6


def test_space_shows_the_other_one(pair):
    pair.get_by_role("button", name="Difference").click()
    pair.locator(".panel").focus()
    before = shot(pair)
    pair.keyboard.down(" ")
    held = shot(pair)
    pair.keyboard.up(" ")
    assert np.abs(held - before).mean() > 5
    assert np.array_equal(shot(pair), before)


def test_side_by_side_both_move_together(pair):
    pair.get_by_role("button", name="Side by side").click()
    a, b = (pair.locator(f".picture-{one}").bounding_box() for one in "ab")
    assert a["width"] == b["width"]
    assert b["x"] > a["x"] + a["width"]
    pair.mouse.move(a["x"] + 20, a["y"] + 20)
    pair.mouse.wheel(0, -300)
    a2, b2 = (pair.locator(f".picture-{one}").bounding_box() for one in "ab")
    assert a2["width"] > a["width"]
    assert b2["x"] - a2["x"] == pytest.approx(b["x"] - a["x"], abs=1)


def test_what_differs_is_told(pair):
    rows = pair.locator(".panel tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["Steps", "3", "8"],
        ["Sampler", "Euler", "Euler a"],
        ["Prompt", "Euler cat in 3 days", "Euler a cat in 8 days"],
    ]
    assert pair.locator(".name bdi").all_inner_texts()[0].startswith("Steps 3 · Euler")
    pair.get_by_role("button", name="Swap", exact=True).click()
    assert pair.locator(".panel tbody td").first.inner_text() == "8"


def test_a_third_picture_takes_the_place_of_the_first(cats):
    for steps in (3, 5, 8):
        tile(cats, f"Steps {steps}, Sampler Euler, Seed 7").focus()
        cats.keyboard.press("c")
    titles = [one.get_attribute("title") for one in cats.locator(".chosen").all()]
    assert titles == [f"Steps {steps}, Sampler Euler, Seed 7" for steps in (5, 8)]
    cats.get_by_role("button", name="Choose none").click()
    assert cats.locator("#tray").is_hidden()


# Keyboard and screen readers


def test_arrows_move_between_pictures(cats):
    cats.keyboard.press("Tab")
    assert cats.evaluate("document.activeElement.className") == "skip"
    tile(cats, "Steps 3, Sampler Euler, Seed 7").focus()
    for key, wanted in (("ArrowRight", "5"), ("End", "20"), ("Home", "3")):
        cats.keyboard.press(key)
        assert focused(cats) == f"Steps {wanted}, Sampler Euler, Seed 7"
    cats.keyboard.press("ArrowDown")
    assert focused(cats) == "Steps 3, Sampler Euler a, Seed 7"
    assert cats.locator(".tile[tabindex='0']").count() == 1
    cats.keyboard.press("Enter")
    expect(cats.locator("#viewer")).to_be_visible()


def test_the_focus_goes_beyond_what_is_in_sight(page, thousand):
    page.goto(thousand.as_uri())
    page.keyboard.press("l")
    page.locator(".tile").first.focus()
    for _ in range(40):
        page.keyboard.press("ArrowDown")
    words = focused(page)
    assert page.locator(f".tile[aria-label='{words}']").is_visible()
    page.keyboard.press("Control+End")
    assert focused(page) == "Steps 9, Width 9, Batch 9"
    page.evaluate("document.querySelector('#scroller').scrollTo(0, 0)")
    page.locator(".tile[aria-label='Steps 0, Width 0, Batch 0']").wait_for()
    assert focused(page) == "Steps 9, Width 9, Batch 9", "the focus was lost in scrolling"


def test_keys_do_nothing_while_one_types(cats):
    cats.keyboard.press("/")
    cats.keyboard.type("lgc")
    assert cats.get_by_role("searchbox").input_value() == "lgc"
    assert cats.locator("#view-grid").get_attribute("aria-pressed") == "true"


def test_everything_that_can_be_used_has_a_name(cats):
    tile(cats, "Steps 3, Sampler Euler, Seed 7").click()
    nameless = cats.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a, [role=slider], dialog')].filter((one) =>
            !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.textContent.trim() ||
              one.closest('label')?.textContent.trim())).map((one) => one.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_their_ground(cats, theme):
    cats.emulate_media(color_scheme=theme)
    colours = cats.evaluate(
        """() => {
            const draw = document.createElement("canvas").getContext("2d");
            const rgb = (name) => {
                const one = document.createElement("i");
                one.style.color = `var(${name})`;
                document.body.append(one);
                draw.fillStyle = getComputedStyle(one).color;
                draw.fillRect(0, 0, 1, 1);
                one.remove();
                return [...draw.getImageData(0, 0, 1, 1).data].slice(0, 3);
            };
            const names = ["ink", "faint", "accent", "warm", "bad", "paper", "sheet", "raised"];
            return Object.fromEntries(names.map((one) => [one, rgb(`--${one}`)]));
        }"""
    )

    def light(colour):
        parts = [
            (c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colours[colour]
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for words in ("ink", "faint", "accent", "warm", "bad"):
        for ground in ("paper", "sheet", "raised"):
            lights = sorted((light(words), light(ground)))
            assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, (words, ground)


def test_light_and_dark_are_kept(cats, small):
    cats.keyboard.press("t")
    assert cats.evaluate("document.documentElement.dataset.theme") == "dark"
    cats.goto(small.as_uri())
    assert cats.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 22, 29)"


# Texts that are dangerous, and places that are narrow


def test_texts_are_texts(page, tmp_path):
    noise(tmp_path / "1.png")
    axis = GalleryAxis(name="p", label=NASTY, values=(NASTY, "other"))
    cells = [
        GalleryCell(file="1.png", fields={"Prompt": NASTY}, infotext=NASTY, position=(0,), workflow="{}"),
        GalleryCell(file=None, fields={"Prompt": "b"}, position=(1,), failed=NASTY),
    ]
    page.goto(write_gallery(tmp_path, title=NASTY, axes=[axis], cells=cells).as_uri())
    assert page.title().split() == NASTY.split()
    assert page.locator("h1").text_content() == NASTY
    page.keyboard.press("l")
    page.locator(".tile").first.click()
    assert page.locator(".panel pre").text_content() == NASTY
    page.keyboard.press("i")
    expect(page.locator("#toast")).to_have_text("Infotext copied")
    assert page.evaluate("navigator.clipboard.readText()") == NASTY
    assert page.evaluate("window.hacked") is None
    assert page.locator(".panel dd").first.evaluate("(one) => getComputedStyle(one).direction") == "ltr"


def test_right_to_left_runs_so(page, tmp_path):
    noise(tmp_path / "1.png")
    cells = [GalleryCell(file="1.png", fields={"Prompt": "חתול אדום"}, infotext="חתול אדום")]
    page.goto(write_gallery(tmp_path, title="קטלוג", cells=cells).as_uri())
    page.locator(".tile").first.click()
    for part in (".panel dd", ".panel pre"):
        assert page.locator(part).first.evaluate("(one) => getComputedStyle(one).direction") == "rtl"


def test_a_gallery_without_axes_or_pictures_is_one(page, tmp_path):
    page.goto(write_gallery(tmp_path / "a", title="None", cells=[]).as_uri())
    assert count(page) == "0 pictures"
    cells = [GalleryCell(file=None) for _ in range(3)]
    page.goto(write_gallery(tmp_path / "b", title="Three", cells=cells).as_uri())
    assert count(page) == "3 pictures"
    assert page.locator("#view-grid").is_disabled()
    page.locator(".tile").first.click()
    expect(page.locator(".missing")).to_have_text("not drawn yet")


def test_two_pictures_at_one_place_are_both_found(page, tmp_path):
    for i in range(2):
        noise(tmp_path / f"{i}.png", seed=i)
    axis = GalleryAxis(name="a", label="A", values=(1,))
    cells = [GalleryCell(file=f"{i}.png", position=(0,)) for i in range(2)]
    page.goto(write_gallery(tmp_path, title="t", axes=[axis], cells=cells).as_uri())
    page.locator(".tile[data-count='×2']").click()
    assert page.locator(".panel h2").inner_text() == "0.png"
    page.keyboard.press("ArrowRight")
    assert page.locator(".panel h2").inner_text() == "1.png"


def test_a_phone_shows_all_of_it(page, small):
    page.set_viewport_size(PHONE)
    page.goto(small.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.locator("#filters").is_hidden()
    page.get_by_role("button", name="Filters").click()
    tick(page, "Sampler", "Euler a")
    page.get_by_role("button", name="Close the filters").click()
    assert count(page) == "8 of 24"
    page.locator(".tile").first.click()
    stage = page.locator(".stage").bounding_box()
    assert stage["width"] == PHONE["width"]
    assert stage["height"] > 300
    assert page.locator(".viewer-bar").bounding_box()["width"] <= PHONE["width"]
    page.keyboard.press("c")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("c")
    assert page.locator(".viewer-bar").bounding_box()["height"] < 60, "the bar has more than one line"
    assert page.get_by_role("button", name="Close (Esc)").is_visible()
