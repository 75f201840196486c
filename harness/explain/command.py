"""The options of `sd-concord explain`, and what it prints and writes."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from ...core.errors import BadValue
from ...core.prompt import DIALECTS, RunShape, expand_wildcards
from ...core.prompt.explain import Explanation, explain
from ...core.prompt.explain_picture import as_picture
from ...core.prompt.explain_text import as_text
from .page import as_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("prompt", help="the prompt to explain")
    parser.add_argument("--steps", type=int, default=20, help="steps of the first pass; default: 20")
    parser.add_argument("--hires-steps", type=int, help="steps of the hires pass; none unless given")
    parser.add_argument("--denoise", type=float, default=1.0, help="strength of img2img; default: 1")
    parser.add_argument(
        "--calls-per-step",
        type=int,
        default=1,
        help="model calls a step, 2 for Heun and its like; default: 1",
    )
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="a1111", help="default: a1111")
    parser.add_argument("--as-negative", action="store_true", help="read it as the negative prompt")
    parser.add_argument("--seed", type=int, default=0, help="by which wildcards are chosen; default: 0")
    parser.add_argument("--wildcards", type=Path, metavar="DIR", help="the folder of the wildcard files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a web page")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write a picture of the timeline")


def run(args: argparse.Namespace) -> int:
    """Explain the prompt; text on the terminal unless a file is asked for."""
    explanation = explained(args)
    if args.html is not None:
        _written(args.html, as_page(explanation).encode("utf-8"))
    if args.png is not None:
        _written(args.png, None)
        as_picture(explanation).save(args.png, format="PNG")
    if args.json:
        print(json.dumps(dataclasses.asdict(explanation), ensure_ascii=False, indent=1))  # noqa: T201
    elif args.html is None and args.png is None:
        print(as_text(explanation))  # noqa: T201
    return 0


def explained(args: argparse.Namespace) -> Explanation:
    """Return the explanation that the options ask for."""
    expansion = expand_wildcards(args.prompt, args.seed, args.wildcards)
    shape = RunShape(
        hires_steps=args.hires_steps,
        denoise=args.denoise,
        calls_per_step=args.calls_per_step,
        negative=args.as_negative,
    )
    explanation = explain(expansion.text, args.steps, (args.dialect, DIALECTS[args.dialect]), shape)
    if expansion.text == expansion.template and expansion.problem is None:
        return explanation
    return dataclasses.replace(explanation, template=expansion.template, problem=expansion.problem)


def _written(path: Path, data: bytes | None) -> None:
    """Write ``data``, or only make sure that the file can be written."""
    try:
        path.write_bytes(data or b"")
    except OSError as error:
        reason = error.strerror or error
        raise BadValue(
            f"{path} cannot be written ({reason}); choose a folder that exists and is yours"
        ) from error
