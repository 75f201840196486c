"""Read a diffusers folder: its configs, and which of its files hold the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.errors import BadFile
from ...core.prompt.tokenizer import clip_tokenizer
from . import keys
from .build import Part
from .identify import wrong_family
from .record import Betas, Family, Prediction
from .tensors import Lazy, read_checkpoint

_FAMILIES: dict[str, Family] = {"StableDiffusionPipeline": "sd15", "StableDiffusionXLPipeline": "sdxl"}
_FAMILIES |= {
    name.replace("Pipeline", f"{kind}Pipeline"): family
    for name, family in tuple(_FAMILIES.items())
    for kind in ("Img2Img", "Inpaint")
}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v"}
SCALE = {"sd15": 0.18215, "sdxl": 0.13025}
SD2_CONTEXT = 1024
_OTHERS = {SD2_CONTEXT: "an SD2", 1280: "an SDXL refiner"}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All that is known of a model before its networks are made."""

    name: str
    path: Path
    files: tuple[Path, ...]
    family: Family
    prediction: Prediction = "eps"
    ztsnr: bool = False
    betas: Betas
    scale_factor: float
    shift_factor: float = 0.0
    size: tuple[int, int]
    unet: Part
    vae: Part | None
    text: tuple[Part, ...]


def read_folder(
    path: Path, *, variant: str | None = None, wants_vae: bool = True, refiner: bool = False
) -> Parts:
    """Read the diffusers folder ``path``.

    ``variant``: which of several weight files to take ("fp16"); without it the plain one, else the only or
    the half-precision one.  ``wants_vae``: False when the VAE comes from elsewhere.  ``refiner``: an SDXL
    refiner will do.  Raises ``BadFile`` for what is missing, damaged, or of another family.
    """
    family = _family(path)
    unet, unet_files = _part(path, "unet", variant)
    context = unet.config.get("cross_attention_dim")
    refines = family == "sdxl" and not (path / "text_encoder").is_dir() and (path / "text_encoder_2").is_dir()
    if (context in _OTHERS or refines) and not (refiner and refines):
        raise wrong_family(path, "an SDXL refiner" if refines or context is None else _OTHERS[context])
    names = ("text_encoder_2",) if refines else ("text_encoder", "text_encoder_2")[: 1 + (family == "sdxl")]
    texts = [_text_part(path, name, variant) for name in names]
    vae, vae_files = _part(path, "vae", variant) if wants_vae else (None, ())
    scheduler = _json(path / "scheduler" / "scheduler_config.json")
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in _PREDICTIONS:
        raise wrong_family(path, f"a {kind}-prediction")
    return Parts(
        name=path.resolve().name,
        path=path,
        files=(*unet_files, *vae_files, *(file for _, files in texts for file in files)),
        family=family,
        prediction=_PREDICTIONS[kind],
        ztsnr=bool(scheduler.get("rescale_betas_zero_snr", False)),
        betas=_betas(path, scheduler),
        **_vae_facts(vae, family),
        size=_size(unet, vae, family),
        unet=unet,
        vae=vae,
        text=tuple(part for part, _ in texts),
    )


def read_vae_folder(path: Path, *, variant: str | None = None) -> tuple[Part, tuple[Path, ...]]:
    """Read a folder that holds a VAE alone, or the ``vae`` of a diffusers folder."""
    inner = path / "vae" if (path / "vae").is_dir() else path
    return _part(inner.parent, inner.name, variant)


