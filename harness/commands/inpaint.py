"""`sd-concord inpaint`: a part of a picture painted anew."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..stages.canvas import check_mask
from .generate import Input, add_drawing_arguments, check_counts, draw, wanted_of
from .stages import (
    add_image_settings,
    add_inpaint_settings,
    read_mask,
    read_picture,
    with_image,
    with_inpaint,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("image", type=Path, help="the picture to begin with")
    parser.add_argument("mask", type=Path, help="a picture of its size, white where it is to be painted")
    add_drawing_arguments(parser)
    add_image_settings(parser)
    add_inpaint_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Make the pictures."""
    check_counts(args)
    wanted = with_inpaint(with_image(wanted_of(args), args), args)
    image = read_picture(args.image)
    mask = check_mask(read_mask(args.mask), image)
    files = () if args.overwrite else (args.image, args.mask)
    return draw(args, wanted, Input(image=image, mask=mask, files=files))
