"""Brackets → pieces of text with weights, by A1111's rules.

``(x)`` is 1.1, ``[x]`` is 1/1.1, ``(x:1.3)`` is 1.3; nested weights multiply; ``BREAK`` ends a chunk; a
backslash takes the meaning from the sign after it.  Round and square brackets are counted apart, and
what is left open reaches to the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

BREAK = ("BREAK", -1.0)
ROUND, SQUARE = 1.1, 1 / 1.1

_TOKEN = re.compile(r"\\[()\[\]\\]?|[(\[)\]]|:\s*([+-]?[.\d]+)\s*\)|[^\\()\[\]:]+|:")
_SIGNS = frozenset("\\()[]:")
_BREAK = re.compile(r"\bBREAK\b")
EXACT_WORK = 64  # multiplications per piece done in A1111's own order, before the linear way is taken


@dataclass
class Reading:
    """The pieces of a text and what was met on the way.

    ``texts``, ``weights``, ``columns``: of each piece, ``columns`` its place in the text; ``breaks``:
    indices of those that are a BREAK.  ``ranges``: ``(first piece, end, factor, bracket)`` in the order
    in which brackets closed.  ``unclosed``: columns of brackets left open.  ``closed``: columns of the
    ``)`` of plain brackets.  ``malformed``: columns of numbers that are none.
    """

    texts: list[str] = field(default_factory=list[str])
    weights: list[float] = field(default_factory=list[float])
    columns: list[int] = field(default_factory=list[int])
    breaks: list[int] = field(default_factory=list[int])
    ranges: list[tuple[int, int, float, str]] = field(default_factory=list[tuple[int, int, float, str]])
    unclosed: list[int] = field(default_factory=list[int])
    closed: list[int] = field(default_factory=list[int])
    malformed: list[int] = field(default_factory=list[int])

    def add(self, text: str, column: int, weight: float = 1.0) -> None:
        """Add a piece."""
        self.texts.append(text)
        self.weights.append(weight)
        self.columns.append(column)

    def add_run(self, run: str, column: int) -> None:
        """Add a run of plain text, cut at each BREAK."""
        if "BREAK" not in run:
            self.add(run, column)
            return
        begin = 0
        for match in _BREAK.finditer(run):
            part = run[begin : match.start()]
            self.add(part.strip() if begin else part.rstrip(), column + begin)
            self.breaks.append(len(self.texts))
            self.add(BREAK[0], column + match.start(), BREAK[1])
            begin = match.end()
        rest = run[begin:]
        self.add(rest.lstrip() if begin else rest, column + begin)

    def close(self, opened: tuple[int, int], factor: float, kind: str) -> None:
        """Close a bracket that was opened at a piece and a column."""
        self.ranges.append((opened[0], len(self.texts), factor, kind))


def parse_weights(
    text: str, emphasis: str = "Original", *, break_in_brackets: bool = False
) -> list[tuple[str, float]]:
    """Return the pieces of ``text`` and their weights; a break is ``("BREAK", -1.0)``.

    Adjacent pieces of equal weight are joined; products are taken in the order in which brackets close,
    so that they equal A1111's to the last bit (beyond 64 levels of nesting: to rounding).  With
    ``emphasis="None"`` the text is one piece.  Never raises: a malformed number (``(a:1.2.3)``) is text
    inside a plain bracket.  ``break_in_brackets``: a BREAK inside a weighted bracket is a break, not the
    word at a negative weight.

    Source: A1111 1.9.4; tests/golden/prompts/attention.jsonl.gz.
    """
    if emphasis == "None":
        return [(text, 1.0)]
    reading = read_brackets(text)
    if not reading.texts:
        return [("", 1.0)]
    if break_in_brackets:
        return _joined_between_breaks(reading)
    return _joined(reading.texts, reading.weights)


def read_brackets(text: str) -> Reading:
    """Return the pieces of ``text`` with their final weights, not yet joined."""
    reading = Reading()
    rounds: list[tuple[int, int]] = []
    squares: list[tuple[int, int]] = []
    for match in _TOKEN.finditer(text):
        token, column = match.group(), match.start()
        if token[0] not in _SIGNS:
            reading.add_run(token, column)
        elif token[0] == "\\":
            reading.add(token[1:], column)
        elif token == "(":
            rounds.append((len(reading.texts), column))
        elif token == "[":
            squares.append((len(reading.texts), column))
        elif token[-1] == ")" and rounds:
            _close_round(reading, rounds.pop(), match)
        elif token == "]" and squares:
            reading.close(squares.pop(), SQUARE, "[")
        else:
            reading.add_run(token, column)
    for stack, factor, kind in ((rounds, ROUND, "("), (squares, SQUARE, "[")):
        for opened in reversed(stack):
            reading.close(opened, factor, kind)
            reading.unclosed.append(opened[1])
    _multiply(reading)
    return reading


def _close_round(reading: Reading, opened: tuple[int, int], match: re.Match[str]) -> None:
    """Close a round bracket at ``)`` or at ``:number)``."""
    written = match.group(1)
    number = _number(written)
    if number is None:
        reading.closed.append(match.end() - 1)
        if written is not None:
            reading.malformed.append(match.start())
            reading.add_run(match.group()[:-1], match.start())
    reading.close(opened, ROUND if number is None else number, "(")


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _multiply(reading: Reading) -> None:
    """Multiply each range of weights by its factor."""
    weights = reading.weights
    work = sum(end - start for start, end, _, _ in reading.ranges)
    if work > EXACT_WORK * (len(weights) + 64):
        _multiply_deep(reading)
        return
    for start, end, factor, _ in reading.ranges:
        for i in range(start, end):
            weights[i] *= factor


def _multiply_deep(reading: Reading) -> None:
    """Do the same in linear time: read backwards, brackets of one kind are a stack of products."""
    factors: dict[str, list[tuple[int, float]]] = {"(": [(-1, 1.0)], "[": [(-1, 1.0)]}
    todo = reading.ranges
    last = len(todo) - 1
    for i in range(len(reading.weights) - 1, -1, -1):
        for stack in factors.values():
            while stack[-1][0] > i:
                stack.pop()
        while last >= 0 and todo[last][1] > i:
            start, end, factor, kind = todo[last]
            if start < end:
                factors[kind].append((start, factors[kind][-1][1] * factor))
            last -= 1
        reading.weights[i] *= factors["("][-1][1] * factors["["][-1][1]


def _joined_between_breaks(reading: Reading) -> list[tuple[str, float]]:
    joined: list[tuple[str, float]] = []
    begin = 0
    for end in [*reading.breaks, len(reading.texts)]:
        if begin:
            joined.append(BREAK)
        joined += _joined(reading.texts[begin:end], reading.weights[begin:end])
        begin = end + 1
    return joined


def _joined(texts: list[str], weights: list[float]) -> list[tuple[str, float]]:
    joined: list[tuple[str, float]] = []
    begin = 0
    for i in range(1, len(texts) + 1):
        if i == len(texts) or weights[i] != weights[begin]:
            joined.append(("".join(texts[begin:i]), weights[begin]))
            begin = i
    return joined
