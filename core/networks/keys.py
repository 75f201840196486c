"""The names in network files: the module a key speaks of, its part of the model, and the factor it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["unet", "te1", "te2"]

# What follows the module's name.  Kohya: ".lora_down.weight"; diffusers: ".lora.down.weight", in attention
# processors "to_q_lora.down.weight", in text encoders ".lora_linear_layer.down.weight"; PEFT:
# ".lora_A.weight", or ".lora_A.default.weight" when the adapter's name was not removed.
_KEY = re.compile(
    r"""(?P<module>.+?)
    (?: [._]lora[._](?P<lora>down|up|mid)\.weight
      | \.lora_linear_layer\.(?P<linear>down|up)\.weight
      | \.lora_(?P<peft>[AB])(?:\.(?!bias$|weight$)\w+)?(?:\.weight)?
      | \.(?P<norm>lora_magnitude_vector)(?:\.\w+){0,2}
      | \.(?P<plain>alpha|dora_scale|diff|diff_b|w_norm|b_norm
                   |hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2))
    )""",
    re.VERBOSE,
)
_PEFT = {"A": "lora_down", "B": "lora_up"}

_ALGORITHMS = (
    (re.compile(r"\.(oft_\w+|rescale)(\..*)?$|^oft_"), "OFT is not supported"),
    (re.compile(r"\.[ab][12]\.weight$"), "GLoRA is not supported"),
    (re.compile(r"\.on_input$"), "IA3 is not supported"),
    (re.compile(r"\.(ada_\w+|vera_\w+)(\..*)?$|vera_lambda"), "VeRA is not supported"),
    (re.compile(r"^bundle_emb\."), "an embedding bundled with a network is not supported"),
    (re.compile(r"\.(bias_(indices|values|size))$"), "a sparse bias is not supported"),
)

# Prefixes of names whose dots have become underscores, longest first where one begins another.
_PREFIXES: tuple[tuple[str, Part], ...] = (
    ("lora_unet_", "unet"),
    ("lora_te1_", "te1"),
    ("lora_te2_", "te2"),
    ("lora_te_", "te1"),
    ("lycoris_", "unet"),
    ("unet_", "unet"),
    ("text_encoder_2_", "te2"),
    ("text_encoder_", "te1"),
    ("model_diffusion_model_", "unet"),
    ("diffusion_model_", "unet"),
)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key taken apart: the ``module`` as the file names it, the ``slot`` in kohya's and LyCORIS's words."""

    module: str
    slot: str


def parse_key(key: str) -> Key | None:
    """Split a key into module and slot; None when it holds no factor that is known.

    >>> parse_key("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight")
    Key(module='lora_unet_mid_block_attentions_0_proj_in', slot='lora_down')
    """
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    module = found["module"].replace(".processor.", ".")
    if half := found["lora"] or found["linear"]:
        return Key(module=module, slot=f"lora_{half}")
    if found["peft"]:
        return Key(module=module, slot=_PEFT[found["peft"]])
    slot = found["norm"] or found["plain"]
    # Beside "to_q_lora.down" the alpha of an attention processor stands under "to_q_lora.alpha".
    return Key(module=module.removesuffix("_lora"), slot=slot)


def why_unknown(key: str) -> str:
    """Say why a key unknown to ``parse_key`` is left out, naming its algorithm where that is known."""
    for pattern, reason in _ALGORITHMS:
        if pattern.search(key):
            return reason
    return "holds no factor of LoRA, LoHa, LoKr, DoRA or a full difference"


def locate(module: str) -> tuple[Part, str]:
    """Return the model part of a file's module name, and the name inside that part with dots as underscores.

    A name without any prefix is the UNet's, as in diffusers' oldest files.

    >>> locate("text_encoder_2.text_model.encoder.layers.0.mlp.fc1")
    ('te2', 'text_model_encoder_layers_0_mlp_fc1')
    """
    flat = module.replace(".", "_").replace("base_model_model_", "")
    for prefix, part in _PREFIXES:
        if flat.startswith(prefix):
            return part, flat.removeprefix(prefix)
    return "unet", flat
