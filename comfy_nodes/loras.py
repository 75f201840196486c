"""LoRA tags of a prompt as files of ComfyUI's ``loras`` folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.errors import BadValue
from ..core.prompt import NetworkTag
from ..core.prompt.networks import strengths_of
from .host import folder_paths, utils

log = logging.getLogger(__name__)

KINDS = ("lora", "lyco")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA file and its strengths for the UNet and for the text encoders."""

    path: Path
    unet: float
    te: float

    def weights(self) -> dict[str, Any]:
        """Return the tensors of the file, as ComfyUI's own loader takes them."""
        return _weights(self.path, self.path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _weights(path: Path, changed: int) -> dict[str, Any]:
    """Return the tensors of a file; ``changed`` is when it was."""
    del changed
    return utils.load_torch_file(str(path), safe_load=True)


def loras_of(tags: Sequence[NetworkTag]) -> list[Lora]:
    """Return what ``tags`` ask for, shares of a fade included; a tag that cannot be obeyed is left out, with a
    warning, as in A1111."""
    found: list[Lora] = []
    for tag in tags:
        try:
            found.append(lora_of(tag))
        except BadValue as error:
            log.warning("Concord: %s", error)
    return found


def lora_of(tag: NetworkTag) -> Lora:
    """Return the LoRA of one tag; raises ``BadValue`` for another kind, a missing file or a weight that is none."""
    if tag.kind not in KINDS:
        raise BadValue(f"<{tag.kind}:…> is no kind of network that is known; use <lora:name:weight>")
    name = tag.positional[0] if tag.positional else ""
    te, unet = strengths_of(tag)
    return Lora(path=lora_path(name), unet=unet * tag.share, te=te * tag.share)


def lora_names() -> dict[str, str]:
    """Return ComfyUI's LoRA files by what a prompt may call them: the file's stem, or its path, in lower case."""
    names: dict[str, str] = {}
    for name in folder_paths.get_filename_list("loras"):
        path = Path(name)
        names.setdefault(path.stem.casefold(), name)
        names.setdefault(path.with_suffix("").as_posix().casefold(), name)
    return names


def lora_stems() -> list[str]:
    """Return the names that A1111 would have for ComfyUI's LoRA files."""
    return [Path(name).stem for name in folder_paths.get_filename_list("loras")]


def lora_path(name: str) -> Path:
    """Return the file that a prompt calls ``name``; raises ``BadValue`` where there is none."""
    file = lora_names().get(name.replace("\\", "/").casefold())
    path = folder_paths.get_full_path("loras", file) if file is not None else None
    if path is None:
        raise BadValue(
            f"LoRA {name!r} is not in ComfyUI's loras folders and is left out; put its file there, or mend the name"
        )
    return Path(path)
