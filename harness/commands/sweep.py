"""`sd-concord sweep`: pictures over axes of settings, gone on with after any interruption, on one machine or many."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...core.axes_plan import PLACES, is_plan_file, read_seeds
from ...core.errors import BadValue
from ...core.filled import sampler_called
from ...core.image import Generation
from ...core.image.names import split_fused
from ..sweep.advice import advice
from ..sweep.conduct import Report, begin, conduct
from ..sweep.engine import Engine, here
from ..sweep.estimate import estimate
from ..sweep.journal import NAME
from ..sweep.plan import Plan, read_axes
from ..sweep.plan_file import PlanParser, with_plan_file
from ..sweep.setup import Setup
from .detailing import add_detailer_settings
from .generate import wanted_of
from .options import add_model_arguments
from .settings import add_noise_settings, add_prompt_settings, add_sampling_settings
from .stages import add_hires_settings, add_refiner_settings, with_hires

OF_RECIPES = ("steps", "sampler", "scheduler", "cfg", "clip_skip", "size")
"""Options that an axis of recipes fills in where they are not given."""
MOST_WARNINGS = 20
"""Lines of warnings that are shown at once."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "prompt", nargs="?", help="what to draw, or a plan: a .yaml or .json file with these options as keys"
    )
    parser.add_argument("-n", "--negative", default="", metavar="TEXT", help="what to keep out")
    _add_sweep_settings(parser)
    group = parser.add_argument_group("prompt")
    add_prompt_settings(group)
    group.add_argument(
        "--style", action="append", default=[], metavar="NAME", help="of the styles file; may be repeated"
    )
    group.add_argument("--styles-file", type=Path, help="a styles.csv, as the web UIs have it")
    add_sampling_settings(parser)
    add_noise_settings(parser)
    add_hires_settings(parser)
    add_refiner_settings(parser)
    add_detailer_settings(parser)
    add_model_arguments(parser)
    parser.set_defaults(batch=1)  # the base record is checked as one picture


def _add_sweep_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sweep")
    add = group.add_argument
    help_of = {
        "x": "columns: an axis and its values, such as 'sampler=euler,dpmpp_2m', 'steps=10-30 (+5)', "
        "'prompt s/r=cat,dog', 'lora NAME=0.5,1', 'recipe=none,lcm', 'model=A,B', 'hires.steps=10,20'",
        "y": "rows",
        "z": "grids",
    }
    for place, what in help_of.items():
        add(f"--{place}", metavar="AXIS=VALUES", help=what)
    add("--seeds", default="1", metavar="N|LIST", help="how many seeds each cell gets, or which; default: 1")
    add("--batch", type=int, dest="together", metavar="N", help="pictures at once; default: by their size")
    add("--threads", type=int, metavar="N", help="of the processor, for each worker; default: torch's")
    add("--out", type=Path, default=Path("sweep"), metavar="DIR", help="a new folder; default: sweep")
    add("--resume", type=Path, metavar="DIR", help="go on with the sweep in this folder; no other settings")
    add("--dry-run", action="store_true", help="only say what the plan comes to")
    add("--ray", metavar="auto|ADDRESS", help="on every card or processor of a Ray cluster")
    add("-q", "--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Run a new sweep or go on with one; 1 if something failed."""
    if args.resume is not None:
        if others := _given(args, _parser()):
            raise BadValue(f"--resume goes on with a plan as it is; leave out {', '.join(others)}")
        return _ended(conduct(args.resume, _engine(args), quiet=args.quiet))
    if is_plan_file(args.prompt):
        args = with_plan_file(args, _parser())
    plan = plan_of(args)
    if args.dry_run:
        found, cells, _ = estimate(plan)
        for line in [*found.lines, *(f"warning: {one}" for one in advice(plan, cells))]:
            print(line)  # noqa: T201
        return 0
    engine = _engine(args)
    begin(args.out, plan)
    early = advice(plan)
    _warn(early)
    return _ended(conduct(args.out, engine, quiet=args.quiet), early)


def _parser() -> PlanParser:
    parser = PlanParser()
    add_arguments(parser)
    return parser


def _given(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """Return the options that ``args`` sets beside those that going on with a sweep takes."""
    names = [name for name in vars(parser.parse_args([])) if name not in ("resume", "ray", "quiet", "debug")]
    given = [name for name in names if getattr(args, name, None) != parser.get_default(name)]
    spelled = {"prompt": "the prompt", "together": "--batch"}
    return [spelled.get(name, f"--{name.replace('_', '-')}") for name in given]


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the plan that the options ask for; raises ``BadValue``."""
    if args.prompt is None:
        raise BadValue("a sweep needs a prompt, a plan file, or --resume DIR; see sd-concord sweep --help")
    import torch

    axes = read_axes({place: getattr(args, place) for place in PLACES})
    return Plan(
        base=_base_of(args, with_recipes=any(one.axis.kind == "recipe" for one in axes)),
        axes=axes,
        seeds=read_seeds(args.seeds),
        together=args.together,
        threads=torch.get_num_threads() if args.threads is None else args.threads,
        setup=Setup.of(args),
    )


def _base_of(args: argparse.Namespace, *, with_recipes: bool) -> Generation:
    """Return the record that axes change; the sampler's own schedule is left open, so that each has its own.

    ``with_recipes``: an axis lays recipes under it, so that all that is not said is left open.
    """
    if with_recipes and args.recipe:
        raise BadValue(
            f"--recipe {args.recipe} and the axis recipe contradict each other; leave one of them out"
        )
    record = with_hires(wanted_of(args), args)
    if with_recipes:
        unsaid = {name: None for name in OF_RECIPES if getattr(args, name) is None}
        return replace(record, **unsaid)
    given = args.scheduler or args.recipe or split_fused(sampler_called(args.sampler or ""))
    if not given:
        record = replace(record, scheduler=None)
    return record


def _engine(args: argparse.Namespace) -> Engine:
    if args.ray is None:
        return here
    from ..sweep.ray_engine import ray_engine

    return ray_engine(args.ray)


def _ended(report: Report, said: Sequence[str] = ()) -> int:
    """Say how the sweep stands, leaving out warnings that have been ``said``, and return the exit code."""
    shares = {
        line: f" ({n} of {report.done} pictures)" * (n < report.done) for line, n in report.warnings.items()
    }
    _warn([f"{line}{share}" for line, share in shares.items() if line not in said])
    print(report.line)  # noqa: T201
    return 1 if report.reasons else 0


def _warn(lines: Sequence[str]) -> None:
    shown = list(lines[:MOST_WARNINGS])
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more; the column warnings of {NAME} has them all")
    for line in shown:
        print(f"warning: {line}", file=sys.stderr)  # noqa: T201
