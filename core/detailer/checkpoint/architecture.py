"""What a YOLO network is made of, checked against a table: nothing that is written in a file is evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from ...errors import BadFile

Task = Literal["detect", "segment", "pose"]
Argument = None | bool | int | float | str | list["int"]

MODELS: dict[str, Task] = {
    "DetectionModel": "detect",
    "SegmentationModel": "segment",
    "PoseModel": "pose",
    "WorldModel": "detect",
}
REFUSED = {
    "ClassificationModel": "it sorts whole pictures into classes and finds no boxes",
    "DepthModel": "it estimates depth and finds no boxes",
    "OBBModel": "its boxes are rotated, which a detailer has no use for",
    "RTDETRDetectionModel": "it is an RT-DETR; export it to ONNX",
    "SemanticSegmentationModel": "it labels pixels and finds no boxes",
    "YOLOEModel": "it is a YOLOE, which needs a text encoder; export it to ONNX with its classes set",
    "YOLOESegModel": "it is a YOLOE, which needs a text encoder; export it to ONNX with its classes set",
}
HEADS: dict[str, Task] = {
    "Detect": "detect",
    "WorldDetect": "detect",
    "v10Detect": "detect",
    "Segment": "segment",
    "Segment26": "segment",
    "Pose": "pose",
    "Pose26": "pose",
}
LAYERS = frozenset(
    """
    A2C2f AConv ADown Bottleneck BottleneckCSP C1 C2 C2f C2fAttn C2fCIB C2fPSA C2PSA C3 C3Ghost C3k2 C3x CBFuse
    CBLinear Concat Conv Conv2 ConvTranspose DWConv DWConvTranspose2d ELAN1 Focus GhostBottleneck GhostConv
    ImagePoolingAttn Index PSA RepC3 RepConv RepNCSPELAN4 RepVGGDW SCDown SPP SPPELAN SPPF nn.ConvTranspose2d
    nn.Identity nn.MaxPool2d nn.Upsample nn.ZeroPad2d
    """.split()
)
ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "nn.SiLU()": ("SiLU", {}),
    "nn.ReLU()": ("ReLU", {}),
    "nn.ReLU6()": ("ReLU6", {}),
    "nn.LeakyReLU()": ("LeakyReLU", {}),
    "nn.LeakyReLU(0.1)": ("LeakyReLU", {"negative_slope": 0.1}),
    "nn.Mish()": ("Mish", {}),
    "nn.Hardswish()": ("Hardswish", {}),
    "nn.GELU()": ("GELU", {}),
    "nn.ELU()": ("ELU", {}),
    "nn.Identity()": ("Identity", {}),
}
WORDS = frozenset({"nc", "kpt_shape", "nearest", "bilinear", "None", "True", "False"})
COUNTS = {"RepNCSPELAN4": 3, "SPPF": 2, "nn.Upsample": 1}
"""The argument of a layer that says how often something is repeated, or how many times larger it becomes."""

_LARGEST = 8192


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A row of the network's table: where its input comes from, how often, which module, with which arguments."""

    source: int | list[int]
    repeats: int
    module: str
    args: list[Argument]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All that is needed to build a network, and to read what it says.

    ``classes`` is how many the weights were made for: as many as ``names`` unless ``texts``.
    ``scale`` is the letter of the size, or ""; ``image_size`` that of training, in pixels; ``one_to_one``:
    the head's answers need no suppression; ``texts``: the classes are given as text features.
    """

    task: Task
    names: tuple[str, ...]
    classes: int
    layers: tuple[Layer, ...]
    depth: float
    width: float
    max_channels: float | None
    scale: str
    activation: str | None
    reg_max: int
    end2end: bool | None
    kpt_shape: list[int] | None
    image_size: int
    batch_norm_eps: float
    one_to_one: bool
    texts: bool

    def __post_init__(self) -> None:
        """Raise `BadFile` for whatever is not in the tables of this module."""
        _check_names(self.names)
        _check_numbers(self)
        if not 1 <= len(self.layers) <= 256:
            raise BadFile(f"it has {len(self.layers)} layers; a detector has 1 to 256")
        for index, layer in enumerate(self.layers):
            _check_layer(layer, index, last=index == len(self.layers) - 1)
        if HEADS[self.layers[-1].module] != self.task:
            raise BadFile(f"its head is {self.layers[-1].module}, which is not for the task {self.task}")
        if self.classes != len(self.names) and not self.texts:
            raise BadFile(f"it has {self.classes} classes and names for {len(self.names)}")
        if self.texts != (self.layers[-1].module == "WorldDetect"):
            raise BadFile("it has text features without a head that takes them, or such a head without them")
        if sum(max(1.0, layer.repeats * self.depth) for layer in self.layers) > 512:
            raise BadFile("its layers are repeated too often")

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON can hold it."""
        return {**asdict(self), "names": list(self.names), "layers": [asdict(layer) for layer in self.layers]}

    @classmethod
    def from_json(cls, data: Any) -> Architecture:
        """Return the record that `to_json` made; raises `BadFile` when it is anything else."""
        try:
            layers = tuple(Layer(**layer) for layer in data["layers"])
            fields: dict[str, Any] = {**data, "names": tuple(data["names"]), "layers": layers}
            return cls(**fields)
        except (TypeError, KeyError, ValueError) as error:
            if isinstance(error, BadFile):
                raise
            raise BadFile(f"its description is damaged ({error})") from error

    def table(self) -> dict[str, Any]:
        """Return the description in the form in which ultralytics builds networks; holds checked values alone."""
        rows = [[layer.source, layer.repeats, layer.module, list(layer.args)] for layer in self.layers]
        limits = [self.depth, self.width, math.inf if self.max_channels is None else self.max_channels]
        table: dict[str, Any] = {"nc": self.classes, "backbone": rows, "head": [], "reg_max": self.reg_max}
        table |= {"scales": {self.scale or "-": limits}, "scale": self.scale or "-"}
        if self.end2end is not None:
            table["end2end"] = self.end2end
        if self.kpt_shape is not None:
            table["kpt_shape"] = list(self.kpt_shape)
        return table