def _family(path: Path) -> Family:
    index = path / "model_index.json"
    if not index.is_file():
        raise BadFile(
            f"{path} is a folder without model_index.json; give a diffusers folder or a checkpoint file"
        )
    name = str(_json(index).get("_class_name"))
    if name not in _FAMILIES:
        raise wrong_family(path, f"a {name.removesuffix('Pipeline')}")
    return _FAMILIES[name]


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadFile(f"{path} is missing; the diffusers folder is not complete, download it again")
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadFile(f"{path} is not valid JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise BadFile(f"{path} is not a JSON object; download it again")
    return value


def _part(path: Path, name: str, variant: str | None) -> tuple[Part, tuple[Path, ...]]:
    folder = path / name
    if not folder.is_dir():
        raise BadFile(f"{path} has no {name} folder; the model is not complete, download it again")
    config = _json(folder / "config.json")
    files = _weight_files(folder, variant)
    weights: dict[str, Lazy] = {}
    for file in files:
        weights |= read_checkpoint(file).tensors
    return Part(path=folder, config=config, weights=weights), files


def _text_part(path: Path, name: str, variant: str | None) -> tuple[Part, tuple[Path, ...]]:
    part, files = _part(path, name, variant)
    weights = dict(part.weights)
    rows = weights.pop("token_rows", None)
    weights = {keys.with_text_model(key): lazy for key, lazy in weights.items()}
    table = weights.get(keys.TOKENS)
    if table is None:
        raise BadFile(f"{part.path} has no token embedding; download it again")
    if rows is not None:
        vocab = clip_tokenizer().size
        weights[keys.TOKENS] = table.then(
            (vocab, table.shape[1]), lambda x: expand_rows(x, rows.load(), vocab)
        )
    config = {**part.config, "vocab_size": weights[keys.TOKENS].shape[0]}
    return Part(path=part.path, config=config, weights=weights), files


def expand_rows(table: Tensor, token_rows: Tensor, vocab: int) -> Tensor:
    """Return the token embedding ``(vocab, D)`` of a compact one.

    ``table`` (rows + 1, D): the vectors of the tokens whose ids are ``token_rows`` (rows,), then one for
    every other id.  Raises ``BadFile`` when the two do not fit.
    """
    if len(table) != len(token_rows) + 1 or (len(token_rows) and int(token_rows.max()) >= vocab):
        raise BadFile(
            f"compact token embedding {tuple(table.shape)} does not fit its {len(token_rows)} token_rows; "
            f"wanted one row more than there are ids, and ids below {vocab}"
        )
    full = table[-1].repeat(vocab, 1)
    full[token_rows] = table[:-1]
    return full


def _weight_files(folder: Path, variant: str | None) -> tuple[Path, ...]:
    """Return the file, or the shards, to read: safetensors before pickle, plain before fp16 before others."""
    found: dict[tuple[int, int, str], Path] = {}
    for file in folder.iterdir():
        stem, dot, kind = file.name.removesuffix(".index.json").rpartition(".")
        base, _, label = stem.partition(".")
        if not dot or kind not in ("safetensors", "bin") or base not in _STEMS:
            continue
        if variant is None or label == variant:
            found[(kind == "bin", {"": 0, "fp16": 1}.get(label, 2), file.name)] = file
    if not found:
        wanted = f"{variant} variant of the weights" if variant else "weights (.safetensors or .bin)"
        raise BadFile(f"{folder} holds no {wanted}; give another variant or download it again")
    best = found[min(found)]
    if best.suffix != ".json":
        return (best,)
    return tuple(folder / name for name in sorted(set(_json(best).get("weight_map", {}).values())))


_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def _betas(path: Path, scheduler: dict[str, Any]) -> Betas:
    kind = scheduler.get("beta_schedule", "scaled_linear")
    table = scheduler.get("trained_betas")
    if kind not in ("scaled_linear", "linear"):
        raise wrong_family(path, f"a {kind}-schedule")
    return Betas(
        start=scheduler.get("beta_start", 0.00085),
        end=scheduler.get("beta_end", 0.012),
        steps=scheduler.get("num_train_timesteps", 1000),
        kind=kind,
        table=tuple(table) if table is not None else None,
    )


def _vae_facts(vae: Part | None, family: Family) -> dict[str, float]:
    config = vae.config if vae else {}
    return {
        "scale_factor": float(config.get("scaling_factor", SCALE[family])),
        "shift_factor": float(config.get("shift_factor") or 0.0),
    }


def _size(unet: Part, vae: Part | None, family: Family) -> tuple[int, int]:
    cells = unet.config.get("sample_size") or {"sd15": 64, "sdxl": 128}[family]
    height, width = cells if isinstance(cells, list) else (cells, cells)
    stride = 2 ** (len(vae.config["block_out_channels"]) - 1) if vae else 8
    return width * stride, height * stride
