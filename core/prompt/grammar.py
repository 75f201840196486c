"""Text → tree, in one pass: a well-formed group is a group, anything else is text.

Groups: ``(P)``, ``(P:P)``, ``[P]``, ``[P:P:N]``, ``[P:N]``, ``[P|P|…]``, where P is text and groups,
possibly empty, and N is a number.  Round brackets and ``[P]`` are only weights, so here they merely
nest.

A1111 leaves the choice between readings to a parser whose answer depends on the program start where a
group is directly followed by a bracket or colon that is text; wherever its answer is steady, it is this
rule's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import chain

from .tree import Fault, Group, Span, Tree

_SIGN = re.compile(r"[()\[\]:|]|\\.|\\")
_SIGN_OR_TAG = re.compile(r"[()\[\]:|]|\\.|\\|<\w+:[^>]+>")
_UNSIGNED = r"(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?"
_WHEN = re.compile(rf"\s*([+-]?{_UNSIGNED})\s*")
_BARS_COLON = re.compile(r"\|+:")
_FADE = re.compile(rf"\s*({_UNSIGNED})\s*-\s*({_UNSIGNED})\s*")


@dataclass(frozen=True, kw_only=True)
class Leniency:
    """How far the grammar goes beyond A1111's.

    ``forgiving``: a stray bar, a lone backslash or a bad bracket is text and spoils nothing round it.
    ``fades``: ``[a:b:0.2-0.6]``.  ``weighted_alternation``: ``(a|b:1.2)``.  ``tags``: ``<name:args>`` is
    one piece of text.
    """

    forgiving: bool = False
    fades: bool = False
    weighted_alternation: bool = False
    tags: bool = False


STRICT = Leniency()


@dataclass
class _Frame:
    """An open bracket; ``separators`` are ``(column, sign, groups read before)``."""

    sign: str
    start: int
    first_group: int
    separators: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])

    @property
    def signs(self) -> str:
        return "".join(sign for _, sign, _ in self.separators)


class _LiteralError(Exception):
    """The whole text is literal; carries the column of the sign that makes it so."""


class _Parser:
    def __init__(self, source: str, leniency: Leniency) -> None:
        self.source = source
        self.lenient = leniency
        self.frames: list[_Frame] = []
        self.open: list[Group] = []  # groups read and not yet taken into a larger one
        self.groups: list[Group] = []
        self.faults: list[Fault] = []
        self.count = {"(": 0, "[": 0}  # open brackets by sign

    def parse(self) -> Tree:
        source = self.source
        # no tag ends after the last ">": without the bound, each "<a:" would read the rest of the text
        tags_end = source.rfind(">") + 1 if self.lenient.tags else 0
        for match in chain(_SIGN_OR_TAG.finditer(source, 0, tags_end), _SIGN.finditer(source, tags_end)):
            sign = match.group()
            if len(sign) == 1:
                self._special(sign, match.start())
        while self.frames:
            self._void(self.frames.pop())
        root = Span(0, len(source), tuple(self.open))
        return Tree(source, root, tuple(self.groups), faults=tuple(self.faults))

    def _special(self, sign: str, at: int) -> None:
        if sign in "([":
            self.count[sign] += 1
            self.frames.append(_Frame(sign, at, len(self.open)))
        elif sign in ")]":
            self._close("(" if sign == ")" else "[", at)
        elif self.frames and sign != "\\":
            self.frames[-1].separators.append((at, sign, len(self.open)))
        elif sign in "|\\" and not self.lenient.forgiving:
            raise _LiteralError(at)

    def _close(self, opener: str, at: int) -> None:
        if self.lenient.forgiving and not self.count[opener]:
            self._stray_closer(at)
        elif self.lenient.forgiving:
            self._build(self._popped_to(opener), at)
        elif self.frames and self.frames[-1].sign != opener:
            self.faults.append(Fault(code="mixed-brackets", start=self.frames[-1].start, end=at + 1))
            self._void_all()
        elif self.frames and not self._build(self.frames[-1], at):
            self._void_all()
        elif self.frames:
            self._pop()

    def _popped_to(self, opener: str) -> _Frame:
        """Return the innermost open ``opener``; brackets opened after it become text, their signs its own."""
        inner: list[_Frame] = []
        while self.frames[-1].sign != opener:
            inner.append(self._pop())
        frame = self._pop()
        for text in reversed(inner):
            _drop_colon(frame, text.start - 1)
            frame.separators += text.separators
        return frame

    def _pop(self) -> _Frame:
        frame = self.frames.pop()
        self.count[frame.sign] -= 1
        return frame

    def _stray_closer(self, at: int) -> None:
        """Take a closing bracket as text, and with it the colon of an emoticon such as ``:)``."""
        if self.frames:
            _drop_colon(self.frames[-1], at - 1)

    def _void(self, frame: _Frame) -> None:
        """Make an open bracket text; a bar in it then stands outside every group."""
        if not self.lenient.forgiving:
            for column, sign, _ in frame.separators:
                if sign == "|":
                    raise _LiteralError(column)

    def _void_all(self) -> None:
        for frame in self.frames:
            self._void(frame)
        self.frames.clear()
        self.count = {"(": 0, "[": 0}

    def _build(self, frame: _Frame, at: int) -> bool:
        """Close ``frame`` at column ``at``; return whether it is well-formed, else note it."""
        well_formed = self._built(frame, at)
        if not well_formed and (frame.sign == "[" or self.count["["]):
            self.faults.append(Fault(code="not-an-edit", start=frame.start, end=at + 1))
        return well_formed

    def _built(self, frame: _Frame, at: int) -> bool:
        signs = frame.signs
        bars = signs.strip("|") == "" and signs != ""
        if frame.sign == "(":
            if signs in ("", ":"):
                return True
            return self._weighted_alternation(frame, at)
        if signs == "":
            return True
        if bars:
            self._take(frame, Group("alternation", frame.start, at + 1, self._spans(frame, at)))
            return True
        return signs in (":", "::") and self._scheduled(frame, at)

    def _scheduled(self, frame: _Frame, at: int) -> bool:
        column, _, groups = frame.separators[-1]
        if groups != len(self.open):
            return False
        when = _WHEN.fullmatch(self.source, column + 1, at)
        fade = None if when or not self.lenient.fades else _FADE.fullmatch(self.source, column + 1, at)
        number = when or fade
        if number is None:
            return False
        spans = self._spans(frame, at)[:-1]
        options = spans if len(spans) == 2 else (Span(frame.start, frame.start), *spans)
        kind = "edit" if when else "fade"
        self._take(frame, Group(kind, frame.start, at + 1, options, number.groups()))
        return True

    def _weighted_alternation(self, frame: _Frame, at: int) -> bool:
        if not self.lenient.weighted_alternation or not _BARS_COLON.fullmatch(frame.signs):
            return False
        column = frame.separators[-1][0]
        if not _WHEN.fullmatch(self.source, column + 1, at):
            return False
        after = self.source[column : at + 1]
        spans = self._spans(frame, at)[:-1]
        self._take(frame, Group("alternation", frame.start, at + 1, spans, before="(", after=after))
        return True

    def _spans(self, frame: _Frame, at: int) -> tuple[Span, ...]:
        ends = [*frame.separators, (at, "", len(self.open))]
        spans: list[Span] = []
        start, first = frame.start + 1, frame.first_group
        for column, _, groups in ends:
            spans.append(Span(start, column, tuple(self.open[first:groups])))
            start, first = column + 1, groups
        return tuple(spans)

    def _take(self, frame: _Frame, group: Group) -> None:
        del self.open[frame.first_group :]
        self.open.append(group)
        self.groups.append(group)


def _drop_colon(frame: _Frame, column: int) -> None:
    """Make the last separator of ``frame`` text if it is a colon at ``column``."""
    if frame.separators and frame.separators[-1][:2] == (column, ":"):
        frame.separators.pop()


def parse(source: str, leniency: Leniency = STRICT) -> Tree:
    """Return the tree of ``source``; never raises.

    Takes time in proportion to the length, at any depth.  By A1111's rules a ``|`` outside a group, a
    backslash at the end or one before a line break makes the whole text literal.
    """
    try:
        return _Parser(source, leniency).parse()
    except _LiteralError as failure:
        return Tree(source, Span(0, len(source)), failed_at=int(failure.args[0]))
