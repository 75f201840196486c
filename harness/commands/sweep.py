"""`sd-concord sweep`: pictures over axes of settings, gone on with after any interruption, on one machine or many."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ...core.errors import BadValue
from ...core.filled import sampler_called
from ...core.image import Generation
from ...core.image.names import split_fused
from ..sweep.conduct import Report, begin, conduct
from ..sweep.engine import Engine, here
from ..sweep.estimate import estimate
from ..sweep.plan import Plan, read_axes, read_seeds
from ..sweep.plan_file import is_plan_file, with_plan_file
from ..sweep.setup import Setup
from .detailing import add_detailer_settings
from .generate import wanted_of
from .options import add_model_arguments
from .settings import add_noise_settings, add_prompt_settings, add_sampling_settings
from .stages import add_hires_settings, add_refiner_settings, with_hires


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
        "x": "columns: an axis and its values, such as 'sampler=euler,dpmpp_2m'",
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
        if args.prompt is not None or any(getattr(args, name) for name in ("x", "y", "z", "dry_run")):
            raise BadValue(
                "--resume goes on with a plan as it is; leave out the prompt, the axes and --dry-run"
            )
        return _ended(conduct(args.resume, _engine(args), quiet=args.quiet))
    if is_plan_file(args.prompt):
        parser = argparse.ArgumentParser(prog="sd-concord sweep", exit_on_error=False)
        add_arguments(parser)
        args = with_plan_file(args, parser)
    plan = plan_of(args)
    if args.dry_run:
        for line in estimate(plan)[0].lines:
            print(line)  # noqa: T201
        return 0
    engine = _engine(args)
    begin(args.out, plan)
    return _ended(conduct(args.out, engine, quiet=args.quiet))


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the plan that the options ask for; raises ``BadValue``."""
    if args.prompt is None:
        raise BadValue("a sweep needs a prompt, a plan file, or --resume DIR; see sd-concord sweep --help")
    import torch

    return Plan(
        base=_base_of(args),
        axes=read_axes({place: getattr(args, place) for place in ("x", "y", "z")}),
        seeds=read_seeds(args.seeds),
        together=args.together,
        threads=torch.get_num_threads() if args.threads is None else args.threads,
        setup=Setup.of(args),
    )


def _base_of(args: argparse.Namespace) -> Generation:
    """Return the record that axes change; the sampler's own schedule is left open, so that each has its own."""
    record = with_hires(wanted_of(args), args)
    given = args.scheduler or args.recipe or split_fused(sampler_called(args.sampler or ""))
    if not given:
        record = replace(record, scheduler=None)
    return record


def _engine(args: argparse.Namespace) -> Engine:
    if args.ray is None:
        return here
    from ..sweep.ray_engine import ray_engine

    return ray_engine(args.ray)


def _ended(report: Report) -> int:
    for line in report.warnings:
        print(f"warning: {line}", file=sys.stderr)  # noqa: T201
    print(report.line)  # noqa: T201
    return 1 if report.reasons else 0
