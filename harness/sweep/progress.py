"""How far a sweep is: a bar in a terminal or a notebook, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

EVERY = 15.0
"""Seconds between the lines of a log."""


class Progress:
    """Says how many cells are done, how fast, how long it still takes, and which picture is the last.

    A bar where ``stream`` is a terminal, and in a notebook; else lines, one every ``EVERY`` seconds at most.
    ``total``: cells in all; ``before``: those done by earlier runs, which do not count for the rate.
    """

    def __init__(
        self,
        total: int,
        before: int = 0,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin now."""
        self._stream = stream or sys.stderr
        self._total, self._before, self._done = total, before, before
        self._failed = 0
        self._clock, self._started = clock, clock()
        self._said = self._started - EVERY if not before else self._started
        self._bar: Any = None
        self._lines = not quiet
        if not quiet and (_in_notebook() or self._stream.isatty()):
            from tqdm.auto import tqdm

            self._lines = False
            file = None if _in_notebook() else self._stream
            self._bar = tqdm(total=total, initial=before, unit="cell", file=file)

    def update(self, cells: int, last: str | None = None, *, failed: int = 0) -> None:
        """Take note of ``cells`` more that are done, of the ``last`` picture, and of those that have ``failed``."""
        self._done += cells + failed
        self._failed += failed
        if self._bar is not None:
            words = [*([f"{self._failed} failed"] if self._failed else []), *([last] if last else [])]
            self._bar.set_postfix_str(" · ".join(words), refresh=False)
            self._bar.update(cells + failed)
        now = self._clock()
        if self._lines and (now - self._said >= EVERY or self._done >= self._total):
            self._said = now
            self._stream.write(f"{self.line(now, last)}\n")
            self._stream.flush()

    def line(self, now: float, last: str | None) -> str:
        """Return what a log says at ``now``."""
        parts = [f"sweep {self._done}/{self._total} cells"]
        gone, seconds = self._done - self._before, now - self._started
        if self._failed:
            parts.append(f"{self._failed} failed")
        if gone > self._failed and seconds > 0:
            rate = 60 * (gone - self._failed) / seconds
            parts.append(f"{rate:,.0f} a minute" if rate >= 100 else f"{rate:.3g} a minute")
        if gone and seconds > 0:
            parts.append(f"{clock_of((self._total - self._done) * seconds / gone)} left")
        return " · ".join([*parts, *([last] if last else [])])

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def clock_of(seconds: float) -> str:
    """Return ``seconds`` as 0:07, 12:30 or 1:02:03."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _in_notebook() -> bool:
    """Tell whether this is a Jupyter kernel, whose bar is a widget."""
    return "ipykernel" in sys.modules
