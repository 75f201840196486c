"""The example workflows, help pages and translations in the real ComfyUI: listed, served, queued and drawn."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
import numpy as np
from comfy_examples import EXAMPLES, JUGGERNAUT, SD15, SDXL, SDXL_REFINER, STOCK, V_PREDICTION
from comfy_host import PACK, ComfyHost, Graph
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_concord.comfy_nodes.litegraph import SEEDS, WIDGETS, described
from sd_concord.core.image import Generation, ModelRef, read_image_info, save_image

pytestmark = pytest.mark.hosts
TINY = {
    SD15: "mini-sd15.safetensors",
    SDXL: "mini-sdxl.safetensors",
    SDXL_REFINER: "mini-sdxl.safetensors",
    V_PREDICTION: "mini-sdxl-v.safetensors",
    JUGGERNAUT: "mini-sdxl.safetensors",
}
SMALL = {"width": 64, "height": 64, "inpaint_width": 64, "inpaint_height": 64, "steps": 3, "batch_size": 1}
"""The most that a widget of each of these names may hold here."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READY = "window.app?.extensionManager && window.app.graph && window.app.graph.nodes.length > 0"
OPENED = """async (flow) => {
    await window.app.loadGraphData(flow, true, true);
    const heights = window.app.graph.nodes.map((one) => [one.type, one.computeSize()[1], one.size[1]]);
    return [(await window.app.graphToPrompt()).output, heights];
}"""
TITLES = """() => Object.entries(window.LiteGraph.registered_node_types)
    .filter(([name]) => /^Concord(?!Probe)/.test(name)).map(([name, kind]) => [name, kind.title])"""
RECORD = Generation(
    prompt="a (red:1.2) fox",
    seed=11,
    steps=3,
    cfg=5.0,
    sampler="Euler a",
    scheduler="Automatic",
    size=(64, 96),
    model=ModelRef(name="mini-sd15"),
)


