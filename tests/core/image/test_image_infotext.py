"""The writer and the reader of infotext: what one writes the other reads, and nothing breaks them."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sd_concord.core.errors import BadValue
from sd_concord.core.image import (
    ConcordSettings,
    DetailerUnit,
    Generation,
    Hires,
    Inpaint,
    ModelRef,
    Networks,
    Refiner,
    SamplerOptions,
    ScheduleOptions,
    Variation,
    format_infotext,
    infotext_fields,
    parse_infotext,
)
from sd_concord.core.image.pairs import host_pairs, quote, unquote
from sd_concord.core.image.versions import version_key

A1111_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

PLAIN = Generation(
    prompt="a red fox, (snow:1.2)",
    negative_prompt="blurry",
    steps=20,
    sampler="dpmpp_2m",
    scheduler="karras",
    cfg=7,
    seed=42,
    size=(512, 768),
)
PLAIN_TEXT = (
    "a red fox, (snow:1.2)\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x768"
)


# Values that the format can hold; a leading quote, outer blanks and a first bracket are read otherwise.
AWKWARD = [
    "a, b",
    "a: b",
    'say "hi", you',
    "a\\b",
    "two\nlines",
    "日本, 猫",
    "😀",
    "1x2",
    "x=y;z",
    "-",
    "Version",
    "m [12]",
]
NAMES = st.sampled_from(AWKWARD)
VALUES = st.sampled_from(["", *AWKWARD])
PROMPTS = st.sampled_from(
    ["", "a fox", "(a:1.2), [b:c:0.5],\n\nBREAK d", "aa: bb, cc: dd", "<lora:x:1> \\(y\\)", "猫\n:"]
)
NUMBERS = st.integers(-(10**6), 10**6) | st.floats(-1e9, 1e9, allow_nan=False)
STRENGTHS = st.sampled_from([0.001, 0.3, 1 / 3, 1.0, 1])
SIDES = st.tuples(st.integers(1, 9999), st.integers(1, 9999))
HASHED = st.builds(
    ModelRef, name=st.sampled_from(["x", "a/b_c", "my lora v1.0", "日本"]), hash=st.just("0123456789ab")
)
KEYS = st.sampled_from(["Foo bar", "Some-Key/2", "X", "foo.bar", "Ключ", "9 lives", "Flag"])


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


UNITS = st.builds(
    DetailerUnit,
    model=NAMES,
    prompt=optional(NAMES),
    confidence=STRENGTHS,
    dilate_erode=st.integers(-128, 128),
    only_masked=st.booleans(),
)
HIRES = st.builds(
    Hires,
    upscale=st.floats(1, 8),
    resize=optional(SIDES),
    steps=optional(st.integers(1, 150)),
    sampler=optional(st.sampled_from(["euler", "euler_ancestral", "Unknown sampler"])),
    scheduler=optional(st.sampled_from(["karras", "Unknown schedule"])),
    negative_prompt=optional(VALUES),
)
GENERATIONS = st.builds(
    Generation,
    prompt=PROMPTS,
    negative_prompt=PROMPTS,
    steps=st.integers(1, 10**4),
    sampler=st.sampled_from(["euler", "dpmpp_2m", "euler_ancestral", "My sampler"]),
    scheduler=optional(st.sampled_from(["karras", "sgm_uniform", "My schedule"])),
    cfg=NUMBERS,
    seed=st.integers(-1, 2**64),
    size=SIDES,
    variation=optional(st.builds(Variation, seed=st.integers(0, 2**32), strength=STRENGTHS)),
    model=optional(st.builds(ModelRef, name=optional(NAMES), hash=st.just("0123456789"))),
    clip_skip=optional(st.integers(2, 12)),
    rng=optional(st.sampled_from(["CPU", "NV"])),
    template=optional(NAMES),
    networks=st.builds(Networks, loras=st.lists(HASHED, max_size=2).map(tuple)),
    hires=optional(HIRES),
    refiner=optional(st.builds(Refiner, model=NAMES, switch_at=STRENGTHS)),
    detailer=st.lists(UNITS, max_size=3).map(tuple),
    sampler_options=optional(st.builds(SamplerOptions, eta=STRENGTHS)),
    schedule_options=optional(st.builds(ScheduleOptions, rho=st.integers(1, 9))),
    inpaint=optional(st.builds(Inpaint, mask_blur=st.integers(0, 64), padding=st.integers(0, 256))),
    concord=optional(st.builds(ConcordSettings, dialect=NAMES, batch_position=st.integers(0, 9))),
    version=optional(NAMES),
    extras=st.dictionaries(KEYS, VALUES, max_size=3).map(lambda extras: tuple(extras.items())),
)
"""Records that the format can hold; silent values are left out, since they read as "not recorded"."""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "Sampler: Euler (Concord), Schedule type: Align Your Steps (Concord)",
            ("euler", "align_your_steps"),
        ),
        ("Sampler: DDIM (Euler), Schedule type: DDIM (timesteps)", ("ddim", "ddim_timesteps")),
        ("Sampler: Euler SGM Uniform (Concord)", ("euler", "sgm_uniform")),
        ("Sampler: Foo (Concord)", ("Foo (Concord)", None)),
    ],
)
def test_labels_of_ours_beside_a_hosts_are_the_registrys_names(
    text: str, names: tuple[str, str | None]
) -> None:
    record = parse_infotext(f"a cat\nSteps: 20, {text}, Seed: 1")
    assert (record.sampler, record.scheduler) == names


@settings(max_examples=60, deadline=None)
@given(GENERATIONS)
def test_what_is_written_is_read_back(generation: Generation) -> None:
    text = format_infotext(generation)
    assert parse_infotext(text) == generation
    assert format_infotext(parse_infotext(text)) == text


@settings(max_examples=40, deadline=None)
@given(GENERATIONS, GENERATIONS)
def test_settings_of_one_record_in_the_order_of_another_lose_nothing(
    one: Generation, other: Generation
) -> None:
    source = format_infotext(other).rsplit("\n", 1)[-1]
    read = parse_infotext(format_infotext(replace(one, source=source)))
    assert replace(read, extras=one.extras) == one
    assert dict(read.extras) == dict(one.extras)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('ab: ,"\\\n\t12x34NStepsSed-/(){}[]é日'), max_size=120))
@example("Steps: 1, Sampler: x, Seed: " + "9" * 5000)
@example("Steps: 1, Sampler: x, First pass size: 0x0, Size: " + "9" * 4000 + "x1")
@example("a: [" * 3000)
def test_no_text_breaks_the_readers(soup: str) -> None:
    for text in (soup, f"p\nSteps: 1, Seed: 2, Size: 3x4, {soup}"):
        generation = parse_infotext(text)
        again = parse_infotext(format_infotext(generation))
        assert again.source == generation.source or not generation.source
        assert infotext_fields(text)["Prompt"] == generation.prompt
        infotext_fields(text, "forge")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('ab: ,"\\\t1-/(.é'), max_size=80))
def test_pairs_are_those_of_the_hosts_expression(line: str) -> None:
    assert host_pairs(line) == A1111_PAIR.findall(line)


def test_long_lines_are_read_in_linear_time() -> None:
    assert host_pairs("a" * 200_000) == []
    assert parse_infotext("word " * 40_000).prompt.startswith("word")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30).filter(lambda text: not text.startswith('"')))
def test_unquoted_is_what_was_quoted(value: str) -> None:
    assert unquote(quote(value)) == value


def test_the_plain_text_is_the_web_uis() -> None:
    assert format_infotext(PLAIN) == PLAIN_TEXT
    assert parse_infotext(PLAIN_TEXT) == PLAIN


def test_edited_settings_keep_their_places() -> None:
    text = "fox\nSeed: 7, Foo bar: 1, Steps: 20, Sampler: Euler, Size: 64x64, Clip skip: 1, Zeta: 9"
    edited = replace(parse_infotext(text), steps=30, cfg=5.5, version="v1.10.1")
    assert format_infotext(edited) == (
        "fox\nSeed: 7, Foo bar: 1, Steps: 30, Sampler: Euler, CFG scale: 5.5, Size: 64x64, Clip skip: 1,"
        " Zeta: 9, Version: v1.10.1"
    )


def test_a_removed_setting_is_not_written() -> None:
    edited = replace(parse_infotext(PLAIN_TEXT), scheduler=None)
    assert "Schedule type" not in format_infotext(edited)


@pytest.mark.parametrize(
    ("label", "sampler", "scheduler"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("Euler a", "euler_ancestral", None),
        ("euler a", "euler_ancestral", None),
        ("Euler_Ancestral", "euler_ancestral", None),
        ("Some sampler Karras", "Some sampler Karras", None),
    ],
)
def test_labels_of_samplers_become_names(label: str, sampler: str, scheduler: str | None) -> None:
    generation = parse_infotext(f"p\nSteps: 2, Sampler: {label}, Seed: 3")
    assert (generation.sampler, generation.scheduler) == (sampler, scheduler)


def test_what_does_not_fit_its_key_survives() -> None:
    line = "Steps: many, Sampler: Euler, Size: big, CFG scale: nan, Clip skip: -3, Flag, X: 1, a.bc: 2x3"
    generation = parse_infotext(f"p\n{line}")
    assert (generation.steps, generation.size, generation.cfg, generation.clip_skip) == (
        None,
        None,
        None,
        None,
    )
    assert dict(generation.extras) == {
        "Steps": "many",
        "Size": "big",
        "CFG scale": "nan",
        "Clip skip": "-3",
        "Flag": "Flag",
        "X": "1",
        "a.bc": "2x3",
    }
    assert format_infotext(generation).endswith(line)
    assert format_infotext(replace(generation, steps=4)).endswith(line.replace("many", "4"))


def test_civitais_json_is_one_value() -> None:
    resources = '[{"type":"lora","weight":0.8,"modelName":"Detail, Tweaker: XL"}]'
    text = f"p\nSteps: 2, Sampler: Euler, Seed: 3, Civitai resources: {resources}, Civitai metadata: {{}}"
    generation = parse_infotext(text)
    assert generation.extras == (("Civitai resources", resources), ("Civitai metadata", "{}"))
    assert parse_infotext(format_infotext(replace(generation, seed=4))).extras == generation.extras


def test_units_of_the_detailer_are_told_apart() -> None:
    text = (
        "p\nSteps: 2, Sampler: Euler, Seed: 3, ADetailer model: face.pt, ADetailer confidence: 0.3,"
        " ADetailer model 3rd: hand.pt, ADetailer odd key 3rd: 5, ADetailer version: 25.3.0"
    )
    generation = parse_infotext(text)
    face, hand = DetailerUnit(model="face.pt", confidence=0.3), DetailerUnit(model="hand.pt")
    assert generation.detailer == (face, DetailerUnit(), hand)
    assert generation.detailer_version == "25.3.0"
    assert generation.extras == (("ADetailer odd key 3rd", "5"),)


def test_units_are_counted_as_in_english() -> None:
    units = tuple(DetailerUnit(model="m") for _ in range(23))
    text = format_infotext(replace(PLAIN, detailer=units))
    for label in (
        "model: m",
        "model 2nd",
        "model 3rd",
        "model 4th",
        "model 11th",
        "model 13th",
        "model 21st",
    ):
        assert f"ADetailer {label}" in text
    assert parse_infotext(text).detailer == units


@pytest.mark.parametrize(
    ("values", "steps", "extras"),
    [("Steps: 5, Steps: many", None, (("Steps", "many"),)), ("Steps: many, Steps: 5", 5, ())],
    ids=["bad last", "good last"],
)
def test_of_two_values_the_last_counts(values: str, steps: int | None, extras: tuple[str, ...]) -> None:
    generation = parse_infotext(f"p\n{values}, Sampler: Euler, Seed: 3")
    assert (generation.steps, generation.extras) == (steps, extras)


def test_labels_of_the_hires_pass_become_names_too() -> None:
    text = "p\nSteps: 2, Sampler: Euler, Seed: 3, Hires sampler: DPM++ 2M Karras"
    assert parse_infotext(text).hires == Hires(sampler="dpmpp_2m", scheduler="karras")


def test_networks_without_hash_are_not_written() -> None:
    networks = Networks(loras=(ModelRef(name="a"), ModelRef(name="b", hash="0123456789ab")))
    assert format_infotext(replace(PLAIN, networks=networks)).endswith('Lora hashes: "b: 0123456789ab"')
    bare = Networks(loras=(ModelRef(name="a"),))
    assert format_infotext(replace(PLAIN, networks=bare)) == PLAIN_TEXT


def test_fields_refuse_an_unknown_host() -> None:
    with pytest.raises(BadValue, match="unknown host 'a111'; did you mean a1111"):
        infotext_fields("", "a111")  # type: ignore[arg-type]


def test_a_weight_that_fails_in_the_hosts_is_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    fields = infotext_fields("(a:1.2.3)\nSteps: 1, Sampler: x, Seed: 3")
    assert (fields["Prompt"], fields["Seed"]) == ("(a:1.2.3)", "3")
    assert "1.2.3" in caplog.text


def test_versions_are_ordered_as_python_packages_are() -> None:
    packaging = pytest.importorskip("packaging.version")
    draw = random.Random(0)
    parts = [
        "1",
        "1.7",
        "1.7.0",
        "1.8.0",
        "0.9",
        "2!1.0",
        "-225",
        "rc1",
        "-RC",
        "a2",
        ".dev3",
        ".post1",
        "r4",
        "-",
        "x",
    ]
    texts = [
        "v" * draw.randint(0, 1) + "".join(draw.choices(parts, k=draw.randint(1, 3))) for _ in range(600)
    ]
    known: list[tuple[Any, Any]] = []
    for text in texts:
        key = version_key(text)
        try:
            reference = packaging.Version(re.sub(r"^([^-]+-[^-]+)-.*", r"\1", text))
        except packaging.InvalidVersion:
            assert key is None, text
            continue
        assert key is not None, text
        known.append((key, reference))
    assert len(known) > 100
    for key, reference in known:
        for other_key, other in known[:100]:
            assert (key < other_key) == (reference < other), (reference, other)
