"""`sd-concord demo-study`: what the embedded model makes of switches, weights, negative prompts and BREAK."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import BadValue
from ..pipeline import DEMO, Pipeline
from ..train.study import markdown, sheet, study

BATCH = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", type=Path, default=DEMO, help="the folder of a model of the same world")
    parser.add_argument("--count", type=int, default=32, help="pictures a point; default: 32")
    parser.add_argument("--steps", type=int, default=20, help="default: 20")
    parser.add_argument("--cfg", type=float, default=4.0, help="default: 4")
    parser.add_argument("--sampler", default="dpmpp_2m", help="default: dpmpp_2m")
    parser.add_argument("--scheduler", default="karras", help="default: karras")
    parser.add_argument("--picture", type=Path, help="also write examples of every part to this file")


def run(args: argparse.Namespace) -> int:
    """Draw, count, and print the tables as Markdown."""
    from tqdm import tqdm

    if args.count < 2:
        raise BadValue(f"--count is {args.count}; pass 2 or more pictures a point")
    pipeline = Pipeline.load(args.model)
    settings = {key: getattr(args, key) for key in ("steps", "cfg", "sampler", "scheduler")}
    bar = tqdm(unit="picture", file=sys.stderr)

    def paint(prompt: str, negative: str = "", *, count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
        def batches() -> Iterator[NDArray[np.uint8]]:
            for start in range(0, count, BATCH):
                size = min(BATCH, count - start)
                for picture in pipeline(prompt, negative, batch=size, seed=seed + start, **settings):
                    yield picture.image
                bar.update(size)

        return list(batches())

    parts = study(paint, args.count)
    bar.close()
    print(markdown(parts))  # noqa: T201
    if args.picture:
        args.picture.parent.mkdir(parents=True, exist_ok=True)
        sheet(parts).save(args.picture)
    return 0
