"""Sizes of the hires pass."""

from __future__ import annotations

import gzip
import json

import pytest
import torch
from golden import golden_dir
from sd_concord.core.errors import BadValue
from sd_concord.core.image.hires import HiresSize, cut_latent, hires_size


@pytest.mark.golden
def test_sizes_are_those_of_the_web_uis() -> None:
    with gzip.open(golden_dir("detailer") / "hires.jsonl.gz", "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    assert cases
    for case in cases:
        size, result = (case["width"], case["height"]), case["result"]
        found = hires_size(
            size, upscale=case["scale"], resize=tuple(case["resize"]), size_is_target=case["old_rule"]
        )
        assert [*found.first] == [result["width"], result["height"]], case
        assert ([*found.to], [*found.cut]) == (result["to"], result["truncate"]), case


def test_a_target_of_both_sides_is_covered_and_cut() -> None:
    found = hires_size((512, 512), resize=(1024, 768))
    assert found == HiresSize(first=(512, 512), to=(1024, 1024), cut=(0, 32))
    assert found.latent == (128, 128)
    assert found.final == (1024, 768)


def test_the_final_size_is_whole_latent_cells() -> None:
    assert hires_size((832, 632), upscale=1.416).final == (1176, 888)


def test_the_cut_takes_the_odd_cell_from_the_far_side() -> None:
    latent = torch.arange(6.0).expand(1, 1, 5, 6)
    out = cut_latent(latent, (3, 0))
    assert out[0, 0, 0].tolist() == [1, 2, 3]
    assert out.shape == (1, 1, 5, 3)
    assert cut_latent(latent, (0, 1)).shape == (1, 1, 4, 6)
    assert torch.equal(cut_latent(latent, (0, 0)), latent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"upscale": 0.0}, "the hires factor is 0.0; pass a number above 0"),
        ({"upscale": float("inf")}, "the hires factor is inf"),
        ({"resize": (-1, 5)}, "the hires target is -1x5; pass sides of 0 .follows. or more"),
    ],
    ids=["no factor", "endless", "negative"],
)
def test_what_cannot_be_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        hires_size((512, 512), **arguments)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="size is 0x512"):
        hires_size((0, 512))