def read_table(table: Any) -> dict[str, Any]:
    """Return the fields of an `Architecture` that a checkpoint's table (its "yaml") holds."""
    if not isinstance(table, dict):
        raise BadFile("it has no table of its architecture")
    table = cast("dict[str, Any]", table)
    rows: Any = [*_list(table.get("backbone"), "backbone"), *_list(table.get("head"), "head")]
    scale, (depth, width, channels) = _scaling(table)
    activation: Any = table.get("activation")
    return {
        "classes": table.get("nc"),
        "layers": tuple(_layer(row) for row in rows),
        "depth": depth,
        "width": width,
        "max_channels": channels,
        "scale": scale,
        "activation": _activation(activation) if activation else None,
        "reg_max": table.get("reg_max", 16),
        "end2end": table.get("end2end"),
        "kpt_shape": _as_list(table.get("kpt_shape")),
    }


def _scaling(table: Mapping[str, Any]) -> tuple[str, tuple[Any, Any, Any]]:
    scales: Any = table.get("scales")
    scale: Any = table.get("scale") or ""
    if not scales:
        scale = scale if isinstance(scale, str) and scale in {"n", "s", "m", "l", "x"} else ""
        return scale, (table.get("depth_multiple", 1.0), table.get("width_multiple", 1.0), None)
    if not isinstance(scales, dict) or not isinstance(scale, str):
        raise BadFile("its table of scales is none")
    scales = cast("dict[Any, Any]", scales)
    scale = scale or str(next(iter(scales)))
    factors = _as_list(scales.get(scale))
    if factors is None or len(factors) != 3:
        raise BadFile(f"its scale {_told(scale)} is not three factors")
    return scale, (factors[0], factors[1], factors[2])


def _activation(text: Any) -> str:
    plain = (text if isinstance(text, str) else "").replace(" ", "").replace("torch.nn.", "nn.")
    plain = plain.replace(",inplace=True)", ")").replace("(inplace=True)", "()")
    if plain not in ACTIVATIONS:
        raise BadFile(f"its activation is {_told(text)}, and {', '.join(ACTIVATIONS)} are known")
    return plain


def _layer(row: Any) -> Layer:
    row = _list(row, "layer")
    if len(row) != 4:
        raise BadFile(f"a layer has {len(row)} fields, and 4 are wanted")
    source, repeats, module, args = row
    if module in ("Silence", "nn.Silence"):  # what YOLOv9 named the identity
        module = "nn.Identity"
    plain = [
        _as_list(value) if isinstance(value, list | tuple) else value for value in _list(args, "arguments")
    ]
    many = isinstance(source, list | tuple)
    return Layer(
        source=cast("Any", _as_list(source) if many else source), repeats=repeats, module=module, args=plain
    )


