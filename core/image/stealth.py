"""Text in the lowest bits of a picture's alpha or colours, as NovelAI and "stealth PNG info" hide it."""

from __future__ import annotations

import zlib
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import BadType, BadValue

_MARK_BITS = 15 * 8
_LENGTH_BITS = 32
_MARKS = {
    b"stealth_pnginfo": False,
    b"stealth_pngcomp": True,
    b"stealth_rgbinfo": False,
    b"stealth_rgbcomp": True,
}
"""What the bits begin with, and whether the text is packed by gzip."""
_MOST = 1 << 26


def stealth_text(pixels: NDArray[np.uint8]) -> str | None:
    """Return the text hidden in ``pixels``, uint8 (H, W, 3 or 4); None when there is none, or it is damaged.

    The bits run down the columns, of alpha or else of red, green and blue in turn: a mark of 15 letters, 32
    bits with the number of bits, high first, then the text in UTF-8, plain or packed by gzip.

    Source: the "stealth PNG info" convention, and NovelAI's pictures, which use its alpha form.
    """
    for channels in ([3], [0, 1, 2]) if pixels.shape[2] == 4 else ([0, 1, 2],):
        text = _hidden(pixels[..., channels])
        if text is not None:
            return text
    return None


def hide_text(pixels: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Return ``pixels``, uint8 (H, W, 4), with ``text`` packed into the lowest bits of alpha.

    Raises ``BadValue`` when the picture is too small for it, ``BadType`` for another kind of picture.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 4:
        raise BadType(f"pixels are {pixels.dtype} {pixels.shape}; pass uint8 (H, W, 4)")
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(text.encode("utf-8", "replace")) + packer.flush()
    data = b"stealth_pngcomp" + (len(body) * 8).to_bytes(4, "big") + body
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    alpha = pixels[..., 3].T.ravel().copy()
    if len(bits) > len(alpha):
        raise BadValue(
            f"the text takes {len(bits)} pixels, the picture has {len(alpha)}; store it as a chunk"
        )
    alpha[: len(bits)] = (alpha[: len(bits)] & 0xFE) | bits
    out = pixels.copy()
    out[..., 3] = alpha.reshape(pixels.shape[1], pixels.shape[0]).T
    return out


def _hidden(values: NDArray[np.uint8]) -> str | None:
    head = _bytes(values, 0, _MARK_BITS + _LENGTH_BITS)
    packed = _MARKS.get(head[:15])
    if packed is None or len(head) < 19:
        return None
    length = int.from_bytes(head[15:19], "big")
    if length % 8 or length > values.size - _MARK_BITS - _LENGTH_BITS or length > _MOST:
        return None
    body = _bytes(values, _MARK_BITS + _LENGTH_BITS, length)
    try:
        return (_unpacked(body) if packed else body).decode("utf-8")
    except (zlib.error, UnicodeDecodeError):
        return None


def _bytes(values: NDArray[np.uint8], start: int, count: int) -> bytes:
    """Return ``count`` lowest bits from ``start`` on, down the columns, eight to a byte."""
    height, _, depth = values.shape
    columns = -(-(start + count) // (height * depth))
    bits = values[:, :columns].transpose(1, 0, 2).ravel()[start : start + count] & 1
    return cast("bytes", cast("Any", np.packbits(bits)).tobytes())


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    return unpacker.decompress(body, _MOST)  # no more, however much a file claims to be
