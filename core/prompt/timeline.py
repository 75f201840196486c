"""Tree → the texts of every segment of a run, fades included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .schedule import Clock, ends, text_at
from .tree import Group, Tree

MOST_FADE_LEVELS = 8


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The texts that hold up to step ``end``, with shares that sum to 1; more than one only inside a fade."""

    end: int
    texts: tuple[tuple[str, float], ...]


def timeline(tree: Tree, clock: Clock) -> list[Mix]:
    """Return what holds up to which step, ``end`` ascending, counted from 1."""
    if not any(group.kind == "fade" for group in tree.groups):
        return [Mix(end=end, texts=((text_at(tree, end, clock), 1.0),)) for end in ends(tree, clock)]
    return [Mix(end=end, texts=_mixed(tree, end, clock)) for end in _ends_with_fades(tree, clock)]


def _ends_with_fades(tree: Tree, clock: Clock) -> list[int]:
    found = set(ends(tree, clock))
    for group in tree.groups:
        if group.kind == "fade":
            first, last = (clock.position(number) for number in group.when)
            low, high = max(int(min(first, clock.steps)), 0), min(last + 1, clock.steps)
            found.update(range(low, int(high) + 1))
    return sorted(end for end in found if end >= 1)


def fade_share(group: Group, step: int, clock: Clock) -> float:
    """Return the share of a fade's second option, in [0, 1], at the middle of ``step`` (from 1)."""
    first, last = (clock.position(number) for number in group.when)
    middle = step - 0.5
    if last <= first or middle >= last:
        return float(middle >= first)
    return max(0.0, (middle - first) / (last - first))


def _mixed(tree: Tree, step: int, clock: Clock) -> tuple[tuple[str, float], ...]:
    """Return texts and shares at ``step``.

    All fades share one threshold that runs from 0 to 1: a fade is past it where its own share is
    larger.  So each fade has its share, and n fades need at most n + 1 texts.
    """
    shares = {id(group): fade_share(group, step, clock) for group in tree.groups if group.kind == "fade"}
    levels = _levels(set(shares.values()))
    mixed: dict[str, float] = {}
    for low, high in reversed(list(pairwise(levels))):
        threshold = (low + high) / 2

        def choose(group: Group, threshold: float = threshold) -> int:
            if group.kind == "fade":
                return int(shares[id(group)] > threshold)
            if group.kind == "alternation":
                return (step - 1) % len(group.options)
            return 0 if step <= clock.last_before(group.when[0]) else 1

        text = tree.render(choose)
        mixed[text] = mixed.get(text, 0.0) + high - low
    return tuple(mixed.items())


def _levels(shares: set[float]) -> Sequence[float]:
    """Return 0, the shares between, 1; a fixed grid where they are so many that each would cost a text."""
    between = sorted(share for share in shares if 0 < share < 1)
    if len(between) > MOST_FADE_LEVELS:
        between = [i / MOST_FADE_LEVELS for i in range(1, MOST_FADE_LEVELS)]
    return [0.0, *between, 1.0]
