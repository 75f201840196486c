"""The example workflows as files: nodes, links and widgets, the pictures that show them, and what they are made of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_examples import EXAMPLES, STOCK, written
from comfy_fake import FakeComfy
from comfy_schemas import ROOT, as_class, kept, schemas_of
from PIL import Image
from sd_concord.comfy_nodes.litegraph import SEEDS, WIDGETS, described

FOLDER = ROOT / "example_workflows"
NOTE = "MarkdownNote"
MOST_BYTES = 30_000


@pytest.fixture
def classes(fake_comfy: FakeComfy) -> dict[str, Any]:
    """Concord's nodes and the stock ones that the workflows use, by id."""
    return {**STOCK, **{name: as_class(one) for name, one in schemas_of(fake_comfy).items()}}


def workflow(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def widgets(kind: type) -> list[tuple[str, Any, Any]]:
    """Return name, type and options of what the page stores a value of, "control after generate" included."""
    found: list[tuple[str, Any, Any]] = []
    for name, (of, options) in described(kind).inputs.items():
        if of in WIDGETS:
            found.append((name, of, options))
            if name in SEEDS:
                found.append((f"control after {name}", "COMBO", {"options": ["fixed", "randomize"]}))
    return found


def test_there_are_the_promised_workflows_and_no_others() -> None:
    assert len(EXAMPLES) >= 8
    assert {path.stem for path in FOLDER.iterdir()} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_is_what_its_graph_makes(name: str, classes: dict[str, Any]) -> None:
    told = f"{name}.json is not what comfy_examples.py makes; run this test with CONCORD_WRITE=1"
    assert kept(FOLDER / f"{name}.json", written(EXAMPLES[name](), classes)), told


@pytest.mark.parametrize("name", EXAMPLES)
def test_nodes_are_ours_or_stock_and_their_widgets_hold_what_they_take(
    name: str, classes: dict[str, Any]
) -> None:
    for node in workflow(name)["nodes"]:
        if node["type"] == NOTE:
            assert node["widgets_values"][0]
            continue
        wanted = widgets(classes[node["type"]])
        assert len(node["widgets_values"]) == len(wanted), node["type"]
        for value, (at, kind, options) in zip(node["widgets_values"], wanted, strict=True):
            types = {"INT": int, "FLOAT": (int, float), "BOOLEAN": bool}.get(kind, str)
            assert isinstance(value, types), (node["type"], at, value)
            assert not options.get("options") or value in options["options"], (node["type"], at, value)
            assert options.get("min", value) <= value <= options.get("max", value), (node["type"], at, value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_link_is_known_to_both_its_ends_and_nothing_that_must_be_wired_is_loose(
    name: str, classes: dict[str, Any]
) -> None:
    flow = workflow(name)
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert len(nodes) == len(flow["nodes"]) == flow["last_node_id"]
    numbers = {link[0] for link in flow["links"]}
    assert numbers == set(range(1, flow["last_link_id"] + 1))
    for number, a, i, b, j, kind in flow["links"]:
        assert number in nodes[a]["outputs"][i]["links"]
        assert nodes[b]["inputs"][j]["link"] == number
        assert nodes[b]["inputs"][j]["type"] == kind
        assert kind in ("*", nodes[a]["outputs"][i]["type"])
    for node in flow["nodes"]:
        links = {one["link"] for one in node["inputs"]} | {n for one in node["outputs"] for n in one["links"]}
        assert links - {None} <= numbers
        if node["type"] != NOTE:
            needed = classes[node["type"]].INPUT_TYPES()["required"]
            loose = [one["name"] for one in node["inputs"] if one["link"] is None and "widget" not in one]
            assert not set(loose) & set(needed), node["type"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_two_nodes_lie_on_each_other(name: str) -> None:
    nodes = workflow(name)["nodes"]
    for i, one in enumerate(nodes):
        for other in nodes[:i]:
            apart = [
                one["pos"][k] + one["size"][k] <= other["pos"][k]
                or other["pos"][k] + other["size"][k] <= one["pos"][k]
                for k in (0, 1)
            ]
            assert any(apart), (one["type"], other["type"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_small_jpeg_shows_it(name: str) -> None:
    path = FOLDER / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) >= 128
    assert path.stat().st_size <= MOST_BYTES
