"""Find the network in what a checkpoint's pickle describes: its architecture and its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from ...errors import BadFile
from .architecture import MODELS, REFUSED, Architecture, read_table
from .archive import Archive
from .pickles import Made

TEXTS = "texts"
"""The name, among a network's tensors, of the text features of its classes, (1, classes, width)."""

_DEEPEST = 24
_MOST_MODULES = 20_000
_IMAGE_SIZE = 640


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A network as data: what it is made of, and its tensors by name."""

    architecture: Architecture
    tensors: dict[str, Tensor]


def read_checkpoint(path: Path) -> Contents:
    """Return the network in a ``.pt`` of ultralytics, without running or importing anything that it names.

    Raises `BadFile`, naming the file and what is wrong or forbidden in it.
    """
    try:
        with Archive(path) as archive:
            return _contents(archive)
    except BadFile as error:
        raise BadFile(f"{path.name} is refused: {error}; nothing in it was run") from error.__cause__
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise BadFile(
            f"{path.name} is refused: it is no checkpoint of ultralytics; nothing in it was run"
        ) from error


def _contents(archive: Archive) -> Contents:
    root = archive.value()
    if not isinstance(root, dict):
        raise BadFile("it holds no checkpoint of ultralytics")
    root = cast("dict[str, Any]", root)
    model = root.get("ema") or root.get("model")
    if not isinstance(model, Made):
        raise BadFile(
            "it holds no network, only weights or something else; export the detector with ultralytics again"
        )
    _check_kind(model)
    attributes = model.attributes()
    layers = _modules(attributes).get("model")
    if not isinstance(layers, Made):
        raise BadFile("its network has no layers")
    modules = list(_walk(layers, "model"))
    tensors = {
        f"{prefix}.{name}": archive.tensor(value)
        for prefix, module in modules
        for name, value in _tensors_of(module)
    }
    texts = attributes.get("txt_feats") if model.name.name == "WorldModel" else None
    if model.name.name == "WorldModel":
        tensors[TEXTS] = archive.tensor(texts)
    head = [None, *_modules(layers.attributes()).values()][-1]
    architecture = Architecture(
        **read_table(attributes.get("yaml")),
        task=MODELS[model.name.name],
        names=_names(attributes.get("names")),
        image_size=_image_size(root, attributes),
        batch_norm_eps=_batch_norm_eps(modules),
        one_to_one=isinstance(head, Made) and head.attributes().get("_end2end") is True,
        texts=TEXTS in tensors,
    )
    if TEXTS in tensors:
        _check_texts(tensors[TEXTS], architecture)
    return Contents(architecture=architecture, tensors=tensors)


def _check_kind(model: Made) -> None:
    name, module = model.name.name, model.name.module
    if module.startswith(("models.", "utils.")):
        raise BadFile("it is a YOLOv5 or v7 of before ultralytics; export it to ONNX")
    if name in REFUSED:
        raise BadFile(REFUSED[name])
    if name not in MODELS or not module.startswith("ultralytics."):
        raise BadFile(f"its network is a {str(model.name)[:200]}; {', '.join(MODELS)} are known")


def _walk(module: Made, prefix: str) -> Iterator[tuple[str, Made]]:
    """Yield every module below ``module`` with its name, itself first."""
    todo = [(prefix, module, 0)]
    count = 0
    while todo:
        name, module, depth = todo.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_MODULES:
            raise BadFile("its modules are nested too deep, or too many")
        yield name, module
        for key, child in _modules(module.attributes()).items():
            if isinstance(child, Made):
                todo.append((f"{name}.{_key(key)}", child, depth + 1))
            elif child is not None:
                raise BadFile(f"its module {name}.{_key(key)} is none")


def _modules(attributes: dict[str, Any]) -> dict[str, Any]:
    found = attributes.get("_modules")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _tensors_of(module: Made) -> Iterator[tuple[str, Any]]:
    """Yield the parameters and lasting buffers of a module, inert."""
    attributes = module.attributes()
    passing: Any = attributes.get("_non_persistent_buffers_set")
    names: list[Any] = []
    if isinstance(passing, Made):
        names = [*passing.items, *(cast("list[Any]", passing.args[0]) if _filled(passing) else [])]
    for kind in ("_parameters", "_buffers"):
        found: Any = attributes.get(kind)
        for name, value in cast("dict[str, Any]", found if isinstance(found, dict) else {}).items():
            if value is not None and name not in names:
                yield _key(name), value


def _filled(made: Made) -> bool:
    return len(made.args) == 1 and isinstance(made.args[0], list)


def _key(key: Any) -> str:
    if not isinstance(key, str) or (not key.isidentifier() and not key.isdigit()) or len(key) > 60:
        raise BadFile(f"{str(key)[:60]!r} is no name of a module or a tensor")
    return key


def _names(found: Any) -> tuple[str, ...]:
    if isinstance(found, dict):
        named = cast("dict[Any, Any]", found)
        if list(named) != list(range(len(named))):
            raise BadFile("its classes are not numbered from 0")
        return tuple(named.values())
    return tuple(cast("list[Any]", found)) if isinstance(found, list | tuple) else ()


def _image_size(root: dict[str, Any], attributes: dict[str, Any]) -> int:
    """Return the image size of training; ultralytics predicts at it too."""
    for found in (root.get("train_args"), attributes.get("args")):
        args: Any = found.attributes() if isinstance(found, Made) else found
        size: Any = cast("dict[str, Any]", args).get("imgsz") if isinstance(args, dict) else None
        sizes = cast("list[Any]", list(size)) if isinstance(size, list | tuple) else [size]  # pyright: ignore[reportUnknownArgumentType]
        counts = [number for number in sizes if type(number) is int and 32 <= number <= 4096]
        if counts:
            return max(counts)
    return _IMAGE_SIZE


def _batch_norm_eps(modules: list[tuple[str, Made]]) -> float:
    norms = [made.attributes() for _, made in modules if made.name.name == "BatchNorm2d"]
    values = {eps for one in norms if isinstance(eps := one.get("eps"), float)}
    if len(values) > 1:
        raise BadFile("its batch normalisations differ in epsilon")
    if not values:
        raise BadFile(
            "it has no batch normalisation: it was fused; save it as ultralytics does after training"
        )
    return values.pop()


def _check_texts(texts: Tensor, architecture: Architecture) -> None:
    """Raise unless the features are those of a text encoder, whose length is 1, one for each class."""
    count = len(architecture.names)
    if texts.ndim != 3 or not texts.numel():
        raise BadFile(f"its text features are {tuple(texts.shape)}, and (1, classes, width) is wanted")
    lengths = texts.float().square().sum(dim=-1).sqrt()
    if texts.shape[:2] != (1, count) or not float((lengths - 1).square().max()) <= 0.02**2:  # nor NaN
        raise BadFile(
            "its classes are not baked in: it would need CLIP's text encoder; "
            "call set_classes([...]) and save(...) of YOLOWorld, then use the saved file"
        )
