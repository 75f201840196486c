"""``load_model``: a folder or a file in, a model that is ready to run out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ...core.errors import BadFile, BadValue, unknown
from ...core.prompt.tokenizer import clip_tokenizer
from .build import Part, build_text, build_unet, build_vae
from .folder import Parts, read_folder, read_vae_folder
from .record import Family, Model, Prediction
from .single_file import read_single_file, read_vae_file
from .text import ClipEncoder

_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


def load_model(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    vae: str | Path | None = None,
    prediction: Prediction | None = None,
    ztsnr: bool | None = None,
    variant: str | None = None,
    refiner: bool = False,
) -> Model:
    """Load a text-to-image model from a diffusers folder or one SD1.5 or SDXL checkpoint; offline.

    ``device``: "cpu", "cuda", "mps" or "auto".  ``dtype``: None or "auto" is float32 on the CPU and float16
    elsewhere; the VAE is never less than float32, since SDXL's overflows in float16.  ``vae``: a file or
    folder to take the VAE from. ``prediction`` ("eps", "v") and ``ztsnr`` overrule what the model says of
    itself.  ``variant``: which weights of a folder ("fp16").  ``refiner``: an SDXL refiner will
    do.  Raises ``BadFile`` for a file that cannot be used and ``BadValue`` for an argument.
    """
    place = pick_device(device)
    number = pick_dtype(dtype, place)
    if prediction not in (None, "eps", "v"):
        raise unknown("prediction", str(prediction), ("eps", "v"))
    path = Path(path).expanduser()
    parts = _read(path, vae, variant, refiner=refiner)
    if prediction is not None:
        parts = replace(parts, prediction=prediction)
    if ztsnr is not None:
        parts = replace(parts, ztsnr=ztsnr)
    return _built(parts, place, number)


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device of that name, the best there is for "auto"; raises ``BadValue`` for one not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise unknown("device", str(device), ("cpu", "cuda", "mps", "auto")) from error
    there = {"cpu": True, "cuda": cuda, "mps": mps}.get(place.type, True)
    if not there or (place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count()):
        raise BadValue(f"device {device} is not there, or this torch is built without it; use cpu or auto")
    return place


def pick_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the format of that name; None and "auto" are float32 on the CPU, float16 elsewhere."""
    if dtype is None or dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if isinstance(dtype, torch.dtype):
        if not dtype.is_floating_point:
            raise BadValue(f"dtype {dtype} is not a floating-point format; use float32, float16 or bfloat16")
        return dtype
    if dtype not in _DTYPES:
        raise unknown("dtype", dtype, ("auto", *_DTYPES))
    return _DTYPES[dtype]


def _read(path: Path, vae: str | Path | None, variant: str | None, *, refiner: bool) -> Parts:
    read = partial(read_folder, variant=variant) if path.is_dir() else read_single_file
    parts = read(path, wants_vae=vae is None, refiner=refiner)
    if vae is None:
        return parts
    vae = Path(vae).expanduser()
    return replace(
        parts, vae=read_vae_folder(vae, variant=variant)[0] if vae.is_dir() else read_vae_file(vae)
    )


def _built(parts: Parts, device: torch.device, dtype: torch.dtype) -> Model:
    if parts.vae is None:
        raise BadFile(f"{parts.path} has no VAE; give one with vae=")
    scale = {"scaling_factor": parts.scale_factor, "shift_factor": parts.shift_factor or None}
    vae = replace(parts.vae, config={**parts.vae.config, **scale})
    vae_dtype = dtype if dtype.itemsize >= torch.float32.itemsize else torch.float32
    return Model(
        name=parts.name,
        path=parts.path,
        files=parts.files,
        family=parts.family,
        prediction=parts.prediction,
        ztsnr=parts.ztsnr,
        betas=parts.betas,
        scale_factor=parts.scale_factor,
        shift_factor=parts.shift_factor,
        size=parts.size,
        unet=build_unet(parts.unet, dtype=dtype, device=device),
        vae=build_vae(vae, dtype=vae_dtype, device=device),
        text_encoders=tuple(
            _encoder(part, i, parts.family, device, dtype)
            for i, part in enumerate(parts.text, (parts.family == "sdxl") * (2 - len(parts.text)))
        ),
    )


def _encoder(part: Part, i: int, family: Family, device: torch.device, dtype: torch.dtype) -> ClipEncoder:
    """Return the i-th text encoder: CLIP-L, then SDXL's CLIP-G."""
    module = build_text(part, dtype=dtype, device=device)
    layers = module.config.num_hidden_layers
    xl = family == "sdxl"
    return ClipEncoder(
        name=("clip_l", "clip_g")[i],
        module=module,
        tokenizer=clip_tokenizer(pad=0 if i else None),
        clip_skips=(2, layers) if xl else (1, layers),
        final_norm=not xl,
        pools=bool(i),
    )
