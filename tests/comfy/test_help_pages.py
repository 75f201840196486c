"""The help pages: one for every node, with all that goes in and comes out, and pictures that are there."""

from __future__ import annotations

import re
from typing import Any

import pytest
from comfy_examples import EXAMPLES
from comfy_fake import FakeComfy
from comfy_schemas import ROOT, kept, schemas_of, tables

FOLDER = ROOT / "comfy_nodes" / "web" / "docs"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))


@pytest.fixture
def schemas(fake_comfy: FakeComfy) -> dict[str, Any]:
    return schemas_of(fake_comfy)


def page(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def with_tables(text: str, schema: Any) -> str:
    """Return a page whose tables are those of the schema; the words round them stay."""
    head, _, rest = text.partition("## Inputs\n")
    _, _, tail = rest.partition("## Example\n")
    return f"{head}{tables(schema)}\n## Example\n{tail}"


def test_every_node_has_a_page_and_no_page_is_without_a_node(schemas: dict[str, Any]) -> None:
    assert set(PAGES) == set(schemas)


def test_every_input_has_a_row(schemas: dict[str, Any]) -> None:
    assert all(f"\n| `{port.id}` |" in page(name) for name, one in schemas.items() for port in one.inputs)


def test_the_tables_are_those_of_the_schemas(schemas: dict[str, Any]) -> None:
    stale = [
        name for name, one in schemas.items() if not kept(FOLDER / f"{name}.md", with_tables(page(name), one))
    ]
    assert not stale, f"the tables of {stale} are not the schemas'; run this test with CONCORD_WRITE=1"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_title_words_and_an_example(name: str, schemas: dict[str, Any]) -> None:
    text = page(name)
    title, _, rest = text.partition("\n")
    assert title == f"# {schemas[name].display_name}"
    parts = re.split(r"^## (\w+)$", rest, flags=re.MULTILINE)
    assert parts[1::2] == ["Inputs", "Outputs", "Example"]
    assert min(len(parts[0]), len(parts[6])) > 100


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_refers_to_is_there(name: str) -> None:
    text = page(name)
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert pictures
    assert all((FOLDER / path).is_file() for path in pictures)
    assert set(re.findall(r"\*(\d-[\w-]+)\*", text)) <= set(EXAMPLES)


def test_every_picture_is_shown_on_a_page_and_small() -> None:
    text = "".join(page(name) for name in PAGES)
    for path in (FOLDER / "pictures").iterdir():
        assert f"(pictures/{path.name})" in text
        assert path.stat().st_size < 150_000


def test_an_inputs_italic_name_is_an_input_or_an_output(schemas: dict[str, Any]) -> None:
    known = {port.id for one in schemas.values() for port in one.inputs}
    known |= {port.given.get("display_name") for one in schemas.values() for port in one.outputs}
    named = {word for name in PAGES for word in re.findall(r"(?<!\*)\*([a-z][a-z_]+)\*(?!\*)", page(name))}
    assert named
    assert not named - known
