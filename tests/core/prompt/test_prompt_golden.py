"""Prompt texts through A1111's own code: schedules, weights, AND, chunks, calls, tags."""

from __future__ import annotations

import gzip
import json
import time
from itertools import groupby
from typing import Any

import pytest
from golden import golden_dir
from sd_concord.core.prompt import (
    Chunk,
    Dialect,
    apply_styles,
    chunk_tokens,
    clip_tokenizer,
    extract_networks,
    parse_schedule,
    parse_weights,
    split_and,
    strip_comments,
    text_for_call,
)
from sd_concord.core.prompt.grammar import parse
from sd_concord.core.prompt.reading import read_pieces

pytestmark = pytest.mark.golden

EMBEDDINGS = {"badhandv4": 6, "EasyNegative": 8, "my style": 3, "bigone": 75, "hugeone": 80}
FIELDS = {
    "attention": {"id", "p", "a", "err", "reforge"},
    "calls": {"p", "base", "hires", "calls", "w", "texts", "use"},
    "chunks": {"id", "p", "bt", "emph", "n", "c", "alt", "err"},
    "multicond": {"id", "p", "f", "i"},
    "schedules": {"id", "p", "ok", "texts", "runs"},
    "slow_or_error": {"id", "p", "where", "is", "ms", "want", "name"},
    "tags": {"id", "p", "text", "nets", "nocomment", "styles", "styled"},
    "unstable": {"id", "p", "seen10", "groups10", "lark13_10"},
}
CHUNK_FIELDS = {"t", "w", "e", "len"}
SAME = "the same answer in a few milliseconds"
PLAIN_BRACKET = (
    "no error; a number that is not a number is plain text inside a plain bracket (weight 1.1), as with "
    "(a:abc)"
)
CUT = "an embedding that cannot fit in one chunk is cut to 75 vectors with a warning"


def read(name: str) -> list[dict[str, Any]]:
    """Return the cases of a file; fails on none, and on a field that no test here knows."""
    raw = gzip.decompress((golden_dir("prompts") / f"{name}.jsonl.gz").read_bytes()).decode("utf-8")
    cases = [json.loads(line) for line in raw.splitlines()]
    assert cases
    for case in cases:
        assert set(case) <= FIELDS[name], set(case) - FIELDS[name]
    print(f"{name}.jsonl.gz: {len(cases)} cases")
    return cases


def segments(case: dict[str, Any], ends: list[int] | int, which: list[int]) -> list[tuple[int, str]]:
    texts = case.get("texts", [case["p"]])
    numbers = range(1, ends + 1) if isinstance(ends, int) else ends
    return [(end, texts[i]) for end, i in zip(numbers, which, strict=True)]


def test_schedules() -> None:
    for case in read("schedules"):
        assert (parse(case["p"]).failed_at is None) == bool(case["ok"]), case["id"]
        for base, hires, old, ends, which in case["runs"]:
            got = parse_schedule(case["p"], base, hires, legacy=bool(old))
            assert got == segments(case, ends, which), (case["id"], base, hires, old)


def test_unstable_prompts_follow_the_rule_of_groups() -> None:
    for case in read("unstable"):
        assert parse_schedule(case["p"], 10) == [tuple(one) for one in case["groups10"]], case["id"]


def test_attention() -> None:
    for case in read("attention"):
        got = parse_weights(case["p"])
        if "err" not in case:
            assert got == [tuple(one) for one in case["a"]], case["id"]


def test_multicond() -> None:
    for case in read("multicond"):
        flat: list[str] = []
        indexes: list[list[list[float]]] = []
        for text in case["p"]:
            parts = split_and(text)
            flat = list(dict.fromkeys([*flat, *(part for part, _ in parts)]))
            indexes.append([[flat.index(part), weight] for part, weight in parts])
        assert (flat, indexes) == (case["f"], case["i"]), case["id"]


