"""Traps that a prompt steps into, as data."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import PromptPlan

MOST_OF_A_KIND = 8


@dataclass(frozen=True, kw_only=True, order=True)
class PromptWarning:
    """A trap at ``text[start:end]`` of the typed prompt: what happens there, and what to write instead."""

    start: int
    end: int
    code: str
    message: str
    suggestion: str

    @property
    def span(self) -> tuple[int, int]:
        """``(start, end)`` in the typed prompt."""
        return self.start, self.end


@dataclass
class Findings:
    """Collects warnings, at most eight of a kind and each once."""

    found: dict[PromptWarning, None] = field(default_factory=dict[PromptWarning, None])
    counts: Counter[str] = field(default_factory=Counter[str])

    def full(self, code: str) -> bool:
        """Tell whether there are enough of a kind."""
        return self.counts[code] >= MOST_OF_A_KIND

    def add(self, code: str, span: tuple[int, int], message: str, suggestion: str) -> None:
        """Add a warning unless there are enough of its kind."""
        start, end = span
        warning = PromptWarning(start=start, end=end, code=code, message=message, suggestion=suggestion)
        if warning not in self.found and not self.full(code):
            self.found[warning] = None
            self.counts[code] += 1


def find_warnings(plan: PromptPlan) -> tuple[PromptWarning, ...]:
    """Return the traps of a plan in the order of the text, at most eight of a kind; never raises."""
    from .bracket_warnings import bracket_warnings  # noqa: PLC0415  (these modules need the plan's)
    from .text_warnings import text_warnings  # noqa: PLC0415
    from .token_warnings import token_warnings  # noqa: PLC0415

    findings = Findings()
    for look in (text_warnings, bracket_warnings, token_warnings):
        look(plan, findings)
    return tuple(sorted(findings.found))


def draw_warning(text: str, warning: PromptWarning, width: int = 100) -> str:
    """Return a warning as text: what happens, what to do, and the line of the prompt with a caret under
    the place.

    ``width``: the most columns of the line that are shown, around the place.
    """
    line_start = text.rfind("\n", 0, warning.start) + 1
    line_end = text.find("\n", warning.start)
    line = text[line_start : line_end if line_end >= 0 else len(text)]
    column = warning.start - line_start
    left = max(0, min(column - width // 4, len(line) - width))
    shown = line[left : left + width].expandtabs(1)
    before, marked = shown[: column - left], shown[column - left :][: warning.end - warning.start]
    head = f"{warning.code}: {warning.message}; {warning.suggestion}"
    return f"{head}\n  {shown}\n  {' ' * _columns(before)}{'^' * max(_columns(marked), 1)}"


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian signs two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
