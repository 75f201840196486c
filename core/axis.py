"""One axis of a grid or a sweep: what varies, and the values that it takes as people type them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from .errors import BadValue
from .image.generation import Generation
from .image.rules import Kind
from .value_lists import number_range, split_values

AxisKind = Literal[Kind, "sampler", "schedule", "search", "option", "recipe"]
"""What the values of an axis are: as of a rule, or the names of samplers and schedules, and so on."""


class Replacement(NamedTuple):
    """A value of ``prompt s/r``: ``text`` in place of ``search``."""

    search: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What varies: ``name`` for people who type it, ``label`` for lists and pictures, and what its values are.

    ``read``: the value that a text stands for, ``ValueError`` when it is none; ``wants`` says what is accepted.
    ``write``: a value as it is shown.  ``assign``: the record with a value, ``BadValue`` when it cannot take it.
    """

    name: str
    label: str
    kind: AxisKind
    wants: str
    read: Callable[[str], Any]
    write: Callable[[Any], str] = str
    assign: Callable[[Generation, Any], Generation]

    def apply(self, record: Generation, value: Any) -> Generation:
        """Return ``record`` with ``value``; raises ``BadValue`` where it cannot be had."""
        return self.assign(record, value)

    def parse(self, text: str) -> Any:
        """Return the value that ``text`` stands for; raises ``BadValue`` that names the axis and what it wants."""
        try:
            return self.read(text)
        except BadValue as error:
            raise BadValue(f"axis {self.name}: {error}") from error
        except ValueError as error:
            raise BadValue(f"axis {self.name}: {text!r} is not accepted; write {self.wants}") from error

    def words(self, value: Any) -> str:
        """Return ``value`` as it is written beside a picture, as ``CFG scale: 7``; a search stands by itself."""
        shown = self.write(value)
        return shown if self.kind == "search" else f"{self.label}: {shown}"


def parse_values(axis: Axis, text: str) -> list[Any]:
    """Return the values that ``text`` gives ``axis``: parted by commas, numbers also as ranges.

    ``10-30 (+5)`` is 10, 15, 20, 25, 30, and ``0.3-0.6 [4]`` four values.  Of ``prompt s/r`` the first is what is
    searched for, and stays among the values.  Raises ``BadValue``, in one line that names the axis, for
    what is no value and for none at all.
    """
    whole = axis.kind == "whole"
    try:
        texts = split_values(text)
        if axis.kind in ("whole", "number", "option"):
            ranges = [number_range(one, whole=whole) or [one] for one in texts]
            texts = [one for numbers in ranges for one in numbers]
    except BadValue as error:
        raise BadValue(f"axis {axis.name}: {error}") from error
    if not texts:
        raise BadValue(f"axis {axis.name} has no values; write {axis.wants}, parted by commas")
    if axis.kind == "search":
        if not texts[0]:
            raise BadValue(
                f"axis {axis.name}: the first value is what is searched for and is empty; write a word of the prompt"
            )
        return [Replacement(texts[0], one) for one in texts]
    return [axis.parse(one) for one in texts]
