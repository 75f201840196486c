"""Axes of grids and sweeps: names, values as they are typed, and what they make of a record."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from sd_concord.core.axes import AXES, Replacement, axis_named, parse_axis, parse_values
from sd_concord.core.errors import BadValue
from sd_concord.core.image import (
    ConcordSettings,
    DetailerUnit,
    Generation,
    Hires,
    ModelRef,
    format_infotext,
    parse_infotext,
)
from sd_concord.core.image.keys import KEYS, UNIT

RECORD = Generation(
    prompt="a cat <lora:fur:0.5>", negative_prompt="bad cat", steps=20, sampler="euler", cfg=7
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("steps=10, 20,30", [10, 20, 30]),
        ("steps=10-30 (+5)", [10, 15, 20, 25, 30]),
        ("steps=10-14", [10, 11, 12, 13, 14]),
        ("steps=30-10 (-5)", [30, 25, 20, 15, 10]),
        ("steps=12-10", [12, 11, 10]),
        ("steps=1-10 [4]", [1, 4, 7, 10]),
        ("steps=1-3 [9]", [1, 2, 3]),
        ("steps=5, 10-20 (+7)", [5, 10, 17]),
        ("seed=-1", [-1]),
        ("seed=-2--4", [-2, -3, -4]),
        ("cfg=0.3-0.6 [4]", [0.3, 0.4, 0.5, 0.6]),
        ("cfg=0-1 (+0.3)", [0, 0.3, 0.6, 0.9]),
        ("cfg=1-3", [1, 2, 3]),
        ("cfg=.5, 7.", [0.5, 7.0]),
        ("size=512x768, 64X64", [(512, 768), (64, 64)]),
        ("tiling=true, no", [True, False]),
        ("sampler=euler, DPM++ 2M, Euler a", ["euler", "dpmpp_2m", "euler_ancestral"]),
        ("scheduler=Karras, sgm_uniform, Automatic", ["karras", "sgm_uniform", "Automatic"]),
        ("rng=cpu", ["CPU"]),
        ("dialect=Concord", ["concord"]),
        ('prompt="a, b", c', ["a, b", "c"]),
        ('prompt="", "say ""hi"""', ["", 'say "hi"']),
        ("prompt=10-12", ["10-12"]),
        ("model=one\ntwo", ["one", "two"]),
        ("lora fur=0.2-1 [5]", [0.2, 0.4, 0.6, 0.8, 1]),
        ("option eta=0-1 (+0.5), heun", [0, 0.5, 1, "heun"]),
    ],
)
def test_values_are_read_as_they_are_typed(text: str, values: list[object]) -> None:
    assert parse_axis(text)[1] == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps=x", "axis steps: 'x' is not accepted; write a whole number, 1 or more"),
        ("steps=1.5", "axis steps: '1.5' is not accepted"),
        ("steps=0-2", "axis steps: '0' is not accepted"),
        ("denoising_strength=0.5, 2", "axis denoising_strength: '2' is not accepted"),
        ("cfg=0.3-0.6", "axis cfg: the range '0.3-0.6' never gets to its end in steps of 1; write a step"),
        ("cfg=30-10 (+5)", "write a step such as 30-10 (-5)"),
        ("cfg=0-1 (0)", "never gets to its end"),
        ("steps=1-100000", "has 100000 values"),
        ("steps=1-9 [0]", "asks for 0 values"),
        ("steps=", "axis steps has no values"),
        ("steps", "has no values; write NAME=VALUE"),
        ("sampler=eulr", "axis sampler: unknown sampler 'eulr'; did you mean euler"),
        ("scheduler=karas", "did you mean karras"),
        ("dialect=forge", "axis concord.dialect: unknown"),
        ("size=512", "write sizes such as 512x768"),
        ("tiling=maybe", "write True or False"),
        ('prompt s/r="", a', "is searched for and is empty"),
        ("stepz=1", "unknown axis 'stepz'; did you mean steps"),
        ("detailer.confidense=1", "did you mean detailer.confidence"),
        ("model=" + ",".join("a" * 1001), "has 1001 values; 1000 are the most"),
    ],
)
def test_what_is_no_value_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(BadValue) as error:
        parse_axis(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["steps", "STEPS", "Steps", " steps "])
