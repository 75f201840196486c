"""`sd-concord bench`: measure how much Concord adds to the network's work, and its peers beside it."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from .. import bench
from ..version import VERSION

PEERS = ("torch", "diffusers", "transformers", "k-diffusion", "torchsde", "compel", "ray", "numpy")
"""What a report names the versions of."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    names = [module.name.replace("_", "-") for module in iter_modules(bench.__path__)]
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"which: {', '.join(names)}; default: all")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="also write a report, such as BENCHMARKS.md"
    )
    parser.set_defaults(known=names)


def run(args: argparse.Namespace) -> int:
    """Run the benchmarks that are named, print their figures, and write the report."""
    from ...core.errors import unknown

    for name in args.name:
        if name not in args.known:
            raise unknown("benchmark", name, args.known)
    figures: dict[str, dict[str, float]] = {}
    about: dict[str, str] = {}
    for name in args.name or args.known:
        module = import_module(f"..bench.{name.replace('-', '_')}", __package__)
        figures[name] = module.run()
        about[name] = (module.__doc__ or "").strip()
        if not args.json:
            for key, value in figures[name].items():
                print(f"{name}  {key}  {value:.4g}")  # noqa: T201
    if args.json:
        print(json.dumps(figures))  # noqa: T201
    if args.write:
        args.write.write_text(report(figures, about), encoding="utf-8")
    return 0


def report(figures: Mapping[str, Mapping[str, float]], about: Mapping[str, str]) -> str:
    """Return the figures as Markdown: the machine, the versions, and a table a benchmark."""
    lines = [
        "# Benchmarks",
        "",
        f"`sd-concord bench --write`, {datetime.date.today().isoformat()}, Concord {VERSION}.",
    ]
    lines += ["", f"Machine: {machine()}.", "", f"Versions: {versions()}.", ""]
    lines += [
        "A `ratio` is our time over the peer's, measured in turns in one run: below 1 is faster; a `speedup` is "
        "the other way round. Other times hold for this machine alone (`us`, `ms`, `s`: micro-, milli- and "
        "seconds), counts (`ops`, `rows`, `waits`) for any.",
        "",
    ]
    for name, rows in figures.items():
        lines += [f"## {name}", "", about[name], "", "| figure | value |", "| --- | --- |"]
        lines += [f"| {key} | {value:.4g} |" for key, value in rows.items()]
        if not rows:
            lines.append("| none here | – |")
        lines.append("")
    return "\n".join(lines)


def machine() -> str:
    """Return what this machine is: its processor's kind, cores, memory where it is told, and GPU."""
    import torch

    parts = [f"{platform.machine()}, {os.cpu_count()} cores", platform.system()]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    else:
        parts.append("no GPU")
    return ", ".join(parts)


def versions() -> str:
    """Return the versions of Python and of what is measured."""
    found = [f"Python {platform.python_version()}"]
    for name in PEERS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
