"""Other names of a model's modules, derived from its layout: the original (ldm, sgm) and OpenCLIP ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .keys import Part

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_BLOCK = re.compile(r"((?:(?:down|up)_blocks\.\d+|mid_block)\.(\w+)\.\d+)(?:\.(.+))?")
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OPEN_CLIP_OUTSIDE = {"final_layer_norm": "ln_final", "embeddings.token_embedding": "token_embedding"}
_QKV = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A module that a name leads to; for a fused matrix, which ``third`` of its rows: 0 q, 1 k, 2 v."""

    module: str
    third: int | None = None


def name_table(part: Part, modules: Collection[str]) -> dict[str, tuple[Target, ...]]:
    """Return every name by which a file may call the ``modules`` of a model part, dots as underscores.

    ``modules``: names of the diffusers UNet, or of the transformers text encoder, as loaded.  A name of
    OpenCLIP's fused ``in_proj`` leads to three targets, every other one to a single one.
    """
    table: dict[str, tuple[Target, ...]] = {}
    names = _unet_names(modules) if part == "unet" else _text_encoder_names(modules)
    for name, target in names:
        table.setdefault(name.replace(".", "_"), (target,))
    if part != "unet":
        table.update(_fused_names(modules))
    return table


def ldm_names(modules: Collection[str]) -> dict[str, str]:
    """Return the original (ldm, sgm) name of each diffusers UNet module that has one.

    The original counts one flat list of blocks: a resnet with its attention takes a number, a downsampler one
    more, and an upsampler joins the last resnet of its block.  So the layout follows from the names alone.
    """
    blocks = _ldm_blocks(modules)
    names: dict[str, str] = {}
    for name in modules:
        if name in _OUTSIDE_BLOCKS:
            names[name] = _OUTSIDE_BLOCKS[name]
        elif (found := _BLOCK.fullmatch(name)) and found[1] in blocks:
            inner = _RESNET.get(found[3], found[3]) if found[2] == "resnets" else found[3]
            if found[2] in ("downsamplers", "upsamplers"):
                inner = {"downsamplers": "op", "upsamplers": "conv"}[found[2]]
            names[name] = blocks[found[1]] + (f".{inner}" if inner else "")
    return names


def _ldm_blocks(modules: Collection[str]) -> dict[str, str]:
    """Return the ldm name of every resnet, attention and sampler, by its diffusers name."""
    present = {found[1] for name in modules if (found := _BLOCK.match(name))}
    table = {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1"}
    table["mid_block.resnets.1"] = f"middle_block.{1 + ('mid_block.attentions.0' in present)}"
    number = 1  # input_blocks.0 is conv_in
    for block in _blocks("down_blocks", present):
        number = _number_layers(block, "input_blocks", number, present, table)
        if f"{block}.downsamplers.0" in present:
            table[f"{block}.downsamplers.0"] = f"input_blocks.{number}.0"
            number += 1
    number = 0
    for block in _blocks("up_blocks", present):
        number = _number_layers(block, "output_blocks", number, present, table)
        has_attention = f"{block}.attentions.0" in present
        table[f"{block}.upsamplers.0"] = f"output_blocks.{number - 1}.{1 + has_attention}"
    return table


def _number_layers(
    block: str, original: str, number: int, present: Collection[str], table: dict[str, str]
) -> int:
    """Enter the resnets and attentions of ``block`` from ``number`` on; return the next free number."""
    layer = 0
    while f"{block}.resnets.{layer}" in present:
        table[f"{block}.resnets.{layer}"] = f"{original}.{number}.0"
        table[f"{block}.attentions.{layer}"] = f"{original}.{number}.1"
        layer, number = layer + 1, number + 1
    return number


def _blocks(kind: str, present: Iterable[str]) -> list[str]:
    numbers = {int(name.split(".")[1]) for name in present if name.startswith(f"{kind}.")}
    return [f"{kind}.{number}" for number in sorted(numbers)]


def _unet_names(modules: Collection[str]) -> list[tuple[str, Target]]:
    names = [(name, Target(module=name)) for name in modules]
    names += [(old, Target(module=name)) for name, old in ldm_names(modules).items()]
    # Diffusers' oldest files name the processor's one output, "to_out_lora".
    names += [(n.removesuffix(".0"), Target(module=n)) for n in modules if n.endswith(".to_out.0")]
    return names


def _text_encoder_names(modules: Collection[str]) -> list[tuple[str, Target]]:
    names: list[tuple[str, Target]] = []
    for name in modules:
        bare, target = name.removeprefix("text_model."), Target(module=name)
        names += [(name, target), (bare, target), (f"text_model.{bare}", target)]
        head, _, last = bare.rpartition(".")
        if head.endswith("self_attn"):  # as diffusers' oldest files have it: to_q for q_proj
            old = f"{head}.to_{last.removesuffix('_proj')}"
            names += [(old, target), (f"text_model.{old}", target)]
        if original := _open_clip_name(bare):
            names += [(original, target), (f"model.{original}", target)]
    return names


def _open_clip_name(bare: str) -> str | None:
    found = _LAYER.fullmatch(bare)
    if found is None:
        return _OPEN_CLIP_OUTSIDE.get(bare)
    inner = _OPEN_CLIP.get(found[2])
    return None if inner is None else f"transformer.resblocks.{found[1]}.{inner}"


def _fused_names(modules: Collection[str]) -> dict[str, tuple[Target, ...]]:
    """Return OpenCLIP's ``attn.in_proj`` names, which stand for q, k and v stacked along the output."""
    table: dict[str, tuple[Target, ...]] = {}
    for name in modules:
        found = _LAYER.fullmatch(name.removeprefix("text_model."))
        if found and found[2] == "self_attn.q_proj":
            head = name.removesuffix("q_proj")
            thirds = tuple(Target(module=head + proj, third=i) for i, proj in enumerate(_QKV))
            original = f"transformer_resblocks_{found[1]}_attn_in_proj"
            table |= {original: thirds, f"model_{original}": thirds}
    return table