@pytest.fixture(scope="module")
def described_nodes(comfy: ComfyHost) -> dict[str, Any]:
    return comfy.object_info()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; install the package chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def set_up(comfy: ComfyHost, **settings: Any) -> None:
    """Change settings of the page."""
    body = json.dumps({f"Comfy.{name}": value for name, value in settings.items()}).encode()
    request = urllib.request.Request(f"{comfy.url}/settings", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()


def opened(comfy: ComfyHost, browser: Any) -> Any:
    """Return ComfyUI's page, ready."""
    page = browser.new_page(viewport={"width": 1800, "height": 1000})
    page.set_default_timeout(60_000)
    page.goto(comfy.url)
    page.wait_for_function(READY)
    return page


def api_form(flow: dict[str, Any], nodes: dict[str, Any]) -> Graph:
    """Return a workflow as the page queues it: values by name, in the order in which ComfyUI declares inputs."""
    graph = Graph()
    links = {link[0]: [str(link[1]), link[2]] for link in flow["links"]}
    for node in flow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        values = dict(named_values(node, nodes[node["type"]]))
        wires = {one["name"]: links[one["link"]] for one in node["inputs"] if one["link"] is not None}
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": values | wires}
    return graph


def named_values(node: dict[str, Any], declared: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the widgets' values by name; raises where there are more or fewer than widgets."""
    waiting = list(node["widgets_values"])
    for part in ("required", "optional"):
        for name in declared["input_order"].get(part, ()):
            kind, *more = declared["input"][part][name]
            if not isinstance(kind, list) and kind not in WIDGETS:
                continue
            yield name, waiting.pop(0)
            if name in SEEDS or (more and more[0].get("control_after_generate")):
                assert waiting.pop(0) == "fixed"
    assert not waiting, node["type"]


def made_small(graph: Graph) -> None:
    """Put the small models, sizes and steps in, and a detector that finds a thing where nothing is."""
    for key, node in graph.items():
        if node["class_type"] == "ConcordDetectorLoader":
            graph[key] = {"class_type": "ConcordProbeBoxes", "inputs": {"boxes": "[[16, 16, 56, 64]]"}}
        for name, value in list(node["inputs"].items()):
            if name == "ckpt_name":
                node["inputs"][name] = TINY[value]
            elif name == "own":
                node["inputs"][name] = "size=64x64, steps=3, hires.steps=2"
            elif name in SMALL and not isinstance(value, list):
                node["inputs"][name] = min(value, SMALL[name])


def fetched(comfy: ComfyHost, path: str) -> bytes:
    with urllib.request.urlopen(comfy.url + urllib.parse.quote(path), timeout=60) as answer:
        return answer.read()


def test_the_page_lists_and_serves_them_with_their_pictures(comfy: ComfyHost) -> None:
    assert set(comfy.get("/workflow_templates")[PACK]) == set(EXAMPLES)
    for name in EXAMPLES:
        flow = json.loads(fetched(comfy, f"/api/workflow_templates/{PACK}/{name}.json"))
        assert flow["version"] == 0.4
        assert fetched(comfy, f"/api/workflow_templates/{PACK}/{name}.jpg").startswith(b"\xff\xd8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_workflow_draws(
    comfy: ComfyHost, checkpoints: tuple[str, ...], described_nodes: dict[str, Any], name: str
) -> None:
    save_image(comfy.folder / "input" / "picture.png", np.full((96, 64, 3), 90, np.uint8), RECORD)
    flow = json.loads(fetched(comfy, f"/api/workflow_templates/{PACK}/{name}.json"))
    graph = api_form(flow, described_nodes)
    made_small(graph)
    done = comfy.queue(graph)
    [saver] = [key for key, node in graph.items() if node["class_type"] == "ConcordSaveImage"]
    [file] = done.outputs[saver]["images"]
    path = comfy.folder / "output" / file["subfolder"] / file["filename"]
    record = read_image_info(path)
    assert record.prompt
    assert record.seed is not None
    assert all(picture.std() > 1 for picture in done.pictures if picture.shape != (96, 64, 3))
    if name.startswith(("8-", "9-")):
        assert (record.prompt, record.seed, record.size) == (RECORD.prompt, RECORD.seed, RECORD.size)


def told_of(comfy: ComfyHost, nodes: dict[str, Any], picture: Path) -> str:
    """Return what the workflow that draws ``picture`` again says of it."""
    shutil.copy(picture, comfy.folder / "input" / "picture.png")
    flow = json.loads(fetched(comfy, f"/api/workflow_templates/{PACK}/9-reproduce-from-a-picture.json"))
    graph = api_form(flow, nodes)
    for node in graph.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node["inputs"]["ckpt_name"] = TINY[SD15]
    [compared] = [key for key, node in graph.items() if node["class_type"] == "ConcordSamePicture"]
    return comfy.queue(graph).outputs[compared]["text"][0]


def test_a_picture_of_our_nodes_is_drawn_again(
    comfy: ComfyHost, checkpoints: tuple[str, ...], described_nodes: dict[str, Any]
) -> None:
    flow = json.loads(fetched(comfy, f"/api/workflow_templates/{PACK}/1-text-to-image-as-a1111.json"))
    graph = api_form(flow, described_nodes)
    made_small(graph)
    done = comfy.queue(graph)
    [saver] = [key for key, node in graph.items() if node["class_type"] == "ConcordSaveImage"]
    [file] = done.outputs[saver]["images"]
    path = comfy.folder / "output" / file["subfolder"] / file["filename"]
    words = told_of(comfy, described_nodes, path)
    assert words.startswith("same: 100.00% of values equal, at most 0 of 255 levels apart (profile a1111)")


def test_a_picture_of_stock_nodes_is_drawn_again(
    comfy: ComfyHost, checkpoints: tuple[str, ...], described_nodes: dict[str, Any], tmp_path: Path
) -> None:
    graph = Graph()
    loader = graph.add("CheckpointLoaderSimple", ckpt_name=TINY[SD15])
    graph.sample(loader, "a (red:1.3) fox", size=64, steps=3, sampler_name="dpmpp_2m_sde", scheduler="beta")
    [picture] = comfy.queue(graph).pictures
    info = PngInfo()
    info.add_text("prompt", json.dumps(graph))
    Image.fromarray(picture).save(tmp_path / "a.png", pnginfo=info)
    words = told_of(comfy, described_nodes, tmp_path / "a.png")
    assert words.startswith("same: ")
    assert "(profile comfyui)" in words
    Image.fromarray(np.roll(picture, 1, 0)).save(tmp_path / "b.png", pnginfo=info)
    assert told_of(comfy, described_nodes, tmp_path / "b.png").startswith("differs: ")


def test_stock_nodes_are_as_the_workflows_take_them(described_nodes: dict[str, Any]) -> None:
    for name, stub in STOCK.items():
        real, ours = described_nodes[name], described(stub)
        order = [one for part in ("required", "optional") for one in real["input_order"].get(part, ())]
        assert list(ours.inputs) == order, name
        assert [kind for _, kind in ours.outputs] == real["output"], name


def test_every_node_has_its_help_page_and_names_in_three_languages(
    comfy: ComfyHost, described_nodes: dict[str, Any]
) -> None:
    nodes = {name: one for name, one in described_nodes.items() if name.startswith("Concord")}
    nodes = {name: one for name, one in nodes.items() if not name.startswith("ConcordProbe")}
    words = comfy.get("/i18n")
    for name, one in nodes.items():
        assert fetched(comfy, f"/extensions/{PACK}/docs/{name}.md").startswith(b"# ")
        inputs = {*one["input"].get("required", {}), *one["input"].get("optional", {})}
        for language in ("en", "zh", "ja"):
            told = words[language]["nodeDefs"][name]
            assert told["display_name"]
            assert set(told["inputs"]) == inputs
            assert len(told["outputs"]) == len(one["output"])


def test_the_page_queues_a_workflow_with_the_same_values(
    comfy: ComfyHost, checkpoints: tuple[str, ...], browser: Any, described_nodes: dict[str, Any]
) -> None:
    set_up(comfy, TutorialCompleted=True)
    page = opened(comfy, browser)
    for name in EXAMPLES:
        flow = json.loads(fetched(comfy, f"/api/workflow_templates/{PACK}/{name}.json"))
        queued, heights = page.evaluate(OPENED, flow)
        cramped = [kind for kind, needed, height in heights if needed > height]
        assert not cramped, name
        found = {key: {part: one[part] for part in ("class_type", "inputs")} for key, one in queued.items()}
        for one in found.values():
            if one["class_type"] == "PreviewAny":
                del one["inputs"]["preview"]  # the page's own, for what it shows
        assert found == api_form(flow, described_nodes), name
    page.close()


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_the_page_shows_the_nodes_names_in_its_language(
    comfy: ComfyHost, browser: Any, language: str
) -> None:
    set_up(comfy, TutorialCompleted=True, Locale=language)
    page = opened(comfy, browser)
    try:
        titles = dict(page.evaluate(TITLES))
    finally:
        set_up(comfy, Locale="en")
        page.close()
    words = comfy.get("/i18n")[language]["nodeDefs"]
    assert titles == {name: one["display_name"] for name, one in words.items() if name.startswith("Concord")}
