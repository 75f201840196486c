"""Write a picture with its generation record, and read the record of a picture."""

from __future__ import annotations

import re
import secrets
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ..errors import BadFile, BadType, BadValue, Missing, unknown
from .exif import EXIF_POINTER, USER_COMMENT, comment_block, comment_text
from .generation import Generation
from .infotext import format_infotext, parse_infotext

Picture = NDArray[np.uint8] | Image.Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF"}
"""Endings of file names and what they stand for."""

_KEY = "parameters"
_JPEG_LIMIT = 65533
_SETTINGS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 95, "max_threads": 1},
}
_NUMBERED = re.compile(r"([0-9]{5,})[-.]")


def save_image(path: str | Path, image: Picture, generation: Generation) -> Path:
    """Write ``image``, uint8 (H, W, 3) or Pillow's, with its infotext to ``path``, and return the path.

    The ending says the kind: PNG keeps the text under ``parameters``; JPEG, WebP and AVIF as EXIF user
    comment.  The same input gives the same bytes.  The file appears whole or not at all; one of the name is
    replaced; missing folders are made.

    Raises ``BadValue`` or ``BadType`` for a picture, ending or folder that cannot be written.
    """
    path = Path(path)
    content = _encode(image, path.suffix, format_infotext(generation))
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(content, part, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def save_numbered(
    folder: str | Path, image: Picture, generation: Generation, extension: str = ".png"
) -> Path:
    """Write ``image`` as ``00001-<seed>.png`` with the next free number of ``folder``, and return the path.

    Programs that write into one folder at the same time never get the same number.  Raises as ``save_image``.
    """
    folder = Path(folder)
    content = _encode(image, extension, format_infotext(generation))
    seed = "" if generation.seed is None else f"-{generation.seed}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number, part = _reserve(folder)
        path = folder / f"{number:05}{seed}{extension}"
        _put(content, part, path)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return path


def read_infotext(path: str | Path) -> str | None:
    """Return the infotext of a picture file, where the web UIs look for it; None when it has none.

    Raises ``BadFile`` when the file cannot be read as a picture.
    """
    try:
        with Image.open(path) as image:
            return _stored_text(image)
    except FileNotFoundError as error:
        raise BadFile(f"{path} does not exist; check the path") from error
    except Exception as error:  # on a damaged file each of Pillow's readers raises what it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadFile(f"{path} cannot be read as a picture ({reason}); check that it is whole") from error


def read_image_info(path: str | Path) -> Generation:
    """Return the generation record of a picture file.

    Raises ``BadFile`` when the file cannot be read as a picture, or holds no infotext.
    """
    text = read_infotext(path)
    if text is None:
        raise BadFile(
            f"{path} holds no generation settings; pass a picture as the program that made it saved it"
        )
    return parse_infotext(text)


def _encode(image: Picture, extension: str, text: str) -> bytes:
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
    if kind == "PNG":
        settings["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        if text:
            chunks.add_text(_KEY, text)
    elif text:
        settings["exif"] = comment_block(text)
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


def _stored_text(image: Image.Image) -> str | None:
    """Return the text of an opened picture; raises what Pillow raises."""
    png = image.format == "PNG"
    if png and _KEY not in image.info:
        image.load()  # text that stands after the pixels is found only now
    if (not png or "exif" in image.info) and (comment := _exif_comment(image)):
        return comment
    text = image.info.get(_KEY, image.info.get("comment") if image.format == "GIF" else None)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return text if isinstance(text, str) and text else None


def _exif_comment(image: Image.Image) -> str:
    """Return the EXIF user comment; nothing when there is none, or when the EXIF part is damaged."""
    try:
        comment = image.getexif().get_ifd(EXIF_POINTER).get(USER_COMMENT)
    except Exception:  # as above
        return ""
    return comment_text(comment) if isinstance(comment, bytes) else ""
