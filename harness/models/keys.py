"""Tensor names of the original Stable Diffusion code and of diffusers, each from the other.

The original UNet counts its blocks through all levels (``input_blocks.4.1`` is the attention of level 1,
layer 0 of a net with two layers a level), diffusers by level and layer.  A table from prefix to prefix is
made for the number of layers at hand, and a name is changed by its longest prefix in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

TOKENS = "text_model.embeddings.token_embedding.weight"
UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_SD15 = "cond_stage_model.transformer."
CLIP_L = "conditioner.embedders.0.transformer."
CLIP_G = "conditioner.embedders.1.model."
CLIP_REFINER = "conditioner.embedders.0.model."
"""CLIP-G in SDXL's refiner, which has no other text encoder."""

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OPEN_CLIP = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP_ENDS = {
    "token_embedding": "text_model.embeddings.token_embedding",
    "ln_final": "text_model.final_layer_norm",
}


def unet_places(layers: Sequence[int], up_attention: Sequence[bool]) -> dict[str, str]:
    """Return original prefix -> diffusers prefix.

    ``layers``: residual blocks of each level, going down.  ``up_attention``: whether each level, going up,
    has attention; it decides the place of the upsampler.
    """
    places = dict(_UNET_ENDS)
    deepest = len(layers) - 1
    k = 1
    for level, count in enumerate(layers):
        for i in range(count):
            _layer(places, f"input_blocks.{k}", f"down_blocks.{level}", i)
            k += 1
        if level < deepest:
            places[f"input_blocks.{k}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            k += 1
    _layer(places, "middle_block", "mid_block", 0)
    _resnet(places, "middle_block.2", "mid_block.resnets.1")
    k = 0
    for level, count in enumerate(reversed(layers)):
        for i in range(count + 1):
            _layer(places, f"output_blocks.{k}", f"up_blocks.{level}", i)
            k += 1
        if level < deepest:
            at = 2 if up_attention[level] else 1
            places[f"output_blocks.{k - 1}.{at}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    return places


def vae_places(levels: int, layers: int) -> dict[str, str]:
    """Return original prefix -> diffusers prefix of a VAE with ``layers`` blocks a level in its encoder."""
    places = {name: name for name in ("quant_conv", "post_quant_conv")}
    for half, block, count in (("encoder", "down", layers), ("decoder", "up", layers + 1)):
        for name, now in (("conv_in", "conv_in"), ("conv_out", "conv_out"), ("norm_out", "conv_norm_out")):
            places[f"{half}.{name}"] = f"{half}.{now}"
        for level in range(levels):
            old = level if block == "down" else levels - 1 - level
            for i in range(count):
                _vae_resnet(
                    places, f"{half}.{block}.{old}.block.{i}", f"{half}.{block}_blocks.{level}.resnets.{i}"
                )
            places[f"{half}.{block}.{old}.{block}sample.conv"] = (
                f"{half}.{block}_blocks.{level}.{block}samplers.0.conv"
            )
        for i in (0, 1):
            _vae_resnet(places, f"{half}.mid.block_{i + 1}", f"{half}.mid_block.resnets.{i}")
        for name, now in _VAE_ATTENTION.items():
            places[f"{half}.mid.attn_1.{name}"] = f"{half}.mid_block.attentions.0.{now}"
    return places


def open_clip_places(layers: int) -> dict[str, str]:
    """Return OpenCLIP prefix -> transformers prefix, but for the tensors that change their shape too."""
    places = dict(_OPEN_CLIP_ENDS)
    for i in range(layers):
        for name, now in _OPEN_CLIP.items():
            places[f"transformer.resblocks.{i}.{name}"] = f"text_model.encoder.layers.{i}.{now}"
    return places


def with_text_model(name: str) -> str:
    """Return the name of a CLIP tensor with the prefix ``text_model.``, which some writers leave out."""
    return name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}"


def renamed(name: str, places: Mapping[str, str]) -> str | None:
    """Return ``name`` with its longest prefix in ``places`` exchanged, or None when it has none."""
    prefix, rest = name, ""
    while prefix:
        if prefix in places:
            return places[prefix] + rest
        prefix, _, last = prefix.rpartition(".")
        rest = f".{last}{rest}"
    return None


def unet_layout(names: Iterable[str]) -> tuple[list[int], list[bool]]:
    """Return ``layers`` and ``up_attention`` of ``unet_places`` from original UNet names."""
    known = set(names)
    layers = [0]
    k = 1
    while f"input_blocks.{k}.0.in_layers.0.weight" in known or f"input_blocks.{k}.0.op.weight" in known:
        if f"input_blocks.{k}.0.op.weight" in known:
            layers.append(0)
        else:
            layers[-1] += 1
        k += 1
    up, k = [], 0
    for count in reversed(layers):
        k += count + 1
        up.append(f"output_blocks.{k - 1}.1.norm.weight" in known)
    return layers, up


def count(names: Iterable[str], prefix: str) -> int:
    """Return how many numbers follow ``prefix`` in the names, counted from 0 without a gap."""
    found = {
        rest.split(".", 1)[0] for name in names if name.startswith(prefix) and (rest := name[len(prefix) :])
    }
    n = 0
    while str(n) in found:
        n += 1
    return n


def _layer(places: dict[str, str], old: str, now: str, i: int) -> None:
    _resnet(places, f"{old}.0", f"{now}.resnets.{i}")
    places[f"{old}.1"] = f"{now}.attentions.{i}"


def _resnet(places: dict[str, str], old: str, now: str) -> None:
    places.update({f"{old}.{name}": f"{now}.{other}" for name, other in _RESNET.items()})


def _vae_resnet(places: dict[str, str], old: str, now: str) -> None:
    places[old] = now
    places[f"{old}.nin_shortcut"] = f"{now}.conv_shortcut"
