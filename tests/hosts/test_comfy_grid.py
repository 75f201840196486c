"""Concord Grid in the real ComfyUI: batches, lists, and the gallery that it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
from comfy_graphs import WIDGETS, gap, loaded, sampler
from comfy_host import Graph
from PIL import Image
from sd_concord.core.image import read_chunks, read_image_info
from sd_concord.core.image.grid import labelled_grid

pytestmark = pytest.mark.hosts
LABELS = {
    "x_labels": "one\ntwo",
    "y_labels": "",
    "x_name": "picture",
    "y_name": "row",
    "cell_size": 0,
    "gallery": "",
}


def table(page):
    return json.loads(
        page.with_name("cells.js").read_text(encoding="ascii").partition(" = ")[2].removesuffix(";\n")
    )


def test_a_batch_becomes_a_grid_and_a_gallery_with_its_records(comfy, checkpoints):
    graph = Graph()
    small = WIDGETS | {"width": 64, "height": 64, "steps": 2, "batch_size": 3, "seed": 11}
    made = sampler(graph, loaded(graph, "mini-sd15"), **small)
    node = graph.add("ConcordGrid", images=made[2], record=made[1], **LABELS | {"gallery": "grids/%seed%"})
    graph.add("SaveImage", images=node[0], filename_prefix="grid")
    done = comfy.queue(graph)
    folder = comfy.folder / "output" / "grids" / "11_00001"
    found = table(folder / "index.html")
    assert found["fields"][:3] == ["picture", "row", "Prompt"]
    assert [cell[4] for cell in found["cells"]] == [[0, 0], [1, 0], [0, 1]]
    paths = [folder / cell[0] for cell in found["cells"]]
    assert [read_image_info(path).seed for path in paths] == [11, 12, 13]
    assert json.loads(read_chunks(paths[0])["prompt"]) == graph
    wanted = np.asarray(labelled_grid([*paths, None], ("one", "two"), ("", "")))
    assert gap(done.pictures[-1], wanted) <= 1
    assert done.outputs[node.id]["images"][0]["type"] == "temp"


def test_lists_of_pictures_and_labels_are_taken(comfy):
    graph = Graph()
    for i, size in enumerate((64, 96)):
        pixels = np.random.default_rng(i).integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(comfy.folder / "input" / f"list{i}.png")
    loads = [graph.add("LoadImage", image="list0.png") for _ in range(2)]
    batch = graph.add("ImageBatch", image1=loads[0][0], image2=loads[1][0])
    apart = graph.add("RebatchImages", images=batch[0], batch_size=1)
    node = graph.add("ConcordGrid", images=apart[0], **LABELS | {"gallery": "lists"})
    graph.add("SaveImage", images=node[0], filename_prefix="grid")
    done = comfy.queue(graph)
    path = comfy.folder / "input" / "list0.png"
    assert gap(done.pictures[-1], np.asarray(labelled_grid([path, path], ("one", "two")))) <= 1
    [page] = (comfy.folder / "output").glob("lists_*/index.html")
    assert [cell[4] for cell in table(page)["cells"]] == [[0, 0], [1, 0]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"x_labels": "a", "y_labels": "b"}, "ConcordGrid: there are 2 pictures for 1 columns and 1 rows"),
        ({"gallery": "../out"}, "ConcordGrid: .*leads outside"),
    ],
)
def test_what_cannot_be_stands_on_the_node(comfy, given, words):
    graph = Graph()
    Image.new("RGB", (64, 64)).save(comfy.folder / "input" / "plain.png")
    load = graph.add("LoadImage", image="plain.png")
    batch = graph.add("ImageBatch", image1=load[0], image2=load[0])
    graph.add("ConcordGrid", images=batch[0], **LABELS | given)
    with pytest.raises(RuntimeError, match=words):
        comfy.queue(graph)


def test_the_page_that_is_told_is_there(comfy):
    graph = Graph()
    Image.new("RGB", (64, 64)).save(comfy.folder / "input" / "plain.png")
    node = graph.add(
        "ConcordGrid", images=graph.add("LoadImage", image="plain.png")[0], **LABELS | {"gallery": "told"}
    )
    shown = graph.add("PreviewAny", source=node[1])
    [text] = comfy.queue(graph).outputs[shown.id]["text"]
    assert Path(json.loads(text) if text.startswith('"') else text).name == "index.html"
    assert Path(text).is_file()
