"""`sd-concord img2img`: pictures from a picture and a prompt."""

from __future__ import annotations

import argparse
from pathlib import Path

from .generate import Input, add_drawing_arguments, check_counts, draw, wanted_of
from .stages import add_image_settings, read_picture, with_image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("image", type=Path, help="the picture to begin with")
    add_drawing_arguments(parser)
    add_image_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Make the pictures."""
    check_counts(args)
    wanted = with_image(wanted_of(args), args)
    files = () if args.overwrite else (args.image,)
    return draw(args, wanted, Input(image=read_picture(args.image), files=files))
