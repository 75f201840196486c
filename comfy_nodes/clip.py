"""ComfyUI's CLIP as the core's text encoders, with the LoRAs and embeddings that a prompt may name."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import BadType, BadValue, ConcordError
from ..core.networks import Embedding, load_embedding
from ..core.prompt import Dialect, Insert, NetworkTag, TextEncoder, Tokenizer, clip_tokenizer
from .host import folder_paths, lora_convert, lora_files
from .loras import Lora, loras_of

log = logging.getLogger(__name__)

PARTS = ("clip_l", "clip_h", "clip_g")
"""What ComfyUI calls the encoders of SD1.5, SD2 and SDXL, in the order in which their channels are joined."""
Row = tuple[Tensor, Tensor | None]


@dataclass(kw_only=True, eq=False)
class HostClip:
    """A CLIP of ComfyUI and its encoders; each chunk is encoded once for each state of LoRAs.

    ``encoders``: one, or L and G; ``clip_skip``: what the CLIP is set to, by itself or by Set Last Layer.
    """

    clip: Any
    encoders: tuple[TextEncoder, ...]
    clip_skip: int
    state: tuple[Lora, ...] = ()
    _clips: dict[tuple[Lora, ...], Any] = field(default_factory=dict)

    def apply_networks(self, tags: Sequence[NetworkTag]) -> None:
        """Make the encoders those with the LoRAs of ``tags`` and no others."""
        self.state = tuple(replace(lora, unet=0.0) for lora in loras_of(tags) if lora.te)

    @property
    def current(self) -> Any:
        """The CLIP with the LoRAs that are on."""
        if not self.state:
            return self.clip
        if self.state not in self._clips:
            clip = self.clip
            for lora in self.state:
                clip = with_lora(clip, lora)
            self._clips[self.state] = clip
        return self._clips[self.state]


def with_lora(clip: Any, lora: Lora) -> Any:
    """Return a copy of ComfyUI's ``clip`` with a LoRA on it; what the file has for the UNet is passed over."""
    names = lora_files.model_lora_keys_clip(clip.cond_stage_model, {})
    weights = lora_convert.convert_lora(lora.weights())
    patched = clip.clone()
    patched.add_patches(lora_files.load_lora(weights, names, log_missing=False), lora.te)
    return patched


def host_clip(clip: Any, text: str = "", dialect: Dialect | None = None) -> HostClip:
    """Return ``clip`` for the prompts of ``text``, whose embeddings are looked up in ComfyUI's folders.

    Raises ``BadType`` for a text encoder that is no CLIP of Stable Diffusion.
    """
    stage = clip.cond_stage_model
    parts = [name for name in PARTS if hasattr(stage, name)]
    others = [name for name, _ in stage.named_children() if name not in parts]
    if not parts or others:
        raise BadType(
            f"clip is {type(stage).__name__}, which has {', '.join((*parts, *others)) or 'no encoders'}; Concord "
            "encodes for SD1.5, SD2 and SDXL: use CLIP Text Encode for other models"
        )
    plain = (dialect is not None and dialect.syntax == "comfyui") or find_spec("ftfy") is None
    embeddings = embeddings_in(text)
    own = HostClip(clip=clip, encoders=(), clip_skip=1)
    own.encoders = tuple(
        HostEncoder(
            owner=own,
            name=name,
            tokenizer=clip_tokenizer("rust" if plain else "a1111", pad=_pad_of(stage, name)),
            embeddings=_fitting(embeddings, getattr(stage, name), name),
            clip_skips=(_skip_of(getattr(stage, name)), getattr(stage, name).num_layers),
        )
        for name in parts
    )
    own.clip_skip = -clip.layer_idx if clip.layer_idx is not None else own.encoders[0].clip_skips[0]
    return own


