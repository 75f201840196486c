"""Options of the detailer, and the units that they make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.detailer.detector import NAMES
from ...core.errors import BadValue, unknown
from ...core.image import DetailerUnit, Generation
from ...core.image.keys import UNIT
from ..stages.detailing import BATCH

SHORT = {
    "denoise": "denoising_strength",
    "negative": "negative_prompt",
    "blur": "mask_blur",
    "dilate": "dilate_erode",
    "classes": "model_classes",
    "sort": "sort_order",
}
"""Shorter names of options of a unit."""
_RULES = {key.path: key.rule for key in UNIT if key.path not in ("model", "found")}


class _Unit(argparse.Action):
    """Begins a unit with ``--detailer``, and gives the last one an option with ``--detailer-set``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        units: list[tuple[str, list[str]]] = list(namespace.detailer or [])
        if option_string == "--detailer":
            units.append((str(values), []))
        elif not units:
            parser.error("--detailer-set stands after the --detailer that it belongs to")
        else:
            units[-1][1].append(str(values))
        namespace.detailer = units


def add_detailer_settings(parser: argparse.ArgumentParser) -> None:
    """Declare the detailer's units."""
    group = parser.add_argument_group("detailer")
    add = group.add_argument
    add(
        "--detailer",
        action=_Unit,
        dest="detailer",
        default=None,
        metavar="MODEL",
        help=f"redraw what this detector finds: {', '.join(NAMES)}, or a .pt, .onnx or .safetensors file; "
        "may be repeated",
    )
    add(
        "--detailer-set",
        action=_Unit,
        dest="detailer",
        metavar="NAME=VALUE",
        help=f"an option of the --detailer before it: {', '.join(SHORT)}, or any of {', '.join(_RULES)}",
    )
    add(
        "--detailer-batch",
        type=int,
        default=BATCH,
        metavar="N",
        help=f"crops that go through the model together; 1 draws one after the other; default: {BATCH}",
    )
    add(
        "--detector-dir",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="where detectors are found by name",
    )


def with_detailer(record: Generation, args: argparse.Namespace) -> Generation:
    """Return ``record`` with the units that the options ask for; raises ``BadValue`` for what cannot be."""
    if args.detailer_batch < 1:
        raise BadValue(f"--detailer-batch is {args.detailer_batch}; pass 1 or more")
    if not args.detailer:
        return record
    return replace(record, detailer=tuple(unit_of(model, given) for model, given in args.detailer))


def unit_of(model: str, given: Sequence[str]) -> DetailerUnit:
    """Return the unit of ``model`` with options such as ``denoise=0.4``; raises ``BadValue``."""
    values: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        name = SHORT.get(name.strip().replace("-", "_"), name.strip().replace("-", "_"))
        if not sign or name not in _RULES:
            if not sign:
                raise BadValue(f"--detailer-set {text!r} has no value; write NAME=VALUE, such as denoise=0.4")
            raise unknown("option of the detailer", name, (*SHORT, *_RULES))
        try:
            values[name] = _RULES[name].parse(value.strip())
        except ValueError as error:
            raise BadValue(f"--detailer-set {name} is {value!r}; pass {_RULES[name].wants}") from error
    return DetailerUnit(model=model, **values)
