"""Reading network files: what is listed, what is refused and in which words, hashes, families."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.networks import (
    Part,
    family_of,
    family_of_model,
    file_hashes,
    load_network,
    match,
)
from torch import Tensor

Write = Callable[..., Path]
A = "lora_unet_mid_block_attentions_0_proj_in"
B = "lora_unet_conv_in"
SHAPES: dict[Part, dict[str, tuple[int, ...]]] = {
    "unet": {
        "mid_block.attentions.0.proj_in.weight": (6, 4),
        "mid_block.attentions.0.proj_in.bias": (6,),
        "conv_in.weight": (6, 4, 3, 3),
    }
}


def lora(name: str = A, out: int = 6, inner: int = 4, rank: int = 2) -> dict[str, Tensor]:
    tensors = {"lora_up.weight": torch.ones(out, rank), "lora_down.weight": torch.ones(rank, inner)}
    return {f"{name}.{key}": tensor for key, tensor in (tensors | {"alpha": torch.tensor(1.0)}).items()}


def test_metadata_kind_name_and_recorded_hashes(write: Write) -> None:
    metadata = {"ss_network_dim": "2", "sshs_model_hash": "abc", "sshs_legacy_hash": "12345678"}
    network = load_network(write(lora(), metadata, name="Some style v2"))
    assert (network.name, network.kind) == ("Some style v2", "LoRA")
    assert network.metadata == metadata
    assert (network.model_hash, network.legacy_hash) == ("abc", "12345678")
    assert not network.ignored


def test_kinds_are_named_together(write: Write) -> None:
    tensors = lora() | {f"{A}.dora_scale": torch.ones(6, 1), "lora_unet_conv_in.diff": torch.ones(2)}
    assert load_network(write(tensors)).kind == "DoRA + full + LoRA"


def test_tensors_keep_the_dtype_of_the_file(write: Write) -> None:
    tensors = {key: tensor.bfloat16() for key, tensor in lora().items()}
    factors = load_network(write(tensors)).modules[A].weight
    assert factors is not None
    assert factors.factors.up.dtype == torch.bfloat16  # pyright: ignore


def test_hashes_of_the_whole_file_and_of_its_tensors(write: Write) -> None:
    path = write(lora(), {"note": "one"})
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    hashes = load_network(path).hashes
    assert hashes == file_hashes(path)
    assert hashes.sha256 == hashlib.sha256(data).hexdigest()
    assert hashes.autov2 == hashlib.sha256(data).hexdigest()[:10]
    assert hashes.autov3 == hashlib.sha256(data[start:]).hexdigest()[:12]
    other = file_hashes(write(lora(), {"note": "another"}, name="other"))
    assert (other.autov3, other.autov2 == hashes.autov2) == (hashes.autov3, False)


def test_both_hashes_of_a_pickle_are_of_the_whole_file(write: Write) -> None:
    path = write(lora(), name="net.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (file_hashes(path).sha256, file_hashes(path).tensors_sha256) == (digest, digest)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin"])
def test_pickles_are_read_weights_only(write: Write, suffix: str) -> None:
    network = load_network(write(lora(), name=f"net{suffix}"))
    assert list(match(network, SHAPES).deltas["unet"]) == ["mid_block.attentions.0.proj_in.weight"]


def test_a_state_dict_inside_a_pickle(tmp_path: Path) -> None:
    torch.save({"state_dict": lora(), "epoch": 3}, tmp_path / "net.ckpt")
    assert list(load_network(tmp_path / "net.ckpt").modules) == [A]


def test_the_content_decides_and_not_the_suffix(write: Write) -> None:
    path = write(lora())
    assert list(load_network(path.rename(path.with_suffix(".pt"))).modules) == [A]


@pytest.mark.parametrize("start", [b"\x80", b"PK"], ids=["as a pickle's", "as an archive's"])
def test_a_header_size_with_the_bytes_of_a_pickle(write: Write, start: bytes) -> None:
    header = 8 * round(int.from_bytes(start.ljust(2, b"\x01"), "little") / 8)
    plain = struct.unpack("<Q", write(lora(), {"note": ""}).read_bytes()[:8])[0]
    path = write(lora(), {"note": "x" * (header - plain)})
    assert path.read_bytes().startswith(start)
    assert len(load_network(path).metadata["note"]) == header - plain


# --- what is listed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("lora_unet_mid_block_attentions_0_proj_out.oft_blocks", "OFT"),
        ("lora_unet_mid_block_attentions_0_proj_out.oft_diag", "OFT"),
        ("oft_unet_mid_block_attentions_0_proj_out.oft_blocks", "OFT"),
        ("lora_unet_mid_block_attentions_0_proj_out.on_input", "IA3"),
        ("lora_unet_mid_block_attentions_0_proj_out.a1.weight", "GLoRA"),
        ("bundle_emb.cat.string_to_param.*", "embedding bundled"),
        ("lora_unet_mid_block_attentions_0_proj_out.bias_values", "sparse bias"),
        ("lora_unet_mid_block_attentions_0_proj_out.lora_B.bias", "holds no factor"),
        ("something.else", "holds no factor"),
    ],
)
def test_keys_of_no_known_form_are_listed_with_the_algorithm(write: Write, key: str, reason: str) -> None:
    network = load_network(write(lora() | {key: torch.ones(2)}))
    assert list(network.ignored) == [key]
    assert reason in network.ignored[key]
    assert match(network, SHAPES).unmatched == network.ignored


def test_a_file_of_an_unsupported_algorithm_alone_is_named_by_it(write: Write) -> None:
    network = load_network(write({"lora_unet_conv_in.oft_blocks": torch.ones(2, 3, 3)}))
    assert (network.kind, dict(network.modules)) == ("OFT", {})


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({f"{A}.lora_down.weight": torch.ones(2, 4)}, "without the rest"),
        ({f"{A}.alpha": torch.ones(1)}, "without the rest"),
        ({f"{A}.lokr_w1": torch.ones(2, 2), f"{A}.lokr_w2_a": torch.ones(2, 2)}, "without the rest"),
        ({f"{A}.lora_down.weight": torch.ones(2, 4), f"{A}.lora_up.weight": torch.ones(6, 3)}, "up (6, 3)"),
        ({f"{A}.diff": torch.ones(6, 5)}, "is (6, 5), but the model's weight is (6, 4)"),
        ({f"{A}.diff": torch.ones(4, 6)}, "is (4, 6), but the model's weight is (6, 4)"),
        ({f"{B}.diff": torch.ones(4, 54)}, "is (4, 54), but the model's weight is (6, 4, 3, 3)"),
        ({f"{B}.diff": torch.ones(6, 4, 9, 1)}, "is (6, 4, 9, 1), but"),
        (lora(B) | {f"{B}.lora_mid.weight": torch.ones(3, 3, 3, 3)}, "mid (3, 3, 3, 3)"),
        (lora() | {f"{A}.dora_scale": torch.ones(5, 1)}, "has 5 magnitudes"),
        (lora() | {f"{A}.dora_scale": torch.ones(6, 4)}, "dora_scale is (6, 4)"),
        ({"lora_unet_nowhere.diff": torch.ones(2)}, "no module of this name"),
    ],
    ids=[
        "half",
        "alpha alone",
        "quarter",
        "ranks",
        "width",
        "turned",
        "rows",
        "kernel",
        "mid",
        "magnitudes",
        "matrix",
        "name",
    ],
)
def test_what_is_not_whole_or_does_not_fit_is_listed(
    write: Write, tensors: dict[str, Tensor], reason: str
) -> None:
    other = {"lora_unet_mid_block_attentions_0_proj_in.diff_b": torch.ones(6)} if "name" in reason else {}
    matched = match(load_network(write(tensors | other)), SHAPES)
    assert set(matched.unmatched) == set(tensors)
    assert all(reason in text for text in matched.unmatched.values())


def test_a_bias_for_a_module_without_one_is_listed(write: Write) -> None:
    shapes: dict[Part, dict[str, tuple[int, ...]]] = {"unet": {"conv_in.weight": (6, 4)}}
    matched = match(load_network(write({"lora_unet_conv_in.diff_b": torch.ones(6)})), shapes)
    assert matched.unmatched == {"lora_unet_conv_in.diff_b": "the model's conv_in has no bias"}


def test_a_weight_named_twice_is_changed_once_and_by_its_diffusers_name(write: Write) -> None:
    new, old = "lora_unet_up_blocks_0_resnets_0_conv1", "lora_unet_output_blocks_0_0_in_layers_2"
    shapes: dict[Part, dict[str, tuple[int, ...]]] = {"unet": {"up_blocks.0.resnets.0.conv1.weight": (6, 4)}}
    network = load_network(write(lora(old) | lora(new)))
    matched = match(network, shapes)
    assert matched.deltas["unet"] == {"up_blocks.0.resnets.0.conv1.weight": network.modules[new].weight}
    assert set(matched.unmatched) == set(lora(old))


def test_a_factor_given_in_two_spellings_is_read_once(write: Write) -> None:
    tensors = lora() | {f"{A}.lora_A.weight": torch.zeros(2, 4)}
    network = load_network(write(tensors))
    assert len(network.modules) == len(network.ignored) == 1


# --- what is refused ----------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(BadFile) as caught:
        load_network(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 20, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_truncated_file(write: Write, suffix: str, keep: float) -> None:
    path = write(lora(), name=f"net{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    assert "download it again" in refused(path)


def test_a_page_in_place_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_text("<!doctype html><p>Sign in to download</p>")
    assert "not a whole safetensors" in refused(path)


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.write_text, (tmp_path / "sprung", "x")

    path = tmp_path / "net.pt"
    torch.save({"a": Trap()}, path)
    assert "use a .safetensors version" in refused(path)
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    assert "use a .safetensors version" in refused(path)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_of_a_list(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "net.pt")
    assert "holds a list" in refused(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("model.diffusion_model.out.2.weight", "whole model"),
        ("emb_params", "an embedding"),
        ("other", "use a LoRA"),
    ],
)
def test_a_file_that_is_no_network(write: Write, key: str, hint: str) -> None:
    message = refused(write({key: torch.ones(2)}))
    assert repr(key) in message
    assert hint in message


def test_a_file_without_tensors(write: Write) -> None:
    assert "no tensors" in refused(write({}))


# --- families -----------------------------------------------------------------------------------------------

ATTN2 = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
LDM_ATTN2 = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_v"


@pytest.mark.parametrize(
    ("tensors", "metadata", "family"),
    [
        (lora(ATTN2, 8, 768), {}, "SD1.5"),
        (lora(LDM_ATTN2, 8, 1024), {}, "SD2"),
        (lora(LDM_ATTN2, 8, 2048), {"ss_base_model_version": "sd_v1"}, "SDXL"),
        (lora(ATTN2, 8, 1280), {}, "SDXL refiner"),
        ({f"{ATTN2}.lokr_w1": torch.ones(2, 2), f"{ATTN2}.lokr_w2": torch.ones(2, 1024)}, {}, "SDXL"),
        (lora("lora_te2_text_model_encoder_layers_0_mlp_fc1"), {}, "SDXL"),
        (lora("lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q"), {}, "SDXL"),
        (lora("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 1024, 1024), {}, "SD2"),
        (lora("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768, 768), {}, None),
        (lora("lora_unet_double_blocks_0_img_attn_proj"), {}, "Flux"),
        (lora("transformer.single_transformer_blocks.0.attn.to_q"), {}, "Flux"),
        (lora("lora_unet_joint_blocks_0_x_block_attn_proj"), {}, "SD3"),
        (lora(), {"ss_base_model_version": "sdxl_base_v1-0"}, "SDXL"),
        (lora(), {"ss_base_model_version": "sd_v1"}, "SD1.5"),
        (lora(), {"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, "SD2"),
        (lora("lora_prior_unet_blocks_0_attention_to_q"), {}, "Stable Cascade"),
        (lora("lora_unet_adaln_single_linear"), {}, "PixArt"),
        (lora("diffusion_model.blocks.0.cross_attn.k"), {}, "Wan"),
        (lora(), {"modelspec.architecture": "Flux.1-dev/lora"}, "Flux"),
        (lora(), {"ss_base_model_version": "sd3_medium"}, "SD3"),
        (lora(), {"ss_v2": "True"}, "SD2"),
        (lora(), {"ss_v2": "False"}, None),
    ],
)
def test_the_family_of_a_network(
    write: Write, tensors: dict[str, Tensor], metadata: dict[str, str], family: str | None
) -> None:
    assert family_of(load_network(write(tensors, metadata))) == family


def unet_shapes(width: int) -> dict[Part, dict[str, tuple[int, ...]]]:
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return {"unet": {"conv_in.weight": (8, 4, 3, 3), name: (8, width)}}


@pytest.mark.parametrize(("width", "family"), [(768, "SD1.5"), (1024, "SD2"), (2048, "SDXL"), (64, None)])
def test_the_family_of_a_model(width: int, family: str | None) -> None:
    assert family_of_model(unet_shapes(width)) == family


def test_a_network_for_another_family_is_refused_in_words(write: Write) -> None:
    network = load_network(write(lora(ATTN2, 8, 2048), name="Some style"))
    with pytest.raises(
        BadValue, match=r"^Some style was made for SDXL, but the model is SD1\.5; use a network for SD1\.5$"
    ):
        match(network, unet_shapes(768))


def test_a_model_of_no_known_family_takes_what_fits(write: Write) -> None:
    matched = match(
        load_network(write(lora(ATTN2, 8, 768) | {"lora_unet_conv_in.diff": torch.ones(8, 4, 3, 3)})),
        unet_shapes(64),
    )
    assert set(matched.deltas["unet"]) == {"conv_in.weight"}
    assert set(matched.unmatched) == set(lora(ATTN2))


def test_damaged_alphas_in_the_metadata_are_no_alphas(write: Write) -> None:
    tensors = {"unet.conv_in.lora_A.weight": torch.ones(2, 4), "unet.conv_in.lora_B.weight": torch.ones(6, 2)}
    for text in ("{", json.dumps(3), json.dumps({"unet.lora_alpha": "x"})):
        module = load_network(write(tensors, {"lora_adapter_metadata": text})).modules["unet.conv_in"]
        assert module.weight is not None
        assert module.weight.scale == 1.0
