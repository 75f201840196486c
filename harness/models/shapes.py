"""Tell the architecture of a network from the names and shapes of its weights, under diffusers names.

Two things leave no trace in shapes: the number of attention heads, for which the families have a rule, and
the text encoder's activation.  ``Facts`` carries what a file says of itself beyond that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BadFile
from .keys import count
from .record import Family
from .tensors import Weights

HEADS_SD15 = 8
HEAD_WIDTH = 64
TIME_IDS = 6
_NORM_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What shapes cannot tell; None = the family's rule.

    ``heads`` (SD1.5: 8) or ``head_width`` (SDXL: 64) of the UNet's attention; ``text_heads`` of each text
    encoder (64 features a head); ``size`` (width, height) in pixels.
    """

    heads: int | None = None
    head_width: int | None = None
    text_heads: tuple[int, ...] | None = None
    size: tuple[int, int] | None = None


def unet_config(
    weights: Weights, family: Family, facts: Facts, *, pooled: int, path: Path, time_ids: int = TIME_IDS
) -> dict[str, Any]:
    """Return the ``UNet2DConditionModel`` config.

    ``pooled``: width of SDXL's pooled text vector; ``time_ids``: how many numbers it is told beside the text.

    Raises ``BadFile`` for a UNet that has no such form.
    """
    levels = count(weights, "down_blocks.")
    downs = [_Block(weights, f"down_blocks.{i}") for i in range(levels)]
    ups = [_Block(weights, f"up_blocks.{i}") for i in range(levels)]
    mid = _Block(weights, "mid_block")
    channels = [_shape(weights, f"down_blocks.{i}.resnets.0.conv1.weight", path)[0] for i in range(levels)]
    places = [block for block in (*downs, mid, *ups) if block.depth]
    if not levels or not places:
        raise BadFile(f"{path.name} holds a UNet without text attention; wanted an SD1.5 or SDXL checkpoint")
    first = places[0].attention
    depths = [block.depth or mid.depth or 1 for block in downs]
    up_depths = [block.depth or depth for block, depth in zip(ups, reversed(depths), strict=True)]
    config: dict[str, Any] = {
        "sample_size": facts.size[1] // 8 if facts.size else None,
        "in_channels": _shape(weights, "conv_in.weight", path)[1],
        "out_channels": _shape(weights, "conv_out.weight", path)[0],
        "block_out_channels": channels,
        "layers_per_block": [block.layers for block in downs],
        "down_block_types": ["CrossAttnDownBlock2D" if block.depth else "DownBlock2D" for block in downs],
        "up_block_types": ["CrossAttnUpBlock2D" if block.depth else "UpBlock2D" for block in ups],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if mid.depth else "UNetMidBlock2D",
        "transformer_layers_per_block": [*depths[:-1], mid.depth or depths[-1]],
        "reverse_transformer_layers_per_block": None if up_depths == depths[::-1] else up_depths,
        "cross_attention_dim": _shape(weights, f"{first}.transformer_blocks.0.attn2.to_k.weight", path)[1],
        "use_linear_projection": len(_shape(weights, f"{first}.proj_in.weight", path)) == 2,
        "attention_head_dim": _heads(channels, family, facts),
        "norm_num_groups": _NORM_GROUPS,
    }
    if family == "sdxl":
        extra = _shape(weights, "add_embedding.linear_1.weight", path)[1]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (extra - pooled) // time_ids,
            "projection_class_embeddings_input_dim": extra,
        }
    return config


def vae_config(weights: Weights, *, path: Path) -> dict[str, Any]:
    """Return the ``AutoencoderKL`` config without its scale."""
    levels = count(weights, "encoder.down_blocks.")
    channels = [
        _shape(weights, f"encoder.down_blocks.{i}.resnets.0.conv1.weight", path)[0] for i in range(levels)
    ]
    return {
        "in_channels": _shape(weights, "encoder.conv_in.weight", path)[1],
        "out_channels": _shape(weights, "decoder.conv_out.weight", path)[0],
        "latent_channels": _shape(weights, "decoder.conv_in.weight", path)[1],
        "block_out_channels": channels,
        "layers_per_block": count(weights, "encoder.down_blocks.0.resnets."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": _NORM_GROUPS,
        "use_quant_conv": "quant_conv.weight" in weights,
        "use_post_quant_conv": "post_quant_conv.weight" in weights,
        "mid_block_add_attention": "decoder.mid_block.attentions.0.group_norm.weight" in weights,
    }


def text_config(weights: Weights, act: str, heads: int | None, *, path: Path) -> dict[str, Any]:
    """Return the ``CLIPTextConfig`` fields; ``act``: "quick_gelu" (CLIP-L) or "gelu" (OpenCLIP)."""
    vocab, width = _shape(weights, "text_model.embeddings.token_embedding.weight", path)
    projection = weights.get("text_projection.weight")
    return {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": _shape(weights, "text_model.encoder.layers.0.mlp.fc1.weight", path)[0],
        "num_hidden_layers": count(weights, "text_model.encoder.layers."),
        "num_attention_heads": heads or max(1, width // HEAD_WIDTH),
        "max_position_embeddings": _shape(weights, "text_model.embeddings.position_embedding.weight", path)[
            0
        ],
        "hidden_act": act,
        "projection_dim": projection.shape[0] if projection else width,
    }


class _Block:
    """Residual blocks, and the transformer depth (0 = no attention), of one block of a UNet."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        self.attention = f"{prefix}.attentions.0"
        self.layers = count(weights, f"{prefix}.resnets.")
        self.depth = count(weights, f"{self.attention}.transformer_blocks.")


def _heads(channels: list[int], family: Family, facts: Facts) -> list[int]:
    width = facts.head_width or (HEAD_WIDTH if family == "sdxl" and facts.heads is None else None)
    if width:
        return [max(1, n // width) for n in channels]
    return [facts.heads or HEADS_SD15] * len(channels)


def _shape(weights: Mapping[str, Any], name: str, path: Path) -> tuple[int, ...]:
    if name not in weights:
        raise BadFile(f"{path.name} lacks the tensor {name}; it is damaged or pruned, download it again")
    return weights[name].shape
