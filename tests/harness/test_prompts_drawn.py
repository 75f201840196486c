"""Prompt syntax, seen in pictures of the embedded model: edits, negatives, BREAK, AND, weights."""

from itertools import pairwise

import numpy as np
import pytest
from sd_concord.harness import Pipeline
from sd_concord.harness.train.recognise import colour_share

SEEDS = 6


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


def drawn(pipeline, prompt, negative=""):
    """Return the pictures of a few seeds."""
    return [picture.image for picture in pipeline(prompt, negative, steps=12, seed=100, batch=SEEDS)]


def share(pictures, colour):
    return float(np.mean([colour_share(picture, colour) for picture in pictures]))


def redness(pictures):
    red, blue = share(pictures, "red"), share(pictures, "blue")
    return red / (red + blue)


def test_an_edit_goes_from_one_colour_to_the_other_in_an_s_curve(pipeline):
    """The earlier the switch, the less of the first colour; at both ends only one is seen."""
    curve = [redness(drawn(pipeline, f"a big [red:blue:{w}] circle")) for w in (0, 0.25, 0.5, 0.75, 1.0)]
    print([round(value, 2) for value in curve])
    assert curve[0] < 0.05
    assert curve[-1] > 0.95
    assert all(later >= earlier - 0.05 for earlier, later in pairwise(curve))


def test_a_negative_prompt_lowers_what_it_names(pipeline):
    prompt = "a red circle and a blue square"
    with_blue = share(drawn(pipeline, prompt), "blue")
    without = share(drawn(pipeline, prompt, "blue, blue square"), "blue")
    print(with_blue, without)
    assert without < 0.7 * with_blue


def test_two_chunks_differ_from_one(pipeline):
    one = drawn(pipeline, "a red circle, a blue square")
    two = drawn(pipeline, "a red circle BREAK a blue square")
    assert np.abs(one[0].astype(int) - two[0]).mean() > 1
    assert share(two, "red") > 0.01
    assert share(two, "blue") > 0.01


def test_a_weight_makes_more_of_a_thing(pipeline):
    plain = share(drawn(pipeline, "a red circle and a blue square"), "blue")
    heavy = share(drawn(pipeline, "a red circle and (a blue square:1.5)"), "blue")
    print(plain, heavy)
    assert heavy > plain


def test_and_adds_up_what_each_part_asks_for(pipeline):
    """A part of weight 0 asks for nothing; a part twice is the part at twice the guidance."""
    alone = pipeline("a red circle", steps=6, seed=5, cfg=2)[0].image
    with_nothing = pipeline("a red circle AND a blue square :0", steps=6, seed=5, cfg=2)[0].image
    twice = pipeline("a red circle AND a red circle", steps=6, seed=5, cfg=2)[0].image
    doubled = pipeline("a red circle", steps=6, seed=5, cfg=4)[0].image
    assert np.abs(alone.astype(int) - with_nothing).max() <= 1
    assert np.abs(twice.astype(int) - doubled).max() <= 1
    assert np.abs(alone.astype(int) - doubled).mean() > 1
