"""Write a model as one file in the original Stable Diffusion names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...core.errors import BadValue
from . import keys
from .load import pick_dtype
from .record import Betas, Model
from .single_file import METADATA_KEY
from .state import plain_state, text_state

_ARCHITECTURES = {"sd15": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}
_OPEN_CLIP_RESHAPED = {
    "text_projection.weight": "text_projection",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
}


def export_ldm(
    model: Model, path: str | Path, *, dtype: str = "float16", clip_folder: str | None = None
) -> Path:
    """Write one safetensors file in the original names, for ComfyUI, A1111 and Forge, and return its path.

    Facts that shapes cannot tell go into the metadata; a v or ztsnr model gets the marker tensors.  Of an
    SD1.5 model a ``.yaml`` for A1111 is put beside it; ``clip_folder``: where A1111 finds the configuration
    and tokenizer of a text encoder that is not CLIP-L.  Raises ``BadValue`` for a UNet that the original code
    cannot have.
    """
    number = pick_dtype(dtype, torch.device("cpu"))
    path = Path(path)
    tensors = {
        **_under(keys.UNET, _unet_state(model.unet, number)),
        **_under(keys.VAE, _vae_state(model.vae, number)),
    }
    if model.family == "sd15":
        tensors |= _under(keys.CLIP_SD15, text_state(model.text_encoders[0].module, number))
    else:
        small, large = model.text_encoders
        tensors |= _under(keys.CLIP_L, text_state(small.module, number))
        tensors |= _under(keys.CLIP_G, _open_clip_state(large.module, number))
    if model.prediction == "v":
        tensors["v_pred"] = torch.empty(0)
    if model.ztsnr:
        tensors["ztsnr"] = torch.empty(0)
    config = _yaml(model, clip_folder) if model.family == "sd15" else None
    save_file(tensors, path, metadata=_metadata(model))
    if config is not None:
        path.with_suffix(".yaml").write_text(config, "utf-8")
    return path


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _renamed(state: dict[str, Tensor], places: dict[str, str]) -> dict[str, Tensor]:
    back = {now: old for old, now in places.items()}
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        old = keys.renamed(name, back)
        if old is None:
            raise BadValue(f"tensor {name} has no place in the original code; keep the folder")
        result[old] = value
    return result


def _unet_state(unet: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    state = plain_state(unet, dtype)
    levels = range(keys.count(state, "down_blocks."))
    layers = [keys.count(state, f"down_blocks.{i}.resnets.") for i in levels]
    up = [f"up_blocks.{i}.attentions.0.norm.weight" in state for i in levels]
    return _renamed(state, keys.unet_places(layers, up))


def _vae_state(vae: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    state = plain_state(vae, dtype)
    levels = keys.count(state, "encoder.down_blocks.")
    places = keys.vae_places(levels, keys.count(state, "encoder.down_blocks.0.resnets."))
    as_conv = {
        name: value[:, :, None, None] if ".attentions." in name and value.ndim == 2 else value
        for name, value in state.items()
    }
    return _renamed(as_conv, places)


def _open_clip_state(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    state = text_state(module, dtype)
    layers = keys.count(state, "text_model.encoder.layers.")
    result: dict[str, Tensor] = {}
    for i in range(layers):
        attention = f"text_model.encoder.layers.{i}.self_attn."
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{attention}{letter}_proj.{kind}") for letter in "qkv"]
            result[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(parts)
    for name, old in _OPEN_CLIP_RESHAPED.items():
        value = state.pop(name)
        result[old] = value.T.contiguous() if old == "text_projection" else value
    return result | _renamed(state, keys.open_clip_places(layers))


def _metadata(model: Model) -> dict[str, str]:
    width, height = model.size
    own: dict[str, Any] = {
        **_heads(model),
        "text_heads": [encoder.heads for encoder in model.text_encoders],
        "scale_factor": model.scale_factor,
        "size": [width, height],
    }
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": _ARCHITECTURES[model.family],
        "modelspec.title": model.name,
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.prediction_type": "v" if model.prediction == "v" else "epsilon",
        METADATA_KEY: json.dumps(own),
    }


def _heads(model: Model) -> dict[str, int]:
    """Return ``heads`` when every level has as many, else ``head_width`` when every head is as wide."""
    config: Any = model.unet.config
    channels = config["block_out_channels"]
    heads = config["attention_head_dim"]
    heads = [heads] * len(channels) if isinstance(heads, int) else list(heads)
    if len(set(heads)) == 1:
        return {"heads": heads[0]}
    kinds = [name.startswith("CrossAttn") for name in config["down_block_types"]]
    widths = {n // h for n, h, attends in zip(channels, heads, kinds, strict=True) if attends}
    if len(widths) > 1:
        raise BadValue(
            f"attention heads {heads} on channels {channels} have no form in one file; keep the folder"
        )
    return {"head_width": widths.pop()}


def _yaml(model: Model, clip_folder: str | None) -> str:
    import yaml

    params = {
        "linear_start": model.betas.start,
        "linear_end": model.betas.end,
        "timesteps": model.betas.steps,
        "num_timesteps_cond": 1,
        "parameterization": model.prediction,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn",
        "image_size": model.size[1] // model.vae_stride,
        "channels": model.latent_channels,
        "scale_factor": model.scale_factor,
        "use_ema": False,
        "unet_config": {
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": _original_unet(model),
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": model.latent_channels,
                "ddconfig": _original_vae(model),
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"},
    }
    if clip_folder:
        params["cond_stage_config"]["params"] = {"version": clip_folder}
    model_config = {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}
    return yaml.safe_dump({"model": model_config}, sort_keys=False)


def _original_unet(model: Model) -> dict[str, Any]:
    config: Any = model.unet.config
    if model.betas.kind != Betas.kind or model.betas.table is not None:
        raise BadValue("only scaled-linear betas have a form in one file; keep the folder")
    downs = [name.startswith("CrossAttn") for name in config["down_block_types"]]
    ups = [name.startswith("CrossAttn") for name in config["up_block_types"]]
    layers = config["layers_per_block"]
    layers = [layers] if isinstance(layers, int) else layers
    if downs != ups[::-1] or len(set(layers)) > 1:
        raise BadValue("a UNet with attention or layers that differ on the way up has no form in one file")
    channels = config["block_out_channels"]
    heads = _heads(model)
    return {
        "image_size": 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": channels[0],
        "attention_resolutions": [2**i for i, attends in enumerate(downs) if attends],
        "num_res_blocks": layers[0],
        "channel_mult": _multiples(channels),
        **({"num_heads": heads["heads"]} if "heads" in heads else {"num_head_channels": heads["head_width"]}),
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": config["cross_attention_dim"],
        "use_checkpoint": False,
        "legacy": False,
    }


def _original_vae(model: Model) -> dict[str, Any]:
    config: Any = model.vae.config
    return {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": 256,
        "in_channels": config["in_channels"],
        "out_ch": config["out_channels"],
        "ch": config["block_out_channels"][0],
        "ch_mult": _multiples(config["block_out_channels"]),
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }


def _multiples(channels: Iterable[int]) -> list[int]:
    channels = list(channels)
    if any(n % channels[0] for n in channels):
        raise BadValue(
            f"channels {channels} are not multiples of the first; the original code cannot have them"
        )
    return [n // channels[0] for n in channels]
