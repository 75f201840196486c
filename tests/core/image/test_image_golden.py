"""Infotext against what the real web UIs wrote and read."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from golden import golden_dir
from sd_concord.core.image import (
    Generation,
    Hires,
    ModelRef,
    Variation,
    format_infotext,
    infotext_fields,
    parse_infotext,
)
from sd_concord.core.image.keys import KEYS
from sd_concord.core.image.names import sampler_name, scheduler_name
from sd_concord.core.image.pairs import quote, unquote

pytestmark = pytest.mark.golden

CREATE_FIELDS = """id p all_prompts all_negative_prompts all_seeds all_subseeds index use_main_prompt opts
    attrs extra hr_prompts hr_negative_prompts a1111 forge"""
PARSE_FIELDS = "id class text a1111 forge reforge printed a1111_raises forge_raises"
CHECKPOINT = "myModel_v10.safetensors [0123456789]"
VERSIONS = {"a1111": "1.9.4", "forge": "f2.0.1v1.10.1-previous-669-gdfdcbab6"}


def cases(name: str, fields: str) -> list[dict[str, Any]]:
    """Return the records of a file, all of them with known fields only; fails when there are none."""
    with gzip.open(golden_dir("infotext") / name, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    assert records, f"{name} is empty"
    unknown = set().union(*records) - set(fields.split())
    assert not unknown, f"{name} has fields that no test reads: {sorted(unknown)}"
    print(f"{name}: {len(records)} cases")
    return records


def test_quote_is_to_the_letter() -> None:
    for case in cases("quote.jsonl.gz", "v quote unquote"):
        assert quote(case["v"]) == case["quote"], case
        assert unquote(case["v"]) == case["unquote"], case


@pytest.mark.parametrize("host", ["a1111", "forge"])
def test_written_text_is_to_the_letter(host: str) -> None:
    for case in cases("create.jsonl.gz", CREATE_FIELDS):
        assert format_infotext(generation_of(case, host)) == case[host], case["id"]


@pytest.mark.parametrize("host", ["a1111", "forge"])
def test_written_text_reads_back_as_what_it_was_made_of(host: str) -> None:
    for case in cases("create.jsonl.gz", CREATE_FIELDS):
        generation = parse_infotext(case[host])
        assert last_line(format_infotext(generation)) == last_line(case[host]), case["id"]
        assert generation.seed == case["all_seeds"][index_of(case)]
        assert generation.steps == case["p"]["steps"]
        assert generation.sampler == sampler_name(case["p"]["sampler_name"])


@pytest.mark.parametrize("host", ["a1111", "forge", "reforge"])
def test_fields_are_those_of_the_host(host: str) -> None:
    for case in cases("parse.jsonl.gz", PARSE_FIELDS):
        fields = infotext_fields(case["text"], host, checkpoint=CHECKPOINT)
        if "a1111_raises" in case:
            assert fields["Prompt"], case["id"]
            continue
        expected = dict(case["a1111"])
        if host != "a1111" and host in case:
            expected |= case[host]["set"]
            expected = {key: value for key, value in expected.items() if key not in case[host]["del"]}
        assert fields == expected, case["id"]
        assert {k: type(v) for k, v in fields.items()} == {k: type(v) for k, v in expected.items()}, case[
            "id"
        ]


def test_the_record_holds_what_the_host_reads() -> None:
    compared = 0
    for case in cases("parse.jsonl.gz", PARSE_FIELDS):
        generation = parse_infotext(case["text"])
        fields = case.get("a1111", {})
        if "Hypernet" not in fields and fields:
            assert generation.prompt == fields["Prompt"], case["id"]
        for label, name in (("Seed", "seed"), ("Steps", "steps"), ("CFG scale", "cfg")):
            if fields.get(label, "").isdigit():
                assert getattr(generation, name) == int(fields[label]), case["id"]
                compared += 1
    assert compared > 500


def test_a_record_that_was_read_is_written_to_the_letter() -> None:
    for case in cases("parse.jsonl.gz", PARSE_FIELDS):
        line = parse_infotext(case["text"]).source
        assert format_infotext(parse_infotext(case["text"])).endswith(line), case["id"]


def test_an_edited_record_loses_no_key() -> None:
    for case in cases("parse.jsonl.gz", PARSE_FIELDS):
        before = parse_infotext(case["text"])
        if len(KEYS.keys() & infotext_fields(case["text"]).keys()) < 3 or not before.source:
            continue
        edited = replace(before, user="somebody else")
        assert parse_infotext(format_infotext(edited)) == edited, case["id"]


def last_line(text: str) -> str:
    return text.rsplit("\n", 1)[-1]


def index_of(case: dict[str, Any]) -> int:
    """Return the place of the picture in its job; a text for the whole job is that of the first."""
    return 0 if case["use_main_prompt"] else case["index"]


def generation_of(case: dict[str, Any], host: str) -> Generation:
    """Return the record of what a host was told to write, by the rules of that host."""
    p, opts, attrs, index = case["p"], case["opts"], case["attrs"], index_of(case)
    whole = bool(case["use_main_prompt"])
    scheduler = p["scheduler"]
    merging, merging_hires = opts["token_merging_ratio"], opts["token_merging_ratio_hr"]
    vae = ModelRef(
        name=attrs["sd_vae_name"] if opts["add_vae_name_to_info"] else None,
        hash=attrs["sd_vae_hash"] if opts["add_vae_hash_to_info"] else None,
    )
    model = ModelRef(
        name=attrs["sd_model_name"] if opts["add_model_name_to_info"] else None,
        hash=attrs["sd_model_hash"] if opts["add_model_hash_to_info"] else None,
    )
    resized = p["seed_resize_from_w"] > 0 and p["seed_resize_from_h"] > 0
    hires = hires_of(case, host) if p.get("enable_hr") else None
    varied = p["subseed_strength"] > 0
    return Generation(
        prompt=p["prompt"] if whole else case["all_prompts"][index],
        negative_prompt=p["negative_prompt"] if whole else case["all_negative_prompts"][index],
        steps=p["steps"],
        sampler=sampler_name(p["sampler_name"]),
        scheduler=scheduler_name(scheduler) if scheduler else None,
        cfg=p["cfg_scale"],
        seed=case["all_seeds"][index],
        face_restoration=opts["face_restoration_model"] if p["restore_faces"] else None,
        size=(p["width"], p["height"]),
        model=model,
        vae=None if host == "forge" else vae,
        variation=Variation(seed=case["all_subseeds"][index], strength=p["subseed_strength"])
        if varied
        else None,
        seed_resize_from=(p["seed_resize_from_w"], p["seed_resize_from_h"]) if resized else None,
        denoising_strength=p["denoising_strength"] if hires else None,
        clip_skip=opts["CLIP_stop_at_last_layers"],
        ensd=opts["eta_noise_seed_delta"] if p["sampler_name"] == "Euler a" and p["eta"] != 0 else None,
        token_merging_ratio=merging,
        token_merging_ratio_hr=(merging_hires or merging) if hires else None,
        rng=opts["randn_source"],
        ngms=None if host == "forge" else p["s_min_uncond"],
        tiling=p["tiling"],
        hires=hires,
        version=VERSIONS[host] if opts["add_version_to_infotext"] else None,
        user=attrs["user"] if opts["add_user_name_to_info"] else None,
        extras=extras_of(case),
    )


def hires_of(case: dict[str, Any], host: str) -> Hires:
    p, index = case["p"], index_of(case)
    prompt, negative = case["hr_prompts"][index], case["hr_negative_prompts"][index]
    resize = (p["hr_resize_x"], p["hr_resize_y"])
    sampler = p["hr_sampler_name"]
    return Hires(
        prompt=prompt if prompt != case["all_prompts"][index] else None,
        negative_prompt=negative if negative != case["all_negative_prompts"][index] else None,
        sampler=sampler_name(sampler) if sampler and sampler != p["sampler_name"] else None,
        cfg=1.0 if host == "forge" else None,
        resize=resize if any(resize) else None,
        upscale=None if any(resize) else p["hr_scale"],
        steps=p["hr_second_pass_steps"],
        upscaler=p["hr_upscaler"],
    )


def extras_of(case: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    index = index_of(case)

    def value_of(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return value[index] if index < len(value) else None

    values = {key: value_of(value) for key, value in case["extra"].items()}
    return tuple((key, str(value)) for key, value in values.items() if value is not None)
