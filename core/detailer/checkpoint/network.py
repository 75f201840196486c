"""Build a network from a checked architecture and its tensors, with ultralytics' layers."""

from __future__ import annotations

import threading
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors import BadFile
from ...torchvision_stand_in import import_ultralytics
from .architecture import ACTIVATIONS, Architecture
from .contents import TEXTS, Contents

_PROBE = 256  # pixels of the blank picture that tells the strides
_TAKES_TEXTS = ("C2fAttn", "WorldDetect", "ImagePoolingAttn")
_BUILDING = threading.Lock()


class Network(nn.Module):
    """A YOLO network: images (B, 3, h, w) in 0…1, with h and w multiples of ``stride``, to the head's answer.

    The answer is the head's own in evaluation: rows (B, 4 + classes + extra, anchors), or, when the head needs
    no suppression, (B, n, 6 + extra); with prototypes of masks when it segments.
    """

    def __init__(
        self, architecture: Architecture, layers: nn.Sequential, save: list[int], texts: Tensor | None
    ):
        """Take the layers, the indexes of those whose outputs are used later, and text features or None."""
        super().__init__()
        self.architecture = architecture
        self.model = layers
        self.texts = texts
        self._save = frozenset(save)

    @property
    def stride(self) -> int:
        """The largest stride of the head, in pixels."""
        return int(cast("Any", self.model[-1]).stride.max())

    def forward(self, images: Tensor) -> Any:
        """Return what the head says of ``images``."""
        x: Any = images
        texts = own_texts = None
        if self.texts is not None:
            texts = own_texts = self.texts.to(images).expand(len(images), -1, -1)
        outputs: list[Any] = []
        for index, found in enumerate(self.model):
            layer = cast("Any", found)
            if layer.f != -1:
                x = (
                    outputs[layer.f]
                    if isinstance(layer.f, int)
                    else [x if j == -1 else outputs[j] for j in layer.f]
                )
            kind = type(layer).__name__
            if (
                kind == "ImagePoolingAttn"
            ):  # it draws the texts nearer to the picture and passes the picture on
                texts = layer(x, texts)
            elif kind in _TAKES_TEXTS:
                x = layer(x, own_texts.clone() if kind == "WorldDetect" and own_texts is not None else texts)
            else:
                x = layer(x)
            outputs.append(x if index in self._save else None)
        return x


def build_network(contents: Contents) -> Network:
    """Return the network of ``contents`` in float32 on the CPU, ready to predict.

    Raises `BadFile` when the tensors are not exactly those of the architecture, and `Missing` without
    ultralytics.
    """
    architecture = contents.architecture
    tensors = dict(contents.tensors)
    texts = tensors.pop(TEXTS, None)
    network = _empty_network(architecture, None if texts is None else texts.float())
    _check_tensors(tensors, dict(network.state_dict()))
    floats = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    network.load_state_dict(floats, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _empty_network(architecture: Architecture, texts: Tensor | None) -> Network:
    """Return the network without memory for its tensors, but with the strides that a blank picture tells."""
    tasks = import_ultralytics("ultralytics.nn.tasks")
    name, options = ACTIVATIONS[architecture.activation or "nn.SiLU()"]
    with _BUILDING:
        usual = tasks.Conv.default_act
        try:
            if architecture.activation:  # ultralytics would evaluate the text
                tasks.Conv.default_act = getattr(nn, name)(**options)
            with torch.device("meta"):
                layers, save = tasks.parse_model(architecture.table(), ch=3, verbose=False)
            network = Network(architecture, layers, save, None if texts is None else texts.to("meta"))
            _set_up(network)
        except (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError) as error:
            raise BadFile(f"its layers do not fit together ({' '.join(str(error).split())[:160]})") from error
        finally:
            tasks.Conv.default_act = usual
    network.texts = texts
    return network


def _set_up(network: Network) -> None:
    architecture, head = network.architecture, cast("Any", network.model[-1])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = architecture.batch_norm_eps
    if architecture.one_to_one:
        head.end2end = True
    head.nc = len(architecture.names)
    network.eval()
    head.training = True  # in training it answers with the maps that it was given
    answer = network(torch.zeros(1, 3, _PROBE, _PROBE, device="meta"))
    head.training = False
    maps = answer.get("one2many", answer)["feats"]
    strides = [_PROBE / found.shape[-2] for found in maps]
    if not all(2 <= stride <= 128 for stride in strides):
        raise BadFile(f"its strides are {strides}, and 2 to 128 are wanted")
    head.stride = torch.tensor(strides)


def _check_tensors(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or extra:
        raise BadFile(
            f"its tensors are not those of its architecture: {len(missing)} are missing ({', '.join(missing[:2])}), "
            f"{len(extra)} are too many ({', '.join(extra[:2])})"
        )
    for name, tensor in wanted.items():
        if given[name].shape != tensor.shape:
            raise BadFile(
                f"its tensor {name} is {tuple(given[name].shape)}, and its architecture has {tuple(tensor.shape)}"
            )
