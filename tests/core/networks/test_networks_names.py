"""Every name by which a file may call a module leads to that module, for UNets and text encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from sd_concord.core.networks import Part, delta_weight, load_network, match, parameter_shapes
from sd_concord.core.networks.module_names import ldm_names
from torch import Tensor, nn

Write = Callable[..., Path]
Rename = Callable[[str], str]


def modules_of(model: nn.Module) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in parameter_shapes(model)})


def targets(write: Write, model: nn.Module, part: Part, names: dict[str, str]) -> dict[str, str]:
    """Return the module reached by each name: the file adds a number of its own under every one of them."""
    shapes = parameter_shapes(model)
    tensors: dict[str, Tensor] = {}
    for i, (module, name) in enumerate(names.items()):
        tensors[f"{name}.diff"] = torch.full(shapes[f"{module}.weight"], float(i))
    matched = match(load_network(write(tensors)), {part: shapes})
    assert not matched.unmatched
    order = list(names)
    reached: dict[str, str] = {}
    for parameter, delta in matched.deltas[part].items():
        number = int(delta_weight(delta, torch.zeros(delta.shape)).flatten()[0])
        reached[order[number]] = parameter.removesuffix(".weight")
    return reached


def kohya(prefix: str) -> Rename:
    return lambda name: prefix + name.replace(".", "_")


UNET_NAMES: dict[str, Rename] = {
    "kohya": kohya("lora_unet_"),
    "lycoris": kohya("lycoris_"),
    "diffusers": lambda name: f"unet.{name}",
    "bare": lambda name: name,
    "peft": lambda name: f"base_model.model.{name}",
}


@pytest.mark.parametrize("naming", UNET_NAMES)
def test_diffusers_names_reach_every_module(write: Write, unet: nn.Module, naming: str) -> None:
    names = {module: UNET_NAMES[naming](module) for module in modules_of(unet)}
    assert targets(write, unet, "unet", names) == {module: module for module in names}


@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model.", "model.diffusion_model."])
def test_ldm_names_reach_every_module(write: Write, unet: nn.Module, prefix: str) -> None:
    flat = prefix.endswith("_")
    originals = ldm_names(modules_of(unet))
    assert set(originals) == set(modules_of(unet)), "every module has an original name"
    names = {m: prefix + (name.replace(".", "_") if flat else name) for m, name in originals.items()}
    assert targets(write, unet, "unet", names) == {module: module for module in names}


def test_ldm_names_are_those_that_diffusers_converts(unet: Any) -> None:
    convert = pytest.importorskip("diffusers.loaders.single_file_utils").convert_ldm_unet_checkpoint
    originals = ldm_names(modules_of(unet))
    checkpoint = {}
    for parameter in parameter_shapes(unet):
        module, _, kind = parameter.rpartition(".")
        checkpoint[f"model.diffusion_model.{originals[module]}.{kind}"] = parameter
    converted = convert(checkpoint, dict(unet.config))
    assert converted == {parameter: parameter for parameter in parameter_shapes(unet)}


def test_some_known_names_of_sd15(sd15_unet: nn.Module) -> None:
    originals = ldm_names(modules_of(sd15_unet))
    known = {
        "down_blocks.1.attentions.0.proj_in": "input_blocks.4.1.proj_in",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
        "mid_block.attentions.0.norm": "middle_block.1.norm",
        "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
        "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
        "up_blocks.3.resnets.2.conv_shortcut": "output_blocks.11.0.skip_connection",
        "conv_norm_out": "out.0",
    }
    assert {name: originals[name] for name in known} == known


def test_attention_processors_of_old_diffusers_files(write: Write, sd15_unet: nn.Module) -> None:
    attention = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    shapes = parameter_shapes(sd15_unet)
    tensors: dict[str, Tensor] = {}
    for old in ("to_q", "to_k", "to_v", "to_out"):
        stem = f"unet.{attention}.processor.{old}_lora"
        tensors |= {f"{stem}.down.weight": torch.ones(2, 8), f"{stem}.up.weight": torch.ones(8, 2)}
        tensors |= {f"{stem}.alpha": torch.tensor(1.0)}
    matched = match(load_network(write(tensors)), {"unet": shapes})
    assert not matched.unmatched
    wanted = {f"{attention}.{new}.weight" for new in ("to_q", "to_k", "to_v", "to_out.0")}
    assert set(matched.deltas["unet"]) == wanted
    assert all(delta.scale == 0.5 for delta in matched.deltas["unet"].values())


LCM_MODULES = (
    *(
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "proj_in",
        "proj_out",
        "ff.net.0.proj",
        "ff.net.2",
        "conv1",
        "conv2",
    ),
    *("conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
)


@pytest.mark.parametrize("naming", ["kohya", "ldm", "peft"])
def test_lcm_lora_with_all_its_kinds_of_modules(write: Write, unet: nn.Module, naming: str) -> None:
    originals = ldm_names(modules_of(unet))
    shapes = parameter_shapes(unet)
    chosen = [m for m in modules_of(unet) if m.endswith(tuple(f".{kind}" for kind in LCM_MODULES))]
    assert {kind for kind in LCM_MODULES if any(m.endswith(f".{kind}") for m in chosen)} == set(LCM_MODULES)
    tensors: dict[str, Tensor] = {}
    for module in chosen:
        out, inner, *kernel = shapes[f"{module}.weight"]
        up, down = ("lora_B", "lora_A") if naming == "peft" else ("lora_up", "lora_down")
        flat = kohya("lora_unet_")(originals[module] if naming == "ldm" else module)
        name = f"unet.{module}" if naming == "peft" else flat
        tensors[f"{name}.{down}.weight"] = torch.randn(4, inner, *kernel)
        tensors[f"{name}.{up}.weight"] = torch.randn(out, 4, *(1 for _ in kernel))
    matched = match(load_network(write(tensors)), {"unet": shapes})
    assert not matched.unmatched
    assert set(matched.deltas["unet"]) == {f"{module}.weight" for module in chosen}


# --- text encoders ------------------------------------------------------------------------------------------


def clip(kind: str) -> nn.Module:
    """Return a CLIP text encoder of two layers."""
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPTextConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=30,
        projection_dim=6,
        bos_token_id=28,
        eos_token_id=29,
    )
    return getattr(transformers, kind)(config)


@pytest.fixture(scope="module", params=["CLIPTextModel", "CLIPTextModelWithProjection"])
def text_encoder(request: pytest.FixtureRequest) -> nn.Module:
    """Return an encoder of either kind: transformers 5 has ``text_model.`` in the names of one only."""
    return clip(request.param)


@pytest.fixture(scope="module")
def big_encoder() -> nn.Module:
    """Return an encoder of the kind that stands for OpenCLIP's."""
    return clip("CLIPTextModelWithProjection")


