"""A picture brought to the size of a run."""

import hashlib

import numpy as np
import pytest
from sd_concord.core.errors import BadValue
from sd_concord.core.image.framing import framed
from sd_concord.core.image.keys import RESIZE_MODES


def plain(width, height, colour=200):
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("size", [(64, 40), (40, 64), (33, 17), (8, 8)])
def test_the_size_is_met_and_one_colour_stays_one(mode, size):
    out = framed(plain(48, 32), size, mode)
    assert out.shape == (size[1], size[0], 3)
    inner = out if mode != "resize and fill" else out[1:-1, 1:-1]
    assert (inner == 200).all()


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_a_picture_of_the_size_is_as_it_was(mode):
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    assert np.array_equal(framed(image, (32, 24), mode), image)


def test_crop_keeps_proportions_and_cuts_both_sides_alike():
    image = plain(40, 20, 0)
    image[:, 10:30] = 255
    out = framed(image, (20, 20), "crop and resize")
    assert (out == 255).all()


def test_fill_keeps_all_of_it_and_draws_its_rim_out():
    image = plain(40, 20, 100)
    image[:10] = 50
    out = framed(image, (40, 40), "resize and fill")
    assert (out[:18] == 50).all()
    assert (out[22:] == 100).all()
    assert np.array_equal(out[10:30], image)


def test_stretching_changes_proportions():
    image = plain(40, 20, 0)
    image[:, 20:] = 255
    out = framed(image, (20, 20))
    assert (out[:, :7] <= 2).all()  # Lanczos rings
    assert (out[:, 13:] >= 253).all()


def test_growing_in_one_side_and_shrinking_in_the_other_is_as_with_the_web_uis_pillow():
    """Pillow 10.4's own answer; later ones go through columns first where that is less work."""
    image = np.random.default_rng(5).integers(0, 256, (9, 7, 3), np.uint8)
    assert hashlib.sha256(framed(image, (12, 5)).tobytes()).hexdigest()[:16] == "087292c0ea9b4e8a"


def test_a_mask_is_framed_as_its_picture():
    mask = np.zeros((20, 40), np.uint8)
    mask[:, 20:] = 255
    assert framed(mask, (80, 40), "crop and resize").shape == (40, 80)


def test_unknown_modes_and_sizes_are_refused():
    with pytest.raises(BadValue, match="did you mean crop and resize"):
        framed(plain(8, 8), (8, 8), "crop an resize")
    with pytest.raises(BadValue, match="0x8"):
        framed(plain(8, 8), (0, 8))
