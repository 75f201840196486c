"""Generation records as JSON, to the letter."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from ...core.image import DetailerUnit, Generation, ModelRef, Networks
from ...core.image.generation import SUBRECORDS


def plain(value: Any) -> Any:
    """Return a record, or a value of one, as JSON has it; fields that are as by default are left out."""
    if is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name))
            for field in fields(value)
            if field.default is MISSING or getattr(value, field.name) != field.default
        }
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def changes(record: Generation, base: Generation) -> dict[str, Any]:
    """Return those fields of ``record`` that ``base`` has otherwise, as JSON has them."""
    return {name: plain(getattr(record, name)) for name in _NAMES if _differ(record, base, name)}


def restored(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that ``plain`` or ``changes`` made ``data`` of.

    Raises ``BadValue`` or ``BadType`` for values that the record does not accept.
    """
    return {name: _field(name, value) for name, value in data.items()}


_NAMES = tuple(field.name for field in fields(Generation))


def _differ(record: Generation, base: Generation, name: str) -> bool:
    one, other = getattr(record, name), getattr(base, name)
    return one is not other and one != other


def _field(name: str, value: Any) -> Any:
    if name == "networks":
        return Networks(**{key: tuple(ModelRef(**one) for one in refs) for key, refs in value.items()})
    if name == "detailer":
        return tuple(DetailerUnit(**{key: _tuples(one) for key, one in unit.items()}) for unit in value)
    if name in SUBRECORDS and value is not None:
        return SUBRECORDS[name](**{key: _tuples(one) for key, one in value.items()})
    return _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