def test_an_axis_goes_by_name_and_label(name: str) -> None:
    assert axis_named(name) is AXES["steps"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("CFG scale", "cfg"),
        ("Hires steps", "hires.steps"),
        ("eta", "sampler_options.eta"),
        ("upscaler", "hires.upscaler"),
    ],
)
def test_a_label_or_a_field_of_one_part_alone_will_do(name: str, found: str) -> None:
    assert axis_named(name).name == found


def test_every_setting_of_the_infotext_is_an_axis() -> None:
    told = {"hash", "version", "user", "template", "networks", "batch", "source"}
    for key in KEYS.values():
        if key.rule.kind != "list" and not any(word in key.path.lower() for word in told):
            assert axis_named(key.label).label == key.label


TYPED = ("0.5", "9", "true", "false", "64x64", "heun", "karras", "concord", "forge", "No norm", "CPU", "word")


def unsaid(name: str) -> tuple[object, ...]:
    """The values that an infotext does not hold for the field of an axis, being what is meant without it."""
    keys = UNIT if name.startswith("detailer.") else KEYS.values()
    return next((key.silent for key in keys if key.path == name.removeprefix("detailer.")), ())


@pytest.mark.parametrize("name", [name for name in AXES if name != "prompt s/r"])
def test_a_value_of_every_axis_is_in_the_record_and_comes_back_from_its_infotext(name: str) -> None:
    axis, values = AXES[name], []
    for text in (*re.findall("'([^']+)'", axis.wants), *TYPED):
        with suppress(BadValue):
            values.append(axis.parse(text))
    record = axis.apply(RECORD, next(value for value in values if value not in unsaid(name)))
    assert record != RECORD
    assert parse_infotext(format_infotext(record)) == record


def test_a_part_that_the_record_lacks_is_made_and_one_it_has_is_kept() -> None:
    axis = axis_named("hires.steps")
    assert axis.apply(RECORD, 5).hires == Hires(steps=5)
    assert axis.apply(replace(RECORD, hires=Hires(upscale=2)), 5).hires == Hires(upscale=2, steps=5)


def test_another_model_does_not_keep_the_hash_of_the_first() -> None:
    record = replace(RECORD, model=ModelRef(name="one", hash="abc"))
    assert axis_named("model").apply(record, "two").model == ModelRef(name="two")


@pytest.mark.parametrize("name", ["sampler", "hires.sampler", "detailer.sampler"])
def test_an_old_label_is_a_sampler_and_a_schedule(name: str) -> None:
    axis, [value] = parse_axis(f"{name}=DPM++ 2M Karras")
    record = axis.apply(RECORD, value)
    there = record if name == "sampler" else record.hires or record.detailer[0]
    assert (there.sampler, there.scheduler) == ("dpmpp_2m", "karras")
    assert axis.words(value) == f"{axis.label}: DPM++ 2M Karras"


def test_a_search_replaces_in_every_prompt_and_keeps_its_own_text_as_the_first() -> None:
    axis, values = parse_axis("prompt s/r=cat, dog, ")
    record = replace(RECORD, hires=Hires(prompt="cat up close"))
    assert values == [Replacement("cat", "cat"), Replacement("cat", "dog")]
    assert axis.apply(record, values[0]) == record
    changed = axis.apply(record, values[1])
    assert (changed.prompt, changed.negative_prompt) == ("a dog <lora:fur:0.5>", "bad dog")
    assert changed.hires == Hires(prompt="dog up close")


def test_a_search_that_finds_nothing_is_told() -> None:
    axis, values = parse_axis("prompt s/r=bird, dog")
    with pytest.raises(BadValue, match="'bird' stands in none of the prompts"):
        axis.apply(RECORD, values[1])


