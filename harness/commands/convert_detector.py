"""`sd-concord convert-detector`: a YOLO checkpoint as safetensors and JSON, without running what is in it."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, metavar="FILE.pt", help="a checkpoint that ultralytics saved")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write FILE.safetensors and FILE.json; default: beside FILE.pt",
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file and say where it is and what it finds."""
    from ...core.detailer.checkpoint import convert_detector, read_converted

    path = convert_detector(args.file, args.out)
    architecture = read_converted(path).architecture
    names = architecture.names
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    print(f"{path}: {architecture.task}, {len(names)} class{'es'[: 2 * (len(names) > 1)]}: {listed}")  # noqa: T201
    return 0
