"""Pictures on disk: text where the web UIs look for it, whole files, numbers without gaps or doubles."""

from __future__ import annotations

import contextlib
import random
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin
from sd_concord.core.errors import BadFile, BadType, BadValue
from sd_concord.core.image import (
    Generation,
    format_infotext,
    read_image_info,
    read_infotext,
    save_image,
    save_numbered,
)
from sd_concord.core.image.exif import comment_block, comment_text
from sd_concord.core.image.files import FORMATS

PIXELS = np.stack([np.add.outer(np.arange(24) * k, np.arange(16) * 9) for k in (1, 3, 5)], -1).astype(
    np.uint8
)
LATIN = Generation(prompt="a café,\n(snow:1.2)", negative_prompt="blurry", steps=20, sampler="euler", seed=42)
WIDE = Generation(prompt="日本, 😀", steps=20, sampler="euler", seed=42, size=(16, 24))


@pytest.mark.parametrize("extension", [*FORMATS, ".PNG"])
@pytest.mark.parametrize("generation", [LATIN, WIDE], ids=["latin", "wide"])
def test_what_is_saved_is_read(tmp_path: Path, extension: str, generation: Generation) -> None:
    path = save_image(tmp_path / f"picture{extension}", PIXELS, generation)
    assert read_image_info(path) == generation
    assert read_infotext(path) == format_infotext(generation)
    with Image.open(path) as image:
        assert image.size == (16, 24)
        error = np.abs(np.asarray(image.convert("RGB"), dtype=int) - PIXELS).mean()
    assert error < (1 if "png" in extension.lower() else 10)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("extension", FORMATS)
def test_the_same_picture_is_the_same_file(tmp_path: Path, extension: str) -> None:
    one = save_image(tmp_path / f"one{extension}", PIXELS, WIDE).read_bytes()
    assert save_image(tmp_path / f"two{extension}", PIXELS, WIDE).read_bytes() == one


def test_jpeg_keeps_colour_at_full_size(tmp_path: Path) -> None:
    with Image.open(save_image(tmp_path / "a.jpg", PIXELS, LATIN)) as image:
        assert JpegImagePlugin.get_sampling(image) == 0


def chunks(path: Path) -> dict[bytes, bytes]:
    """Return the chunks of a PNG by kind, read without Pillow."""
    data, found, place = path.read_bytes(), {}, 8
    while place < len(data):
        (length,) = struct.unpack(">L", data[place : place + 4])
        found[data[place + 4 : place + 8]] = data[place + 8 : place + 8 + length]
        place += 12 + length
    return found


def test_png_text_lies_where_a1111_puts_it(tmp_path: Path) -> None:
    latin = chunks(save_image(tmp_path / "latin.png", PIXELS, LATIN))
    assert latin[b"tEXt"] == b"parameters\0" + format_infotext(LATIN).encode("latin-1")
    wide = chunks(save_image(tmp_path / "wide.png", PIXELS, WIDE))
    assert wide[b"iTXt"] == b"parameters\0\0\0\0\0" + format_infotext(WIDE).encode()
    assert set(wide) == {b"IHDR", b"iTXt", b"IDAT", b"IEND"}


@pytest.mark.parametrize("extension", [".jpg", ".webp", ".avif"])
def test_other_files_hold_a_unicode_user_comment(tmp_path: Path, extension: str) -> None:
    data = save_image(tmp_path / f"picture{extension}", PIXELS, WIDE).read_bytes()
    assert b"UNICODE\0" + format_infotext(WIDE).encode("utf-16-be") in data


def test_pillow_reads_the_exif_block() -> None:
    exif = Image.Exif()
    exif.load(comment_block("日本"))
    assert exif.get_ifd(0x8769) == {0x9286: b"UNICODE\0" + "日本".encode("utf-16-be")}


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "a fox: 日本".encode("utf-16-be"),
        b"UNICODE\0" + "a fox: 日本".encode("utf-16-le"),
        b"ASCII\0\0\0" + "a fox: 日本".encode(),
        b"\0" * 8 + "a fox: 日本".encode(),
        "a fox: 日本".encode(),
    ],
    ids=["high byte first", "low byte first", "ascii", "unset", "bare"],
)
def test_user_comments_of_other_programs_are_read(comment: bytes) -> None:
    assert comment_text(comment) == "a fox: 日本"


def test_the_user_comment_comes_before_the_png_text(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "from the chunk")
    path = tmp_path / "both.png"
    Image.fromarray(PIXELS).save(path, pnginfo=info, exif=comment_block("from the comment"))
    assert read_infotext(path) == "from the comment"


