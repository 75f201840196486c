"""Where a column of a changed text lies in the text that was typed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Origins:
    """Maps columns of a text, from which spans were cut, back to the text before."""

    def __init__(self, cuts: Iterable[tuple[int, int, int]] = (), before: Origins | None = None) -> None:
        """Take ``(start, end, length)`` of each span cut and of what stands there instead, in order.

        ``before``: the origins of the text that was cut, where it was itself changed.
        """
        self._before = before
        self._starts = [0]
        self._shifts = [0]
        shift = 0
        for start, end, length in cuts:
            self._starts.append(start - shift + length)
            shift += end - start - length
            self._shifts.append(shift)

    def at(self, column: int) -> int:
        """Return the column in the text before."""
        origin = column + self._shifts[bisect_right(self._starts, column) - 1]
        return origin if self._before is None else self._before.at(origin)
