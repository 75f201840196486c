"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.errors import BadFile
from ..pipeline import DEMO, Pipeline


def size(text: str) -> tuple[int, int]:
    """Parse ``512`` or ``512x768`` as (width, height)."""
    parts = text.lower().split("x")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 512 or 512x768 (width x height)")
    return numbers[0], numbers[-1]


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which model runs, and on what."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        type=Path,
        default=DEMO,
        help="a diffusers folder or a checkpoint file, SD1.5 or SDXL; the embedded model unless given",
    )
    group.add_argument("--vae", type=Path, help="take the VAE from this file or folder")
    group.add_argument(
        "--lora-dir", type=Path, action="append", default=[], help="where <lora:name:weight> finds its files"
    )
    group.add_argument(
        "--embedding-dir",
        type=Path,
        action="append",
        default=[],
        help="where embeddings lie, used by their names",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps; default: auto")
    group.add_argument("--dtype", default="auto", help="auto, float32, float16, bfloat16; default: auto")
    group.add_argument(
        "--prediction", choices=("eps", "v"), help="what the model predicts, if it does not say"
    )
    group.add_argument("--ztsnr", action="store_true", default=None, help="the model has zero terminal SNR")


def load_pipeline(args: argparse.Namespace) -> Pipeline:
    """Return the pipeline that the options of `add_model_arguments` name; raises ``BadFile`` for a missing folder."""
    for option in ("lora_dir", "embedding_dir", "model_dir", "upscaler_dir", "detector_dir"):
        for folder in getattr(args, option, ()):
            if not folder.is_dir():
                raise BadFile(f"--{option.replace('_', '-')} {folder} is not a folder; check the path")
    pipeline = Pipeline.load(
        args.model,
        lora_folders=args.lora_dir,
        embedding_folders=args.embedding_dir,
        model_folders=getattr(args, "model_dir", ()),
        upscaler_folders=getattr(args, "upscaler_dir", ()),
        detector_folders=getattr(args, "detector_dir", ()),
        device=args.device,
        dtype=args.dtype,
        vae=args.vae,
        prediction=args.prediction,
        ztsnr=args.ztsnr,
    )
    pipeline.detailer_batch = getattr(args, "detailer_batch", pipeline.detailer_batch)
    return pipeline