@dataclass(frozen=True, kw_only=True, eq=False)
class HostEncoder:
    """One encoder of a ``HostClip``; it is a ``TextEncoder`` of the core that remembers what it has encoded."""

    owner: HostClip
    name: str
    tokenizer: Tokenizer
    embeddings: Mapping[str, Tensor]
    clip_skips: tuple[int, int]
    _known: dict[Any, Row] = field(default_factory=dict)

    def __call__(
        self, ids: Tensor, clip_skip: int, inserts: Sequence[Insert] = ()
    ) -> tuple[Tensor, Tensor | None]:
        """Encode chunks, as ``TextEncoder`` says, in ComfyUI's encoder."""
        rows: list[list[Any]] = ids.tolist()
        for insert in inserts:
            for i, vector in enumerate(insert.vectors, start=insert.position):
                rows[insert.row][i] = vector
        keys = [self._key(row, clip_skip) for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}
        if missing:
            self._known.update(zip(missing, self._encoded(list(missing.values()), clip_skip), strict=True))
        found = [self._known[key] for key in keys]
        pooled = [one for _, one in found if one is not None]
        return torch.stack([hidden for hidden, _ in found]), torch.stack(pooled) if pooled else None

    def _key(self, row: list[Any], clip_skip: int) -> Any:
        """Return what tells a row's output from others; vectors are known by their values."""
        words = tuple(word if isinstance(word, int) else tuple(word.tolist()) for word in row)
        return self.owner.state, clip_skip, words

    def _encoded(self, rows: list[list[Any]], clip_skip: int) -> list[Row]:
        clip = self.owner.current
        encoder = getattr(clip.cond_stage_model, self.name)
        encoder.reset_clip_options()
        if clip_skip != self.clip_skips[0]:
            encoder.set_clip_options({"layer": -clip_skip})
        clip.load_model()
        hidden, pooled = encoder.encode(rows)[:2]
        encoder.reset_clip_options()
        hidden = hidden.cpu()
        if pooled is None:
            return [(row, None) for row in hidden]
        return list(zip(hidden, pooled.cpu(), strict=True))


def _skip_of(encoder: Any) -> int:
    """Return the clip skip of an encoder that is left alone: 1 in SD1.5, 2 in SD2 and SDXL."""
    layer, index, *_ = encoder.options_default
    return -index if layer == "hidden" and index is not None else 1


def _pad_of(stage: Any, name: str) -> int:
    return getattr(stage, name).special_tokens["pad"]


def embedding_files() -> dict[str, Path]:
    """Return the files in ComfyUI's embeddings folders by what prompts call them: the stem, or the whole path."""
    found: dict[str, Path] = {}
    for name in folder_paths.get_filename_list("embeddings"):
        path = folder_paths.get_full_path("embeddings", name)
        for called in (Path(name).stem, Path(name).with_suffix("").as_posix()) if path else ():
            found.setdefault(called, Path(path))
    return found


def embeddings_in(text: str) -> dict[str, Embedding]:
    """Return the embeddings whose names occur in ``text``; a file that is none is left out with a warning."""
    squeezed = _squeezed(text)
    found: dict[str, Embedding] = {}
    for name, path in embedding_files().items():
        if _squeezed(name) not in squeezed:
            continue
        try:
            found[name] = _embedding(path, path.stat().st_mtime_ns)
        except ConcordError as error:
            log.warning("Concord: embedding %r is left out: %s", name, error)
    return found


@lru_cache(maxsize=64)
def _embedding(path: Path, changed: int) -> Embedding:
    """Return an embedding; ``changed`` is when its file was."""
    del changed
    return load_embedding(path)


def _squeezed(text: str) -> str:
    """Return ``text`` as tokens see it, near enough to find names: lower case, no white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _fitting(embeddings: Mapping[str, Embedding], encoder: Any, name: str) -> dict[str, Tensor]:
    """Return the vectors of ``embeddings`` for one encoder; those of another width fit another model."""
    width = encoder.transformer.get_input_embeddings().weight.shape[-1]
    found = {key: one.vectors.get(name) for key, one in embeddings.items()}  # pyright: ignore[reportArgumentType, reportCallIssue]
    return {key: one.float() for key, one in found.items() if one is not None and one.shape[-1] == width}


def checked_skip(asked: int, own: HostClip) -> int:
    """Return the clip skip to encode with: ``asked``, or for 0 what the CLIP is set to; raises ``BadValue``."""
    most = max(encoder.clip_skips[1] for encoder in own.encoders)
    if not 0 <= asked <= most:
        raise BadValue(f"clip_skip is {asked}; pass 1 to {most}, or 0 for what the CLIP is set to")
    return asked or own.clip_skip
