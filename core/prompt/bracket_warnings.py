"""Traps of brackets: edits that are none or never come, weights that are not meant."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from .conjunction import and_spans
from .grammar import Leniency, parse
from .places import Place, places_of, without_edits
from .plan import clock_of
from .tree import Group
from .warnings import Findings
from .weights import BREAK, Reading, read_brackets

if TYPE_CHECKING:
    from .plan import PromptPlan

HEAVY = 1.6
_EYES = ":;=8xX"


def bracket_warnings(plan: PromptPlan, findings: Findings) -> None:
    """Find the traps of brackets."""
    if plan.dialect.syntax == "comfyui":
        _heavy_segments(plan, findings)
        return
    for place in places_of(plan):
        _failure(place, findings)
        _faults(plan, place, findings)
        _switches(plan, place, findings)
        _weights(plan, place, findings)
    _cut_by_and(plan, findings)


def _failure(place: Place, findings: Findings) -> None:
    at = place.tree.failed_at
    if at is None or not parse(place.tree.source, Leniency(forgiving=True)).groups:
        return
    sign = place.tree.source[at]
    message = f"this {'|' if sign == '|' else 'backslash'} turns off all prompt editing"
    advice = "take it out" if sign == "\\" else "take it out, or write \\|"
    findings.add("stray-bar" if sign == "|" else "lone-backslash", place.span(at, at + 1), message, advice)


def _faults(plan: PromptPlan, place: Place, findings: Findings) -> None:
    for fault in place.tree.faults:
        span = place.span(fault.start, fault.end)
        if fault.code == "mixed-brackets":
            emoticon = place.tree.source[fault.end - 2] in _EYES
            what = "this emoticon closes no bracket" if emoticon else "brackets are closed in the wrong order"
            advice = (
                f"write \\{place.tree.source[fault.end - 1]}" if emoticon else "close the inner bracket first"
            )
            findings.add(fault.code, span, what + "; every one that is open here is plain text", advice)
        else:
            what = (
                "this is no edit but plain text"
                if place.tree.source[fault.start] == "["
                else "too many colons"
            )
            also = "" if plan.dialect.forgiving_brackets else ": every bracket round it is plain text too"
            findings.add(fault.code, span, what + also, "write [from:to:when], a colon in a word as \\:")


def _switches(plan: PromptPlan, place: Place, findings: Findings) -> None:
    clock = clock_of(plan.steps, plan.dialect, plan.run)
    # A1111 uses the first text while the call, counted from 0, is not past the number
    last_call = plan.calls - 1
    last = last_call // plan.run.calls_per_step if plan.dialect.exact_switch else last_call
    for group in place.tree.groups:
        if group.kind == "alternation":
            continue
        before = clock.last_before(group.when[0])
        span = place.span(group.start, group.end)
        never = before > last if plan.dialect.exact_switch else before >= last
        if never:
            findings.add("never-switches", span, *_why_never(plan, group, before))
        elif before < 1 and plan.run.hires_steps is None and group.kind == "edit":
            advice = "a number without a dot is a step, 0.5 is half of the run"
            findings.add("switches-at-once", span, f"at {group.when[0]} the first text is never used", advice)


def _why_never(plan: PromptPlan, group: Group, before: int) -> tuple[str, str]:
    number, run = group.when[0], plan.run
    message = f"at {number} the second text never comes"
    if "." in number and float(number) > 1 and run.hires_steps is None:
        return message, "numbers above 1.0 are for the hires pass; write a fraction below 1 for the first"
    if "." in number and float(number) == 1:
        return message, "1.0 is the end of the pass; write 1 for the first step, or a smaller fraction"
    if run.denoise < 1 and before < plan.steps:
        steps = run.steps_run(plan.steps)
        return message, f"only {steps} of {plan.steps} steps run at this strength; write a smaller number"
    return message, f"the run has {plan.calls} model calls; write a smaller number"


def _weights(plan: PromptPlan, place: Place, findings: Findings) -> None:
    masked = without_edits(place.tree)
    reading = read_brackets(masked)
    for column in sorted(reading.unclosed):
        _unclosed(place, masked, column, findings)
    for column in reading.closed:
        if column and masked[column - 1] in _EYES:
            message = "this emoticon closes a bracket"
            findings.add("emoticon-closes-bracket", place.span(column - 1, column + 1), message, "write \\)")
    for column in reading.malformed:
        message = "this is no number: it is text, and the bracket weighs 1.1"
        findings.add(
            "malformed-number", place.span(column, column + 1), message, "write a number such as 1.2"
        )
    if not plan.dialect.break_in_brackets:
        for i in reading.breaks:
            if reading.weights[i] != BREAK[1]:
                column = reading.columns[i]
                message = f"BREAK in a bracket is a word of weight {reading.weights[i]:.3g}"
                findings.add(
                    "break-in-bracket", place.span(column, column + 5), message, "close the bracket first"
                )
    _heavy(place, reading, findings)


def _unclosed(place: Place, masked: str, column: int, findings: Findings) -> None:
    factor = "1.1" if masked[column] == "(" else "0.91"
    message = f"this bracket is never closed: all that follows weighs {factor}"
    if column and masked[column - 1] in _EYES:
        span = place.span(column - 1, column + 1)
        findings.add("emoticon-opens-bracket", span, message, f"write \\{masked[column]}")
    else:
        advice = f"close it, or write \\{masked[column]}"
        findings.add("open-bracket", place.span(column, column + 1), message, advice)


def _heavy(place: Place, reading: Reading, findings: Findings) -> None:
    for text, weight, column in zip(reading.texts, reading.weights, reading.columns, strict=True):
        if weight > HEAVY and text.strip():
            start = column + len(text) - len(text.lstrip())
            span = place.span(start, start + len(text.strip()))
            message = f"a weight of {weight:.3g} usually spoils the picture"
            findings.add("heavy-weight", span, message, f"stay below {HEAVY}")


def _heavy_segments(plan: PromptPlan, findings: Findings) -> None:
    at = 0
    for text, weight in plan.parts[0].segments[0].pieces:
        found = plan.text.find(text, at)
        if found < 0:
            continue
        at = found + len(text)
        if weight > HEAVY and text.strip():
            message = f"a weight of {weight:.3g} usually spoils the picture"
            findings.add("heavy-weight", (found, at), message, f"stay below {HEAVY}")


def _cut_by_and(plan: PromptPlan, findings: Findings) -> None:
    if plan.run.negative or len(plan.parts) == 1:
        return
    columns = [start for start, _ in and_spans(plan.text)[1:]]
    for group in parse(plan.text, Leniency(forgiving=True, tags=True)).groups:
        i = bisect_left(columns, group.start)
        if i < len(columns) and columns[i] < group.end:
            message = "AND cuts this bracket in two; both halves are plain text"
            findings.add(
                "and-in-bracket", (columns[i] - 3, columns[i]), message, "close the bracket before AND"
            )
