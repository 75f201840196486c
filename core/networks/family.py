"""Which family of models a network was made for, told from its shapes and names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from .keys import Part
from .network import Network

Family = Literal["SD1.5", "SD2", "SDXL", "SDXL refiner", "Flux", "SD3", "PixArt", "Wan", "Stable Cascade"]
Shapes = Mapping[Part, Mapping[str, tuple[int, ...]]]

# The width of what cross-attention reads: CLIP L, OpenCLIP H, CLIP L beside OpenCLIP bigG, bigG alone.
_CONTEXT: dict[int, Family] = {768: "SD1.5", 1024: "SD2", 2048: "SDXL", 1280: "SDXL refiner"}
_CONTEXT_READERS = re.compile(r"attn2[._]to_[kv]$")
_OTHER_NAMES: tuple[tuple[re.Pattern[str], Family], ...] = (
    (re.compile(r"(^|[._])(double_blocks|single_blocks|single_transformer_blocks)[._]\d"), "Flux"),
    (re.compile(r"(^|[._])joint_blocks[._]\d"), "SD3"),
    (re.compile(r"(^|[._])lora_prior_(unet|te)_"), "Stable Cascade"),
    (re.compile(r"(^|[._])(adaln_single|caption_projection)[._]"), "PixArt"),
    (re.compile(r"(^|[._])blocks[._]\d+[._](self|cross)_attn[._]"), "Wan"),
)
_METADATA: tuple[tuple[re.Pattern[str], Family], ...] = (
    (re.compile(r"sdxl|stable-diffusion-xl"), "SDXL"),
    (re.compile(r"sd_v2|stable-diffusion-v2"), "SD2"),
    (re.compile(r"sd_v1|stable-diffusion-v1"), "SD1.5"),
    (re.compile(r"flux"), "Flux"),
    (re.compile(r"sd3|stable-diffusion-v?3"), "SD3"),
)


def family_of(network: Network) -> Family | None:
    """Return the family that ``network`` was made for, or None where nothing in it tells.

    The width of the cross-attention's keys and values decides; then the names, the width of the text
    encoder, and last what the trainer wrote into the metadata.
    """
    names = [*network.modules, *network.ignored]
    for pattern, family in _OTHER_NAMES:
        if any(pattern.search(name) for name in names):
            return family
    modules = network.modules.values()
    widths = {
        (m.part, m.flat): m.weight.shape[1]
        for m in modules
        if m.weight is not None and len(m.weight.shape) > 1
    }
    unet = {flat: width for (part, flat), width in widths.items() if part == "unet"}
    if family := _by_context(unet.items()):
        return family
    if any(part == "te2" for part, _ in widths) or any(
        re.search(r"transformer_blocks_[1-9]", flat) for flat in unet
    ):
        return "SDXL"
    if any(
        part == "te1" and width == 1024 and flat.endswith("q_proj") for (part, flat), width in widths.items()
    ):
        return "SD2"
    return _by_metadata(network.metadata)


def family_of_model(shapes: Shapes) -> Family | None:
    """Return the family of the model with these parameter shapes, or None for a width that no family has."""
    unet = (
        (name.removesuffix(".weight"), shape[1])
        for name, shape in shapes.get("unet", {}).items()
        if len(shape) > 1
    )
    return _by_context(unet)


def _by_context(widths: Iterable[tuple[str, int]]) -> Family | None:
    return next(
        (_CONTEXT[width] for name, width in widths if width in _CONTEXT and _CONTEXT_READERS.search(name)),
        None,
    )


def _by_metadata(metadata: Mapping[str, str]) -> Family | None:
    text = f"{metadata.get('ss_base_model_version', '')} {metadata.get('modelspec.architecture', '')}".lower()
    for pattern, family in _METADATA:
        if pattern.search(text):
            return family
    return "SD2" if metadata.get("ss_v2") == "True" else None
