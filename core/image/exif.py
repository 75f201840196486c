"""The EXIF block, where JPEG, WebP and AVIF keep the infotext and ComfyUI's graphs."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

EXIF_POINTER = 0x8769
USER_COMMENT = 0x9286
MAKE, MODEL = 0x010F, 0x0110

GRAPH_TAGS: Mapping[str, int] = {"workflow": MAKE, "prompt": MODEL}
"""The tags in which ComfyUI's WebP files hold its graphs, as ``name:text``."""

_UNDEFINED, _LONG, _ASCII_TYPE = 7, 4, 2
_UNICODE, _ASCII, _UNSET = b"UNICODE\0", b"ASCII\0\0\0", b"\0" * 8
_HEADER = 8


def comment_block(text: str, graphs: Mapping[str, str] | None = None) -> bytes:
    """Return an EXIF block that holds ``text`` as its user comment, in UTF-16 with the high byte first.

    ``graphs``: of ``GRAPH_TAGS``, by name.  An empty ``text`` has no comment.

    Source: EXIF 2.32, 4.6.5 (UserComment) and 4.6.2; the byte order is the one that the web UIs write and
    read, the tags of graphs those of ComfyUI.
    """
    entries = [
        (GRAPH_TAGS[name], _ASCII_TYPE, f"{name}:{graph}".encode("utf-8", "replace") + b"\0")
        for name, graph in (graphs or {}).items()
    ]
    if not text:
        return b"Exif\0\0" + _tiff_header() + _directory(sorted(entries), _HEADER)
    comment = _UNICODE + text.encode("utf-16-be", "replace")
    # the pointer's value is known once the first directory's size is
    size = len(_directory(sorted([*entries, (EXIF_POINTER, _LONG, b"\0" * 4)]), _HEADER))
    pointer = (EXIF_POINTER, _LONG, struct.pack(">L", _HEADER + size))
    first = _directory(sorted([*entries, pointer]), _HEADER)
    second = _directory([(USER_COMMENT, _UNDEFINED, comment)], _HEADER + size)
    return b"Exif\0\0" + _tiff_header() + first + second


def _tiff_header() -> bytes:
    return struct.pack(">2sHL", b"MM", 42, _HEADER)


def _directory(entries: list[tuple[int, int, bytes]], offset: int) -> bytes:
    """Return the directory of (tag, type, value) ``entries`` that stands at ``offset``, its long values behind it."""
    table, values = struct.pack(">H", len(entries)), b""
    after = offset + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        count = len(value) // 4 if kind == _LONG else len(value)
        if len(value) <= 4:
            table += struct.pack(">HHL4s", tag, kind, count, value)
            continue
        table += struct.pack(">HHLL", tag, kind, count, after + len(values))
        values += value + b"\0" * (len(value) % 2)
    return table + struct.pack(">L", 0) + values


def comment_text(comment: bytes) -> str:
    """Return the text of a user comment; bytes that are no text become U+FFFD.

    UTF-16 is read with the high byte first, unless that gives fewer plain characters than the other way.
    """
    code, body = comment[:8], comment[8:]
    if code == _UNICODE:
        texts = [body.decode(encoding, "replace") for encoding in ("utf-16-be", "utf-16-le")]
        text = max(texts, key=lambda text: sum(sign < "\x7f" for sign in text))
    elif code in (_ASCII, _UNSET):
        text = body.decode("utf-8", "replace")
    else:
        text = comment.decode("utf-8", "replace")
    return text.strip("\0")


def graph_texts(tags: Mapping[int, Any]) -> dict[str, str]:
    """Return the graphs that the tags of a block hold, by name: ``prompt:…`` in any of ComfyUI's tags."""
    found: dict[str, str] = {}
    for tag in (MODEL, MAKE):
        value = tags.get(tag)
        if isinstance(value, str):  # Pillow has read the bytes as Latin-1
            value = value.encode("latin-1", "replace")
        text = value.decode("utf-8", "replace").strip("\0") if isinstance(value, bytes) else ""
        name, sign, graph = text.partition(":")
        if sign and name.lower() in GRAPH_TAGS:
            found[name.lower()] = graph.strip()
    return found
