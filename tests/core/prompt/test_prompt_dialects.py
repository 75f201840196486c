"""The switches of a dialect, one example a row; the table stands in core/prompt/DIALECTS.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from pathlib import Path

import pytest
from sd_concord.core.prompt import Dialect, PromptPlan, RunShape, plan

DOCS = Path(__file__).parents[3] / "core" / "prompt" / "DIALECTS.md"
SETTINGS = {"syntax", "comma_backtrack", "old_timeline", "comments"}


def runs(entries: list[str]) -> str:
    return ", ".join(f"{text} ×{len(list(same))}" for text, same in groupby(entries))


def texts(laid: PromptPlan) -> str:
    return runs([f"`{laid.parts[0].segment_at(call).text}`" for call in range(laid.calls)])


def texts_and_two_more(laid: PromptPlan) -> str:
    return runs([f"`{laid.parts[0].segment_at(call).text}`" for call in range(laid.calls + 2)])


def pieces(laid: PromptPlan) -> str:
    return ", ".join(f"`{text}` {weight:g}" for text, weight in laid.parts[0].segments[0].pieces)


def weights(laid: PromptPlan) -> str:
    return f"`{laid.parts[0].text}`, guidance × {laid.parts[0].weight:g}"


def networks(laid: PromptPlan) -> str:
    active = [[tag.positional[0] for tag in laid.networks_at(call)] for call in range(laid.calls)]
    return runs([" ".join(names) or "none" for names in active])


def shares(laid: PromptPlan) -> str:
    segments = [laid.parts[0].segment_at(call) for call in range(laid.calls)]
    return runs([" + ".join(f"{v.share:g} `{v.text}`" for v in segment.variants) for segment in segments])


@dataclass(frozen=True, kw_only=True)
class Row:
    switch: str
    prompt: str
    a1111: str
    mended: str
    show: Callable[[PromptPlan], str] = texts
    steps: int = 4
    run: RunShape = field(default_factory=RunShape)


HALF, TWO_CALLS = RunShape(denoise=0.5), RunShape(calls_per_step=2)
ROWS = [
    Row(
        switch="forgiving_brackets",
        prompt="x|y [a:b:0.5]",
        a1111="`x|y [a:b:0.5]` ×4",
        mended="`x|y a` ×3, `x|y b` ×1",
    ),
    Row(
        switch="forgiving_brackets",
        prompt="[a (c:b:0.5]",
        a1111="`[a (c:b:0.5]` ×4",
        mended="`a (c` ×3, `b` ×1",
    ),
    Row(
        switch="forgiving_brackets",
        prompt="[(species:x:1.2):b:0.5]",
        a1111="`[(species:x:1.2):b:0.5]` ×4",
        mended="`(species:x:1.2)` ×3, `b` ×1",
    ),
    Row(
        switch="forgiving_brackets",
        prompt="[:) a:b:0.5]",
        a1111="`[:) a:b:0.5]` ×4",
        mended="`:) a` ×3, `b` ×1",
    ),
    Row(
        switch="forgiving_brackets",
        prompt="[a :( c:b:0.5]",
        a1111="`[a :( c:b:0.5]` ×4",
        mended="`a :( c` ×3, `b` ×1",
    ),
    Row(
        switch="forgiving_brackets",
        prompt="[a:b:0.5] \\",
        a1111="`[a:b:0.5] \\` ×4",
        mended="`a \\` ×3, `b \\` ×1",
    ),
    Row(
        switch="weighted_alternation",
        prompt="(a|b:1.2)",
        a1111="`(a|b:1.2)` ×4",
        mended="`(a:1.2)` ×2, `(b:1.2)` ×1, `(a:1.2)` ×1",
    ),
    Row(
        switch="break_in_brackets",
        prompt="(a BREAK b:1.2)",
        a1111="`a` 1.2, `BREAK` -1.2, `b` 1.2",
        mended="`a` 1.2, `BREAK` -1, `b` 1.2",
        show=pieces,
    ),
    Row(
        switch="weight_needs_and",
        prompt="a cat, 16:9",
        a1111="`a cat, 16`, guidance × 9",
        mended="`a cat, 16:9`, guidance × 1",
        show=weights,
    ),
    Row(
        switch="exact_switch",
        prompt="[a:b:2]",
        a1111="`a` ×3, `b` ×1",
        mended="`a` ×2, `b` ×2",
    ),
    Row(
        switch="exact_switch",
        prompt="[a|b]",
        a1111="`a` ×2, `b` ×1, `a` ×1",
        mended="`a` ×1, `b` ×1, `a` ×1, `b` ×1",
    ),
    Row(
        switch="exact_switch",
        prompt="[a:b:2]",
        a1111="`a` ×3, `b` ×5",
        mended="`a` ×4, `b` ×4",
        run=TWO_CALLS,
    ),
    Row(
        switch="keep_last_text",
        prompt="[a:b:2]",
        a1111="`a` ×3, `b` ×2, `a` ×1",
        mended="`a` ×3, `b` ×3",
        show=texts_and_two_more,
    ),
    Row(
        switch="edits_fit_denoise",
        prompt="[a:b:0.5]",
        a1111="`a` ×5",
        mended="`a` ×3, `b` ×2",
        steps=8,
        run=HALF,
    ),
    Row(
        switch="scheduled_networks",
        prompt="a [<lora:x:1>::0.5]",
        a1111="x ×4",
        mended="x ×3, none ×1",
        show=networks,
    ),
    Row(
        switch="scheduled_networks",
        prompt="[<lora:x:1>|b]",
        a1111="x ×4",
        mended="x ×2, none ×1, x ×1",
        show=networks,
    ),
    Row(
        switch="fades",
        prompt="[a:b:0.2-0.6]",
        a1111="1 `[a:b:0.2-0.6]` ×5",
        mended="1 `a` ×2, 0.75 `a` + 0.25 `b` ×1, 0.25 `a` + 0.75 `b` ×1, 1 `b` ×1",
        show=shares,
        steps=5,
    ),
]
NAMES = [f"{row.switch}-{i}" for i, row in enumerate(ROWS)]


def shown(row: Row, dialect: Dialect) -> str:
    return row.show(plan(row.prompt, row.steps, dialect=dialect, run=row.run))


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_without_the_switch_it_is_as_in_a1111(row: Row) -> None:
    assert shown(row, Dialect.a1111()) == row.a1111


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_with_the_switch_alone_the_trap_is_mended(row: Row) -> None:
    assert shown(row, replace(Dialect.a1111(), **{row.switch: True})) == row.mended


def test_every_row_shows_a_difference() -> None:
    assert [row.prompt for row in ROWS if row.a1111 == row.mended] == []


def switches() -> set[str]:
    return {one.name for one in fields(Dialect)} - SETTINGS


def test_every_switch_has_a_row() -> None:
    assert {row.switch for row in ROWS} == switches()


def test_concord_has_every_switch_on_and_a1111_none() -> None:
    assert {name for name in switches() if getattr(Dialect.concord(), name)} == switches()
    assert {name for name in switches() if getattr(Dialect.a1111(), name)} == set()


def table() -> str:
    """Return the table as Markdown; vertical bars are escaped in cells."""
    head = "| switch | prompt | run | A1111 | with the switch |\n|---|---|---|---|---|\n"
    lines: list[str] = []
    for row in ROWS:
        run = f"{row.steps} steps"
        run += f", denoise {row.run.denoise:g}" if row.run.denoise < 1 else ""
        run += f", {row.run.calls_per_step} calls a step" if row.run.calls_per_step > 1 else ""
        run += ", 2 calls past the end" if row.show is texts_and_two_more else ""
        cells = [f"`{row.switch}`", f"`{row.prompt}`", run, row.a1111, row.mended]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return head + "".join(lines)


def test_the_table_stands_in_the_docs() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")
