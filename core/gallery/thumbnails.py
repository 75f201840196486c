"""Small copies of pictures, made side by side and only where they are missing or old."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from .files import put

FOLDER = "thumbnails"
LONGEST = 320
"""The longer side of a thumbnail, in pixels; a picture that is no larger is its own."""
_SETTINGS = {"quality": 82, "method": 2}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture's ``size`` (width, height), and whether it has a thumbnail; ``problem``: why it cannot be read."""

    size: tuple[int, int] = (0, 0)
    has_thumbnail: bool = False
    problem: str | None = None


def shots(folder: Path, files: Iterable[str]) -> Iterator[Shot]:
    """Yield a `Shot` of each of ``files`` below ``folder``, in their order, and write the thumbnails.

    A picture that is gone or cannot be read has its ``problem`` said instead.  ``OSError`` when a thumbnail cannot
    be written.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(partial(_shot, folder), files)


def thumbnail_of(file: str) -> str:
    """Return the path of the thumbnail of ``file``, both below the gallery's folder."""
    return f"{FOLDER}/{file}.webp"


def _shot(folder: Path, file: str) -> Shot:
    path, small = folder / file, folder / thumbnail_of(file)
    try:
        changed = path.stat().st_mtime_ns
        with Image.open(path) as picture:
            size = picture.size
            if max(size) <= LONGEST:
                return Shot(size=size)
            if not (small.is_file() and small.stat().st_mtime_ns >= changed):
                content = _small(picture)
            else:
                return Shot(size=size, has_thumbnail=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Shot(problem=f"{file} cannot be read: {getattr(error, 'strerror', None) or error}")
    small.parent.mkdir(parents=True, exist_ok=True)
    put(small, content)
    return Shot(size=size, has_thumbnail=True)


def _small(picture: Image.Image) -> bytes:
    """Return the thumbnail's file."""
    picture.draft("RGB", (LONGEST, LONGEST))
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    copy = picture.convert(mode)
    copy.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS, reducing_gap=2.0)
    stream = BytesIO()
    copy.save(stream, "WEBP", **_SETTINGS)
    return stream.getvalue()
