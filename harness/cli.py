"""The `sd-concord` command: a table of subcommands, each a module of `harness.commands`, loaded when called."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from ..core.errors import ConcordError
from .version import VERSION

COMMANDS = {
    "generate": "make pictures from a prompt",
    "img2img": "make pictures from a picture and a prompt",
    "inpaint": "paint a part of a picture anew",
    "detail": "redraw faces, or what a detector finds, in a picture",
    "info": "show what made a picture, from whichever program",
    "reproduce": "draw recorded pictures again, and find the setting to blame where they differ",
    "explain": "show what a prompt means: chunks, weights, timeline, and traps it steps into",
    "recipes": "show the settings and rules that model cards publish, for --recipe",
    "sweep": "make pictures over axes of settings, such as samplers by steps; go on after any interruption",
    "sigmas": "show schedules side by side, how exact they can be, and what is wrong with them",
    "convert-detector": "turn a YOLO checkpoint (.pt) into safetensors, running nothing that is in it",
    "bench": "measure this machine, and what Concord adds to the network's work",
    "demo-score": "measure how well the embedded model draws what it is told",
    "study": "measure error against steps of every sampler and schedule, and hold advice against it",
    "demo-study": "measure what the embedded model makes of switches, weights, negative prompts and BREAK",
    "train": "train the embedded model",
}
"""Name → what it does; the module is `harness.commands.<name>` with _ for -."""

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 an error in one line, 2 wrong usage, 130 stopped."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait spinning starve a busy machine
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in arguments if word in COMMANDS), None)
    parser = _parser(name)
    if not arguments:
        parser.print_help()
        return 2
    args = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if args.debug else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    try:
        return _module(args.command).run(args)
    except ConcordError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)  # noqa: T201
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """argparse, whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the options are listed; exit code 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _module(name: str) -> ModuleType:
    return import_module(f".commands.{name.replace('-', '_')}", __package__)


def _parser(name: str | None) -> _Parser:
    """Return the parser; only the subcommand that is called, if known, is loaded and has its options."""
    parser = _Parser(prog="sd-concord", description="One prompt, one picture: Concord without a host.")
    parser.add_argument("--version", action="version", version=f"sd-concord {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, summary in COMMANDS.items():
        sub = commands.add_parser(command, help=summary, description=summary[0].upper() + summary[1:] + ".")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if command == name:
            _module(command).add_arguments(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
