"""Say what a file is when it is not a checkpoint that can be used."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...core.errors import BadFile

_STARTS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a WebP picture",
    b"version https://git-lfs": "a git-lfs pointer in place of the model; run `git lfs pull`",
    b"GGUF": "a GGUF file; use the .safetensors form of the model",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"%PDF": "a PDF document",
}
_PAGE = (
    b"<!doctype",
    b"<html",
    b"<?xml",
    b'{"error',
    b'{"message',
    b'{"detail',
    b"access denied",
    b"not found",
)


def head_of(path: Path) -> bytes:
    """Return the first 512 bytes; raises ``BadFile`` when the file may not be read."""
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror or error}; check its permissions") from error


def explain_foreign(path: Path, head: bytes) -> None:
    """Raise ``BadFile`` that names the kind of a file which by its first bytes cannot be a checkpoint."""
    if not head:
        raise BadFile(f"{path} is empty; download it again")
    for start, kind in _STARTS.items():
        if head.startswith(start):
            advice = "" if ";" in kind else "; give a .safetensors or .ckpt checkpoint, or a diffusers folder"
            raise BadFile(f"{path} is {kind}{advice}")
    if head.lstrip().lower().startswith(_PAGE):
        raise BadFile(f"{path} is a web page or message saved in place of the model; download it again")
    if b"\0" not in head and head[8:9] != b"{" and head.isascii():
        raise BadFile(
            f"{path} is a text file; give a .safetensors or .ckpt checkpoint, or a diffusers folder"
        )


# (what it is, what to do, one of these must be a part of some tensor name)
_OTHERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "a LoRA",
        "name it in the prompt, <lora:name:1>, beside a checkpoint",
        (
            "lora_unet_",
            "lora_te",
            ".lora_up.",
            ".lora_down.",
            ".lora_A.",
            ".lora_B.",
            ".hada_w",
            ".lokr_w",
            ".lora.",
        ),
    ),
    (
        "an embedding (textual inversion)",
        "put it among the embeddings and name it in the prompt",
        ("emb_params", "string_to_param"),
    ),
    (
        "a ControlNet",
        "give the checkpoint it goes with",
        ("control_model.", "controlnet_cond_embedding.", "input_hint_block.", "controlnet_"),
    ),
    ("an IP-Adapter", "give the checkpoint it goes with", ("image_proj.", "ip_adapter.")),
    ("an upscaler", "give a checkpoint here", ("conv_first.weight", "model.1.sub.0.RDB1", "RRDB_trunk")),
)
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a Flux", ("double_blocks.0.img_attn.", "transformer.single_transformer_blocks.0.proj_mlp")),
    ("an SD3", ("joint_blocks.0.x_block.", "text_encoders.clip_g.")),
    ("an SDXL refiner", ("conditioner.embedders.0.model.",)),
    ("an SD2", ("cond_stage_model.model.",)),
    ("a Stable Cascade", ("clip_txt_mapper.", "down_blocks.1.0.channelwise.")),
    ("a Stable Video Diffusion", ("time_stack.", "time_mixer.")),
    ("an AuraFlow", ("double_layers.0.attn.w1q",)),
    ("a PixArt", ("t_block.1.weight", "y_embedder.y_embedding")),
    ("a HunyuanDiT", ("mlp_t5.0.weight",)),
    ("a Lumina or Z-Image", ("cap_embedder.0.weight",)),
    ("a Wan video", ("blocks.0.cross_attn.norm_k", "head.modulation")),
    ("a Qwen-Image", ("transformer_blocks.0.img_mod.",)),
    ("a HunyuanVideo", ("txt_in.individual_token_refiner.",)),
    ("an LTX video", ("patchify_proj.weight",)),
    ("an SD1/SDXL motion module (AnimateDiff)", ("motion_modules.",)),
)


def wrong_family(path: Path, family: str) -> BadFile:
    """Return the error for a model of a ``family`` ("a Flux") that is not run here."""
    return BadFile(f"{path.name}: this is {family} model; Concord's command line runs SD1.5 and SDXL")


def explain_names(path: Path, names: Iterable[str]) -> None:
    """Raise ``BadFile`` when tensor names tell of a known thing that is neither SD1.5 nor SDXL."""
    text = "\n".join(names)
    for kind, advice, marks in _OTHERS:
        if any(mark in text for mark in marks):
            raise BadFile(f"{path.name} is {kind}, not a model; {advice}")
    for family, marks in _FAMILIES:
        if any(mark in text for mark in marks):
            raise wrong_family(path, family)
