"""Write a small ONNX detector without the onnx package: the few fields of its protobuf that are needed.

The model gives the rows that it was made with, their scores times the brightest number of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FLOAT = 1


def write_onnx(
    path: Path,
    rows: NDArray[np.float32],
    scale: NDArray[np.float32],
    *,
    size: tuple[int, int] | None,
    notes: Mapping[str, str],
    prototypes: NDArray[np.float32] | None = None,
    channels: int = 3,
) -> Path:
    """Write a model whose answer is ``rows`` (1, …), those of them where ``scale`` is 1 times the brightest pixel.

    ``size``: (width, height) of its input, any by default.  ``notes``: what ultralytics writes as metadata.
    """
    height, width = (_dim("height"), _dim("width")) if size is None else (_dim(size[1]), _dim(size[0]))
    graph = [
        _node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        _node("Mul", ["scale", "brightest"], ["lit"]),
        _node("Add", ["lit", "base"], ["factors"]),
        _node("Mul", ["rows", "factors"], ["output0"]),
        _field(2, b"drawn"),
        _tensor("rows", rows),
        _tensor("scale", scale),
        _tensor("base", 1 - scale),
        _field(11, _value("images", [_dim(1), _dim(channels), height, width])),
        _field(12, _value("output0", [_dim(n) for n in rows.shape])),
    ]
    if prototypes is not None:
        graph += [_tensor("kept", prototypes), _node("Identity", ["kept"], ["output1"])]
        graph += [_field(12, _value("output1", [_dim(n) for n in prototypes.shape]))]
    model = _varint(1, 8) + _field(7, b"".join(graph)) + _field(8, _varint(2, 13))
    model += b"".join(_field(14, _field(1, k.encode()) + _field(2, v.encode())) for k, v in notes.items())
    path.write_bytes(model)
    return path


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _varint(key: int, value: int) -> bytes:
    return _number(key << 3) + _number(value)


def _field(key: int, data: bytes) -> bytes:
    return _number(key << 3 | 2) + _number(len(data)) + data


def _dim(size: int | str) -> bytes:
    return _field(1, _varint(1, size) if isinstance(size, int) else _field(2, size.encode()))


def _value(name: str, dims: list[bytes]) -> bytes:
    tensor = _varint(1, _FLOAT) + _field(2, b"".join(dims))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _tensor(name: str, array: NDArray[np.float32]) -> bytes:
    dims = b"".join(_varint(1, n) for n in array.shape)
    data = array.astype("<f4").tobytes()
    return _field(5, dims + _varint(2, _FLOAT) + _field(8, name.encode()) + _field(9, data))


def _node(kind: str, inputs: list[str], outputs: list[str], **numbers: int) -> bytes:
    body = b"".join(_field(1, name.encode()) for name in inputs)
    body += b"".join(_field(2, name.encode()) for name in outputs) + _field(4, kind.encode())
    for name, value in numbers.items():
        body += _field(5, _field(1, name.encode()) + _varint(3, value) + _varint(20, 2))
    return _field(1, body)