def test_text_after_the_pixels_and_gif_comments_are_found(tmp_path: Path) -> None:
    path = save_image(tmp_path / "late.png", PIXELS, LATIN)
    data = path.read_bytes()
    start = data.index(b"tEXt") - 4
    end = start + 12 + struct.unpack(">L", data[start : start + 4])[0]
    path.write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert read_image_info(path) == LATIN
    Image.fromarray(PIXELS).save(tmp_path / "a.gif", comment=format_infotext(LATIN).encode())
    assert read_image_info(tmp_path / "a.gif") == LATIN


def test_text_that_no_encoding_holds_does_not_stop_the_picture(tmp_path: Path) -> None:
    lonely = Generation(prompt="a \ud800 b", steps=1, sampler="euler", seed=1)
    for extension in FORMATS:
        assert read_image_info(save_image(tmp_path / f"a{extension}", PIXELS, lonely)).prompt == "a ? b"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_image(tmp_path / "a.png", PIXELS, LATIN)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(BadValue, match=r"cannot write .*No space left on device"):
        save_image(path, PIXELS, WIDE)
    with pytest.raises(BadValue, match="No space left on device"):
        save_numbered(tmp_path, PIXELS, WIDE)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_new_files_have_the_users_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = save_image(tmp_path / "a.png", PIXELS, LATIN)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_bad_places_and_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadValue, match=r"cannot write .*choose a folder that can be written"):
        save_image(tmp_path / "file" / "a.png", PIXELS, LATIN)
    with pytest.raises(BadValue, match=r"cannot write .*choose a folder that can be written"):
        save_numbered(tmp_path / "file", PIXELS, LATIN)
    with pytest.raises(BadValue, match=r"unknown ending of a picture file '.pgn'; did you mean .png"):
        save_image(tmp_path / "a.pgn", PIXELS, LATIN)
    with pytest.raises(BadValue, match=r"image is float64 \(24, 16, 3\); pass uint8 \(H, W, 3\)"):
        save_image(tmp_path / "a.png", PIXELS / 255, LATIN)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match=r"image is uint8 \(24, 16\); pass uint8"):
        save_image(tmp_path / "a.png", PIXELS[..., 0], LATIN)
    with pytest.raises(BadType, match="image is list"):
        save_image(tmp_path / "a.png", [[0]], LATIN)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match=r"RGBA cannot be written as JPEG .*save as .png"):
        save_image(tmp_path / "a.jpg", Image.new("RGBA", (8, 8)), LATIN)
    with pytest.raises(BadValue, match=r"a JPEG holds 65533; save as .png"):
        save_image(tmp_path / "a.jpg", PIXELS, Generation(prompt="x" * 40_000))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_files_without_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="does not exist; check the path"):
        read_image_info(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(BadFile, match="cannot be read as a picture"):
        read_image_info(tmp_path / "text.png")
    Image.fromarray(PIXELS).save(tmp_path / "bare.png")
    assert read_infotext(tmp_path / "bare.png") is None
    with pytest.raises(BadFile, match="holds no generation settings"):
        read_image_info(tmp_path / "bare.png")


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".avif"])
def test_damaged_files_give_their_text_or_a_clear_error(tmp_path: Path, extension: str) -> None:
    draw = random.Random(extension)
    good = save_image(tmp_path / f"good{extension}", PIXELS, WIDE).read_bytes()
    path = tmp_path / f"bad{extension}"
    read = 0
    for _ in range(150):
        data = bytearray(good)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.randint(1, len(data))] if draw.random() < 0.5 else data)
        with warnings.catch_warnings(), contextlib.suppress(BadFile):
            warnings.simplefilter("ignore")
            read_image_info(path)
            read += 1
    assert 0 < read < 150


def test_pictures_are_numbered_on_from_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert save_numbered(folder, PIXELS, LATIN).name == "00001-42.png"
    (folder / "00041-7.jpg").touch()
    (folder / "123-old.png").touch()
    assert save_numbered(folder, PIXELS, Generation(prompt="a"), ".webp").name == "00042.webp"
    assert save_numbered(folder, PIXELS, LATIN).name == "00043-42.png"


def test_a_number_taken_since_the_folder_was_read_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_late(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == ".00001.part":
            (tmp_path / "00001-9.png").write_bytes(b"of another writer")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_late)
    assert save_numbered(tmp_path, PIXELS, LATIN).name == "00002-42.png"
    assert (tmp_path / "00001-9.png").read_bytes() == b"of another writer"
    assert len(list(tmp_path.iterdir())) == 2


def test_writers_at_the_same_time_get_numbers_of_their_own(tmp_path: Path) -> None:
    def save(seed: int) -> str:
        return save_numbered(tmp_path, PIXELS, Generation(prompt="a", seed=seed)).name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(save, range(48)))
    assert sorted(int(name.split("-")[0]) for name in names) == list(range(1, 49))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(names)
