"""`sd-concord info`: what made a picture, read from the file."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.errors import BadFile
from ...core.image import Generation, civitai_resources, format_infotext, read_chunks, read_image_info


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG, WebP, AVIF or GIF")
    parser.add_argument("--json", action="store_true", help="one JSON object per picture, a line each")
    parser.add_argument(
        "--infotext", action="store_true", help="the text as the web UIs write it, whatever the file held"
    )


def run(args: argparse.Namespace) -> int:
    """Print the settings of each picture; a file that holds none is named and the others go on."""
    failed = 0
    for i, path in enumerate(args.images):
        try:
            generation = read_image_info(path)
        except BadFile as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
            if args.json:
                say(json.dumps({"file": str(path), "error": str(error)}))
            continue
        if args.json:
            say(json.dumps(as_json(path, generation)))
            continue
        if len(args.images) > 1:
            say(f"{'' if i == 0 else chr(10)}{path}")
        say(format_infotext(generation) if args.infotext else "\n".join(lines(generation)))
    return 1 if failed else 0


def say(text: str) -> None:
    """Print ``text`` without what would steer a terminal or cannot be written to it."""
    plain = "".join(
        "\ufffd" if unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t" else sign
        for sign in text
    )
    encoding = sys.stdout.encoding or "utf-8"
    print(plain.encode(encoding, "replace").decode(encoding))  # noqa: T201


def as_json(path: Path, generation: Generation) -> dict[str, Any]:
    """Return what `--json` prints of a picture: recorded fields, keys of other programs, and names of chunks."""
    fields = _recorded(generation)
    fields.pop("source", None)
    extras = dict(fields.pop("extras", ()))
    resources = [dataclasses.asdict(one) for one in civitai_resources(generation)]
    return {
        "file": str(path),
        "host": generation.host,
        **fields,
        "extras": extras,
        **({"civitai_resources": resources} if resources else {}),
        "chunks": sorted(read_chunks(path)),
        "infotext": format_infotext(generation),
    }


def _recorded(record: Any) -> dict[str, Any]:
    """Return the fields of a record that are set, records inside it likewise."""
    found: dict[str, Any] = {}
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        if dataclasses.is_dataclass(value):
            value = _recorded(value)
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            value = [_recorded(item) for item in value]
        if value not in (None, (), {}, ""):
            found[one.name] = value
    return found


def lines(generation: Generation) -> Iterator[str]:
    """Yield what is printed of a record, a setting a line under the name of its part."""
    fields = _recorded(generation)
    for name in ("prompt", "negative_prompt"):
        text = fields.pop(name, "")
        if text or name == "prompt":
            yield from _text(name, text)
    extras = dict(fields.pop("extras", ()))
    fields.pop("source", None)
    for name, value in fields.items():
        yield from _setting(name, value)
    if resources := civitai_resources(generation):
        extras.pop("Civitai resources", None)
        yield "civitai resources:"
        for one in resources:
            weight = "" if one.weight is None else f" at {one.weight:g}"
            yield f"  {one.kind}: {one.name} {one.version}".rstrip() + weight
    for name, value in extras.items():
        yield f"{name}: {value}"


def _text(name: str, text: str) -> Iterator[str]:
    yield f"{_words(name)}:"
    for line in text.split("\n"):
        yield f"  {line}"


def _setting(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield f"{_words(name)}:"
        for inner, one in value.items():
            yield from (f"  {line}" for line in _setting(inner, one))
    elif isinstance(value, list):
        for i, item in enumerate(value, start=1):
            yield from _setting(f"{name} {i}", item)
    elif isinstance(value, str) and "\n" in value:
        yield from _text(name, value)
    else:
        yield f"{_words(name)}: {_shown(name, value)}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(name: str, value: Any) -> str:
    if name in ("size", "resize", "seed_resize_from"):
        return "x".join(map(str, value))
    if isinstance(value, tuple):
        return ", ".join("=".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
    return str(value)
