"""Pack trained networks into the folder of the embedded model: a diffusers folder in fp16, at most 8 MB.

Of the text encoder's embedding table only the rows of known words are stored, with `token_rows` saying which
tokens they are; the last row is for every other token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .diffusion import Networks
from .networks import SCHEDULER, TEXT, UNET, VAE

LIMIT = 8_000_000


def export(
    folder: Path,
    networks: Networks,
    vae: Any,
    tokens: list[int],
    prediction: str = "epsilon",
    *,
    zero_snr: bool = False,
) -> int:
    """Write the folder and return its size in bytes."""
    from ...core.prompt import clip_tokenizer

    tokenizer = clip_tokenizer()
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.pad}
    text = {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": tokenizer.size,
        **ids,
        **TEXT,
    }
    rows = {"token_rows": torch.tensor(tokens, dtype=torch.int64)}
    _write(folder / "unet", "UNet2DConditionModel", UNET, networks.unet, "diffusion_pytorch_model")
    _write(
        folder / "vae", "AutoencoderKL", {**VAE, "scaling_factor": 0.18215}, vae, "diffusion_pytorch_model"
    )
    _write(folder / "text_encoder", "", text, networks.text, "model", rows)
    scheduler = {"_class_name": "DDIMScheduler", **SCHEDULER, "prediction_type": prediction}
    if zero_snr:
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    _json(folder / "scheduler" / "scheduler_config.json", scheduler)
    _json(folder / "model_index.json", {
        "_class_name": "StableDiffusionPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    })  # fmt: skip
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write(
    folder: Path,
    name: str,
    config: dict[str, Any],
    module: nn.Module,
    file: str,
    more: dict[str, Tensor] | None = None,
) -> None:
    _json(folder / "config.json", {"_class_name": name, **config} if name else config)
    tensors = {_text_key(key) if not name else key: t for key, t in module.state_dict().items()}
    half = {key: t.half().contiguous() if t.is_floating_point() else t for key, t in tensors.items()}
    path = folder / f"{file}.safetensors"
    save_file({**half, **(more or {})}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # it is written for the owner alone


def _text_key(key: str) -> str:
    return key if key.startswith("text_model.") else f"text_model.{key}"


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
