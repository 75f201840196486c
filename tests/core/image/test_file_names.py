"""File names from patterns."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sd_concord.core.errors import BadValue
from sd_concord.core.image import Generation, ModelRef
from sd_concord.core.image.file_names import LONGEST, MARKS, fill_pattern, free_path

NOW = datetime(2026, 3, 4, 5, 6, 7)
RECORD = Generation(
    prompt="a cat / dog",
    seed=5,
    steps=20,
    cfg=7.5,
    sampler="dpmpp_2m",
    scheduler="karras",
    size=(512, 768),
    model=ModelRef(name="My: Model"),
)


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("%date%/%seed%", "2026-03-04/5"),
        ("%date:yyMMdd hh.mm.ss%", "260304 05.06.07"),
        ("%model%-%sampler%_%scheduler%", "My_ Model-dpmpp_2m_karras"),
        ("%width%x%height% %steps% %cfg%", "512x768 20 7.5"),
        ("%prompt%", "a cat _ dog"),
        ("a\\b/%batch_num%", "a/b/3"),
        ("%counter%-%seed%", "%counter%-5"),
        ("100% sure", "100% sure"),
        ("", "picture"),
        ("a//b/", "a/b"),
        ("con/x", "_con/x"),
        ("a ./b", "a/b"),
    ],
)
def test_marks_are_filled_in(pattern: str, wanted: str) -> None:
    assert fill_pattern(pattern, RECORD, now=NOW, place=3) == wanted


def test_what_the_record_lacks_is_left_out() -> None:
    pattern = "x" + "".join(f"%{mark}%" for mark in MARKS if mark not in ("date", "batch_num", "counter"))
    assert fill_pattern(pattern, Generation(), now=NOW) == "x"


@pytest.mark.parametrize("pattern", ["../x", "a/../../x", "/x", "\\x", "C:/x"])
def test_a_way_out_of_the_folder_is_refused(pattern: str) -> None:
    with pytest.raises(BadValue, match="leads outside"):
        fill_pattern(pattern, RECORD, now=NOW)


def test_an_unknown_mark_offers_the_nearest() -> None:
    with pytest.raises(BadValue, match=r"'sed'.*seed"):
        fill_pattern("%sed%", RECORD, now=NOW)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_value_makes_a_folder_or_a_name_that_systems_refuse(prompt: str, model: str) -> None:
    record = Generation(prompt=prompt, model=ModelRef(name=model))
    name = fill_pattern("out/%prompt%%model%", record, now=NOW)
    parts = PurePosixPath(name).parts
    assert parts[0] == "out"
    assert len(parts) <= 2
    assert all(0 < len(part) <= LONGEST and part not in (".", "..") for part in parts)
    assert not set('<>:"\\|?*%') & set(name)


def test_numbers_go_on_after_the_highest_of_the_name(tmp_path: Path) -> None:
    for name in ("x_00007.png", "x_00003.jpg", "xy_00099.png", "00042-x.png"):
        (tmp_path / name).touch()
    assert free_path(tmp_path, "x", ".png").name == "x_00008.png"
    assert free_path(tmp_path, "%counter%-x", ".png").name == "00043-x.png"
    assert free_path(tmp_path, "sub/x", ".webp") == tmp_path / "sub" / "x_00001.webp"
