"""Finding network files by the name in a `<lora:name:weight>` tag, and laying them on a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, ConcordError
from ..core.image.model_ref import ModelRef
from ..core.networks import Matched, Part, Use, load_network, match, parameter_shapes
from ..core.prompt.networks import NetworkTag, strengths_of
from .models import Model

log = logging.getLogger(__name__)

LORA_KINDS = ("lora", "lyco")
_ENDINGS = (".safetensors", ".pt", ".ckpt", ".bin")


def model_parts(model: Model) -> dict[Part, Any]:
    """Return the modules that a network can change, by part."""
    names = {"clip_l": "te1", "clip_g": "te2"}
    encoders = {names[encoder.name]: encoder.module for encoder in model.text_encoders}
    return {"unet": model.unet, **encoders}  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Lora:
    """A network that fits the model, with how the picture's record names it."""

    matched: Matched
    ref: ModelRef


@dataclass
class LoraShelf:
    """The network files of some folders, read when first asked for and kept.

    ``warnings`` collects one line for each tag that cannot be obeyed; a picture is made without it.
    """

    folders: Sequence[Path]
    model: Model
    warnings: list[str] = field(default_factory=list)
    _known: dict[str, Lora | None] = field(default_factory=dict)

    def uses(self, tags: Sequence[NetworkTag]) -> list[Use]:
        """Return what the ``tags`` ask for, networks that are missing or do not fit left out with a warning."""
        found: list[Use] = []
        for tag in tags:
            if tag.kind not in LORA_KINDS:
                self._warn(f"<{tag.kind}:…> is not a kind of network Concord knows; use <lora:name:weight>")
                continue
            name = tag.positional[0] if tag.positional else ""
            if name not in self._known:
                self._known[name] = self._load(name)
            lora = self._known[name]
            strengths = self._strengths(tag)
            if lora is not None and strengths is not None:
                te, unet = (strength * tag.share for strength in strengths)
                found.append(Use(network=lora.matched, te=te, unet=unet))
        return found

    def refs(self, tags: Sequence[NetworkTag]) -> tuple[ModelRef, ...]:
        """Return how a record names the networks of ``tags`` that were found, each once."""
        found = (self._known.get(tag.positional[0]) for tag in tags if tag.positional)
        return tuple(dict.fromkeys(lora.ref for lora in found if lora is not None))

    def _load(self, name: str) -> Lora | None:
        path = self._find(name)
        if path is None:
            where = ", ".join(str(folder) for folder in self.folders) or "no folder; name one with --lora-dir"
            self._warn(f"LoRA {name!r} is not there (looked in {where}); the picture is made without it")
            return None
        try:
            network = load_network(path)
            shapes: Mapping[Part, Any] = {
                part: parameter_shapes(module) for part, module in model_parts(self.model).items()
            }
            matched = match(network, shapes)
        except ConcordError as error:
            self._warn(f"LoRA {name!r} is left out: {error}")
            return None
        if not any(matched.deltas.values()):
            self._warn(
                f"LoRA {name!r} is left out: nothing of it fits {self.model.name}; it is for another model"
            )
            return None
        if matched.unmatched:
            keys = list(matched.unmatched)
            shown = ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")
            self._warn(f"LoRA {name!r}: {len(keys)} keys fit nothing in {self.model.name}: {shown}")
        short = network.hashes.autov3
        return Lora(matched.to(self.model.device), ModelRef(name=name, hash=short))

    def _find(self, name: str) -> Path | None:
        wanted = name.casefold()
        for folder in self.folders:
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in _ENDINGS and path.stem.casefold() == wanted:
                    return path
        return None

    def _strengths(self, tag: NetworkTag) -> tuple[float, float] | None:
        """Return the strengths (text encoder, UNet) of ``tag``; None, with a warning, where they are no numbers."""
        try:
            return strengths_of(tag)
        except BadValue as error:
            self._warn(f"{error}; it is left out")
            return None

    def _warn(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)
