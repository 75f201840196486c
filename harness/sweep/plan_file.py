"""A plan as a file: YAML or JSON, whose keys are the options of the command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import BadFile, BadValue, Missing, unknown

ENDINGS = (".yaml", ".yml", ".json")
AXES = ("x", "y", "z")
NAMES = {"negative_prompt": "negative"}
"""Other names of options."""
NOT_IN_FILES = ("resume", "dry_run", "debug", "help")


def is_plan_file(text: str | None) -> bool:
    """Tell whether ``text`` names a plan rather than being a prompt."""
    return text is not None and Path(text).suffix.lower() in ENDINGS and "\n" not in text


def with_plan_file(args: argparse.Namespace, parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options that the plan file ``args.prompt`` sets; what ``args`` sets too stays as it is there.

    ``parser``: one that knows the command's options and no others.  Raises ``BadFile`` or ``BadValue`` for a
    file that is no plan.
    """
    merged = parser.parse_args(_words(_read(Path(args.prompt)), parser))
    for name in vars(merged):
        value = getattr(args, name, None)
        if name != "prompt" and value != parser.get_default(name):
            setattr(merged, name, value)
    return merged


def _read(path: Path) -> dict[str, Any]:
    """Return the file's mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"the plan {path} cannot be read ({error}); check the path") from error
    data = _json(path, text) if path.suffix.lower() == ".json" else _yaml(path, text)
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise BadFile(f"the plan {path} is no mapping; write lines such as 'x: sampler=euler,dpmpp_2m'")
    return data


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadFile(f"the plan {path} is no JSON ({error})") from error


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise Missing("plans in YAML need PyYAML; pip install pyyaml, or write the plan as .json") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadFile(f"the plan {path} is no YAML ({' '.join(str(error).split())})") from error


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
    if name in AXES:
        return [f"{option}={_axis(name, value)}"]
    if isinstance(value, list):
        if name == "seeds":
            return [f"{option}={','.join(map(str, value))}"]
        return [f"{option}={one}" for one in value]
    if isinstance(value, dict):
        raise BadValue(f"the plan's {name} is a mapping; write text, a number or a list")
    return [f"{option}={value}"]


def _axis(name: str, value: Any) -> str:
    """Return an axis as it is typed; a mapping has one key, the axis, with its values as a list or as text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise BadValue(f"the plan's {name} is {value!r}; write {name}: sampler=euler,dpmpp_2m")
    [(axis, values)] = value.items()
    if not isinstance(values, list):
        return f"{axis}={values}"
    return f"{axis}={','.join(_quoted(one) for one in values)}"


def _quoted(value: Any) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if not text or any(c in text for c in ',"\n') else text
