"""`sd-concord bench`: measure this machine, and how much Concord adds to the work of the network."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pkgutil import iter_modules

from .. import bench


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    names = [module.name.replace("_", "-") for module in iter_modules(bench.__path__)]
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"which: {', '.join(names)}; default: all")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(known=names)


def run(args: argparse.Namespace) -> int:
    """Run the benchmarks that are named and print their figures."""
    from ...core.errors import unknown

    figures: dict[str, dict[str, float]] = {}
    for name in args.name or args.known:
        if name not in args.known:
            raise unknown("benchmark", name, args.known)
        module = import_module(f"..bench.{name.replace('-', '_')}", __package__)
        figures[name] = module.run()
        if not args.json:
            for key, value in figures[name].items():
                print(f"{name}  {key}  {value:.4g}")  # noqa: T201
    if args.json:
        print(json.dumps(figures))  # noqa: T201
    return 0
