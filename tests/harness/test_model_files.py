"""What is not a model that can be run is named in one line, with what to do about it."""

import json
import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from miniatures import flat_tensors, miniature, save_flat, save_folder
from safetensors.torch import load_file, save_file
from sd_concord.core.errors import BadFile
from sd_concord.harness.models import export_ldm, load_model
from sd_concord.harness.models.tensors import read_checkpoint

RUNS = "Concord's command line runs SD1.5 and SDXL"
ORIGINAL = "model.diffusion_model."


class Sneaky:
    """Unpickling this would run a command."""

    def __reduce__(self):
        return (print, ("code was run",))


@pytest.fixture(scope="module")
def model():
    return miniature("sd15")


@pytest.fixture(scope="module")
def good(model, tmp_path_factory) -> Path:
    return save_flat(model, tmp_path_factory.mktemp("good") / "good.safetensors")


def refusal(path: Path, **arguments) -> str:
    """Return the text of the error, which is one line and names the file."""
    with pytest.raises(BadFile) as caught:
        load_model(path, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download it again"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG picture; give a .safetensors or .ckpt checkpoint"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "is a JPEG picture"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(100), "is a WebP picture"),
        (
            b"<!DOCTYPE html><html><title>Sign in</title>",
            "is a web page or message saved in place of the model",
        ),
        (b'{"error": "Unauthorized"}', "is a web page or message saved in place"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "is a git-lfs pointer .*; run `git lfs pull`",
        ),
        (b"GGUF\x03\0\0\0" + bytes(100), "is a GGUF file; use the .safetensors form"),
        (b"dear diary, today I loaded a model", "is a text file; give a .safetensors"),
        (bytes(range(256)) * 4, "is not a checkpoint; give a .safetensors, .ckpt or .pt file"),
        (b"PK\x03\x04" + bytes(200), r"is damaged \(.*\); download it again"),
        (
            (1000).to_bytes(8, "little") + b"{" + bytes(10),
            "is cut short: 19 bytes, the header alone has 1008",
        ),
        ((10).to_bytes(8, "little") + b"{not json}" + bytes(10), "has a damaged header"),
        ((2**60).to_bytes(8, "little") + b"{" + bytes(10), "its header claims 1152921504606846976 bytes"),
    ],
    ids=[
        "empty",
        "png",
        "jpeg",
        "webp",
        "html",
        "json",
        "lfs",
        "gguf",
        "text",
        "bytes",
        "zip",
        "header-cut",
        "header-damaged",
        "header-huge",
    ],
)
def test_a_file_of_another_kind_is_named(content, message, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=message):
        load_model(path)
    refusal(path)


def test_a_missing_file(tmp_path):
    assert refusal(tmp_path / "nothing.safetensors").endswith("does not exist; check the path")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(good, tmp_path):
    path = tmp_path / "closed.safetensors"
    path.write_bytes(good.read_bytes())
    path.chmod(0)
    assert refusal(path).endswith("Permission denied; check its permissions")


def test_a_truncated_checkpoint(good, tmp_path):
    whole = good.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(whole[:-1000])
    assert refusal(path).endswith(
        f"is cut short: {len(whole) - 1000} bytes of {len(whole)}; download it again"
    )


