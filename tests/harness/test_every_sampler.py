"""Every sampler draws with the embedded model, on three schedules."""

from __future__ import annotations

import numpy as np
import pytest
from sd_concord.core.sampling import SAMPLERS
from sd_concord.harness import Pipeline

SCHEDULES = ("karras", "sgm_uniform", "align_your_steps")


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


def drawn(pipeline, sampler, scheduler):
    """Return a small picture as an array."""
    (picture,) = pipeline(
        "a red circle", steps=3, sampler=sampler, scheduler=scheduler, seed=3, size=(64, 64)
    )
    return np.asarray(picture.image)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_a_picture_that_can_be_drawn_again(pipeline, sampler):
    pictures = {scheduler: drawn(pipeline, sampler, scheduler) for scheduler in SCHEDULES}
    for scheduler, picture in pictures.items():
        assert picture.std() > 1, scheduler
    assert np.array_equal(drawn(pipeline, sampler, "karras"), pictures["karras"])
    if sampler not in ("dpm_fast", "dpm_adaptive"):  # these see the ends of a schedule alone
        assert not np.array_equal(pictures["karras"], pictures["sgm_uniform"])
