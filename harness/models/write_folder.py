"""Write a model as a plain diffusers folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ...core.prompt.bpe import byte_order, merge_pairs
from ...core.prompt.tokenizer import BOS_TEXT, EOS_TEXT
from .load import load_model, pick_dtype
from .record import Model
from .state import plain_state, text_state
from .text import ClipEncoder

_PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}


def materialise(source: Model | str | Path, out: str | Path, *, dtype: str = "float16") -> Path:
    """Write a diffusers folder that needs nothing of Concord, tokenizer included, and return it.

    ``source``: a model, or what ``load_model`` takes.  Text encoders are named ``text_model.…``, as every
    program reads them.  Raises ``BadFile`` for a source that cannot be read, ``OSError`` when ``out`` cannot
    be written.
    """
    number = pick_dtype(dtype, torch.device("cpu"))
    model = source if isinstance(source, Model) else load_model(source, dtype=number)
    out = Path(out)
    index: dict[str, Any] = {"_class_name": _PIPELINES[model.family], "_diffusers_version": "0.30.0"}
    for name, module in (("unet", model.unet), ("vae", model.vae)):
        (out / name).mkdir(parents=True, exist_ok=True)
        module.save_config(out / name)
        save_file(
            plain_state(module, number), out / name / "diffusion_pytorch_model.safetensors", {"format": "pt"}
        )
        index[name] = ["diffusers", type(module).__name__]
    for i, encoder in enumerate(model.text_encoders):
        suffix = "_2" if i else ""
        _save_text(encoder, out / f"text_encoder{suffix}", number)
        _save_tokenizer(encoder, out / f"tokenizer{suffix}")
        index[f"text_encoder{suffix}"] = ["transformers", type(encoder.module).__name__]
        index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    if model.family == "sd15":
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
        index["requires_safety_checker"] = False
    _write_json(_scheduler(model), out / "scheduler" / "scheduler_config.json")
    _write_json(index, out / "model_index.json")
    return out


def _save_text(encoder: ClipEncoder, folder: Path, dtype: torch.dtype) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(text_state(encoder.module, dtype), folder / "model.safetensors", {"format": "pt"})
    config: Any = encoder.module.config
    _write_json(
        {**config.to_diff_dict(), "architectures": [type(encoder.module).__name__]}, folder / "config.json"
    )


def _save_tokenizer(encoder: ClipEncoder, folder: Path) -> None:
    vocab, merges = _vocabulary()
    _write_json(vocab, folder / "vocab.json")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    pad = next(text for text, token in vocab.items() if token == encoder.tokenizer.pad)
    special = {"bos_token": BOS_TEXT, "eos_token": EOS_TEXT, "unk_token": EOS_TEXT, "pad_token": pad}
    _write_json(special, folder / "special_tokens_map.json")
    _write_json(
        {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": encoder.positions},
        folder / "tokenizer_config.json",
    )


def _vocabulary() -> tuple[dict[str, int], list[str]]:
    """Return CLIP's ``vocab.json`` and the lines of its ``merges.txt``, bytes written in GPT-2's letters."""
    order = byte_order()
    shown = order.index(0)  # the bytes before it stand for themselves
    letters = [chr(byte) for byte in order[:shown]] + [chr(256 + i) for i in range(256 - shown)]
    names = letters + [f"{letter}</w>" for letter in letters]
    merges: list[str] = []
    for left, right in zip(*merge_pairs(), strict=True):
        merges.append(f"{names[left]} {names[right]}")
        names.append(names[left] + names[right])
    return {name: i for i, name in enumerate([*names, BOS_TEXT, EOS_TEXT])}, merges


def _scheduler(model: Model) -> dict[str, Any]:
    betas = model.betas
    return {
        "_class_name": "EulerDiscreteScheduler",
        "num_train_timesteps": betas.steps,
        "beta_start": betas.start,
        "beta_end": betas.end,
        "beta_schedule": betas.kind,
        "trained_betas": list(betas.table) if betas.table is not None else None,
        "prediction_type": _PREDICTIONS[model.prediction],
        "rescale_betas_zero_snr": model.ztsnr,
        "timestep_spacing": "trailing" if model.ztsnr else "leading",
        "steps_offset": 1,
    }


def _write_json(value: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
