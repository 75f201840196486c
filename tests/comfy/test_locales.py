"""What the page calls nodes and inputs in English, Chinese and Japanese: complete, and safe from the page's syntax."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_fake import FakeComfy
from comfy_schemas import FORBIDDEN, ROOT, english, kept, schemas_of, texts

FOLDER = ROOT / "locales"
TRANSLATED = ("zh", "ja")
SAME = {"CFG", "CLIP", "ENSD", "VAE", "Sigma"}
"""Names that stay as they are in every language."""


def words(language: str) -> dict[str, Any]:
    return json.loads((FOLDER / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_the_languages_are_these_and_each_has_what_comfyui_reads() -> None:
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.json")} == {
        f"{language}/nodeDefs.json" for language in ("en", *TRANSLATED)
    }


def test_english_is_what_the_schemas_say(fake_comfy: FakeComfy) -> None:
    wanted = json.dumps(english(schemas_of(fake_comfy).values()), ensure_ascii=False, indent=2) + "\n"
    told = "locales/en is not what the schemas say; run this test with CONCORD_WRITE=1"
    assert kept(FOLDER / "en" / "nodeDefs.json", wanted), told


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_node_input_and_output_has_a_name(language: str, fake_comfy: FakeComfy) -> None:
    schemas, found = schemas_of(fake_comfy), words(language)
    assert set(found) == set(schemas)
    for name, one in schemas.items():
        told = found[name]
        assert told["display_name"].startswith("Concord ")
        assert list(told["inputs"]) == [port.id for port in one.inputs], name
        assert list(told["outputs"]) == [str(i) for i in range(len(one.outputs))], name
        assert all(entry["name"] for part in ("inputs", "outputs") for entry in told[part].values())


@pytest.mark.parametrize("language", TRANSLATED)
def test_names_are_translated(language: str) -> None:
    for name, one in words(language).items():
        english_name = words("en")[name]["display_name"]
        assert one["display_name"] != english_name
        names = [entry["name"] for part in ("inputs", "outputs") for entry in one[part].values()]
        for text in (one["display_name"], one["description"], *names):
            assert text in SAME or any(ord(sign) > 0x2E7F for sign in text), text


@pytest.mark.parametrize("language", TRANSLATED)
def test_two_inputs_of_a_node_are_told_apart(language: str) -> None:
    for name, one in words(language).items():
        names = [entry["name"] for entry in one["inputs"].values()]
        assert len(names) == len(set(names)), name


@pytest.mark.parametrize("language", ["en", *TRANSLATED])
def test_no_text_has_signs_that_the_page_takes_for_syntax(language: str) -> None:
    assert not [text for text in texts(words(language)) if set(text) & set(FORBIDDEN)]
