"""`sd-concord detail`: redraw faces, or what a detector finds, in a picture that is there."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ...core.errors import BadFile
from ...core.filled import DEFAULT_PROFILE
from ...core.image import ConcordSettings, DetailerUnit, Generation, read_image_info, save_image
from ..pipeline import Picture
from .detailing import add_detailer_settings, with_detailer
from .generate import check_out
from .options import add_model_arguments, load_pipeline, size
from .stages import StepFiles, read_picture

_TAKEN = ("prompt", "negative_prompt", "steps", "cfg", "sampler", "scheduler", "seed", "clip_skip", "size")
"""Fields of the record that an option of the same name replaces."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    held = "default: what the picture's own settings say"
    parser.add_argument("image", type=Path, help="the picture")
    parser.add_argument("prompt", nargs="?", help=f"what to draw; {held}")
    parser.add_argument("-n", "--negative", dest="negative_prompt", metavar="TEXT", help="what to keep out")
    add_detailer_settings(parser)
    group = parser.add_argument_group("sampling", description=held)
    add = group.add_argument
    add(
        "--profile", metavar="NAME", help=f"draw as this program does, as in generate; else {DEFAULT_PROFILE}"
    )
    add("--steps", type=int, help="sampling steps before the strength cuts them")
    add("--sampler", help="name or label")
    add("--scheduler", help="name or label")
    add("--cfg", type=float, help="CFG scale")
    add("--seed", type=int, help="of the first crop; each later one has one more")
    add("--size", type=size, help="what crops are worked on at, 512 or 512x768; else the model's own")
    add("--clip-skip", type=int, metavar="N", help="1 reads the last layer")
    add_model_arguments(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", type=Path, help="a picture file; default: NAME-detailed.png beside the picture"
    )
    group.add_argument(
        "--save-steps", type=Path, metavar="FOLDER", help="before, what was detected, and after"
    )
    group.add_argument("--overwrite", action="store_true", help="let --out name the picture that is read")


def run(args: argparse.Namespace) -> int:
    """Redraw, say what was found, and write the picture."""
    image = read_picture(args.image)
    files = () if args.overwrite else (args.image,)
    out = args.out or args.image.with_name(f"{args.image.stem}-detailed.png")
    if not out.suffix:
        raise BadFile(f"--out is {out}; name a picture file, such as {out}.png")
    check_out(out, files)
    wanted = _wanted(args)
    pipeline = load_pipeline(args)
    steps = StepFiles(args.save_steps, files) if args.save_steps else None
    if steps:
        steps.begin()
        steps("before", [image])
    done = pipeline.detail(Picture(image, pipeline.complete(wanted)), steps)
    for line in pipeline.warnings:
        print(f"warning: {line}", file=sys.stderr)  # noqa: T201
    print(save_image(out, done.image, done.generation).resolve())  # noqa: T201
    return 0


def _wanted(args: argparse.Namespace) -> Generation:
    """Return the picture's own record with what the options replace, and one unit for faces unless some are given."""
    held = read_image_info(args.image)
    given = {name: getattr(args, name) for name in _TAKEN if getattr(args, name) is not None}
    own = held.concord or ConcordSettings()
    if args.profile:
        own = replace(own, profile=args.profile)
    record = replace(
        held, **{"size": None, **given}, hires=None, refiner=None, inpaint=None, detailer=(), concord=own
    )
    record = with_detailer(record, args)
    return record if record.detailer else replace(record, detailer=(DetailerUnit(model="face"),))
