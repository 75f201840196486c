"""Random-weight miniatures of SD1.5 and SDXL, in every layout that models come in, and the golden checkpoint.

Channels are multiples of 32 and of the first, and norms have 32 groups, as the original code, ComfyUI and the
web UIs fix them.  All weights are representable in float16, so that a file in that format loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sd_concord.core.prompt.tokenizer import clip_tokenizer
from sd_concord.harness.models import Betas, ClipEncoder, Model
from sd_concord.harness.models.record import Family, Prediction
from torch import Tensor, nn

GOLDEN_SHA256 = "3508f2d5c6e03a8a97a93d9d45368c681ad680cef96f8c7261117d1d9306ac80"
_LATENT_SCALE = {"sd15": 0.18215, "sdxl": 0.13025}
_UNETS: dict[str, dict[str, Any]] = {
    "sd15": {
        "block_out_channels": (32, 64),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
    },
    "sdxl": {
        "block_out_channels": (32, 64, 128),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 2),
        "cross_attention_dim": 64 + 128,
        "attention_head_dim": (1, 1, 2),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 6 * 256 + 128,
    },
}
_VAE: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}
_TEXTS: dict[str, tuple[dict[str, Any], ...]] = {
    "sd15": ({"hidden_size": 64, "num_attention_heads": 1, "hidden_act": "quick_gelu"},),
    "sdxl": (
        {"hidden_size": 64, "num_attention_heads": 1, "hidden_act": "quick_gelu"},
        {"hidden_size": 128, "num_attention_heads": 2, "hidden_act": "gelu", "projection_dim": 128},
    ),
}


def miniature(
    family: Family = "sd15", prediction: Prediction = "eps", *, ztsnr: bool = False, seed: int = 0
) -> Model:
    """Return a model of random weights, a few megabytes, made in memory."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(sample_size=16, **_UNETS[family])
        vae = AutoencoderKL(**_VAE, scaling_factor=_LATENT_SCALE[family])
        encoders = tuple(_encoder(family, i) for i in range(len(_TEXTS[family])))
        for module in (unet, vae, *(encoder.module for encoder in encoders)):
            _shake(module)
    return Model(
        name=f"mini-{family}-{prediction}",
        path=Path(),
        files=(),
        family=family,
        prediction=prediction,
        ztsnr=ztsnr,
        betas=Betas(),
        scale_factor=_LATENT_SCALE[family],
        shift_factor=0.0,
        size=(128, 128),
        unet=unet,
        vae=vae,
        text_encoders=encoders,
    )


def refiner_miniature(seed: int = 2) -> Model:
    """Return a miniature of SDXL's refiner: CLIP-G alone, and five numbers beside the text."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    model = miniature("sdxl", seed=seed)
    shape = _UNETS["sdxl"] | {
        "cross_attention_dim": 128,
        "projection_class_embeddings_input_dim": 5 * 256 + 128,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(sample_size=16, **shape)
        _shake(unet)
    return replace(model, name="mini-refiner", unet=unet, text_encoders=model.text_encoders[1:])


def save_folder(model: Model, out: Path, variant: str | None = None) -> Path:
    """Write a diffusers folder with the libraries' own writers, float32, or float16 with variant "fp16"."""
    half = variant is not None
    for name, module in (("unet", model.unet), ("vae", model.vae)):
        (module.half() if half else module).save_pretrained(out / name, variant=variant)
        module.float()
    for encoder, name in zip(model.text_encoders, ("text_encoder", "text_encoder_2"), strict=False):
        module: Any = encoder.module
        (module.half() if half else module).save_pretrained(out / name, variant=variant)
        module.float()
    kind = "StableDiffusionXLPipeline" if model.family == "sdxl" else "StableDiffusionPipeline"
    _write_json(out / "model_index.json", {"_class_name": kind})
    _write_json(
        out / "scheduler" / "scheduler_config.json",
        {
            "beta_start": model.betas.start,
            "beta_end": model.betas.end,
            "beta_schedule": model.betas.kind,
            "num_train_timesteps": model.betas.steps,
            "prediction_type": {"eps": "epsilon", "v": "v_prediction"}[model.prediction],
            "rescale_betas_zero_snr": model.ztsnr,
        },
    )
    return out


def save_compact(model: Model, out: Path, rows: list[int]) -> Path:
    """Write a diffusers folder whose token embedding holds ``rows`` alone, and token 1000 for the rest."""
    save_folder(model, out)
    encoder = model.text_encoders[0]
    state = {f"text_model.{name}": value for name, value in text_state(encoder.module).items()}
    name = "text_model.embeddings.token_embedding.weight"
    state[name] = state[name][torch.tensor([*rows, 1000])]
    state["token_rows"] = torch.tensor(rows)
    save_file(state, out / "text_encoder" / "model.safetensors")
    return out


def flat_tensors(model: Model) -> dict[str, Tensor]:
    """Return all weights in diffusers names under ``unet.``, ``vae.``, ``text_encoder.`` and so on."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("unet.", model.unet), ("vae.", model.vae)):
        tensors |= {prefix + name: value.half() for name, value in module.state_dict().items()}
    for encoder, prefix in zip(model.text_encoders, ("text_encoder.", "text_encoder_2."), strict=False):
        state = text_state(encoder.module)
        projection = {k: state.pop(k) for k in list(state) if k.startswith("text_projection")}
        tensors |= {f"{prefix}text_model.{name}": value.half() for name, value in state.items()}
        tensors |= {prefix + name: value.half() for name, value in projection.items()}
    return tensors


def save_flat(model: Model, path: Path) -> Path:
    """Write ``flat_tensors`` as one file."""
    markers = {"v_pred": model.prediction == "v", "ztsnr": model.ztsnr}
    save_file(flat_tensors(model) | {k: torch.empty(0) for k, v in markers.items() if v}, path)
    return path


def text_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a text encoder, without the prefix ``text_model.`` that some versions have."""
    return {name.removeprefix("text_model."): value for name, value in module.state_dict().items()}


def golden_checkpoint() -> Path:
    """Return the golden pictures' checkpoint, written on first use to the temporary folder, or skip."""
    golden = os.environ.get("CONCORD_GOLDEN")
    script = Path(golden or "") / "pictures" / "make_checkpoint.py"
    if not golden or not script.is_file():
        pytest.skip("CONCORD_GOLDEN does not name a folder with pictures/make_checkpoint.py")
    path = Path(tempfile.gettempdir()) / "concord-golden" / "concord-golden-sd15.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{os.getpid()}.safetensors")
        subprocess.run([sys.executable, str(script), str(part)], check=False, capture_output=True)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        assert digest == GOLDEN_SHA256, f"{script} wrote {digest}"
        part.with_suffix(".yaml").replace(path.with_suffix(".yaml"))
        part.replace(path)
    return path


def _encoder(family: Family, i: int) -> ClipEncoder:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = (CLIPTextModel, CLIPTextModelWithProjection)[i]
    config = CLIPTextConfig(num_hidden_layers=3, intermediate_size=96, **_TEXTS[family][i])
    return ClipEncoder(
        name=("clip_l", "clip_g")[i],
        module=kind(config).eval(),
        tokenizer=clip_tokenizer(pad=0 if i else None),
        clip_skips=(2, 3) if family == "sdxl" else (1, 3),
        final_norm=family == "sd15",
        pools=bool(i),
    )


def _shake(module: nn.Module) -> None:
    """Add noise to every weight, norms included, and round to float16."""
    for weight in module.parameters():
        weight.data = (weight.data + 0.03 * torch.randn_like(weight)).half().float()
    module.eval().requires_grad_(False)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
