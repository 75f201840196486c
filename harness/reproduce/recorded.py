"""A recorded picture: its pixels, and what its file says of how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...core.errors import BadFile, BadValue
from ...core.filled import profile_of
from ...core.image import read_image_info
from ...core.image.comfyui_graph import LEFT_OUT
from ...core.image.files import FORMATS
from ...core.image.generation import Generation
from ...core.image.graph import parse_graph
from ...core.image.parts import Inpaint
from ...core.image.reading import read_stored
from ...core.profile_choice import profile_named, with_profile
from ...core.same_picture import is_lossy
from ..graphs import missing_nodes, output_of

_UNDRAWN = (
    ("token_merging_ratio", "Token merging ratio"),
    ("token_merging_ratio_hr", "Token merging ratio hr"),
    ("face_restoration", "Face restoration"),
    ("fp8_weight", "FP8 weight"),
)
"""Settings that are recorded and that no front without a host draws with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """A picture file: ``pixels`` uint8 (H, W, 3), its ``record`` under a profile, and the ComfyUI ``graph``.

    ``chosen``: the profile was asked for, not read.  ``notes``: what of the file cannot be matched.
    """

    file: Path
    pixels: NDArray[np.uint8]
    record: Generation
    graph: str | None = None
    lossy: bool = False
    notes: tuple[str, ...] = ()

    @property
    def profile(self) -> str:
        """The name of the profile that the picture is drawn under."""
        return profile_of(self.record).name

    @property
    def is_playable(self) -> bool:
        """Tell whether it has a graph all of whose nodes can be carried out."""
        return self.graph is not None and is_playable(self.graph)

    @property
    def wants_picture(self) -> bool:
        """Tell whether it was made from another picture."""
        return self.record.denoising_strength is not None and self.record.hires is None

    @property
    def wants_mask(self) -> bool:
        """Tell whether a part of that was painted."""
        return self.record.inpaint is not None


def picture_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the picture files of ``paths``, those of folders by name; raises ``BadFile`` for what is not there."""
    for path in paths:
        if path.is_dir():
            found = [one for one in sorted(path.iterdir()) if one.suffix.lower() in FORMATS]
            if not found:
                raise BadFile(f"{path} holds no pictures; pass a folder of {', '.join(FORMATS)} files")
            yield from found
        else:
            yield path


def read_recorded(path: Path, profile: str | None = None) -> Recorded:
    """Return what picture file ``path`` holds, under ``profile`` or the one that it asks for.

    Raises ``BadFile`` for a file that is no picture or holds no settings, ``BadValue`` for an unknown profile.
    """
    stored = read_stored(path)
    chunk = stored.texts.get("prompt")
    if stored.generation is None and chunk is not None and is_playable(chunk):
        record = Generation(version="ComfyUI")
    else:
        record = read_image_info(path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    graph = chunk if record.version == "ComfyUI" else None
    notes = [] if profile or profile_named(record) else ["the file does not say which program made it"]
    return Recorded(
        file=path,
        pixels=pixels,
        record=drawable(with_profile(record, profile)),
        graph=graph,
        lossy=is_lossy(path),
        notes=(*notes, *_undrawn(record)),
    )


def is_playable(text: str) -> bool:
    """Tell whether every node of a ComfyUI picture's graph can be carried out."""
    try:
        graph = parse_graph(text)
        return not missing_nodes(graph, output_of(graph))
    except BadValue:
        return False


def drawable(record: Generation) -> Generation:
    """Return ``record`` as it is drawn: a web UI leaves a mask blur of 0 out of its text."""
    if record.inpaint is not None and record.inpaint.mask_blur is None and profile_of(record).by_web_ui:
        return replace(record, inpaint=replace(record.inpaint, mask_blur=0))
    return record


def with_mask(record: Generation) -> Generation:
    """Return ``record`` as one of inpainting, which a text without any key of it may be."""
    return record if record.inpaint is not None else drawable(replace(record, inpaint=Inpaint()))


def _undrawn(record: Generation) -> Iterator[str]:
    """Yield what the record asks for and nothing here draws."""
    for name, label in _UNDRAWN:
        if (value := getattr(record, name)) not in (None, 0, "Disable"):
            yield f"{label}: {value} is not drawn here"
    left = dict(record.extras).get(LEFT_OUT)
    if left:
        yield from left.split("; ")
