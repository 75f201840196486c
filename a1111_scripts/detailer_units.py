"""What a request asks of the detailer, in the panel's values or in ADetailer's, and what a pasted text does.

This and what it imports is loaded with the first request that uses it, not with the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

from ..core.detailer import unit_from_args, units_from_args
from ..core.detailer_fields import BY_NAME, FIELDS
from ..core.errors import ConcordError
from ..core.image.infotext import parse_settings
from ..core.image.names import sampler_label, scheduler_label
from ..core.image.pairs import join_pairs
from ..core.image.parts import DetailerUnit

BEFORE_HIRES = "Concord detailer before hires"
"""The key in the infotext of a request whose units worked before the second pass."""
SKIP = "Concord detailer skip img2img"
"""The key of one whose first picture was left as it was."""
LEADING = 3
"""Arguments before those of the units: enable, skip img2img, before hires."""
_OURS = {one.name for one in FIELDS if not one.arg}
_SIDES = ("inpaint_width", "inpaint_height")
_EMPTY = DetailerUnit()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request's detailer: the units (``DetailerUnit()`` for one that is off but followed by one that is not).

    ``skip``: img2img itself is left out.  ``early``: units work before the second pass.  ``wrong``: what is said of
    units that were left out.
    """

    units: tuple[DetailerUnit, ...] = ()
    skip: bool = False
    early: bool = False
    wrong: tuple[str, ...] = ()


def asked_of(args: Sequence[Any]) -> Asked:
    """Return what a script's arguments ask for; a dict among them makes them ADetailer's."""
    if any(isinstance(one, Mapping) for one in args):
        return _asked_as_adetailer(args)
    if len(args) < LEADING or not args[0]:
        return Asked()
    units: list[DetailerUnit] = []
    wrong: list[str] = []
    size = len(FIELDS) + 1
    rows = [args[start : start + size] for start in range(LEADING, len(args), size)]
    for number, (on, *values) in enumerate(rows, 1):
        given = dict(zip(BY_NAME, values, strict=False)) if on else {}
        _add(units, wrong, number, lambda given=given: unit_of_values(given))
    return Asked(units=_without_tail(units), skip=bool(args[1]), early=bool(args[2]), wrong=tuple(wrong))


def _asked_as_adetailer(args: Sequence[Any]) -> Asked:
    """Return what ADetailer's arguments ask for: two switches, which may be left out, and a dict a unit.

    A dict may hold fields of ours too, by their names; a third switch is "before hires".
    """
    switches = units_from_args([{} if isinstance(one, Mapping) else one for one in args])
    if args[0] is False:
        return Asked()
    units: list[DetailerUnit] = []
    wrong: list[str] = []
    given = [cast("Mapping[str, Any]", one) for one in args if isinstance(one, Mapping)]
    for number, one in enumerate(given, 1):
        _add(units, wrong, number, lambda one=one: unit_of_args(one))
    early = len(args) > 2 and args[2] is True
    return Asked(units=_without_tail(units), skip=switches.skip_img2img, early=early, wrong=tuple(wrong))


def _add(units: list[DetailerUnit], wrong: list[str], number: int, make: Any) -> None:
    """Append the unit that ``make`` gives; one that cannot be is left out, as in ADetailer, and it is said why."""
    try:
        units.append(make())
    except ConcordError as error:
        wrong.append(f"unit {number} of the detailer is left out: {error}")


def _without_tail(units: list[DetailerUnit]) -> tuple[DetailerUnit, ...]:
    while units and units[-1] == _EMPTY:
        units.pop()
    return tuple(units)


def unit_of_args(given: Mapping[str, Any]) -> DetailerUnit:
    """Return the unit of a dict with ADetailer's keys and, by their names, fields that ADetailer does not know."""
    unit = unit_from_args({key: value for key, value in given.items() if key not in _OURS})
    if unit == _EMPTY:
        return unit
    return replace(unit, **{key: own_value(key, value) for key, value in given.items() if key in _OURS})


def own_value(name: str, value: Any) -> Any:
    """Return a value of a field that ADetailer does not know as the record has it: None for the default."""
    return None if value == BY_NAME[name].default else value


def unit_of_values(values: Mapping[str, Any]) -> DetailerUnit:
    """Return the unit of a panel's values by name; what is missing is as by default."""
    read = {name: _number(name, value) for name, value in values.items()}
    return unit_of_args(
        {BY_NAME[name].arg or name: value for name, value in read.items() if value is not None}
    )


def _number(name: str, value: Any) -> Any:
    """Return a value as the record wants it: a whole number where the page gives 4.0."""
    return int(value) if BY_NAME[name].kind == "whole" and isinstance(value, float) else value


def with_values(unit: DetailerUnit, values: Mapping[str, Any]) -> DetailerUnit:
    """Return ``unit`` with other values; a schedule leaves the sampler as it is, and one side gives the other."""
    more: dict[str, Any] = {}
    if "scheduler" in values and unit.sampler is None:
        more["sampler"] = "Use same sampler"
    sides = [values[name] for name in _SIDES if name in values]
    if sides and unit.inpaint_width is None:
        more |= dict.fromkeys(_SIDES, sides[0])
    return replace(unit, **{**more, **values})


@lru_cache(maxsize=8)
def _read(settings: str) -> tuple[DetailerUnit, ...]:
    return parse_settings(settings).detailer


def units_of_text(params: Mapping[str, Any]) -> tuple[DetailerUnit, ...]:
    """Return the units of what the host read from an infotext; ADetailer's count as ours do."""
    pairs = [
        (key, str(value))
        for key, value in params.items()
        if key.startswith(("ADetailer ", "Concord detailer "))
    ]
    return _read(join_pairs(pairs)) if pairs else ()


def value_of(unit: DetailerUnit, name: str) -> Any:
    """Return what the panel's component of field ``name`` shows for ``unit``."""
    field, value = BY_NAME[name], getattr(unit, name)
    if value is None:
        return field.default
    if name == "sampler":
        return sampler_label(value)
    return scheduler_label(value) if name == "scheduler" else value
