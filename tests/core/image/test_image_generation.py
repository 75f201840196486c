"""The generation record: what it accepts, and that the table of keys and the record agree."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import pytest
from sd_concord.core.errors import ConcordError
from sd_concord.core.image import DetailerUnit, Generation, Hires, ModelRef, Networks, Variation
from sd_concord.core.image.generation import SUBRECORDS
from sd_concord.core.image.keys import FIRST, KEYS, LAST, UNIT

UNKEYED = {"prompt", "negative_prompt", "detailer", "extras", "source"}
IN_OTHER_KEYS = {"concord.own"}
"""What the values of other keys end in."""


def paths() -> set[str]:
    """Return every field of the record that holds a value, ``hires.steps`` and so on."""
    found: set[str] = set()
    for field in fields(Generation):
        if field.name in SUBRECORDS:
            found |= {f"{field.name}.{inner.name}" for inner in fields(SUBRECORDS[field.name])}
        elif field.name not in UNKEYED:
            found.add(field.name)
    return found


def test_every_field_has_a_key_and_every_key_a_field() -> None:
    assert {key.path for key in KEYS.values()} == paths() - IN_OTHER_KEYS
    assert {key.path for key in UNIT} == {field.name for field in fields(DetailerUnit)}


def test_no_key_or_field_stands_twice() -> None:
    assert (
        len({key.label for key in (*FIRST, *LAST)}) == len({key.path for key in (*FIRST, *LAST)}) == len(KEYS)
    )


def test_own_keys_are_ones_that_a1111_keeps() -> None:
    own = [label for label in KEYS if label.startswith("Concord")]
    assert own
    assert all(label.replace(" ", "").isalnum() for label in own)


def test_records_are_frozen_and_hash() -> None:
    generation = Generation(prompt="a", seed=1, hires=Hires(steps=5), extras=(("Key", "value"),))
    with pytest.raises(FrozenInstanceError):
        generation.seed = 2  # type: ignore[misc]
    assert hash(generation) == hash(replace(generation))
    assert pickle.loads(pickle.dumps(generation)) == generation
    assert all(is_dataclass(record) for record in SUBRECORDS.values())


def test_where_a_record_was_read_from_does_not_set_it_apart() -> None:
    assert Generation(seed=1, source="Seed: 1") == Generation(seed=1)


@pytest.mark.parametrize(
    ("record", "settings", "message"),
    [
        (Generation, {"steps": 0}, "steps is 0; pass a whole number, 1 or more, or None"),
        (Generation, {"steps": 2.5}, "steps is 2.5; pass a whole number"),
        (Generation, {"steps": True}, "steps is True; pass a whole number"),
        (Generation, {"cfg": float("nan")}, "cfg is nan; pass a finite number"),
        (Generation, {"cfg": "7"}, "cfg is '7'; pass a finite number"),
        (Generation, {"denoising_strength": 1.5}, "denoising_strength is 1.5; pass a finite number in 0…1"),
        (Generation, {"size": (512, 0)}, r"size is \(512, 0\); pass \(width, height\), each 1 or more"),
        (Generation, {"size": [512, 512]}, r"size is \[512, 512\]; pass \(width, height\)"),
        (Generation, {"sampler": ""}, "sampler is ''; pass the name of a sampler"),
        (Generation, {"tiling": 1}, "tiling is 1; pass True or False"),
        (Generation, {"prompt": None}, "prompt is None; pass text"),
        (Generation, {"hires": {"steps": 3}}, "hires is .*; pass a Hires"),
        (Generation, {"detailer": [DetailerUnit()]}, "pass a tuple of DetailerUnit"),
        (Generation, {"extras": {"a": "b"}}, r"extras holds|pass a tuple of \(key, value\)"),
        (Generation, {"extras": (("a", 1),)}, r"pass a tuple of \(key, value\), both text"),
        (Generation, {"extras": (("a: b", "c"),)}, "extras holds the key 'a: b'"),
        (Generation, {"extras": ((" a", "c"),)}, "extras holds the key ' a'"),
        (Hires, {"upscale": -1}, "hires.upscale is -1; pass a finite number, 0 or more"),
        (Variation, {"seed": "x"}, "variation.seed is 'x'; pass a whole number, or None"),
        (DetailerUnit, {"confidence": 2}, "detailer.confidence is 2; pass a finite number in 0…1"),
        (
            Networks,
            {"loras": (ModelRef(name="a, b", hash="12"),)},
            "networks.loras is .* names without ':' and ','",
        ),
        (Networks, {"loras": ("a",)}, "networks.loras is"),
        (ModelRef, {"name": 3}, "the name of a model is 3; pass text"),
    ],
)
def test_a_bad_value_is_named(record: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConcordError, match=message) as caught:
        record(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "host"),
    [
        ("v1.9.4", "a1111"),
        ("1.5.2", "a1111"),
        ("f2.0.1v1.10.1-previous-669-gdfdcbab6", "forge"),
        ("neo", "forge"),
        ("ComfyUI", "comfyui"),
        ("Fooocus v2.5.5", "fooocus"),
        ("Concord 0.1.0", "concord"),
        ("1e4d73", None),
        (None, None),
    ],
)
def test_the_version_tells_the_host(version: str | None, host: str | None) -> None:
    assert Generation(version=version).host == host
