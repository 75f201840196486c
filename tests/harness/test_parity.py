"""The recorded pictures of Forge, A1111 and ComfyUI, drawn again without these programs: the share that agrees."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from golden import golden_dir
from golden_checkpoint import golden_checkpoint
from parity_page import FILE, HEAD, recorded_section, section, write_section
from PIL import Image, PngImagePlugin
from recorded_pictures import HOSTS, Row, cases, measured, share
from sd_concord.harness import Pipeline
from sd_concord.harness.reproduce.reproducing import Places, Reproducer

pytestmark = pytest.mark.golden

ALL = bool(os.environ.get("CONCORD_ALL_PICTURES"))
"""Draw every picture and write docs/parity.md; it takes a quarter of an hour."""
EVERY = 1 if ALL else 8
"""Of how many pictures of the whole set one is drawn."""
WANTED = 0.98
"""The share of pictures that is to agree."""
DIFFERS: dict[tuple[str, str], str] = {}
"""Pictures (host, id) that do not agree with all options given, and why; one that begins to agree is taken out."""
TEXT_LACKS = {
    ("forge", "180-unipc-bh2-order-2"): "UniPC's variant and order are in no text",
    ("forge", "202-img2img-fix-steps-edit"): "the number of steps that image to image runs is in no text",
    ("forge", "216-inpaint-euler-a-batch"): "noise is drawn for the batch, which no text speaks of",
    ("a1111", "154-comma-backtrack-0-long"): "the word wrap limit is in no text",
    ("a1111", "180-unipc-bh2-order-2"): "UniPC's variant and order are in no text",
    ("a1111", "202-img2img-fix-steps-edit"): "the number of steps that image to image runs is in no text",
}
"""Pictures that do not agree with their text alone, and what it does not say."""


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(golden_checkpoint())


@pytest.fixture(scope="module")
def rows(pipeline: Pipeline) -> list[Row]:
    """Return what each host's pictures come to: all of the sample, or a part of the whole set."""
    found: list[Row] = []
    for host in HOSTS:
        own = list(cases(host))
        chosen = own if (golden_dir("pictures") / "sample.json").is_file() else own[::EVERY]
        found += [measured(case, pipeline) for case in chosen]
    return found


def test_the_pictures_are_drawn_again(rows: list[Row]) -> None:
    """All but those of the table, which holds none that agrees."""
    wrong = [row for row in rows if row.same_with_options == ((row.host, row.id) in DIFFERS)]
    assert not wrong, wrong


def test_their_texts_alone_are_enough_but_where_they_are_known_not_to_be(rows: list[Row]) -> None:
    known = {**DIFFERS, **TEXT_LACKS}
    wrong = [row for row in rows if row.same == ((row.host, row.id) in known)]
    assert not wrong, wrong


@pytest.mark.parametrize("host", HOSTS)
def test_the_share_is_what_was_aimed_at(host: str, rows: list[Row]) -> None:
    own = [row for row in rows if row.host == host]
    assert len(own) >= 8
    assert share(own, with_options=True) >= WANTED
    if ALL:
        write_section("recorded pictures", recorded_section(rows, DIFFERS))


def test_the_page_has_a_section_of_its_own_for_each_test(tmp_path: Path, rows: list[Row]) -> None:
    text = section(section(HEAD, "one", "first"), "two", "second")
    again = section(text, "one", "changed")
    assert "changed" in again
    assert "first" not in again
    assert again.index("changed") < again.index("second")
    body = recorded_section(
        [*rows, replace(rows[0], same=False, with_options=None)], {(rows[0].host, rows[0].id): "because"}
    )
    assert "| because |" in body
    assert "<!-- begin recorded pictures -->" in FILE.read_text(encoding="utf-8")


def edited(path: Path, out: Path, old: str, new: str) -> Path:
    """Write picture ``path`` with its text changed."""
    with Image.open(path) as image:
        text = image.info["parameters"]
        assert old in text
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", text.replace(old, new))
        image.save(out, pnginfo=info)
    return out


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "a1111/164-ensd-dpm2-a.png",
            "ENSD: 31337, ",
            "",
            "ENSD: 31337 gives this picture, the text does not say",
        ),
        (
            "a1111/104-edit-nested.png",
            "RNG: CPU, ",
            "",
            "RNG: CPU gives this picture, the text names no RNG, so A1111 1.9.4's default, NV, was taken",
        ),
        (
            "a1111/030-lcm-karras.png",
            "Version: 1.9.4",
            "Version: f2.0.1v1.10.1",
            "profile: a1111 gives this picture, the text says Version: f2.0.1v1.10.1",
        ),
        (
            "forge/110-and-edit.png",
            "Size",
            "Clip skip: 2, Size",
            "Clip skip: 1 gives this picture, the text says 2",
        ),
        (
            "forge/000-euler-karras.png",
            "Steps: 5",
            "Steps: 6",
            "Steps: 5 gives this picture, the text says 6",
        ),
    ],
)
def test_a_recorded_text_changed_by_hand_is_blamed(
    file: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    path = edited(golden_dir("pictures") / file, tmp_path / "a.png", old, new)
    verdict = Reproducer(Places(model=golden_checkpoint())).judge(path)
    assert not verdict.same
    assert verdict.blamed == words