def test_a_header_whose_offsets_and_shapes_disagree(tmp_path):
    entry = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}
    text = json.dumps(entry).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    assert "has a damaged header (8 bytes for shape (3,))" in refusal(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["lora_unet_down_blocks_0.lora_up.weight"],
            "is a LoRA, not a model; name it in the prompt, <lora:name:1>",
        ),
        (["unet.down_blocks.0.attentions.0.lora_A.weight"], "is a LoRA"),
        (["lora_unet_mid.hada_w1_a"], "is a LoRA"),
        (["emb_params"], "is an embedding (textual inversion), not a model"),
        (["control_model.input_blocks.0.0.weight"], "is a ControlNet, not a model"),
        (["image_proj.norm.weight"], "is an IP-Adapter"),
        (["conv_first.weight"], "is an upscaler, not a model"),
        (["decoder.conv_in.weight"], "holds a VAE and no UNet; give it with vae= beside a checkpoint"),
        (["double_blocks.0.img_attn.qkv.weight"], f"this is a Flux model; {RUNS}"),
        ([ORIGINAL + "double_blocks.0.img_attn.qkv.weight"], f"this is a Flux model; {RUNS}"),
        ([ORIGINAL + "joint_blocks.0.x_block.attn.qkv.weight"], f"this is an SD3 model; {RUNS}"),
        (
            ["layers.0.attention.wq.weight", "cap_embedder.0.weight"],
            f"this is a Lumina or Z-Image model; {RUNS}",
        ),
        (["blocks.0.cross_attn.norm_k.weight"], f"this is a Wan video model; {RUNS}"),
        (["transformer_blocks.0.img_mod.1.weight"], f"this is a Qwen-Image model; {RUNS}"),
        (["something.weight", "else.weight"], "is not a checkpoint: no UNet in 2 tensors"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_file_of_other_tensors_is_named(names, message, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(2) for name in names}, path)
    assert message in refusal(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conditioner.embedders.0.model.ln_final.weight", f"this is an SDXL refiner model; {RUNS}"),
        ("cond_stage_model.model.ln_final.weight", f"this is an SD2 model; {RUNS}"),
        (ORIGINAL + "input_blocks.1.0.time_stack.x.weight", f"a Stable Video Diffusion model; {RUNS}"),
        ("edm_mean", f"this is a Playground v2.5 model; {RUNS}"),
        ("edm_vpred.sigma_max", f"this is a CosXL model; {RUNS}"),
    ],
    ids=["refiner", "sd2", "svd", "playground", "cosxl"],
)
def test_relatives_of_the_original_layout_are_named(model, name, message, tmp_path):
    path = export_ldm(model, tmp_path / "model.safetensors")
    save_file(load_file(path) | {name: torch.zeros(8)}, path)
    assert message in refusal(path)


def test_a_pickle_that_runs_code_is_refused(tmp_path, capsys):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(2)}, "x": Sneaky()}, path)
    assert refusal(path).endswith("needs to run code, which is not done; convert it to safetensors")
    path.write_bytes(pickle.dumps(Sneaky(), protocol=2))
    assert "model.ckpt" in refusal(path)
    assert "code was run" not in capsys.readouterr().out