PARTS: list[tuple[Part, str]] = [
    ("te1", "lora_te_"),
    ("te1", "lora_te1_"),
    ("te2", "lora_te2_"),
    ("te1", "text_encoder."),
    ("te2", "text_encoder_2."),
]


@pytest.mark.parametrize(("part", "prefix"), PARTS)
@pytest.mark.parametrize("head", ["", "text_model."])
def test_text_encoder_names(
    write: Write, text_encoder: nn.Module, part: Part, prefix: str, head: str
) -> None:
    names: dict[str, str] = {}
    for module in modules_of(text_encoder):
        name = head + module.removeprefix("text_model.")
        names[module] = prefix + (name.replace(".", "_") if prefix.endswith("_") else name)
    assert targets(write, text_encoder, part, names) == {module: module for module in names}


def test_text_encoder_processors_of_old_diffusers_files(write: Write, text_encoder: nn.Module) -> None:
    names: dict[str, str] = {}
    for new, old in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out")):
        module = next(m for m in modules_of(text_encoder) if m.endswith(f"layers.1.self_attn.{new}"))
        names[module] = f"text_encoder.text_model.encoder.layers.1.self_attn.{old}"
    tensors: dict[str, Tensor] = {}
    for name in names.values():
        tensors |= {f"{name}_lora.up.weight": torch.ones(8, 2), f"{name}_lora.down.weight": torch.ones(2, 8)}
    matched = match(load_network(write(tensors)), {"te1": parameter_shapes(text_encoder)})
    assert not matched.unmatched
    assert set(matched.deltas["te1"]) == {f"{module}.weight" for module in names}