def as_recorded(chunk: Chunk) -> dict[str, Any]:
    tokens = list(chunk.ids[1:])
    while tokens and tokens[-1] == 49407:
        tokens.pop()
    runs = [[weight, len(list(same))] for weight, same in groupby(chunk.weights[1:])]
    record: dict[str, Any] = {"t": tokens, "w": runs[:-1] if runs[-1][0] == 1.0 else runs}
    if chunk.embeddings:
        record["e"] = [[position - 1, name] for position, name in chunk.embeddings]
    if len(chunk.ids) != 77:
        record["len"] = len(chunk.ids)
    return record


def without_ones(chunk: dict[str, Any]) -> dict[str, Any]:
    assert set(chunk) <= CHUNK_FIELDS
    runs = chunk["w"]
    return {**chunk, "w": runs[:-1] if runs and runs[-1][0] == 1.0 else runs}


def check_chunks(case: dict[str, Any], variant: Any, want: dict[str, Any]) -> None:
    tokenizer = clip_tokenizer(variant)
    got = chunk_tokens(case["p"], tokenizer, EMBEDDINGS, case["bt"], case.get("emph", "Original"))
    assert [as_recorded(chunk) for chunk in got] == [without_ones(chunk) for chunk in want["c"]], case["id"]
    assert sum(chunk.counted for chunk in got) == want["n"], case["id"]


def test_chunks() -> None:
    others = 0
    for case in read("chunks"):
        if "err" in case:
            chunk_tokens(case["p"], clip_tokenizer(), EMBEDDINGS, case["bt"])
            continue
        check_chunks(case, "a1111", case)
        alternatives = case.get("alt", {})
        for name, want in alternatives.items() if isinstance(alternatives, dict) else ():
            for variant in {"noftfy": ["no-ftfy"], "fast": ["rust"], "both": ["no-ftfy", "rust"]}[name]:
                check_chunks(case, variant, want)
                others += 1
    assert others
    print(f"chunks.jsonl.gz: {others} more with other tokenizers")


def test_calls() -> None:
    for case in read("calls"):
        parts = split_and(case["p"])
        assert [weight for _, weight in parts] == case["w"]
        laid = [parse_schedule(text, case["base"], case["hires"]) for text, _ in parts]
        for call, use in enumerate(case["use"]):
            want = [case["texts"][i] for i in (use if isinstance(use, list) else [use])]
            assert [text_for_call(one, call) for one in laid] == want, (case["p"], call)


def test_tags() -> None:
    for case in read("tags"):
        if "styles" in case:
            assert apply_styles(case["p"], case["styles"]) == case["styled"]
            continue
        text, tags = extract_networks(case["p"])
        by_kind: dict[str, list[Any]] = {}
        for tag in tags:
            by_kind.setdefault(tag.kind, []).append([tag.positional, tag.named])
        assert (text, [list(item) for item in by_kind.items()]) == (case["text"], case["nets"]), case["id"]
        assert strip_comments(case["p"]) == case.get("nocomment", case["p"])


def test_slow_or_error() -> None:
    """What A1111 fails on, or needs a second for, has an answer in milliseconds."""
    wanted = set()
    for case in read("slow_or_error"):
        text = case["p"]
        wanted.add(case["want"])
        began = time.process_time()
        if case["where"] == "schedule":
            parse_schedule(text, 28)
        elif case["where"] == "AND":
            split_and(text)
        elif case["where"] == "attention":
            read_pieces(text, Dialect.a1111())
        else:
            chunks = chunk_tokens(text, clip_tokenizer(), EMBEDDINGS)
            assert max(len(chunk.ids) for chunk in chunks) > 77
        # a few milliseconds; the bound leaves room for a busy machine
        assert time.process_time() - began < 0.25, case["id"]
    assert wanted <= {SAME, PLAIN_BRACKET, CUT}


@pytest.mark.parametrize("number", ["...", "..5", "-.", "1.2.3"])
def test_a_malformed_number_is_text_in_a_plain_bracket(number: str) -> None:
    assert parse_weights(f"(a:{number})") == [(f"a:{number}", 1.1)]
    assert parse_weights(f"(a:{number})")[0][1] == parse_weights("(a:abc)")[0][1]
