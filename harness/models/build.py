"""Make the networks without memory and give them their weights one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from ...core.errors import BadFile
from .tensors import Lazy, Weights

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import PreTrainedModel

log = getLogger(__name__)
M = TypeVar("M", bound=nn.Module)
_OLD_ATTENTION = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network before it is made: its ``config`` and its ``weights`` under diffusers names."""

    path: Path
    config: Mapping[str, Any]
    weights: Weights


def build_unet(part: Part, *, dtype: torch.dtype, device: torch.device) -> UNet2DConditionModel:
    """Make the UNet; raises ``BadFile`` when a tensor is missing or has another shape."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    kind: Any = UNet2DConditionModel
    return _fill(lambda: kind.from_config(dict(part.config)), part, "UNet", dtype, device)


def build_vae(part: Part, *, dtype: torch.dtype, device: torch.device) -> AutoencoderKL:
    """Make the VAE; raises ``BadFile`` when a tensor is missing or has another shape."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    weights = {}
    for name, lazy in part.weights.items():
        for old, now in _OLD_ATTENTION.items():
            name = name.replace(old, now)  # noqa: PLW2901
        if "attentions" in name and len(lazy.shape) == 4:
            lazy = lazy.then(lazy.shape[:2], lambda x: x[:, :, 0, 0])  # noqa: PLW2901
        weights[name] = lazy
    part = Part(path=part.path, config=part.config, weights=weights)
    kind: Any = AutoencoderKL
    return _fill(lambda: kind.from_config(dict(part.config)), part, "VAE", dtype, device)


def build_text(part: Part, *, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Make a CLIP text encoder, with its projection when the weights have one.

    The weights are named ``text_model.…`` as in files; transformers 5 leaves that out of its own names.
    Raises ``BadFile`` when a tensor is missing or has another shape.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig.from_dict(dict(part.config))
    kind = CLIPTextModelWithProjection if "text_projection.weight" in part.weights else CLIPTextModel
    module = _fill(lambda: kind(config), part, "text encoder", dtype, device)
    inner: Any = getattr(module, "text_model", module)
    positions = torch.arange(config.max_position_embeddings, device=device)
    inner.embeddings.position_ids = positions.expand(1, -1)
    return module


def _fill(make: Callable[[], M], part: Part, what: str, dtype: torch.dtype, device: torch.device) -> M:
    try:
        with torch.device("meta"):
            module = make()
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise BadFile(
            f"{part.path}: its configuration makes no {what} ({reason}); download it again"
        ) from error
    wanted = {name: tuple(blank.shape) for name, blank in module.state_dict().items()}
    found = {name: _named(part.weights, name) for name in wanted}
    _check(part, what, wanted, found)
    state = {name: lazy.load(dtype, device) for name, lazy in found.items() if lazy}
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _named(weights: Weights, name: str) -> Lazy | None:
    return weights.get(name) or weights.get(f"text_model.{name}")


def _check(
    part: Part, what: str, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Lazy | None]
) -> None:
    missing = [name for name, lazy in found.items() if lazy is None]
    if missing:
        raise BadFile(
            f"{part.path} lacks {len(missing)} of {len(wanted)} tensors of its {what} ({missing[0]}); "
            "it is damaged or pruned, download it again"
        )
    for name, lazy in found.items():
        if lazy and lazy.shape != wanted[name]:
            raise BadFile(
                f"{part.path}: {what} tensor {name} is {lazy.shape}, wanted {wanted[name]}; it is damaged"
            )
    known = {id(lazy) for lazy in found.values()}
    extra = [
        name for name, lazy in part.weights.items() if id(lazy) not in known and "position_ids" not in name
    ]
    if extra:
        log.warning(
            "%s: %d tensors of the %s are not used, the first is %s", part.path, len(extra), what, extra[0]
        )
