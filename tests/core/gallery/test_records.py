"""What axes and cells of a gallery accept, and the fields that a record gives."""

from __future__ import annotations

from typing import Any

import pytest
from sd_concord.core.errors import BadType, BadValue
from sd_concord.core.gallery import GalleryAxis, GalleryCell, record_fields
from sd_concord.core.image import DetailerUnit, Generation, Hires, ModelRef, parse_infotext


@pytest.mark.parametrize(
    "file", ["", "/x.png", "../x.png", "a/../../x.png", "a\\x.png", "C:/x.png", "c:x.png"]
)
def test_a_picture_lies_below_the_folder(file: str) -> None:
    with pytest.raises(BadValue, match="not a path below the gallery's folder"):
        GalleryCell(file=file)


@pytest.mark.parametrize("file", ["x.png", "a/b c/#1%.png", "..x.png"])
def test_a_path_below_is_one(file: str) -> None:
    assert GalleryCell(file=file).file == file


@pytest.mark.parametrize("value", [(1, 2), [1], b"x", object()])
def test_values_are_text_numbers_or_switches(value: Any) -> None:
    with pytest.raises(BadType, match="pass text, a number, True, False or None"):
        GalleryCell(file="x.png", fields={"a": value})
    with pytest.raises(BadType, match="the axis 'a' holds"):
        GalleryAxis(name="a", label="A", values=(value,))


def test_an_axis_has_values() -> None:
    with pytest.raises(BadValue, match="leave it out"):
        GalleryAxis(name="a", label="A", values=())


def test_a_record_gives_fields_by_the_labels_of_the_infotext() -> None:
    record = Generation(
        prompt="a cat",
        steps=20,
        sampler="dpmpp_2m",
        scheduler="karras",
        cfg=4.5,
        seed=7,
        size=(832, 1216),
        tiling=True,
        model=ModelRef(name="m", hash="0123456789"),
        denoising_strength=0.4,
        hires=Hires(upscale=1.5),
        detailer=(DetailerUnit(model="face"), DetailerUnit(model="hand", confidence=0.5)),
        version="Concord 1",
    )
    assert record_fields(record) == {
        "Prompt": "a cat",
        "Steps": 20,
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": 4.5,
        "Seed": 7,
        "Size": "832x1216",
        "Tiling": True,
        "Model": "m",
        "Denoising strength": 0.4,
        "Hires upscale": 1.5,
        "ADetailer model": "face",
        "ADetailer model 2": "hand",
        "ADetailer confidence 2": 0.5,
    }


def test_values_that_go_without_saying_are_none() -> None:
    assert "Clip skip" not in record_fields(Generation(clip_skip=1))
    assert record_fields(Generation(clip_skip=2)) == {"Clip skip": 2}
    assert record_fields(parse_infotext("")) == {}
