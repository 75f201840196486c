"""The EXIF user comment, where JPEG, WebP and AVIF keep the infotext."""

from __future__ import annotations

import struct

EXIF_POINTER = 0x8769
USER_COMMENT = 0x9286

_UNDEFINED, _LONG = 7, 4
_UNICODE, _ASCII, _UNSET = b"UNICODE\0", b"ASCII\0\0\0", b"\0" * 8


def comment_block(text: str) -> bytes:
    """Return an EXIF block that holds ``text`` as its user comment, in UTF-16 with the high byte first.

    Source: EXIF 2.32, 4.6.5 (UserComment); the byte order is the one that the web UIs write and read.
    """
    comment = _UNICODE + text.encode("utf-16-be", "replace")
    header = struct.pack(">2sHL", b"MM", 42, 8)
    first = struct.pack(">HHHLLL", 1, EXIF_POINTER, _LONG, 1, 26, 0)
    second = struct.pack(">HHHLLL", 1, USER_COMMENT, _UNDEFINED, len(comment), 44, 0)
    return b"Exif\0\0" + header + first + second + comment


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
