"""Read a checkpoint that is one file, in the original Stable Diffusion names or in those of diffusers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.errors import BadFile
from . import keys
from .build import Part
from .folder import SCALE, SD2_CONTEXT, Parts
from .identify import explain_names, wrong_family
from .record import REFINER_IDS, Betas, Family, Prediction
from .shapes import TIME_IDS, Facts, text_config, unet_config, vae_config
from .tensors import Checkpoint, Lazy, read_checkpoint

METADATA_KEY = "concord.model"
_SIZE = {"sd15": (512, 512), "sdxl": (1024, 1024)}
_RELATIVES = {
    "a Stable Video Diffusion": ".time_stack.",
    "an SDXL refiner": keys.CLIP_REFINER,
    "an SD2": "cond_stage_model.model.",
    "a Playground v2.5": "edm_mean",
    "a CosXL": "edm_vpred.",
}
_FLAT = ("unet.", "vae.", "text_encoder.", "text_encoder_2.")


def read_single_file(path: Path, *, wants_vae: bool = True, refiner: bool = False) -> Parts:
    """Read the checkpoint ``path`` (.safetensors, .ckpt, .pt), its metadata, and the ``.yaml`` beside it.

    ``wants_vae``: False when the VAE comes from elsewhere.  ``refiner``: an SDXL refiner will do.  Raises
    ``BadFile`` for what is damaged, is no checkpoint, is of another family, or lacks a part.
    """
    checkpoint = read_checkpoint(path)
    networks = _networks(checkpoint)
    refines = _is_refiner(checkpoint)
    _check_family(path, checkpoint, networks, refiner=refiner)
    family: Family = "sdxl" if "add_embedding.linear_1.weight" in networks.unet else "sd15"
    if len(networks.text) != 1 + (family == "sdxl" and not refines):
        wanted = "two text encoders" if family == "sdxl" else "a text encoder"
        raise BadFile(f"{path.name} lacks {wanted}; give a whole checkpoint, or a diffusers folder")
    if wants_vae and "decoder.conv_in.weight" not in networks.vae:
        raise BadFile(f"{path.name} has no VAE; give one with vae=")
    notes = _notes(checkpoint)
    size = notes.facts.size or _SIZE[family]
    facts = replace(notes.facts, size=size)
    texts = tuple(_text_part(path, i + refines, weights, facts) for i, weights in enumerate(networks.text))
    pooled = texts[-1].config["projection_dim"]
    return Parts(
        name=path.stem,
        path=path,
        files=(path,),
        family=family,
        prediction=notes.prediction,
        ztsnr=notes.ztsnr,
        betas=notes.betas,
        scale_factor=notes.scale_factor or SCALE[family],
        size=size,
        unet=Part(
            path=path,
            config=unet_config(
                networks.unet,
                family,
                facts,
                pooled=pooled,
                path=path,
                time_ids=REFINER_IDS if refines else TIME_IDS,
            ),
            weights=networks.unet,
        ),
        vae=vae_part(path, networks.vae) if wants_vae else None,
        text=texts,
    )


def read_vae_file(path: Path) -> Part:
    """Read a VAE from a file that holds one alone, in either naming, or from a checkpoint."""
    checkpoint = read_checkpoint(path)
    weights = checkpoint.tensors
    for prefix in (keys.VAE, "vae."):
        weights = _under(checkpoint, prefix) or weights
    if "decoder.conv_in.weight" not in weights:
        explain_names(path, checkpoint.tensors)
        raise BadFile(f"{path.name} holds no VAE; give a VAE file or a checkpoint that has one")
    return vae_part(path, _vae_from_original(weights))


def vae_part(path: Path, weights: dict[str, Lazy]) -> Part:
    """Return the VAE of these weights, under diffusers names."""
    return Part(path=path, config=vae_config(weights, path=path), weights=weights)


@dataclass(frozen=True, kw_only=True)
class _Networks:
    """The weights of each network, under diffusers names."""

    unet: dict[str, Lazy]
    vae: dict[str, Lazy]
    text: tuple[dict[str, Lazy], ...]


def _networks(checkpoint: Checkpoint) -> _Networks:
    if "unet.conv_in.weight" in checkpoint.tensors:
        unet, vae, *texts = (_under(checkpoint, prefix) for prefix in _FLAT)
        return _Networks(unet=unet, vae=vae, text=tuple(_text(text) for text in texts if text))
    unet = _unet_from_original(_under(checkpoint, keys.UNET))
    texts = [
        _text(_under(checkpoint, keys.CLIP_SD15)),
        _text(_under(checkpoint, keys.CLIP_L)),
        _text_from_open_clip(_under(checkpoint, keys.CLIP_G) or _under(checkpoint, keys.CLIP_REFINER)),
    ]
    vae = _vae_from_original(_under(checkpoint, keys.VAE))
    return _Networks(unet=unet, vae=vae, text=tuple(text for text in texts if text))


def _is_refiner(checkpoint: Checkpoint) -> bool:
    return any(name.startswith(keys.CLIP_REFINER) for name in checkpoint.tensors)


def _check_family(path: Path, checkpoint: Checkpoint, networks: _Networks, *, refiner: bool) -> None:
    names = checkpoint.tensors
    if "conv_in.weight" not in networks.unet:
        explain_names(path, names)
        if any(name.startswith(("decoder.", "first_stage_model.", "vae.")) for name in names):
            raise BadFile(f"{path.name} holds a VAE and no UNet; give it with vae= beside a checkpoint")
        raise BadFile(
            f"{path.name} is not a checkpoint: no UNet in {len(names)} tensors; give an SD1.5 or SDXL model"
        )
    context = {lazy.shape[1] for name, lazy in networks.unet.items() if name.endswith("attn2.to_k.weight")}
    for relative, mark in _RELATIVES.items():
        if any(mark in name for name in names) and not (refiner and mark == keys.CLIP_REFINER):
            raise wrong_family(path, relative)
    if context == {SD2_CONTEXT}:
        raise wrong_family(path, "an SD2")


def _under(checkpoint: Checkpoint, prefix: str) -> dict[str, Lazy]:
    return {name[len(prefix) :]: lazy for name, lazy in checkpoint.tensors.items() if name.startswith(prefix)}


def _text(weights: dict[str, Lazy]) -> dict[str, Lazy]:
    return {keys.with_text_model(name): lazy for name, lazy in weights.items()}


def _unet_from_original(weights: dict[str, Lazy]) -> dict[str, Lazy]:
    places = keys.unet_places(*keys.unet_layout(weights))
    return {keys.renamed(name, places) or name: lazy for name, lazy in weights.items()}


def _vae_from_original(weights: dict[str, Lazy]) -> dict[str, Lazy]:
    """Rename what carries original names; diffusers names stay, since no prefix of theirs is in the table."""
    if "encoder.mid_block.resnets.0.norm1.weight" in weights:
        return weights
    levels = keys.count(weights, "encoder.down.")
    places = keys.vae_places(levels, keys.count(weights, "encoder.down.0.block."))
    return {keys.renamed(name, places) or name: lazy for name, lazy in weights.items()}


def _text_from_open_clip(weights: dict[str, Lazy]) -> dict[str, Lazy]:
    places = keys.open_clip_places(keys.count(weights, "transformer.resblocks."))
    result: dict[str, Lazy] = {}
    for name, lazy in weights.items():
        if ".attn.in_proj_" in name:
            result |= _split_in_proj(name, lazy)
        elif name == "text_projection":
            result["text_projection.weight"] = lazy.then(lazy.shape[::-1], lambda x: x.T)
        elif name == "positional_embedding":
            result["text_model.embeddings.position_embedding.weight"] = lazy
        elif name != "logit_scale":
            result[keys.renamed(name, places) or name] = lazy
    return result


def _split_in_proj(name: str, lazy: Lazy) -> dict[str, Lazy]:
    """Part OpenCLIP's joined projection (3 D, …) into those of query, key and value."""
    block, _, kind = name.removeprefix("transformer.resblocks.").partition(".attn.in_proj_")
    width = lazy.shape[0] // 3

    def third(i: int) -> Callable[[Tensor], Tensor]:
        return lambda x: x[i * width : (i + 1) * width]

    return {
        f"text_model.encoder.layers.{block}.self_attn.{letter}_proj.{kind}": lazy.then(
            (width, *lazy.shape[1:]), third(i)
        )
        for i, letter in enumerate("qkv")
    }


