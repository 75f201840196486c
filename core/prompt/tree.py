"""What a prompt text means: edits, alternations and fades as spans of it, and the text at a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["edit", "alternation", "fade"]


@dataclass(frozen=True, eq=False, repr=False)
class Span:
    """``source[start:end]`` with groups in it, in order and apart from each other."""

    start: int
    end: int
    holes: tuple[Group, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Group:
    """A group that changes over the run, at ``source[start:end]``.

    ``options``: what it may become (an edit and a fade have two: before and after).  ``when``: the
    number that is written in the text, two for a fade, none for an alternation.  ``before``, ``after``:
    what stands round the chosen option (a weighted alternation keeps its bracket and weight).
    """

    kind: Kind
    start: int
    end: int
    options: tuple[Span, ...]
    when: tuple[str, ...] = ()
    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A bracket at ``source[start:end]`` that is not what it looks like.

    ``mixed-brackets``: it is closed by the wrong sign.  ``not-an-edit``: it has colons or bars and no
    valid form.
    """

    code: Literal["mixed-brackets", "not-an-edit"]
    start: int
    end: int


@dataclass(frozen=True, eq=False, repr=False)
class Tree:
    """A parsed prompt: the whole as a span, all its groups in order of closing, and what is wrong with it.

    ``failed_at``: column of the sign that makes the whole text literal, else ``None``; then there are no
    groups.
    """

    source: str
    root: Span
    groups: tuple[Group, ...] = ()
    failed_at: int | None = None
    faults: tuple[Fault, ...] = ()

    @classmethod
    def literal(cls, source: str) -> Tree:
        """Return the tree of a text without groups."""
        return cls(source, Span(0, len(source)))

    def render(self, choose: Callable[[Group], int]) -> str:
        """Return the text with each group replaced by the option whose index ``choose`` returns."""
        if not self.groups:
            return self.source
        out: list[str] = []
        todo: list[str | Span] = [self.root]
        while todo:
            item = todo.pop()
            if isinstance(item, str):
                out.append(item)
            elif item.holes:
                todo += reversed(self._opened(item, choose))
            else:
                out.append(self.source[item.start : item.end])
        return "".join(out)

    def _opened(self, span: Span, choose: Callable[[Group], int]) -> list[str | Span]:
        parts: list[str | Span] = []
        at = span.start
        for group in span.holes:
            option = group.options[choose(group)]
            parts += (self.source[at : group.start], group.before, option, group.after)
            at = group.end
        parts.append(self.source[at : span.end])
        return parts
