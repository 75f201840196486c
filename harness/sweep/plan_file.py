"""A plan's settings as options of the command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from ...core.axes_plan import PLACES, axis_text, read_plan, seeds_text
from ...core.errors import BadValue, unknown

NAMES = {"negative_prompt": "negative"}
"""Other names of options."""
NOT_IN_FILES = ("resume", "dry_run", "debug", "help")


class PlanParser(argparse.ArgumentParser):
    """A parser of the options of a plan, whose mistakes are the plan's."""

    def __init__(self) -> None:
        """Know no options yet."""
        super().__init__(prog="sd-concord sweep", exit_on_error=False)

    def error(self, message: str) -> NoReturn:
        """Raise ``BadValue``."""
        raise BadValue(f"the plan cannot be: {message}")


def with_plan_file(args: argparse.Namespace, parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options that the plan file ``args.prompt`` sets; what ``args`` sets too stays as it is there.

    ``parser``: one that knows the command's options and no others.  Raises ``BadFile`` or ``BadValue`` for a file
    that is no plan.
    """
    words = _words(read_plan(args.prompt), parser)
    try:
        merged = parser.parse_args(words)
    except argparse.ArgumentError as error:
        name = (error.argument_name or "prompt").rpartition("/")[2].lstrip("-")
        raise BadValue(f"the plan's {name}: {error.message}; mend it there") from error
    for name in vars(merged):
        value = getattr(args, name, None)
        if name != "prompt" and value != parser.get_default(name):
            setattr(merged, name, value)
    return merged


def _words(data: Mapping[str, Any], parser: argparse.ArgumentParser) -> list[str]:
    """Return ``data`` as the words of a command line."""
    known = {
        option.removeprefix("--").replace("-", "_")
        for option in parser._option_string_actions
        if option.startswith("--")
    } - set(NOT_IN_FILES)
    words: list[str] = []
    for key, value in data.items():
        name = NAMES.get(key, key).replace("-", "_")
        if name == "prompt":
            continue
        if name not in known:
            raise unknown("setting of a plan", key, sorted({"prompt", *known}))
        words += _option(name, value)
    prompt = data.get("prompt", "")
    if not isinstance(prompt, str):
        raise BadValue(f"the plan's prompt is {prompt!r}; write text")
    return [*words, "--", prompt]


def _option(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if name in PLACES:
        return [f"{option}={axis_text(name, value)}"]
    if isinstance(value, list):
        if name == "seeds":
            return [f"{option}={seeds_text(value)}"]
        return [f"{option}={one}" for one in value]
    if isinstance(value, dict):
        raise BadValue(f"the plan's {name} is a mapping; write text, a number or a list")
    return [f"{option}={value}"]
