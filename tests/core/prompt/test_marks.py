"""What an editor shows of a prompt: every column is one of the typed text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.prompt import DIALECTS, RunShape, chunk_tokens, clip_tokenizer, plan
from sd_concord.core.prompt.marks import marks

LONG = ", ".join(f"word {i % 10} of (a:1.2) prompt" for i in range(20))


def marked(text, dialect="a1111", steps=20, **run):
    return marks(plan(text, steps, dialect=dialect, run=RunShape(**run)))


def weighted(text, dialect="a1111"):
    return [(text[one.start : one.end], round(one.weight, 3)) for one in marked(text, dialect).weights]


@pytest.mark.parametrize(
    ("text", "dialect", "wanted"),
    [
        ("a (red:1.3) cat", "a1111", [("red", 1.3)]),
        ("((moon)) [sun]", "a1111", [("moon", 1.21), ("sun", 0.909)]),
        ("# note\n(cat:1.2), \\(x\\)", "a1111", [("cat", 1.2)]),
        ("<lora:x:1> (cat:1.2)", "a1111", [("cat", 1.2)]),
        ("a AND (b:1.4) :0.5", "a1111", [("b", 1.4)]),
        ("[(a:1.2):(b:1.3):0.5]", "a1111", [("a", 1.2), ("b", 1.3)]),
        ("(a|b:1.2)", "concord", [("a|b", 1.2)]),
        ("(cat:1.3) [b]", "comfyui", [("cat", 1.3)]),
        ("plain", "a1111", []),
        ("(a:1.2) BREAK b", "a1111", [("a", 1.2)]),
        ("😀 (日本:1.5)", "a1111", [("日本", 1.5)]),
    ],
)
def test_weighted_words_are_marked_where_they_are_typed(text, dialect, wanted):
    assert weighted(text, dialect) == wanted


@pytest.mark.parametrize("text", [LONG, "x" * 700, "日本語" * 60, "A  b\n" * 90 + "c", "é" * 300])
def test_chunks_are_the_texts_own_and_meet_without_a_gap(text):
    found = marked(text)
    chunks = chunk_tokens(text, clip_tokenizer())
    assert [one.tokens for one in found.chunks] == [chunk.length for chunk in chunks]
    assert found.tokens == sum(chunk.counted for chunk in chunks)
    assert (found.chunks[0].start, found.chunks[-1].end) == (0, len(text))
    assert all(a.end == b.start for a, b in zip(found.chunks, found.chunks[1:], strict=False))


@pytest.mark.parametrize("text", [LONG, "word " * 200, "a, b (c:1.1), " * 40])
def test_a_border_stands_where_tokenizing_the_halves_gives_the_same(text):
    first = marked(text).chunks[0]
    assert chunk_tokens(text[: first.end], clip_tokenizer())[0].length == first.tokens


def test_a_break_ends_a_chunk_where_it_stands():
    text = "a cat BREAK a dog"
    first, second = marked(text).chunks
    assert text[first.start : first.end] == "a cat"
    assert text[second.start : second.end].strip() == "BREAK a dog"


def test_the_sign_is_no_word_of_the_next_chunk():
    text = "cat BREAK break BREAK dog"
    spans = [text[one.start : one.end].strip() for one in marked(text).chunks]
    assert spans == ["cat", "BREAK break", "BREAK dog"]


def test_each_and_part_has_its_chunks_and_the_largest_counts():
    text = "one two AND three four five"
    found = marked(text)
    assert [(one.part, one.tokens) for one in found.chunks] == [(0, 2), (1, 3)]
    assert found.tokens == 3
    assert text[found.chunks[1].start : found.chunks[1].end].strip() == "three four five"


def test_of_edits_the_longest_text_is_counted():
    found = marked("a [cat:big old dog:0.5]")
    assert (found.tokens, found.texts) == (4, 2)


def test_what_a_negative_prompt_takes_literally_is_counted():
    assert marked("a AND b", negative=True).tokens == 3
    assert marked("a AND b").tokens == 1
    assert marked("<lora:x:1> b", "concord", negative=True).tokens > 1
    assert marked("<lora:x:1> b", "concord").tokens == 1


def test_the_doctors_warnings_come_with_them():
    [warning] = marked("(a cat").warnings
    assert (warning.code, warning.start) == ("open-bracket", 0)


@settings(max_examples=150, deadline=None)
@given(st.text("ab ,()[]:|\\\n<>#1.é日😀ANDBREAK", max_size=80), st.sampled_from(sorted(DIALECTS)))
def test_columns_lie_in_the_text_and_rise(text, dialect):
    found = marked(text, dialect)
    for one in (*found.chunks, *found.weights):
        assert 0 <= one.start <= one.end <= len(text)
    starts = [one.start for one in found.weights]
    assert starts == sorted(starts)