def _as_list(value: Any) -> list[Any] | None:
    return list(cast("Sequence[Any]", value)) if isinstance(value, list | tuple) else None


def _list(value: Any, what: str) -> list[Any]:
    found = _as_list(value)
    if found is None:
        raise BadFile(f"its {what} is no list")
    return found


def _check_names(names: tuple[Any, ...]) -> None:
    if not 1 <= len(names) <= 20_000:
        raise BadFile(f"it has {len(names)} classes; 1 to 20000 are possible")
    for name in names:
        if not isinstance(name, str) or len(name) > 200 or not name.isprintable():
            raise BadFile(f"a name of a class is {_told(name)}, which is no line of text")


def _check_numbers(a: Architecture) -> None:
    if a.scale not in ("", "-") and not _short(a.scale):
        raise BadFile(f"its scale is {_told(a.scale)}, and a letter is wanted")
    if not _positive(a.depth, 4) or not _positive(a.width, 4):
        raise BadFile(
            f"its depth and width are {_told(a.depth)} and {_told(a.width)}, and factors up to 4 are wanted"
        )
    if a.max_channels is not None and not _positive(a.max_channels, _LARGEST):
        raise BadFile(f"its largest number of channels is {_told(a.max_channels)}")
    if a.activation is not None and a.activation not in ACTIVATIONS:
        raise BadFile(f"its activation is {_told(a.activation)}, and {', '.join(ACTIVATIONS)} are known")
    if not _whole(a.reg_max, 1, 64) or not _whole(a.classes, 1, 20_000):
        raise BadFile(
            f"reg_max is {_told(a.reg_max)} and nc is {_told(a.classes)}, and counts up to 64 and 20000 are wanted"
        )
    flags = (a.one_to_one, a.texts, False if a.end2end is None else a.end2end)
    if not all(type(flag) is bool for flag in flags):
        raise BadFile("end2end and its like are yes or no, and something else is given")
    shape = a.kpt_shape
    if shape is not None and not (len(shape) == 2 and all(_whole(n, 1, 1024) for n in shape)):
        raise BadFile(f"its shape of keypoints is {_told(shape)}, and two counts are wanted")
    if not _whole(a.image_size, 32, 4096) or not _positive(a.batch_norm_eps, 1):
        raise BadFile(f"its image size is {_told(a.image_size)} and its epsilon {_told(a.batch_norm_eps)}")


def _check_layer(layer: Layer, index: int, *, last: bool) -> None:
    module = layer.module
    if not isinstance(module, str) or module not in (HEADS if last else LAYERS):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadFile(f"its layer {index} is {_told(module)}, which no detector needs")
    sources: list[Any] = layer.source if isinstance(layer.source, list) else [layer.source]
    if not sources or len(sources) > 32 or not all(_whole(n, -max(index, 1), index - 1) for n in sources):
        raise BadFile(f"its layer {index} takes its input from {_told(layer.source)}, where there is none")
    if not _whole(layer.repeats, 1, 64) or len(layer.args) > 16:
        raise BadFile(
            f"its layer {index} is repeated {_told(layer.repeats)} times, or has too many arguments"
        )
    for arg in layer.args:
        _check_argument(arg, index)
    count = COUNTS.get(module)
    if count is not None and len(layer.args) > count and not _whole(layer.args[count], 0, 16):
        raise BadFile(f"its layer {index} repeats or enlarges {_told(layer.args[count])} times")


def _check_argument(arg: Any, index: int) -> None:
    if isinstance(arg, str):
        good = arg in WORDS
    elif isinstance(arg, list):
        many = cast("list[Any]", arg)
        good = len(many) <= 64 and all(_whole(number, -_LARGEST, _LARGEST) for number in many)
    else:
        good = arg is None or (isinstance(arg, int | float) and abs(arg) <= _LARGEST)
    if not good:
        raise BadFile(
            f"its layer {index} has the argument {_told(cast('Any', arg))}, which no detector needs"
        )


def _positive(value: object, largest: float) -> bool:
    return type(value) in (int, float) and 0 < cast("float", value) <= largest


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _short(text: object) -> bool:
    return isinstance(text, str) and len(text) <= 8 and text.isalnum() and text.isascii()


def _told(value: object) -> str:
    """Return ``value`` for a message: never long, and never what a nest of lists would take for ever to print."""
    if isinstance(value, str):
        return repr(value[:120])
    if isinstance(value, float) or value is None or (isinstance(value, int) and abs(value) < 1 << 60):
        return repr(value)
    return f"a {type(value).__name__}"
