"""Kinds of infotext values: how each is read, written and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from .model_ref import ModelRef
from .names import sampler_label, sampler_name, scheduler_label, scheduler_name

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SIDES = re.compile(r"([0-9]+)\s*[xX×]\s*([0-9]+)")
_HASHED = re.compile(r"([^\s:,](?:[^:,\n]*[^\s:,])?): ([0-9A-Za-z]+)")


Kind = Literal["text", "whole", "number", "flag", "sides", "list"]
"""What a value is: one text, a whole or any number, True or False, (width, height), or several things in one."""
Option = bool | int | float | str
Options = tuple[tuple[str, Option], ...]
"""Names and values of options of a sampler or a schedule."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of value: ``read`` raises ``ValueError`` on text that is none, ``write`` may give None.

    ``wants`` says what is accepted, ``kind`` what a value is.
    """

    kind: Kind = "text"
    read: Callable[[str], object]
    write: Callable[[Any], str | None] = str
    accepts: Callable[[Any], bool]
    wants: str

    def parse(self, text: str) -> object:
        """Return the value that ``text`` stands for; raises ``ValueError`` when it is not accepted."""
        value = self.read(text)
        if not self.accepts(value):
            raise ValueError(text)
        return value


def members(value: object, otherwise: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Return ``value`` if it is a tuple, else ``otherwise``."""
    return cast("tuple[Any, ...]", value) if isinstance(value, tuple) else otherwise


def whole(low: int | None = None) -> Rule:
    """Return the rule of whole numbers from ``low`` on."""

    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and (low is None or value >= low)

    wants = "a whole number" if low is None else f"a whole number, {low} or more"
    return Rule(kind="whole", read=_read_whole, accepts=accepts, wants=wants)


def number(low: float = -math.inf, high: float = math.inf) -> Rule:
    """Return the rule of finite numbers in ``low`` … ``high``; 7 and 7.0 are written as they are."""

    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return (isinstance(value, int) or math.isfinite(value)) and low <= value <= high

    bounds = "" if low == -math.inf else f", {low:g} or more" if high == math.inf else f" in {low:g}…{high:g}"
    return Rule(kind="number", read=_read_number, accepts=accepts, wants=f"a finite number{bounds}")


def _read_whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _read_number(text: str) -> int | float:
    if _WHOLE.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def _read_flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(text)
    return text == "True"


def _read_sides(text: str) -> tuple[int, int]:
    match = _SIDES.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]), int(match[2])


def _write_sides(sides: tuple[int, int]) -> str:
    return f"{sides[0]}x{sides[1]}"


def _are_sides(low: int) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        sides = members(value)
        return len(sides) == 2 and all(type(side) is int and side >= low for side in sides)

    return accepts


def _read_hashes(text: str) -> tuple[ModelRef, ...]:
    matches = [_HASHED.fullmatch(part) for part in text.split(", ")]
    if not all(matches):
        raise ValueError(text)
    return tuple(ModelRef(name=match[1], hash=match[2]) for match in matches if match)


def _write_hashes(networks: tuple[ModelRef, ...]) -> str | None:
    return ", ".join(f"{network.name}: {network.hash}" for network in networks if network.hash) or None


def _are_hashed(value: Any) -> bool:
    return all(
        isinstance(item, ModelRef) and _HASHED.fullmatch(f"{item.name}: {item.hash or 0}")
        for item in members(value, (None,))
    )


def read_option(text: str) -> Option:
    """Return the value that ``text`` stands for: True or False, a number, else the text itself."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return _read_number(text)
    except ValueError:
        return text


def _read_options(text: str) -> Options:
    pairs = [part.partition("=") for part in text.split(", ")]
    if not all(sign for _, sign, _ in pairs):
        raise ValueError(text)
    return tuple((name, read_option(value)) for name, _, value in pairs)


def _write_options(options: Options) -> str:
    return ", ".join(f"{name}={value}" for name, value in options)


def _are_options(value: Any) -> bool:
    pairs = [members(pair) for pair in members(value, (None,))]
    if not all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        return False
    return not pairs or _read_options(_write_options(value)) == value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


TEXT = Rule(read=str, accepts=_is_text, wants="text")
FLAG = Rule(
    kind="flag", read=_read_flag, accepts=lambda value: isinstance(value, bool), wants="True or False"
)
SIZE = Rule(
    kind="sides",
    read=_read_sides,
    write=_write_sides,
    accepts=_are_sides(1),
    wants="(width, height), each 1 or more",
)
RESIZE = Rule(
    kind="sides",
    read=_read_sides,
    write=_write_sides,
    accepts=_are_sides(0),
    wants="(width, height), each 0 or more",
)
SAMPLER = Rule(read=sampler_name, write=sampler_label, accepts=_is_name, wants="the name of a sampler")
SCHEDULER = Rule(
    read=scheduler_name, write=scheduler_label, accepts=_is_name, wants="the name of a scheduler"
)
HASHES = Rule(
    kind="list",
    read=_read_hashes,
    write=_write_hashes,
    accepts=_are_hashed,
    wants="a tuple of ModelRef with names without ':' and ','",
)
OPTIONS = Rule(
    kind="list",
    read=_read_options,
    write=_write_options,
    accepts=_are_options,
    wants="a tuple of (name, value), the value True, False, a finite number or a word",
)
STRENGTH = number(0, 1)
