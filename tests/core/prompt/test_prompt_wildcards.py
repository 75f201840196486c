"""Wildcards and variants: by seed, from files, and what happens to what cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sd_concord.core.prompt import expand_wildcards


@pytest.fixture(autouse=True)
def library() -> None:
    pytest.importorskip("dynamicprompts")


def test_a_seed_chooses_and_the_template_is_kept() -> None:
    template = "a {red|green|blue} [x:y:0.5] (b:1.2) cat"
    found = [expand_wildcards(template, seed) for seed in range(30)]
    assert found == [expand_wildcards(template, seed) for seed in range(30)]
    assert {one.text for one in found} == {f"a {c} [x:y:0.5] (b:1.2) cat" for c in ("red", "green", "blue")}
    assert {(one.template, one.problem) for one in found} == {(template, None)}


def test_wildcards_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pet.txt").write_text("cat\n# no pet\ndog\n", encoding="utf-8")
    texts = {expand_wildcards("__sub/pet__", seed, tmp_path).text for seed in range(20)}
    assert texts == {"cat", "dog"}


def test_a_missing_wildcard_stays_and_is_named() -> None:
    found = expand_wildcards("a __nope__ {b|b}", 1)
    assert found.text == "a __nope__ b"
    assert found.problem is not None
    assert "nope" in found.problem


@pytest.mark.parametrize("template", ["{a|b", "{{a}", "__x", "{a" * 300])
def test_what_cannot_be_read_is_the_prompt_as_it_stands(template: str) -> None:
    found = expand_wildcards(template, 1)
    assert found.text == template
    assert found.problem is not None
    assert "cannot be read" in found.problem


def test_without_the_library_only_templates_have_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dynamicprompts.generators", None)
    plain, template = expand_wildcards("a [b|c]", 1), expand_wildcards("a {b|c}", 1)
    assert (plain.text, plain.problem) == ("a [b|c]", None)
    assert template.text == "a {b|c}"
    assert template.problem is not None
    assert "pip install dynamicprompts" in template.problem
