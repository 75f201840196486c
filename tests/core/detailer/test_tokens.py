"""Prompts of masks, in ADetailer's and in Impact Pack's words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from detailer_records import records
from hypothesis import given
from hypothesis import strategies as st
from sd_concord.core.detailer import Target, Texts, mask_prompts, of_picture, split_prompt

FIELDS = """ad_prompt ad_negative_prompt all_prompts all_negative_prompts default index sr prompts negatives
    per_mask id"""
CAT = Target(label="cat", box=(50, 0, 60, 10))
DOG = Target(label="Dog", box=(10, 0, 40, 30))
OWL = Target(label="owl", box=(80, 0, 85, 5))
THREE = (CAT, DOG, OWL)
MAIN = Texts(main="main", main_negative="bad")


def prompts_of(text: str, negative: str = "", seed: int = 0) -> list[tuple[int, str, str]]:
    """Return (index, prompt, negative) of those of three masks that are not skipped."""
    texts = replace(MAIN, prompt=text, negative_prompt=negative, seed=seed)
    return [
        (one.index, one.prompt, one.negative_prompt) for one in mask_prompts(texts, THREE) if not one.skipped
    ]


@pytest.mark.golden
def test_prompts_are_adetailers() -> None:
    for case in records("prompts", FIELDS):
        main = of_picture(case["all_prompts"], case["index"], case["default"][0])
        negative = of_picture(case["all_negative_prompts"], case["index"], case["default"][1])
        pairs = tuple((sought, put) for sought, put in case["sr"])
        assert split_prompt(case["ad_prompt"], main, pairs) == case["prompts"], case["id"]
        assert split_prompt(case["ad_negative_prompt"], negative, pairs) == case["negatives"], case["id"]
        texts = Texts(
            prompt=case["ad_prompt"],
            negative_prompt=case["ad_negative_prompt"],
            main=main,
            main_negative=negative,
            replacements=pairs,
        )
        got = mask_prompts(texts, [Target()] * len(case["per_mask"]))
        assert [[one.prompt, one.negative_prompt, one.skipped] for one in got] == case["per_mask"], case["id"]
        assert [one.index for one in got] == list(range(len(got)))


def test_labels_have_their_texts() -> None:
    text = "[LAB]\n[ALL] smile, [soft:0.5]\n[cat] whiskers\n[dog] [SKIP]\n[fox] red"
    assert prompts_of(text) == [
        (0, "smile, [soft:0.5], whiskers", "bad"),
        (2, "smile, [soft:0.5]", "bad"),
    ]
    assert prompts_of("[LAB][cat] [PROMPT], whiskers [dog] [SKIP]") == [
        (0, "main, whiskers", "bad"),
        (2, "main", "bad"),
    ]


@pytest.mark.parametrize(
    ("mode", "order"),
    [("ASC", (1, 0, 2)), ("DSC", (2, 0, 1)), ("ASC-SIZE", (2, 0, 1)), ("DSC-SIZE", (1, 0, 2))],
)
def test_parts_are_dealt_in_the_order_that_is_asked_for(mode: str, order: tuple[int, ...]) -> None:
    assert prompts_of(f"[{mode}] one [SEP] two [SEP] three") == [
        (index, text, "bad") for index, text in zip(order, ("one", "two", "three"), strict=True)
    ]


def test_parts_begin_again_when_they_run_out() -> None:
    assert [text for _, text, _ in prompts_of("[ASC]one[SEP]two")] == ["one", "two", "one"]


def test_negative_prompts_have_an_order_of_their_own() -> None:
    assert prompts_of("[DSC]", "[ASC-SIZE] x [SEP] y [SEP] z") == [
        (2, "main", "x"),
        (0, "main", "y"),
        (1, "main", "z"),
    ]
    assert prompts_of("a", "[LAB] [owl] beak") == [(0, "a", "bad"), (1, "a", "bad"), (2, "a", "beak")]


def test_random_parts_are_all_dealt_and_go_by_the_seed() -> None:
    dealt = [text for _, text, _ in prompts_of("[RND] a [SEP] b [SEP] c", seed=3)]
    assert sorted(dealt) == ["a", "b", "c"]
    assert dealt == [text for _, text, _ in prompts_of("[RND] a [SEP] b [SEP] c", seed=3)]
    assert len({tuple(prompts_of("[RND] a [SEP] b [SEP] c", seed=seed)) for seed in range(20)}) > 1


def test_a_text_is_put_behind_the_main_prompt() -> None:
    assert prompts_of("[CONCAT] one") == [(index, "main BREAK one", "bad") for index in range(3)]
    assert [text for _, text, _ in prompts_of("[CONCAT][ASC]one[SEP][SEP]three")] == [
        "main BREAK one",
        "main",
        "main BREAK three",
    ]


def test_a_part_may_have_its_seed() -> None:
    seeds = [one.seed for one in mask_prompts(replace(MAIN, prompt="[ASC] a [SEP:7] b [SEP:x] c"), THREE)]
    assert seeds == [None, 7, None]
    drawn = [
        [one.seed for one in mask_prompts(replace(MAIN, prompt="[ASC] a [SEP:R] b", seed=seed), THREE)]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][1] is not None


def test_stop_ends_the_run() -> None:
    assert prompts_of("[DSC] a [SEP] [STOP] [SEP] c") == [(2, "a", "bad")]
    assert prompts_of("a [SEP] [STOP] [SEP] c") == [(0, "a", "bad")]
    assert prompts_of("a [SEP] [SKIP] [SEP] c") == [(0, "a", "bad"), (2, "c", "bad")]


@given(st.text(alphabet="[]:SEPLABCONTRNDKISZ- a\n", max_size=40), st.text(max_size=10))
def test_no_text_fails(text: str, negative: str) -> None:
    got = mask_prompts(Texts(prompt=text, negative_prompt=negative, main="m"), THREE)
    assert sorted(one.index for one in got) == [0, 1, 2]