@pytest.mark.parametrize(
    ("prompt", "name", "wanted"),
    [
        ("a <lora:fur:0.5>", "fur", "a <lora:fur:0.8>"),
        ("a <lora:fur:0.5:0.2> <lora:fur2:1>", "fur", "a <lora:fur:0.8> <lora:fur2:1>"),
        ("<lora:fur:te=0.1:unet=2:dyn=4>", "fur", "<lora:fur:0.8:dyn=4>"),
        ("<lyco:fur:1>", "fur", "<lyco:fur:0.8>"),
        ("[<lora:fur:1>::5]", "fur", "[<lora:fur:0.8>::5]"),
        ("a cat", "my style", "a cat <lora:my style:0.8>"),
        ("<lora:fur>", "<fur>", "<lora:fur:0.8>"),
    ],
)
def test_the_weight_of_a_network_is_set_where_its_tag_stands_or_at_the_end(
    prompt: str, name: str, wanted: str
) -> None:
    axis = axis_named(f"lora {name}")
    assert axis.apply(Generation(prompt=prompt), 0.8).prompt == wanted


def test_an_option_goes_where_the_sampler_or_schedule_has_it() -> None:
    record = axis_named("option eta").apply(replace(RECORD, sampler="euler_ancestral"), 0.5)
    assert record.sampler_options is not None
    assert record.sampler_options.eta == 0.5
    assert record.scheduler is None
    with pytest.raises(BadValue, match="option"):
        axis_named("option warp").apply(RECORD, 1)


def test_units_of_the_detailer_are_counted_from_1() -> None:
    record = replace(RECORD, detailer=(DetailerUnit(model="face.pt"),))
    first = axis_named("detailer.confidence").apply(record, 0.4)
    assert first.detailer == (DetailerUnit(model="face.pt", confidence=0.4),)
    second = axis_named("Detailer 2.confidence").apply(record, 0.4)
    assert second.detailer == (DetailerUnit(model="face.pt"), DetailerUnit(confidence=0.4))
    assert axis_named("ADetailer confidence 2nd").apply(record, 0.4) == second
    with pytest.raises(BadValue, match="unknown axis"):
        axis_named("detailer 21.confidence")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cfg=7", "CFG scale: 7"),
        ("sampler=dpmpp_2m", "Sampler: DPM++ 2M"),
        ("size=64x32", "Size: 64x32"),
        ("prompt s/r=cat", "cat"),
        ("lora fur=0.50", "LoRA fur: 0.5"),
    ],
)
def test_a_value_is_written_as_a_label(text: str, words: str) -> None:
    axis, [value] = parse_axis(text)
    assert axis.words(value) == words


def test_values_may_be_parsed_apart_from_the_name() -> None:
    assert parse_values(AXES["steps"], "1-3") == [1, 2, 3]


def test_axes_do_not_load_torch() -> None:
    code = "import sys, sd_concord.core.axes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_brings_its_settings_for_what_is_left_open() -> None:
    axis, values = parse_axis("recipe=none, AYS draft, lcm")
    assert values == ["none", "ays-draft", "lcm"]
    bare = Generation(prompt="a cat", cfg=6)
    made = [axis.apply(bare, value) for value in values]
    assert made[0] == bare
    found = [(one.sampler, one.scheduler, one.steps, one.cfg, one.prompt) for one in made[1:]]
    assert found == [
        ("dpmpp_2m", "align_your_steps", 12, 6, "a cat"),
        ("lcm", "sgm_uniform", 5, 6, "a cat <lora:lcm-lora-sdxl:1>"),
    ]
    assert [one.concord and one.concord.recipe for one in made] == [None, "ays-draft", "lcm"]
    assert axis.apply(made[1], "none").concord == ConcordSettings()


def test_an_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(BadValue, match=r"axis concord\.recipe: unknown recipe 'lmc'; did you mean lcm"):
        parse_axis("recipe=lmc")
