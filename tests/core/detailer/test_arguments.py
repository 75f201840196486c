"""ADetailer's API arguments, and the infotext of the units that come of them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from detailer_records import records
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.detailer import DEFAULTS, unit_from_args, units_from_args, with_defaults
from sd_concord.core.errors import BadType, BadValue, ConcordError
from sd_concord.core.image import DetailerUnit, Generation, format_infotext, parse_infotext
from sd_concord.core.image.keys import MASK_FILTERS, MASK_MERGES, SIZE_MODES, SORT_ORDERS, UNIT
from sd_concord.core.image.pairs import quote

VERSION = "25.3.0"


@pytest.mark.golden
def test_arguments_and_infotext_are_adetailers() -> None:
    for case in records("args", "id enable skip units enabled infotext valid"):
        read = units_from_args([case["enable"], case["skip"], *case["units"]], drop_invalid=True)
        assert [error is None for error in read.dropped] == case["valid"], case["id"]
        assert read.enabled == case["enabled"], case["id"]
        assert read.skip_img2img == (case["skip"] is True), case["id"]
        record = Generation(detailer=read.units, detailer_version=VERSION if any(case["valid"]) else None)
        if "raises" in case["infotext"]:
            assert not any(case["valid"])
            continue
        wanted = ", ".join(
            f"{key}: {quote(value)}" for key, value in case["infotext"].items() if value is not None
        )
        assert format_infotext(record).strip("\n") == wanted, case["id"]
        if len(wanted.split(",")) >= 3:
            again = parse_infotext(wanted).detailer
            assert [stripped(unit) for unit in again] == [stripped(unit) for unit in read.units], case["id"]


def stripped(unit: DetailerUnit) -> DetailerUnit:
    """Return ``unit`` without blanks round its prompts: infotext loses them where it does not quote."""
    texts = {name: getattr(unit, name) for name in ("prompt", "negative_prompt")}
    return replace(unit, **{name: (text or "").strip() or None for name, text in texts.items()})


@pytest.mark.golden
def test_a_dropped_unit_is_an_error_that_names_the_argument() -> None:
    for case in records("args", "id enable skip units enabled infotext valid"):
        for unit, valid in zip(case["units"], case["valid"], strict=True):
            if valid:
                unit_from_args(unit)
                continue
            with pytest.raises(ConcordError) as error:
                unit_from_args(unit)
            assert any(repr(name) in str(error.value) or name in str(error.value) for name in unit if name)


@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        ({"ad_inpaint_padding": 3}, BadValue, "did you mean ad_inpaint_only_masked_padding"),
        (
            {"ad_confidense": 0.5},
            BadValue,
            "unknown argument of ADetailer 'ad_confidense'; did you mean ad_confidence",
        ),
        ({"ad_confidence": 1.5}, BadValue, "ad_confidence is 1.5; pass a number in 0…1"),
        ({"ad_confidence": float("nan")}, BadValue, "ad_confidence is nan"),
        ({"ad_mask_k": "many"}, BadType, "ad_mask_k is 'many'; pass a whole number"),
        ({"ad_mask_k": float("inf")}, BadType, "ad_mask_k is inf; pass a whole number"),
        ({"ad_use_steps": "maybe"}, BadType, "ad_use_steps is 'maybe'; pass True or False"),
        ({"ad_prompt": None}, BadType, "ad_prompt is None; pass text"),
        ({"ad_mask_filter_method": "area"}, BadValue, "Known: Area, Confidence"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_with_an_argument_is_told(args: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind) as error:
        unit_from_args({"ad_model": "face.pt"} | args)
    assert message in str(error.value)
    with pytest.raises(kind):
        units_from_args([True, {"ad_model": "face.pt"} | args])


@pytest.mark.parametrize(
    "args",
    [{}, {"ad_model": "None"}, {"ad_model": "face.pt", "ad_tab_enable": False, "ad_steps": 5}],
    ids=str,
)
def test_a_unit_that_is_off_says_nothing(args: dict[str, Any]) -> None:
    assert unit_from_args(args) == DetailerUnit()
    read = units_from_args([args, {"ad_model": "hand.pt"}, args])
    assert read.enabled
    assert [unit.model for unit in read.units] == [None, "hand.pt"]
    assert not units_from_args([True, False, args]).enabled


def test_switches_come_first_and_may_be_left_out() -> None:
    unit = {"ad_model": "face.pt"}
    assert units_from_args([unit]).enabled
    assert not units_from_args([False, unit]).enabled
    assert units_from_args([True, True, unit]).skip_img2img
    assert not units_from_args([True, False, unit]).skip_img2img
    assert not units_from_args([]).enabled


def test_the_names_of_samplers_are_the_registries() -> None:
    unit = unit_from_args(
        {"ad_model": "m", "ad_use_sampler": True, "ad_sampler": "Euler a", "ad_scheduler": "Karras"}
    )
    assert (unit.sampler, unit.scheduler) == ("euler_ancestral", "karras")


def test_a_value_turns_its_switch_on() -> None:
    assert DetailerUnit(steps=5).use_steps is True
    assert DetailerUnit(scheduler="karras").use_sampler is True
    assert DetailerUnit(inpaint_height=512).use_inpaint_size is True
    assert DetailerUnit(steps=5, use_steps=False).use_steps is False
    assert DetailerUnit().use_steps is None


def test_defaults_fill_what_is_open_and_nothing_else() -> None:
    unit = with_defaults(DetailerUnit(mask_k=3, padding=0))
    assert (unit.mask_k, unit.padding, unit.mask_blur, unit.seed) == (3, 0, 4, None)
    assert with_defaults(DetailerUnit()) == DEFAULTS


WORDS = st.sampled_from(["face.pt", "a, b: c", "x\ny", "日本", "[SEP]"])
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "mask_filter_method": st.sampled_from(MASK_FILTERS),
    "mask_merge_invert": st.sampled_from(MASK_MERGES[1:]),
    "sort_order": st.sampled_from(SORT_ORDERS[1:]),
    "match_box_size": st.sampled_from(SIZE_MODES[1:]),
    "guide_size_for": st.sampled_from(["bbox", "crop"]),
    "sampler": st.sampled_from(["euler", "no such sampler"]),
    "scheduler": st.sampled_from(["karras", "no such schedule"]),
    "crop_factor": st.sampled_from([1, 2.5]),
    "max_size": st.integers(8, 4096),
    "cycle": st.integers(2, 9),
}


def values(name: str, kind: str) -> st.SearchStrategy[Any]:
    """Return values of a field that are written, of the kind that its annotation says."""
    if name in SPECIAL:
        return SPECIAL[name]
    if kind.startswith("bool"):
        return st.booleans() if name.startswith("use_") or name == "only_masked" else st.just(True)
    if kind.startswith("str"):
        return WORDS
    return st.integers(2, 999) if kind.startswith("int") else st.sampled_from([0.25, 0.5, 1 / 3])


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 3))
def test_every_option_goes_through_infotext(data: st.DataObject, count: int) -> None:
    names = {one.name: str(one.type) for one in fields(DetailerUnit)}
    chosen = data.draw(st.sets(st.sampled_from(sorted(names))))
    unit = DetailerUnit(**{name: data.draw(values(name, names[name])) for name in sorted(chosen)})
    last = replace(unit, model="last.pt")
    record = Generation(prompt="p", steps=20, seed=1, size=(8, 8), detailer=(*(unit,) * (count - 1), last))
    again = parse_infotext(format_infotext(record))
    assert again.detailer == record.detailer
    assert again.extras == ()


def test_own_keys_are_ones_that_a1111_keeps() -> None:
    own = [key.label for key in UNIT if key.label.startswith("Concord detailer ")]
    assert len(own) == 19
    assert all(label.replace(" ", "").isalnum() for label in own)
    text = format_infotext(
        Generation(detailer=(DetailerUnit(seed=1), DetailerUnit(seed=2), DetailerUnit(cycle=3)))
    )
    assert text == "Concord detailer seed: 1, Concord detailer seed 2nd: 2, Concord detailer cycle 3rd: 3"
