"""`sd-concord demo-score`: how well the embedded model draws what it is told."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..pipeline import DEMO, Pipeline
from ..train.score import report, score, vae_truth

Image = NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", type=Path, default=DEMO, help="the folder of a model of the same world")
    parser.add_argument("--prompts", type=int, default=256, help="default: 256")
    parser.add_argument("--steps", type=int, default=20, help="default: 20")
    parser.add_argument("--cfg", type=float, default=4.0, help="default: 4")
    parser.add_argument("--sampler", default="dpmpp_2m", help="default: dpmpp_2m")
    parser.add_argument("--scheduler", default="karras", help="default: karras")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts and the noise; default: 0")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Draw every prompt, judge the pictures, print the shares."""
    pipeline = Pipeline.load(args.model)

    def paint(prompts: Sequence[str]) -> Iterator[Image]:
        from tqdm import tqdm

        for i, prompt in enumerate(tqdm(prompts, unit="picture", file=sys.stderr, disable=args.json)):
            settings = {
                "steps": args.steps,
                "cfg": args.cfg,
                "sampler": args.sampler,
                "scheduler": args.scheduler,
            }
            yield pipeline(prompt, seed=1000 * args.seed + i, **settings)[0].image

    figures = score(paint, args.prompts, args.seed)
    figures["vae_truth"] = vae_truth(lambda image: through_vae(pipeline, image), args.prompts, args.seed)
    print(json.dumps(figures) if args.json else report(figures))  # noqa: T201
    return 0


@torch.inference_mode()
def through_vae(pipeline: Pipeline, image: Image) -> Image:
    """Encode and decode a picture, uint8 (H, W, 3)."""
    model = pipeline.model
    vae: Any = model.vae
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(model.device, vae.dtype) / 127.5 - 1
    latent = (vae.encode(x).latent_dist.mean - model.shift_factor) * model.scale_factor
    return next(iter(pipeline.decode(latent)))
