"""Write a picture with its generation record."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ..errors import BadType, BadValue, Missing, unknown
from .exif import GRAPH_TAGS, comment_block
from .generation import Generation
from .infotext import format_infotext

Picture = NDArray[np.uint8] | Image.Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF"}
"""Endings of file names and what they stand for."""

KEY = "parameters"
"""The PNG text chunk of the infotext."""
_JPEG_LIMIT = 65533
_SETTINGS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 95, "max_threads": 1},
}
_NUMBERED = re.compile(r"([0-9]{5,})[-.]")


def save_image(
    path: str | Path, image: Picture, generation: Generation, chunks: Mapping[str, str] | None = None
) -> Path:
    """Write ``image``, uint8 (H, W, 3) or Pillow's, with its infotext to ``path``, and return the path.

    The ending says the kind: PNG keeps the text under ``parameters``; JPEG, WebP and AVIF as EXIF user
    comment.  ``chunks``: further texts by name, above all ComfyUI's ``prompt`` and ``workflow``; files that
    are not PNG hold only these two.  The same input gives the same bytes.  The file appears whole or not at
    all; one of the name is replaced; missing folders are made.

    Raises ``BadValue`` or ``BadType`` for a picture, ending, chunk or folder that cannot be written.
    """
    path = Path(path)
    content = _encode(image, path.suffix, format_infotext(generation), chunks or {})
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(content, part, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def image_bytes(image: Picture, extension: str, generation: Generation) -> bytes:
    """Return the file that ``save_image`` writes, for who sends or stores it otherwise; raises as that does."""
    return _encode(image, extension, format_infotext(generation), {})


def save_numbered(
    folder: str | Path,
    image: Picture,
    generation: Generation,
    extension: str = ".png",
    chunks: Mapping[str, str] | None = None,
) -> Path:
    """Write ``image`` as ``00001-<seed>.png`` with the next free number of ``folder``, and return the path.

    ``chunks``: as in ``save_image``.  Programs that write into one folder at the same time never get the same
    number.  Raises as ``save_image``.
    """
    folder = Path(folder)
    content = _encode(image, extension, format_infotext(generation), chunks or {})
    seed = "" if generation.seed is None else f"-{generation.seed}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number, part = _reserve(folder)
        path = folder / f"{number:05}{seed}{extension}"
        _put(content, part, path)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return path


def _encode(image: Picture, extension: str, text: str, chunks: Mapping[str, str]) -> bytes:
    """Return the file of ``image`` with ``text``; raises as ``save_image``."""
    kind = FORMATS.get(extension.lower())
    if kind is None:
        raise unknown("ending of a picture file", extension, FORMATS)
    Image.init()
    if kind not in Image.SAVE:
        raise Missing(f"this Pillow cannot write {kind}; install Pillow 11.3 or newer, or save as .png")
    picture = _picture(image)
    text = text.encode("utf-8", "replace").decode()
    settings = dict(_SETTINGS[kind])
    _check_chunks(chunks, kind)
    chunks = {name: chunk.encode("utf-8", "replace").decode() for name, chunk in chunks.items()}
    if kind == "PNG":
        settings["pnginfo"] = info = PngImagePlugin.PngInfo()
        for name, chunk in ({KEY: text, **chunks} if text else chunks).items():
            info.add_text(name, chunk)
    elif text or chunks:
        settings["exif"] = comment_block(text, chunks)
        if kind == "JPEG" and len(settings["exif"]) > _JPEG_LIMIT:
            raise BadValue(
                f"the settings take {len(settings['exif'])} bytes, a JPEG holds 65533; save as .png"
            )
    stream = BytesIO()
    try:
        picture.save(stream, kind, **settings)
    except (OSError, ValueError) as error:
        raise BadValue(
            f"{picture.size} {picture.mode} cannot be written as {kind} ({error}); save as .png"
        ) from error
    return stream.getvalue()


def _check_chunks(chunks: Mapping[str, str], kind: str) -> None:
    """Raise ``BadValue`` for a chunk that a file of ``kind`` cannot hold."""
    for name in chunks:
        if name == KEY:
            raise BadValue(f"chunks holds {KEY!r}, which is the infotext's own; leave it out")
        if kind != "PNG" and name not in GRAPH_TAGS:
            raise BadValue(
                f"a {kind} file holds no chunk {name!r}, only {' and '.join(GRAPH_TAGS)}; save as .png"
            )
        if not (0 < len(name) < 80 and name.isascii() and name.isprintable() and name == name.strip()):
            raise BadValue(f"{name!r} is no name of a PNG text chunk; pass 1 to 79 letters of ASCII")


def _picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, np.ndarray):
        raise BadType(f"image is {type(image).__name__}; pass a uint8 array (H, W, 3) or a Pillow image")
    pixels = cast("NDArray[Any]", image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise BadValue(f"image is {pixels.dtype} {pixels.shape}; pass uint8 (H, W, 3)")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _put(content: bytes, part: Path, path: Path) -> None:
    """Write ``content`` to ``path`` by way of ``part`` in the same folder, which does not stay behind."""
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _reserve(folder: Path) -> tuple[int, Path]:
    """Return the next free number, and an empty file that keeps others from taking it."""
    number = max(_numbers(folder), default=0)
    while True:
        number += 1
        part = folder / f".{number:05}.part"
        try:
            part.open("xb").close()
        except FileExistsError:
            continue
        if number not in _numbers(folder):  # else another has finished since the folder was read
            return number, part
        part.unlink(missing_ok=True)


def _numbers(folder: Path) -> set[int]:
    return {int(match[1]) for path in folder.iterdir() if (match := _NUMBERED.match(path.name))}


def _unwritable(path: Path, error: OSError) -> BadValue:
    return BadValue(f"cannot write {path} ({error.strerror or error}); choose a folder that can be written")
