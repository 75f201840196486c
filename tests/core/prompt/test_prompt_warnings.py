"""The traps a prompt steps into, where they are, and how they are shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sd_concord.core.prompt import Dialect, Known, RunShape, draw_warning, plan
from sd_concord.core.prompt.warnings import MOST_OF_A_KIND, PromptWarning

LONG = "a very long tag that goes on and on without any comma in it for more than twenty tokens until the chunk ends"
SENTENCE = f"{'word ' * 52}, {LONG}, end"
CASES = [
    ("emoticon-opens-bracket", "a cat :( on grass", ":("),
    ("emoticon-closes-bracket", "(a smile :) on (grass", ":)"),
    ("open-bracket", "a (cat on grass", "("),
    ("open-bracket", "a [cat on grass", "["),
    ("never-switches", "x [a:b:1.0]", "[a:b:1.0]"),
    ("never-switches", "x [a:b:1.4]", "[a:b:1.4]"),
    ("never-switches", "x [a:b:19]", "[a:b:19]"),
    ("never-switches", "x [a:1.2]", "[a:1.2]"),
    ("switches-at-once", "x [a:b:0.01]", "[a:b:0.01]"),
    ("switches-at-once", "x [a:b:1e-1]", "[a:b:1e-1]"),
    ("not-an-edit", "x [species:seal:species:cat:0.5]", "[species:seal:species:cat:0.5]"),
    ("not-an-edit", "x [species:seal]", "[species:seal]"),
    ("not-an-edit", "x [(artist:y:1.2):b:0.5]", "(artist:y:1.2)"),
    ("mixed-brackets", "x ([a)b]", "[a)"),
    ("mixed-brackets", "x [:):b:0.5]", "[:)"),
    ("stray-bar", "a|b [c:d:0.5]", "|"),
    ("lone-backslash", "[c:d:0.5] \\", "\\"),
    ("malformed-number", "(a:1.2.3)", ":"),
    ("break-in-bracket", "(a BREAK b:1.2)", "BREAK"),
    ("heavy-weight", "a (very red:1.7) ball", "very red"),
    ("heavy-weight", "a ((((( red))))) ball", "red"),
    ("full-width-bracket", "a （cat", "（"),
    ("trailing-weight", "a cat, 16:9", ":9"),
    ("and-in-bracket", "[a AND b:c:0.5]", "AND"),
    ("keyword-not-apart", "日本AND猫", "AND"),
    ("keyword-not-apart", "BREAK猫", "BREAK"),
    ("comment", "a cat # grey", " # grey"),
    ("network-in-edit", "[<lora:x:1>::0.5]", "<lora:x:1>"),
    ("unknown-tag", "<lara:x:1>", "<lara:x:1>"),
    ("embedding-prefix", "a embedding:foo b", "embedding:foo"),
    ("break-almost-empty", "a cat BREAK a dog", "BREAK"),
    ("artist-among-content", "a castle, by Greg Rutkowski, forest", "by Greg Rutkowski"),
    ("tag-cut", SENTENCE, LONG),
]
NAMES = [f"{code}-{i}" for i, (code, _, _) in enumerate(CASES)]


OTHERS = {"and-in-negative", "network-in-negative", "unknown-network", "unknown-embedding"}
OTHERS |= {"embedding-too-long", "not-in-comfyui"}


def test_the_docs_list_every_code() -> None:
    docs = Path(__file__).parents[3] / "core" / "prompt" / "DIALECTS.md"
    table = docs.read_text(encoding="utf-8").split("## Warnings")[1]
    assert (
        set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == {code for code, _, _ in CASES} | OTHERS
    )


def of_code(text: str, code: str, **options: Any) -> list[PromptWarning]:
    return [warning for warning in plan(text, 20, **options).warnings if warning.code == code]


@pytest.mark.parametrize(("code", "text", "place"), CASES, ids=NAMES)
def test_a_trap_is_found_at_its_place(code: str, text: str, place: str) -> None:
    found = of_code(text, code)
    assert [text[w.start : w.end] for w in found][:1] == [place]
    assert all(w.message and w.suggestion for w in found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat on grass, (red:1.3) ball, [green] [a:b:0.5] [c|d] \\(x\\)",
        "a {b|c} d",
        "a :1.2 AND b",
        "smile :), sad ;)",
        "<lora:x:1> a",
        "# a whole line\na cat",
        "stand by the window, warm light",
        f"{'word ' * 75}BREAK {'word ' * 20}",
    ],
)
def test_an_innocent_prompt_has_no_warning(text: str) -> None:
    assert plan(text, 20).warnings == ()


MENDED = {
    "stray-bar": "a|b [c:d:0.5]",
    "lone-backslash": "[c:d:0.5] \\",
    "mixed-brackets": "x ([a)b]",
    "break-in-bracket": "(a BREAK b:1.2)",
    "trailing-weight": "a cat, 16:9",
    "network-in-edit": "[<lora:x:1>::0.5]",
}


@pytest.mark.parametrize("code", MENDED)
def test_what_concord_mends_it_does_not_warn_of(code: str) -> None:
    assert of_code(MENDED[code], code)
    assert not of_code(MENDED[code], code, dialect=Dialect.concord())


def test_columns_are_those_of_the_typed_text() -> None:
    text = "# comment\n<lora:x:1>, cat :1.2 AND <lora:y:1> a dog :( z"
    (warning,) = of_code(text, "emoticon-opens-bracket")
    assert text[warning.start : warning.end] == ":("


@pytest.mark.parametrize(
    ("run", "never"),
    [
        (RunShape(), False),
        (RunShape(denoise=0.5), True),
        (RunShape(denoise=0.9), False),
        (RunShape(calls_per_step=2), False),
    ],
)
def test_low_denoise_never_reaches_a_late_edit(run: RunShape, never: bool) -> None:
    assert bool(of_code("[a:b:0.6]", "never-switches", run=run)) == never


def test_an_edit_of_the_hires_pass_is_none_of_the_first() -> None:
    assert of_code("[a:b:1.5]", "never-switches")
    assert not of_code("[a:b:1.5]", "never-switches", run=RunShape(hires_steps=10))


def test_the_last_step_differs_by_dialect() -> None:
    assert of_code("[a:b:19]", "never-switches")
    assert not of_code("[a:b:19]", "never-switches", dialect=Dialect.concord())
    assert of_code("[a:b:20]", "never-switches", dialect=Dialect.concord())


def test_negative_prompts_have_traps_of_their_own() -> None:
    text = "ugly AND bad <lora:x:1>"
    codes = {w.code for w in plan(text, 20, run=RunShape(negative=True)).warnings}
    assert codes == {"and-in-negative", "network-in-negative"}


def test_unknown_names_offer_the_nearest() -> None:
    known = Known(networks=["add_detail", "other"], embeddings={"EasyNegative": 8, "huge": 90})
    (network,) = of_code("<lora:add_detial:1>", "unknown-network", known=known)
    assert "add_detail" in network.suggestion
    (embedding,) = of_code("embedding:EasyNegativ", "unknown-embedding", known=known)
    assert "EasyNegative" in embedding.suggestion
    assert of_code("a huge b", "embedding-too-long", known=known)
    assert plan("<lora:add_detail:1> EasyNegative", 20, known=known).warnings == ()


def test_comfyui_syntax_warns_of_what_it_has_not() -> None:
    text = "a BREAK b AND [c:d:0.5] (x:1.9)"
    found = plan(text, 20, dialect=Dialect.comfyui()).warnings
    assert [(w.code, text[w.start : w.end]) for w in found] == [
        ("not-in-comfyui", "BREAK"),
        ("not-in-comfyui", "AND"),
        ("not-in-comfyui", "[c:d:0.5]"),
        ("heavy-weight", "x"),
    ]


def test_warnings_need_no_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert of_code("café BREAK a", "break-almost-empty")


def test_there_are_at_most_eight_of_a_kind() -> None:
    assert len(of_code("（" * 100, "full-width-bracket")) == MOST_OF_A_KIND


def test_a_warning_is_drawn_with_a_caret_under_its_place() -> None:
    text = "first line\na cat :( on grass"
    (warning,) = plan(text, 20).warnings
    head, line, carets = draw_warning(text, warning).splitlines()
    assert head.startswith("emoticon-opens-bracket: ")
    assert line == "  a cat :( on grass"
    assert carets == "        ^^"


def test_carets_allow_for_wide_signs() -> None:
    text = "日本 （cat"
    (warning,) = plan(text, 20).warnings
    assert draw_warning(text, warning).splitlines()[2] == "  " + " " * 5 + "^^"


def test_a_long_line_is_shown_around_the_place() -> None:
    text = "word " * 100 + "（" + "word " * 100
    (warning,) = of_code(text, "full-width-bracket")
    _, line, carets = draw_warning(text, warning, width=60).splitlines()
    assert len(line) == 62
    assert line[carets.index("^")] == "（"
