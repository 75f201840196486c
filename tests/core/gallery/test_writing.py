"""The gallery as files: what is written, how often, and that no text of a prompt can break out of it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sd_concord.core.errors import BadValue
from sd_concord.core.gallery import GalleryAxis, GalleryCell, write_gallery
from sd_concord.core.gallery.thumbnails import LONGEST
from sd_concord.core.gallery.writing import SCRIPTS

STEPS = GalleryAxis(name="steps", label="Steps", values=(3, 5))
NASTY = [
    "</script><script>alert(1)</script>",
    "<!-- <img src=x onerror=alert(1)> -->",
    "a \"quote\" 'and' `another` \\ ${1}",
    "first\nsecond\r\nthird\u2028fourth\u2029\x00",
    "שלום \u202eevil\u202c عربي",
    "日本 😀 \ud800",
    "TITLE /* STYLE */ /* SCRIPT */",
]


def picture(path: Path, size: tuple[int, int] = (64, 48), colour: str = "red") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path.name


def table(folder: Path) -> dict[str, Any]:
    """Return what the script of a gallery holds."""
    text = (folder / "cells.js").read_bytes().decode("ascii")
    start, end = "globalThis.CONCORD_GALLERY = ", ";\n"
    assert text.startswith(start)
    assert text.endswith(end)
    return json.loads(text[len(start) : -len(end)])


def values(folder: Path, label: str) -> list[Any]:
    found = table(folder)
    return [cell[8][found["fields"].index(label)] for cell in found["cells"]]


def test_a_gallery_is_a_page_and_a_table_beside_the_pictures(tmp_path: Path) -> None:
    cell = GalleryCell(
        file=picture(tmp_path / "1.png"), fields={"Seed": 7}, infotext="a cat", position=(1,), workflow="{}"
    )
    page = write_gallery(tmp_path, title="A title", axes=[STEPS], cells=[cell])
    assert page == tmp_path / "index.html"
    assert {path.name for path in tmp_path.iterdir()} == {"1.png", "index.html", "cells.js"}
    assert table(tmp_path) == {
        "title": "A title",
        "axes": [{"name": "steps", "label": "Steps", "values": [3, 5]}],
        "fields": ["Steps", "Seed"],
        "workflows": ["{}"],
        "cells": [["1.png", 0, 64, 48, [1], None, "a cat", 0, [5, 7]]],
    }


def test_the_page_is_whole_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    text = write_gallery(tmp_path, title="t", cells=[]).read_text(encoding="utf-8")
    for script in SCRIPTS:
        source = (Path(write_gallery.__code__.co_filename).parent / "page" / script).read_text(
            encoding="utf-8"
        )
        assert source in text
        assert "</" not in source, "a script within a page may hold no end of a tag"
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", source)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert "connect-src 'none'" in text
    assert "/* STYLE */" not in text


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_text_breaks_out(text: str, tmp_path: Path) -> None:
    axis = GalleryAxis(name=text, label=text, values=(text,))
    cell = GalleryCell(
        file=None, fields={"Prompt": text}, infotext=text, position=(0,), failed=text, workflow=text
    )
    page = write_gallery(tmp_path, title=text, axes=[axis], cells=[cell]).read_bytes().decode("utf-8")
    script = (tmp_path / "cells.js").read_text(encoding="ascii")
    assert not set(script) & set("<>&")
    assert script.count("\n") == 1
    found = table(tmp_path)
    assert found["title"] == found["fields"][0] == found["axes"][0]["values"][0] == text
    assert found["cells"][0] == [None, 0, 0, 0, [0], text, text, 0, [text, text]]
    assert page.count("</script>") == 2
    assert "onerror=alert" not in page or "&lt;img src=x onerror" in page


def test_of_an_axis_without_a_field_the_value_becomes_one(tmp_path: Path) -> None:
    words = GalleryAxis(name="steps", label="Steps", values=("3", "5", "8"))
    given = [(0, {"Steps": 3}), (1, {"Steps": 5}), (1, {}), (2, {})]
    cells = [GalleryCell(file=None, position=(i,), fields=fields) for i, fields in given]
    write_gallery(tmp_path, title="t", axes=[words], cells=[*cells, GalleryCell(file=None)])
    assert values(tmp_path, "Steps") == [3, 5, 5, "8", None]


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    seeds = [2**53 - 1, 2**53, 2**64 - 1, -(2**60), 0.5, float("inf"), True]
    write_gallery(tmp_path, title="t", cells=[GalleryCell(file=None, fields={"Seed": one}) for one in seeds])
    assert values(tmp_path, "Seed") == [
        2**53 - 1,
        str(2**53),
        str(2**64 - 1),
        str(-(2**60)),
        0.5,
        "inf",
        True,
    ]


def test_large_pictures_get_thumbnails_and_small_ones_do_not(tmp_path: Path) -> None:
    files = {"large.png": (640, 960), "below/wide one.jpg": (1000, 200), "small.png": (LONGEST, LONGEST)}
    for name, size in files.items():
        picture(tmp_path / name, size)
    write_gallery(tmp_path, title="t", cells=[GalleryCell(file=name) for name in files])
    assert [cell[1:4] for cell in table(tmp_path)["cells"]] == [
        [1, 640, 960],
        [1, 1000, 200],
        [0, LONGEST, LONGEST],
    ]
    small = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "thumbnails").rglob("*.webp")}
    assert small == {"thumbnails/large.png.webp", "thumbnails/below/wide one.jpg.webp"}
    with Image.open(tmp_path / "thumbnails" / "large.png.webp") as opened:
        assert (opened.format, opened.size) == ("WEBP", (213, 320))


def test_thumbnails_show_the_picture_and_are_small(tmp_path: Path) -> None:
    levels = np.linspace(0, 255, 1024, dtype=np.uint8)
    pixels = np.stack(
        [np.tile(levels, (1024, 1)), np.tile(levels, (1024, 1)).T, np.full((1024, 1024), 128, np.uint8)], -1
    )
    Image.fromarray(pixels).save(tmp_path / "1.png")
    write_gallery(tmp_path, title="t", cells=[GalleryCell(file="1.png")])
    path = tmp_path / "thumbnails" / "1.png.webp"
    with Image.open(path) as opened:
        wanted = Image.fromarray(pixels).resize(opened.size, Image.Resampling.BOX)
        apart = np.abs(np.asarray(opened.convert("RGB"), np.int16) - np.asarray(wanted, np.int16))
    assert apart.mean() < 3
    assert path.stat().st_size < 10_000


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "I;16", "CMYK", "1"])
def test_pictures_of_every_mode_have_thumbnails(mode: str, tmp_path: Path) -> None:
    name = "1.jpg" if mode == "CMYK" else "1.png"
    Image.new(mode, (400, 400)).save(tmp_path / name)
    write_gallery(tmp_path, title="t", cells=[GalleryCell(file=name)])
    assert table(tmp_path)["cells"][0][:6] == [name, 1, 400, 400, None, None]


def test_only_what_is_new_is_made_again(tmp_path: Path) -> None:
    cells = [GalleryCell(file=picture(tmp_path / f"{i}.png", (400, 400))) for i in range(2)]
    write_gallery(tmp_path, title="t", cells=cells)
    first, second = (tmp_path / "thumbnails" / f"{i}.png.webp" for i in range(2))
    for path in (first, second):
        path.write_bytes(b"kept")
    os.utime(tmp_path / "1.png", (2e9, 2e9))
    write_gallery(tmp_path, title="t", cells=cells)
    assert first.read_bytes() == b"kept"
    assert second.read_bytes() != b"kept"


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    cells = [
        GalleryCell(file="gone.png"),
        GalleryCell(file="broken.png"),
        GalleryCell(file=None),
        GalleryCell(file=None, failed="no such model"),
        GalleryCell(file=picture(tmp_path / "1.png"), failed="too dark"),
    ]
    write_gallery(tmp_path, title="t", cells=cells)
    told = [(cell[0], cell[5]) for cell in table(tmp_path)["cells"]]
    assert told[0] == (None, "gone.png cannot be read: No such file or directory")
    assert told[1][1].startswith("broken.png cannot be read: ")
    assert told[2:] == [(None, "not drawn yet"), (None, "no such model"), (None, "too dark")]


@pytest.mark.parametrize("position", [(), (2,), (-1,), (0, 0)])
def test_a_position_lies_on_the_axes(position: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="but the axes have 2 values"):
        write_gallery(tmp_path, title="t", axes=[STEPS], cells=[GalleryCell(file=None, position=position)])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadValue, match=r"cannot write the gallery .*file.*choose a folder"):
        write_gallery(tmp_path / "file", title="t", cells=[])


def test_a_failure_leaves_the_page_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gallery(tmp_path, title="before", cells=[])
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadValue, match="No space left"):
        write_gallery(tmp_path, title="after", cells=[])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png", (400, 300))
        write_gallery(
            tmp_path / name, title="t", axes=[STEPS], cells=[GalleryCell(file="1.png", position=(0,))]
        )
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        made.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])
    assert made[0] == made[1]
