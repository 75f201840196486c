"""A prompt laid out over a run: passes, calls, networks, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.prompt import (
    Dialect,
    RunShape,
    Style,
    apply_styles,
    clip_tokenizer,
    extract_networks,
    parse_schedule,
    plan,
    read_styles,
    strip_comments,
    text_for_call,
)
from sd_concord.core.prompt.conjunction import and_spans, split_and
from sd_concord.core.prompt.origins import Origins
from sd_concord.core.prompt.reading import read_chunks
from sd_concord.core.prompt.warnings import PromptWarning


def texts(text: str, steps: int, **options: Any) -> list[str]:
    laid = plan(text, steps, **options)
    return [laid.parts[0].segment_at(call).text for call in range(laid.calls)]


@pytest.mark.parametrize(
    ("number", "first", "hires"),
    [("0.5", 6, 0), ("5", 6, 0), ("1.5", 10, 6), ("15", 10, 6), ("1.0", 10, 0), ("1e-1", 0, 0), ("-1", 0, 0)],
)
def test_numbers_in_the_first_and_the_hires_pass(number: str, first: int, hires: int) -> None:
    text = f"[a:b:{number}]"
    assert texts(text, 10).count("a") == first
    assert texts(text, 10, run=RunShape(hires_steps=10)).count("a") == hires


def test_a_sampler_of_two_calls_has_twice_the_steps() -> None:
    assert texts("[a:b:10]", 10, run=RunShape(calls_per_step=2)) == ["a"] * 11 + ["b"] * 9
    assert texts("[a:b:0.5]", 10, run=RunShape(calls_per_step=2)) == ["a"] * 11 + ["b"] * 9


def test_the_old_timeline_takes_numbers_below_one_as_fractions() -> None:
    dialect = Dialect(old_timeline=True)
    assert texts("[a:b:1.0]", 10, dialect=dialect) == ["a"] * 2 + ["b"] * 8
    assert parse_schedule("[a:b:0.5]", 10, 20, legacy=True) == [(5, "a"), (10, "b")]


def test_the_plan_agrees_with_the_schedule_and_its_rule() -> None:
    for text in ("[a:b:3] [c|d]", "x|[a:b:2]", "a", "[[a:b:2]:c:4]"):
        schedule = parse_schedule(text, 6)
        assert texts(text, 6) == [text_for_call(schedule, call) for call in range(6)]


def test_networks_leave_a_positive_prompt_and_stay_in_a_negative_one() -> None:
    positive = plan("a <lora:x:0.5:te=1> b", 4)
    assert [tag.positional for tag in positive.networks] == [["x", "0.5"]]
    assert positive.parts[0].text == "a  b"
    negative = plan("a <lora:x:0.5> b", 4, run=RunShape(negative=True))
    assert negative.networks == ()
    assert negative.parts[0].text == "a <lora:x:0.5> b"


def test_networks_of_all_and_parts_are_active_together() -> None:
    laid = plan("a <lora:x:1> AND [<lora:y:1>::2]", 4, dialect="concord")
    names = [[tag.positional[0] for tag in laid.networks_at(call)] for call in range(4)]
    assert names == [["x", "y"], ["x", "y"], ["x"], ["x"]]


def test_a_network_in_a_fade_is_active_by_its_share() -> None:
    laid = plan("[<lora:x:1>:<lora:y:1>:0.0-1.0] <lora:z:1>", 2, dialect="concord")
    shares = [{tag.positional[0]: tag.share for tag in laid.networks_at(call)} for call in range(2)]
    assert shares == [{"x": 0.75, "y": 0.25, "z": 1.0}, {"x": 0.25, "y": 0.75, "z": 1.0}]


def test_a_negative_prompt_has_edits_but_no_and() -> None:
    (part,) = plan("[a:b:2] AND c :3", 4, run=RunShape(negative=True)).parts
    assert part.weight == 1
    assert [segment.text for segment in part.segments] == ["a AND c :3", "b AND c :3"]


def test_comments_can_stay() -> None:
    assert plan("a #b", 1).parts[0].text == "a"
    assert plan("a #b", 1, dialect=Dialect(comments=False)).parts[0].text == "a #b"


def test_comfyui_has_one_part_and_one_segment() -> None:
    laid = plan("[a:b:2] AND c # d <lora:x:1>", 4, dialect="comfyui")
    ((segment,),) = [part.segments for part in laid.parts]
    assert segment.text == "[a:b:2] AND c # d <lora:x:1>"
    assert laid.networks == ()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("((cat:1.3) dog)", [("cat", 1.3), (" dog", 1.1)]),
        ("(a (b) c:1.5)", [("a ", 1.5), ("b", 1.5 * 1.1), (" c", 1.5)]),
        ("[cat] BREAK", [("[cat] BREAK", 1.0)]),
        ("(cat:1.2", [("(cat:1.2", 1.0)]),
        (r"\(x\) (red:1_3)", [("(x) ", 1.0), ("red", 13.0)]),
        ("((a)", [("(a", 1.1)]),
        ("a) (b)", [("a) (b)", 1.0)]),
        ("", [("", 1.0)]),
    ],
)
def test_comfyui_weights(text: str, pieces: list[tuple[str, float]]) -> None:
    got = plan(text, 1, dialect="comfyui").parts[0].segments[0].pieces
    assert [(t, pytest.approx(w)) for t, w in got] == pieces


@pytest.mark.parametrize(("words", "lengths"), [(7, [70, 7]), (8, [75, 3])])
def test_comfyui_cuts_no_short_segment(words: int, lengths: list[int]) -> None:
    tokenizer = clip_tokenizer("rust")
    text = "cat " * 70 + f"({'dog ' * words}:1.2)"
    pieces = plan(text, 1, dialect="comfyui").parts[0].segments[0].pieces
    assert [chunk.length for chunk in read_chunks(pieces, Dialect.comfyui(), tokenizer)] == lengths


def test_a_tag_argument_with_two_equal_signs_is_positional() -> None:
    _, (tag,) = extract_networks("<lora:x:te=0.5:a=b=c>")
    assert (tag.kind, tag.positional, tag.named) == ("lora", ["x", "a=b=c"], {"te": "0.5"})


def test_many_fades_share_a_grid_of_eight_levels() -> None:
    text = " ".join(f"[a{i}:b{i}:0.0-{0.5 + i / 100:.2f}]" for i in range(40))
    (part,) = plan(text, 4, dialect="concord").parts
    assert 1 < max(len(segment.variants) for segment in part.segments) <= 8


def test_a_dialect_may_be_named() -> None:
    assert plan("a", 1, dialect="concord").dialect == Dialect.concord()
    assert plan("a", 1).dialect == Dialect.a1111()
    with pytest.raises(BadValue, match="did you mean a1111"):
        plan("a", 1, dialect="a111")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: plan("a", 0), "steps is 0; give at least 1"),
        (lambda: RunShape(hires_steps=0), "hires_steps is 0"),
        (lambda: RunShape(denoise=0), "denoise is 0"),
        (lambda: RunShape(denoise=1.5), "denoise is 1.5"),
        (lambda: RunShape(calls_per_step=0), "calls_per_step is 0"),
        (lambda: Dialect(comma_backtrack=75), "comma_backtrack is 75"),
    ],
)
def test_a_run_that_cannot_be_is_refused(make: Any, said: str) -> None:
    with pytest.raises(BadValue, match=said):
        make()


@pytest.mark.parametrize(("denoise", "steps"), [(1.0, 20), (0.5, 11), (0.999, 20), (0.01, 1)])
def test_img2img_runs_as_many_steps_as_a1111(denoise: float, steps: int) -> None:
    assert RunShape(denoise=denoise).steps_run(20) == steps


def test_and_spans_are_those_of_the_parts() -> None:
    text = "a :2 AND  b AND c"
    assert [text[start:end] for start, end in and_spans(text)] == ["a :2 ", "  b ", " c"]
    assert split_and(text) == [("a", 2.0), ("  b", 1.0), (" c", 1.0)]


def test_origins_of_what_is_left_after_two_cuts() -> None:
    typed = "a #c\n<x:y>b<x:z>c"
    once = strip_comments(typed)
    assert (once, extract_networks(once)[0]) == ("a \n<x:y>b<x:z>c", "a \nbc")
    comments = Origins([(2, 5, 1)])
    tags = Origins([(3, 8, 0), (9, 14, 0)], before=comments)
    left = "a \nbc"
    assert [typed[tags.at(i)] for i in (0, 1, 3, 4)] == [left[i] for i in (0, 1, 3, 4)]


def test_warnings_are_looked_for_once() -> None:
    laid = plan("a :(", 4)
    assert laid.warnings is laid.warnings
    assert isinstance(laid.warnings[0], PromptWarning)
    assert laid.warnings[0].span == (2, 4)


def test_styles_are_read_and_merged(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text(
        'name,prompt,negative_prompt\nfilm,"{prompt}, film grain",blurry\n,x,y\n', encoding="utf-8-sig"
    )
    (film,) = read_styles(path)
    assert film == Style(name="film", prompt="{prompt}, film grain", negative="blurry")
    assert apply_styles("a cat", [film.prompt]) == "a cat, film grain"


def test_styles_with_the_old_column_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text("name,text,negative_text\nfilm,grain,blurry\n", encoding="utf-8")
    assert read_styles(path) == [Style(name="film", prompt="grain", negative="blurry")]


@pytest.mark.parametrize("content", [b"prompt\nx\n", b"\xff\xfe\x00", b""])
def test_what_is_no_styles_file_says_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_bytes(content)
    with pytest.raises(BadFile, match="styles"):
        read_styles(path)
