"""Writing models for other programs: a plain diffusers folder, and one file in the original names."""

import dataclasses
import json
from typing import Any

import pytest
import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from miniatures import miniature, save_compact
from safetensors import safe_open
from safetensors.torch import load_file
from sd_concord.core.errors import BadValue
from sd_concord.core.prompt.tokenizer import clip_tokenizer
from sd_concord.harness.models import Betas, export_ldm, load_model, materialise
from sd_concord.harness.models.keys import unet_places

PIPELINES: dict[str, Any] = {"sd15": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}
TEXTS = ("a red circle, left of (a blue) square", "don't stop 42", "naïve café — 浮世絵")


@pytest.fixture(scope="module")
def model():
    return miniature("sd15")


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_diffusers_loads_a_materialised_model(family, tmp_path):
    model = dataclasses.replace(miniature(family), prediction="v", ztsnr=True)
    pipeline = PIPELINES[family].from_pretrained(materialise(model, tmp_path), local_files_only=True)
    found = [pipeline.unet, pipeline.vae, pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)]
    wanted = [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]
    for one, other in zip(found, wanted, strict=False):
        state = other.state_dict()
        assert one.state_dict().keys() == state.keys()
        assert all(torch.equal(value.float(), state[name]) for name, value in one.state_dict().items())
    config = pipeline.scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", True)
    for i, encoder in enumerate(model.text_encoders):
        tokenizer = getattr(pipeline, ("tokenizer", "tokenizer_2")[i])
        assert tokenizer.pad_token_id == encoder.tokenizer.pad
        assert tokenizer.model_max_length == 77
        for text in TEXTS:
            wanted_ids = clip_tokenizer("rust").encode(text)
            assert tokenizer(text).input_ids == [encoder.tokenizer.bos, *wanted_ids, encoder.tokenizer.eos]


def test_a_compact_folder_is_materialised_in_full(model, tmp_path):
    compact = save_compact(model, tmp_path / "compact", [0, 320, 49406, 49407])
    out = materialise(compact, tmp_path / "full", dtype="float32")
    tensors = load_file(out / "text_encoder" / "model.safetensors")
    assert tensors["text_model.embeddings.token_embedding.weight"].shape == (49408, 64)
    assert all(name.startswith("text_model.") for name in tensors)
    wanted = load_model(compact).text_encoders[0].module.state_dict()
    found = load_model(out).text_encoders[0].module.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_a_file_says_what_it_is(model, tmp_path):
    marked = dataclasses.replace(model, prediction="v", ztsnr=True)
    path = export_ldm(marked, tmp_path / "model.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        assert file.get_slice("v_pred").get_shape() == file.get_slice("ztsnr").get_shape() == [0]
        assert file.get_slice("model.diffusion_model.out.2.weight").get_dtype() == "F16"
    assert metadata["modelspec.prediction_type"] == "v"
    assert metadata["modelspec.resolution"] == "128x128"
    assert json.loads(metadata["concord.model"])["heads"] == 8
    plain = load_file(export_ldm(model, tmp_path / "plain.safetensors", dtype="float32"))
    assert not {"v_pred", "ztsnr"} & plain.keys()
    assert plain["model.diffusion_model.out.2.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("layers", "up_attention", "names"),
    [
        (
            [2, 2, 2, 2],
            [False, True, True, True],
            {
                "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
                "input_blocks.8.1": "down_blocks.2.attentions.1",
                "input_blocks.11.0.in_layers.2": "down_blocks.3.resnets.1.conv1",
                "output_blocks.2.1.conv": "up_blocks.0.upsamplers.0.conv",
                "output_blocks.5.2.conv": "up_blocks.1.upsamplers.0.conv",
                "output_blocks.8.2.conv": "up_blocks.2.upsamplers.0.conv",
                "output_blocks.11.0.skip_connection": "up_blocks.3.resnets.2.conv_shortcut",
            },
        ),
        (
            [2, 2, 2],
            [True, True, False],
            {
                "input_blocks.8.1": "down_blocks.2.attentions.1",
                "output_blocks.2.2.conv": "up_blocks.0.upsamplers.0.conv",
                "output_blocks.5.2.conv": "up_blocks.1.upsamplers.0.conv",
            },
        ),
    ],
    ids=["sd15", "sdxl"],
)
def test_places_are_those_of_published_checkpoints(layers, up_attention, names):
    """In them the upsampler comes after the attention, where there is one."""
    places = unet_places(layers, up_attention)
    assert {name: places.get(name) for name in names} == names
    assert sum(name.endswith(".conv") for name in places) == len(layers) - 1


def test_the_yaml_describes_the_networks(model, tmp_path):
    """In the terms of the original code, which gives the shapes of the file."""
    path = export_ldm(model, tmp_path / "model.safetensors", clip_folder="/models/clip")
    params = yaml.safe_load(path.with_suffix(".yaml").read_text())["model"]["params"]
    unet, vae = params["unet_config"]["params"], params["first_stage_config"]["params"]["ddconfig"]
    assert (params["scale_factor"], params["parameterization"], params["image_size"]) == (0.18215, "eps", 16)
    assert (unet["model_channels"], unet["channel_mult"], unet["num_res_blocks"]) == (32, [1, 2], 2)
    assert (unet["attention_resolutions"], unet["num_heads"], unet["context_dim"]) == ([1], 8, 64)
    assert (vae["ch"], vae["ch_mult"], vae["num_res_blocks"]) == (32, [1, 1, 2, 2], 1)
    assert params["cond_stage_config"]["params"] == {"version": "/models/clip"}


@torch.no_grad()
def test_diffusers_reads_file_and_yaml_to_the_same_networks(model, tmp_path):
    path = export_ldm(model, tmp_path / "model.safetensors")
    given = {"original_config": str(path.with_suffix(".yaml")), "local_files_only": True}
    unet: Any = UNet2DConditionModel.from_single_file(str(path), **given)
    vae: Any = AutoencoderKL.from_single_file(str(path), **given)
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    context = torch.ones(1, 77, 64)
    assert torch.equal(unet(latent, 500, context).sample, model.unet(latent, 500, context).sample)
    assert torch.equal(vae.decode(latent).sample, model.vae.decode(latent).sample)
    assert vae.config.scaling_factor == model.scale_factor


def test_no_yaml_beside_sdxl(tmp_path):
    path = export_ldm(miniature("sdxl"), tmp_path / "model.safetensors")
    assert not path.with_suffix(".yaml").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: {"betas": Betas(kind="linear")}, "only scaled-linear betas"),
        (
            lambda model: {"unet": remade(model.unet, block_out_channels=(64, 96))},
            r"\[64, 96\] are not multiples",
        ),
        (
            lambda model: {"unet": remade(model.unet, up_block_types=("UpBlock2D", "UpBlock2D"))},
            "differ on the way up",
        ),
    ],
    ids=["betas", "channels", "attention"],
)
def test_what_the_original_code_cannot_have_is_refused(model, change, message, tmp_path):
    with pytest.raises(BadValue, match=message):
        export_ldm(dataclasses.replace(model, **change(model)), tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def remade(unet, **changes):
    return type(unet).from_config({**unet.config, **changes})
