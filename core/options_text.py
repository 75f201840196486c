"""Options of a sampler or schedule written as one line: ``rho=5, sigma_min=0.05``."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from .errors import BadType, BadValue, unknown
from .image.rules import read_option


def option_defaults(record: type[Any] | None) -> dict[str, Any]:
    """Return the options of a declaration's option record with their defaults; none for None."""
    return {one.name: one.default for one in fields(record)} if is_dataclass(record) else {}


def read_options_text(text: str, record: type[Any] | None, owner: str) -> dict[str, Any]:
    """Return the options that ``text`` gives, each of the kind of its default.

    ``record``: the option record of ``owner`` ("scheduler 'karras'").  Parted by commas or line breaks.
    Raises ``BadValue`` for what is no ``name=value`` and for unknown names, ``BadType`` for a value of another kind.
    """
    known, found = option_defaults(record), dict[str, Any]()
    for part in text.replace("\n", ",").split(","):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if not name and not sign:
            continue
        if not sign or not value:
            raise BadValue(f"option {part.strip()!r} has no value; write name=value, parted by commas")
        if name not in known:
            raise unknown(f"option of {owner}", name, known or ["none"])
        found[name] = _of_kind(name, value, known[name])
    return found


def _of_kind(name: str, text: str, default: Any) -> Any:
    """Return ``text`` as a value of the kind of ``default``; None takes any."""
    value: Any = text if isinstance(default, str) else read_option(text)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise BadType(f"option {name} is {text!r}; pass a value such as {default}")
    return value


def options_in_words(record: type[Any] | None) -> str:
    """Return the options and their defaults as one would write them; "" for none."""
    return ", ".join(f"{name}={default}" for name, default in option_defaults(record).items())
