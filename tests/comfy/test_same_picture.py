"""Concord Same Picture over the stand-in of ComfyUI."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from comfy_fake import FakeComfy
from sd_concord.core.image import ConcordSettings, Generation

SHAPE = (1, 64, 64, 3)


@pytest.fixture
def module(fake_comfy: FakeComfy) -> ModuleType:
    return fake_comfy.module("same_picture")


def told(module: ModuleType, drawn: torch.Tensor, recorded: torch.Tensor, **more: Any) -> list[Any]:
    out = module.SamePicture.execute(drawn, recorded, **more)
    assert out.ui == {"text": [out.args[3]]}
    return list(out.args)


def grey(level: int) -> torch.Tensor:
    return torch.full(SHAPE, level / 255)


def test_a_picture_is_the_same_as_itself(module: ModuleType) -> None:
    record = Generation(concord=ConcordSettings(profile="a1111"))
    same, largest, equal, words = told(module, grey(90), grey(90), record=record)
    assert (same, largest, equal) == (True, 0, 1.0)
    assert words == "same: 100.00% of values equal, at most 0 of 255 levels apart (profile a1111)"


def test_two_levels_are_too_much_unless_the_sampler_is_chaotic(module: ModuleType) -> None:
    other = grey(90)
    other[0, 0, 0, 0] = 92 / 255
    assert told(module, other, grey(90))[:2] == [False, 2]
    assert told(module, other, grey(90), record=Generation(sampler="dpmpp_sde"))[:2] == [True, 2]


def test_of_a_batch_the_nearest_counts(module: ModuleType) -> None:
    same, largest, _, words = told(module, torch.cat([grey(10), grey(90)]), grey(90))
    assert (same, largest) == (True, 0)
    assert "picture 2 of its batch" in words


def test_other_sizes_differ(module: ModuleType) -> None:
    same, largest, equal, words = told(module, torch.zeros(1, 8, 16, 3), grey(0))
    assert (same, largest, equal) == (False, -1, 0.0)
    assert words == "differs: 16x8 was drawn, 64x64 recorded (profile concord)"


def test_a_compressed_picture_is_compared_on_average(module: ModuleType) -> None:
    assert told(module, grey(93), grey(90))[0] is False
    assert told(module, grey(93), grey(90), lossy=True)[0] is True


def test_sigmas_that_are_not_the_programs_are_told_of(module: ModuleType) -> None:
    record = Generation(scheduler="beta57", concord=ConcordSettings(profile="a1111"))
    words = told(module, grey(1), grey(1), record=record)[3]
    assert words.endswith("schedule Beta57: Concord's own sigmas, as A1111 1.9.4 has no such schedule")
