"""The pictures and masks that a recorded picture was made from: by hash, by the name in a graph, or all there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...core.errors import BadFile
from ...core.image.files import FORMATS
from ...core.image.graph import Graph, parse_graph
from ..stages.canvas import picture_hash

Pixels = NDArray[np.uint8]
_CHANNELS = {"red": 0, "green": 1, "blue": 2}


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What a picture may have been made from: ``image`` uint8 (H, W, 3), ``mask`` uint8 (H, W), and their names."""

    image: Pixels | None = None
    mask: Pixels | None = None
    name: str = ""


def possible_sources(
    images: Sequence[Path], masks: Sequence[Path], *, hash_: str | None = None, graph: str | None = None
) -> list[Source]:
    """Return what can be meant, every pair of a picture and a mask of its size; the likeliest first.

    ``images``, ``masks``: files, or folders of them.  ``hash_``: A1111's "Init image hash".  ``graph``: of
    ComfyUI, which names its files.  Raises ``BadFile`` for what cannot be read.
    """
    named, mask_named, channel = _names(graph)
    pictures = [(path, _pixels(path)) for path in _files(images, named)]
    if hash_ is not None:
        pictures = [pair for pair in pictures if picture_hash(pair[1]) == hash_] or pictures
    painted = [(path, _mask(path, channel)) for path in _files(masks, mask_named)]
    if not painted:
        return [Source(image=image, name=path.name) for path, image in pictures]
    return [
        Source(image=image, mask=mask, name=f"{path.name} with {other.name}")
        for path, image in pictures
        for other, mask in painted
        if mask.shape == image.shape[:2] and path != other
    ]


@dataclass(frozen=True, kw_only=True)
class PictureShelf:
    """The pictures that a graph loads, in ``paths``: files, and folders of them."""

    paths: Sequence[Path]

    def __call__(self, name: str, channel: str) -> Pixels:
        """Return the picture called ``name``, (H, W, 3), or one of its channels as a mask, (H, W).

        A single file that was given stands for whatever name.  Raises ``BadFile`` for one that is not there.
        """
        found = next((path for path in self._files() if path.name == _file_name(name)), None)
        if found is None and len(self.paths) == 1 and self.paths[0].is_file():
            found = self.paths[0]
        if found is None:
            raise BadFile(
                f"the picture {name} that the graph loads is not there; name its folder with --init"
            )
        return _mask(found, channel) if channel else _pixels(found)

    def _files(self) -> Iterator[Path]:
        for path in self.paths:
            yield from (path.iterdir() if path.is_dir() else [path])


def _names(graph: str | None) -> tuple[str | None, str | None, str]:
    """Return the files that ``graph`` loads as picture and as mask, and the mask's channel."""
    if graph is None:
        return None, None, ""
    nodes: Graph = parse_graph(graph)
    image = mask = None
    channel = ""
    for node in nodes.nodes.values():
        if node.kind == "LoadImage":
            image = image or nodes.text(node, "image")
        elif node.kind == "LoadImageMask":
            mask, channel = nodes.text(node, "image"), nodes.text(node, "channel") or ""
    return image, mask, channel


def _files(paths: Sequence[Path], name: str | None) -> list[Path]:
    """Return the files of ``paths``; of a folder that of ``name`` alone, if it has one."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise BadFile(f"{path} is not there; check the path")
        if path.is_dir():
            inside = [one for one in sorted(path.iterdir()) if one.suffix.lower() in FORMATS]
            wanted = _file_name(name) if name else None
            found += [one for one in inside if one.name == wanted] or inside
        else:
            found.append(path)
    return found


def _file_name(name: str) -> str:
    """Return the name of the file that a graph calls ``name``, such as ``sub/a.png [input]``."""
    return PurePosixPath(name.partition(" [")[0]).name


def _pixels(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise BadFile(f"cannot read {path} as a picture ({error}); pass a PNG, JPEG or WebP file") from error


def _mask(path: Path, channel: str) -> Pixels:
    """Return a mask: one channel of a picture as ComfyUI's LoadImageMask takes it, else its brightness."""
    if channel in _CHANNELS:
        return _pixels(path)[..., _CHANNELS[channel]]
    try:
        with Image.open(path) as image:
            if channel == "alpha":
                alpha = np.asarray(image.convert("RGBA"))[..., 3]
                return (255 - alpha).astype(np.uint8)
            return np.asarray(image.convert("L"))
    except OSError as error:
        raise BadFile(f"cannot read {path} as a mask ({error}); pass a PNG file") from error
