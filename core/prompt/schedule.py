"""Tree → which text holds up to which step, and which text a denoiser call uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .grammar import parse
from .tree import Group, Tree


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How numbers in a prompt become steps of a pass.

    ``steps``: the steps of the pass; ``fraction_from``, ``step_from``: what is taken off a number with
    and without a dot (the hires pass counts on from the first); ``old``: A1111's old timeline, where
    every number below 1 is a fraction.
    """

    steps: int
    fraction_from: float = 0.0
    step_from: int = 0
    old: bool = False

    @classmethod
    def of(cls, steps: int, hires_steps: int | None = None, old: bool = False) -> Clock:
        """Return the clock of the first pass, or of the hires pass when ``hires_steps`` is given."""
        if hires_steps is None or old:
            return cls(steps=steps, old=old)
        return cls(steps=hires_steps, fraction_from=1.0, step_from=steps)

    def position(self, number: str) -> float:
        """Return where ``number`` lies on the axis of steps, not yet cut to whole steps."""
        value = float(number)
        if self.old:
            return value * self.steps if value < 1 else value
        return (value - self.fraction_from) * self.steps if "." in number else value - self.step_from

    def last_before(self, number: str) -> int:
        """Return the last step before the switch that ``number`` names, at most the last step."""
        position = self.position(number)
        if math.isinf(position):
            return self.steps if position > 0 else 0
        return min(self.steps, int(position))


def ends(tree: Tree, clock: Clock) -> list[int]:
    """Return the last step of each segment, ascending; the last is the last step of the pass."""
    found = {clock.steps}
    if any(group.kind == "alternation" for group in tree.groups):
        found.update(range(1, clock.steps + 1))
    found.update(clock.last_before(group.when[0]) for group in tree.groups if group.kind == "edit")
    return sorted(end for end in found if end >= 1 or end == clock.steps)


def text_at(tree: Tree, step: int, clock: Clock) -> str:
    """Return the text that holds at ``step``, counted from 1."""

    def choose(group: Group) -> int:
        if group.kind == "alternation":
            return (step - 1) % len(group.options)
        return 0 if step <= clock.last_before(group.when[0]) else 1

    return tree.render(choose)


def parse_schedule(
    text: str, steps: int, hires_steps: int | None = None, legacy: bool = False
) -> list[tuple[int, str]]:
    """Return ``(last step, text)`` of each segment of one AND part, ascending, by A1111's rules.

    ``steps``: steps of the first pass, doubled for samplers that call the denoiser twice a step.  With
    ``hires_steps`` the answer is that of the hires pass.  ``legacy``: A1111's old timeline.  Equal texts
    are not joined.  Never raises on any text.

    Source: A1111 1.9.4; tests/golden/prompts/schedules.jsonl.gz.
    """
    tree = parse(text)
    clock = Clock.of(steps, hires_steps, legacy)
    return [(end, text_at(tree, end, clock)) for end in ends(tree, clock)]


def text_for_call(schedule: Sequence[tuple[int, str]], call: int) -> str:
    """Return the text that denoiser call ``call`` (from 0) uses, by A1111's rule.

    The first segment whose end is not before ``call``: the first one thus lasts one call longer than its
    steps, and calls past the last end fall back to the first text.
    """
    return next((text for end, text in schedule if call <= end), schedule[0][1])