def _text_part(path: Path, i: int, weights: dict[str, Lazy], facts: Facts) -> Part:
    heads = facts.text_heads[i] if facts.text_heads and i < len(facts.text_heads) else None
    act = ("quick_gelu", "gelu")[i]
    return Part(path=path, config=text_config(weights, act, heads, path=path), weights=weights)


@dataclass(frozen=True, kw_only=True)
class _Notes:
    """What the file, its metadata and the ``.yaml`` beside it say of the model."""

    prediction: Prediction = "eps"
    ztsnr: bool = False
    betas: Betas
    scale_factor: float | None = None
    facts: Facts

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> _Notes:
        meta, names = checkpoint.metadata, checkpoint.tensors
        own = _own(checkpoint.path, meta)
        params = _yaml_params(checkpoint.path)
        unet = params.get("unet_config", {}).get("params", {})
        v_signs = (
            "v_pred" in names,
            meta.get("modelspec.prediction_type", "").lower() in ("v", "v_prediction", "v-prediction"),
            meta.get("ss_v_parameterization", "").lower() == "true",
            params.get("parameterization") == "v",
        )
        zero_signs = ("ztsnr" in names, meta.get("ss_zero_terminal_snr", "").lower() == "true")
        return cls(
            prediction="v" if any(v_signs) else "eps",
            ztsnr=any(zero_signs),
            betas=Betas(
                start=float(params.get("linear_start", Betas.start)),
                end=float(params.get("linear_end", Betas.end)),
                steps=int(params.get("timesteps", Betas.steps)),
            ),
            scale_factor=own.get("scale_factor") or params.get("scale_factor"),
            facts=Facts(
                heads=own.get("heads") or _positive(unet.get("num_heads")),
                head_width=own.get("head_width") or _positive(unet.get("num_head_channels")),
                text_heads=tuple(own["text_heads"]) if "text_heads" in own else None,
                size=tuple(own["size"]) if "size" in own else _resolution(meta),
            ),
        )