@pytest.mark.parametrize("prefix", ["lora_te2_", "lora_te2_model_", "text_encoder_2."])
def test_open_clip_names_and_the_split_of_its_fused_matrix(
    write: Write, big_encoder: nn.Module, prefix: str
) -> None:
    """The library's own conversion of an OpenCLIP checkpoint says where every difference belongs."""
    convert = pytest.importorskip("diffusers.loaders.single_file_utils").convert_open_clip_checkpoint
    sizes = {"ln_1": (8,), "ln_2": (8,), "mlp.c_fc": (16, 8), "mlp.c_proj": (8, 16), "attn.out_proj": (8, 8)}
    sizes["attn.in_proj"] = (24, 8)
    tensors: dict[str, Tensor] = {}
    checkpoint = {"text_projection": torch.zeros(8, 6), "positional_embedding": torch.zeros(77, 8)}
    for layer, (inner, shape) in ((n, item) for n in range(2) for item in sizes.items()):
        original = f"transformer.resblocks.{layer}.{inner}"
        weight, bias = torch.randn(shape), torch.randn(shape[0])
        joint = "_" if inner == "attn.in_proj" else "."
        checkpoint |= {f"{original}{joint}weight": weight, f"{original}{joint}bias": bias}
        name = prefix + (original.replace(".", "_") if prefix.endswith("_") else original)
        tensors |= {f"{name}.diff": weight, f"{name}.diff_b": bias}
    matched = match(load_network(write(tensors)), {"te2": parameter_shapes(big_encoder)})
    assert not matched.unmatched
    wanted = {k: v for k, v in convert(big_encoder, checkpoint, prefix="").items() if ".layers." in k}
    assert set(matched.deltas["te2"]) == set(wanted)
    for name, delta in matched.deltas["te2"].items():
        torch.testing.assert_close(
            delta_weight(delta, torch.zeros(delta.shape)), wanted[name], rtol=0, atol=0
        )


IN_PROJ = "lora_te2_transformer_resblocks_0_attn_in_proj."
FUSED: dict[str, dict[str, Tensor]] = {
    "LoRA": {"lora_up.weight": torch.randn(24, 2), "lora_down.weight": torch.randn(2, 8)},
    "LoHa": {f"hada_w{i}_{h}": torch.randn(*s) for i in (1, 2) for h, s in (("a", (24, 2)), ("b", (2, 8)))},
    "LoKr": {"lokr_w1": torch.randn(4, 2), "lokr_w2": torch.randn(6, 4)},
}


@pytest.mark.parametrize("form", FUSED)
@pytest.mark.parametrize("dora", [False, True], ids=["plain", "DoRA"])
def test_the_thirds_of_a_fused_delta_are_its_rows(
    write: Write, big_encoder: nn.Module, form: str, dora: bool
) -> None:
    tensors = FUSED[form] | ({"dora_scale": torch.rand(24, 1)} if dora else {})
    network = load_network(write({IN_PROJ + key: tensor for key, tensor in tensors.items()}))
    whole = network.modules[IN_PROJ[:-1]].weight
    assert whole is not None
    base = torch.randn(24, 8)
    matched = match(network, {"te2": parameter_shapes(big_encoder)})
    assert not matched.unmatched
    thirds = {name.split(".")[-2]: delta for name, delta in matched.deltas["te2"].items()}
    for i, name in enumerate(("q_proj", "k_proj", "v_proj")):
        rows = slice(8 * i, 8 * i + 8)
        torch.testing.assert_close(delta_weight(thirds[name], base[rows]), delta_weight(whole, base)[rows])


def test_column_magnitudes_of_a_fused_matrix_are_reported(write: Write, big_encoder: nn.Module) -> None:
    tensors = FUSED["LoRA"] | {"dora_scale": torch.rand(1, 8)}
    network = load_network(write({IN_PROJ + key: tensor for key, tensor in tensors.items()}))
    matched = match(network, {"te2": parameter_shapes(big_encoder)})
    assert not matched.deltas["te2"]
    assert "cannot be split" in next(iter(matched.unmatched.values()))


def test_an_encoder_that_the_model_lacks(write: Write, text_encoder: nn.Module) -> None:
    names: Iterable[str] = ("lora_te1_encoder_layers_0_mlp_fc1", "lora_te2_encoder_layers_0_mlp_fc1")
    tensors = {f"{name}.diff": torch.ones(16, 8) for name in names}
    matched = match(load_network(write(tensors)), {"te1": parameter_shapes(text_encoder)})
    assert len(matched.deltas["te1"]) == 1
    assert matched.unmatched == {"lora_te2_encoder_layers_0_mlp_fc1.diff": "the model has no te2"}
