"""`sd-concord reproduce`: recorded pictures drawn again, and what is to blame where they differ."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...core.errors import BadFile, BadValue
from ...core.profiles import PROFILES, profile
from ..reproduce.finding import check_folders
from ..reproduce.recorded import picture_files
from ..reproduce.reproducing import Places, Reproducer
from .info import say

DIFFERS = 1
"""The exit code when a picture differs or could not be drawn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="pictures, or folders of them")
    add("--json", action="store_true", help="one JSON object per picture, a line each")
    add(
        "--profile",
        default="auto",
        metavar="NAME",
        help=f"draw as this program does; auto: as the one that the picture names; {', '.join(PROFILES)}",
    )
    add(
        "--tries",
        type=int,
        default=Reproducer.tries,
        metavar="N",
        help="changes of one setting that are drawn to find what is to blame; 0 tries none; default: %(default)s",
    )
    group = parser.add_argument_group("where things are, found by the recorded hash or by name")
    add = group.add_argument
    add("--model", type=Path, help="the checkpoint of all pictures, whatever they record")
    for option, what in (
        ("model-dir", "checkpoints, VAEs and refiners"),
        ("lora-dir", "LoRAs"),
        ("embedding-dir", "embeddings"),
        ("upscaler-dir", "networks that enlarge"),
        ("detector-dir", "detectors"),
    ):
        add(f"--{option}", type=Path, action="append", default=[], metavar="FOLDER", help=what)
    for option, what in (("init", "what image to image began with"), ("mask", "masks of inpainting")):
        add(
            f"--{option}",
            type=Path,
            action="append",
            default=[],
            metavar="PATH",
            help=f"{what}: files or folders",
        )
    group = parser.add_argument_group("model")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps; default: auto")
    group.add_argument("--dtype", default="auto", help="auto, float32, float16, bfloat16; default: auto")


def run(args: argparse.Namespace) -> int:
    """Draw each picture again and say what came of it; 0 when all came out the same."""
    if args.tries < 0:
        raise BadValue(f"--tries is {args.tries}; pass 0 or more")
    for option in ("model_dir", "lora_dir", "embedding_dir", "upscaler_dir", "detector_dir"):
        check_folders(getattr(args, option), f"--{option.replace('_', '-')}")
    if args.model is not None and not args.model.exists():
        raise BadFile(f"--model {args.model} is not there; check the path")
    reproducer = Reproducer(
        Places(
            model=args.model,
            models=args.model_dir,
            loras=args.lora_dir,
            embeddings=args.embedding_dir,
            upscalers=args.upscaler_dir,
            detectors=args.detector_dir,
            images=args.init,
            masks=args.mask,
        ),
        profile=None if args.profile == "auto" else profile(args.profile).name,
        tries=args.tries,
        load_options={"device": args.device, "dtype": args.dtype},
    )
    count = same = 0
    for path in picture_files(args.images):
        verdict = reproducer.judge(path)
        count, same = count + 1, same + verdict.same
        for line in [json.dumps(verdict.as_json())] if args.json else verdict.lines():
            say(line)
    if count > 1 and not args.json:
        say(f"{same} of {count} pictures are the same")
    return 0 if same == count else DIFFERS