def test_the_callback_that_old_checkpoints_name_is_no_reason_to_refuse(tmp_path, monkeypatch):
    """Lightning wrote a class of its own as a dictionary key; it is not imported for that."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    kind = type("ModelCheckpoint", (), {"__module__": name})
    path = tmp_path / "model.ckpt"
    with monkeypatch.context() as patch:
        for module in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
            patch.setitem(sys.modules, module, types.SimpleNamespace(ModelCheckpoint=kind))
        torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": {kind: {"best": 1.0}}}, path)
    assert list(read_checkpoint(path).tensors) == ["a"]


def test_tensors_of_every_kind_are_read(tmp_path):
    """Also where they do not begin at a multiple of their size."""
    kinds = ("float16", "bfloat16", "float64", "float8_e4m3fn", "int64", "uint8", "bool")
    tensors = {kind: torch.arange(6).view(2, 3).to(getattr(torch, kind)) for kind in kinds}
    path = tmp_path / "model.safetensors"
    save_file(tensors | {"empty": torch.empty(0), "number": torch.tensor(2.5)}, path)
    odd = tmp_path / "odd.safetensors"
    entries = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    entries["b"] = {"dtype": "F16", "shape": [2], "data_offsets": [1, 5]}
    header = json.dumps(entries).encode()
    odd.write_bytes(
        len(header).to_bytes(8, "little")
        + header
        + b"\x07"
        + torch.tensor([1.5, -2]).half().numpy().tobytes()
    )
    for dtype in (None, torch.float32):
        found = read_checkpoint(path).tensors
        for kind in kinds:
            assert torch.equal(found[kind].load(dtype).float(), tensors[kind].float())
        assert found["float16"].load(dtype).dtype == (dtype or torch.float16)
        assert found["empty"].load(dtype).shape == (0,)
        assert found["number"].load(dtype).item() == 2.5
        assert read_checkpoint(odd).tensors["b"].load(dtype).tolist() == [1.5, -2]


def test_a_pickle_of_something_else(tmp_path):
    path = tmp_path / "model.pt"
    torch.save([torch.zeros(2)], path)
    assert refusal(path).endswith("is not a checkpoint: it holds a list, not named tensors")


def test_a_pickle_of_the_older_form_is_read(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path).tensors["a"].load().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("text_encoder.", "lacks a text encoder; give a whole checkpoint"),
        ("vae.", "has no VAE; give one with vae="),
        (
            "unet.mid_block.resnets.0.",
            "lacks 10 of 304 tensors of its UNet (mid_block.res",
        ),
    ],
    ids=["text", "vae", "tensors"],
)
def test_a_checkpoint_that_lacks_a_part(model, gone, message, tmp_path):
    tensors = {name: value for name, value in flat_tensors(model).items() if not name.startswith(gone)}
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    assert message in refusal(path)


def test_a_tensor_of_another_shape(model, tmp_path):
    name = "unet.mid_block.resnets.0.norm1.weight"
    path = tmp_path / "model.safetensors"
    save_file(flat_tensors(model) | {name: torch.zeros(7)}, path)
    assert "UNet tensor mid_block.resnets.0.norm1.weight is (7,), wanted (64,); it is damaged" in refusal(
        path
    )


def test_tensors_that_are_not_used_are_told(model, tmp_path, caplog):
    path = tmp_path / "model.safetensors"
    save_file(flat_tensors(model) | {"unet.extra.weight": torch.zeros(7)}, path)
    load_model(path)
    assert "1 tensors of the UNet are not used, the first is extra.weight" in caplog.text


def test_a_damaged_yaml(model, tmp_path):
    path = save_flat(model, tmp_path / "model.safetensors")
    for text in ("model: [", "other: 1", "- 1"):
        path.with_suffix(".yaml").write_text(text)
        with pytest.raises(BadFile, match=r"model\.yaml is no model configuration \(.*\); mend it"):
            load_model(path)


def test_a_value_of_the_yaml_that_does_not_fit(model, tmp_path):
    path = save_flat(model, tmp_path / "model.safetensors")
    for value in ("linear_start: much", "linear_end: 7", "unet_config: 3"):
        path.with_suffix(".yaml").write_text(f"model: {{params: {{{value}}}}}")
        assert "a value of its metadata or .yaml does not fit" in refusal(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model_index.json").unlink(), "is a folder without model_index.json"),
        (lambda folder: (folder / "model_index.json").write_text("{"), "is not valid JSON"),
        (lambda folder: (folder / "model_index.json").write_text("[]"), "is not a JSON object"),
        (
            lambda folder: (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}'),
            f"this is a Flux model; {RUNS}",
        ),
        (
            lambda folder: rewrite(folder / "unet" / "config.json", block_out_channels=[32]),
            "its configuration makes no UNet (Must provide the same number of `block_out_channels`",
        ),
        (
            lambda folder: (folder / "vae").rename(folder / "vea"),
            "has no vae folder; the model is not complete",
        ),
        (
            lambda folder: (folder / "unet" / "config.json").unlink(),
            "config.json is missing; the diffusers folder",
        ),
        (
            lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            "holds no weights (.safetensors or .bin)",
        ),
        (
            lambda folder: rewrite(folder / "scheduler" / "scheduler_config.json", prediction_type="sample"),
            f"this is a sample-prediction model; {RUNS}",
        ),
        (lambda folder: rewrite(folder / "unet" / "config.json", cross_attention_dim=1024), "an SD2 model"),
        (lambda folder: rewrite(folder / "unet" / "config.json", cross_attention_dim=1280), "SDXL refiner"),
    ],
    ids=[
        "no-index",
        "bad-index",
        "list-index",
        "flux",
        "unet-config",
        "no-vae",
        "no-config",
        "no-weights",
        "sample",
        "sd2",
        "refiner",
    ],
)
def test_a_folder_that_cannot_be_used(model, damage, message, tmp_path):
    folder = save_folder(model, tmp_path / "folder")
    damage(folder)
    with pytest.raises(BadFile) as caught:
        load_model(folder)
    assert message in str(caught.value)
    assert "folder" in str(caught.value)


def rewrite(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_variant_is_taken_when_asked_for(model, tmp_path):
    folder = save_folder(model, tmp_path / "folder")
    save_folder(model, folder, variant="fp16")
    assert [file.name.split(".")[1] for file in load_model(folder).files] == ["safetensors"] * 3
    assert [file.name.split(".")[1] for file in load_model(folder, variant="fp16").files] == ["fp16"] * 3
    with pytest.raises(BadFile, match="holds no bf16 variant"):
        load_model(folder, variant="bf16")


def test_a_vae_file_that_holds_none(good, tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match=r"x\.safetensors holds no VAE; give a VAE file"):
        load_model(good, vae=tmp_path / "x.safetensors")
    save_file({"conv_first.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match="is an upscaler"):
        load_model(good, vae=tmp_path / "x.safetensors")
