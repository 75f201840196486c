"""Lists of values as users of X/Y/Z plots type them: commas, quotes and ranges of numbers."""

from __future__ import annotations

import re
from decimal import Decimal

from .errors import BadValue

MOST = 1000
"""Values of one list; a range of more is a slip of the keyboard."""
_VALUE = re.compile(r'\s*(?:"((?:[^"]|"")*)"[^\S\n]*|([^,\n]*))(?:,|\n|$)')
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_RANGE = re.compile(
    rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*([0-9]+)\s*\])?", re.ASCII
)


def split_values(text: str) -> list[str]:
    """Return the values that commas and line ends part, without outer blanks; empty ones are left out.

    A value in double quotes keeps its commas and blanks, may be empty, and has a double quote written twice.
    Raises ``BadValue`` for more than 1000.
    """
    found: list[str] = []
    for match in _VALUE.finditer(text):
        quoted, bare = match[1], (match[2] or "").strip()
        if quoted is not None:
            found.append(quoted.replace('""', '"'))
        elif bare:
            found.append(bare)
    if len(found) > MOST:
        raise BadValue(f"a list has {len(found)} values; {MOST} are the most")
    return found


def number_range(text: str, *, whole: bool) -> list[str] | None:
    """Return the numbers of a range as they would be typed one by one; None when ``text`` is no range.

    ``10-30``, ``10-30 (+5)``: from the first to the second at most, in steps of 1 unless given; ``30-10 (-5)``
    falls.  ``0.3-0.6 [4]``: so many, evenly spread, both ends among them; ``whole`` rounds them.
    Raises ``BadValue`` for a step that does not lead from one end to the other.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    start, end = Decimal(match[1]), Decimal(match[2])
    if match[4] is not None:
        return _spread(start, end, int(match[4]), whole=whole)
    step = Decimal(match[3]) if match[3] else Decimal(1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0 or (not match[3] and start != end and abs(end - start) < 1):
        raise BadValue(
            f"the range {text.strip()!r} never gets to its end in steps of {step}; write a step such as "
            f"{match[1]}-{match[2]} ({_step_between(start, end)}), or how many values: {match[1]}-{match[2]} [5]"
        )
    count = int((end - start) / step) + 1
    if count > MOST:
        raise BadValue(
            f"the range {text.strip()!r} has {count} values; {MOST} are the most, take a larger step"
        )
    return [_plain(start + step * i) for i in range(count)]


def _spread(start: Decimal, end: Decimal, count: int, *, whole: bool) -> list[str]:
    """Return ``count`` numbers from ``start`` to ``end``; those that round to the same whole number are one."""
    if not 1 <= count <= MOST:
        raise BadValue(
            f"the range {_plain(start)}-{_plain(end)} asks for {count} values; ask for 1 to {MOST}"
        )
    numbers = [start + (end - start) * i / (count - 1) for i in range(count)] if count > 1 else [start]
    shown = [_plain(round(number) if whole else round(number, 6)) for number in numbers]
    return list(dict.fromkeys(shown))


def _step_between(start: Decimal, end: Decimal) -> str:
    """Return a step, sign included, that leads from ``start`` to ``end`` in four or so."""
    step = (end - start) / 4
    return f"{'' if step < 0 else '+'}{float(step):.2g}" if step else "+1"


def _plain(number: Decimal | int) -> str:
    """Return ``number`` without exponent and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