def _notes(checkpoint: Checkpoint) -> _Notes:
    try:
        return _Notes.read(checkpoint)
    except BadFile:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        name = checkpoint.path.name
        raise BadFile(
            f"{name}: a value of its metadata or .yaml does not fit ({error}); mend it or take it away"
        ) from error


def _own(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        return dict(json.loads(metadata.get(METADATA_KEY, "{}")))
    except (ValueError, TypeError) as error:
        raise BadFile(
            f"{path.name} has damaged {METADATA_KEY} metadata ({error}); export it again"
        ) from error


def _resolution(metadata: dict[str, str]) -> tuple[int, int] | None:
    width, _, height = metadata.get("modelspec.resolution", "").lower().partition("x")
    height = height or width
    return (int(width), int(height)) if width.isdigit() and height.isdigit() else None


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _yaml_params(path: Path) -> dict[str, Any]:
    """Return ``model.params`` of the ``.yaml`` beside the checkpoint, empty when there is none."""
    file = path.with_suffix(".yaml")
    if not file.is_file():
        return {}
    import yaml

    try:
        params = yaml.safe_load(file.read_text("utf-8"))["model"]["params"]
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise BadFile(f"{file} is no model configuration ({reason}); mend it or take it away") from error
    return params if isinstance(params, dict) else {}
