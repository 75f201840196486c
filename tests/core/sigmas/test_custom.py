"""A list of sigmas written down, as a schedule of any number of steps."""

import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.sigmas import ModelSigmas, get_sigmas
from sd_concord.core.sigmas.custom import read_sigmas

MODEL = ModelSigmas.sd()


@pytest.mark.parametrize("text", ["14 4 1 0.1", "14, 4, 1, 0.1, 0", "[14; 4; 1; 0.1]", " 14\n4 1 1e-1 "])
def test_a_list_is_read_however_it_is_written(text):
    assert read_sigmas(text) == [14, 4, 1, 0.1]


def test_as_many_steps_as_it_has_take_it_as_it_is():
    found = get_sigmas("custom", 4, MODEL, sigmas="14 4 1 0.1 0")
    assert torch.equal(found, torch.tensor([14, 4, 1, 0.1, 0]))


def test_other_numbers_of_steps_lie_log_linear_between():
    found = get_sigmas("custom", 7, MODEL, sigmas="16 4 1 0.25")
    assert torch.allclose(found, torch.tensor([16, 8, 4, 2, 1, 0.5, 0.25, 0]))
    assert torch.allclose(get_sigmas("custom", 2, MODEL, sigmas="16 4 1"), torch.tensor([16.0, 1, 0]))
    assert torch.equal(get_sigmas("custom", 1, MODEL, sigmas="16 4 1"), torch.tensor([16.0, 0]))


def test_without_a_list_it_goes_from_end_to_end_of_the_model():
    found = get_sigmas("custom", 9, MODEL)
    assert torch.allclose(found, get_sigmas("exponential", 9, MODEL), rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2", "rise"),
        ("2 2", "rise"),
        ("3 0 1", "not a finite number above 0"),
        ("3 x", "pass falling"),
        ("0", "pass"),
    ],
)
def test_what_is_no_falling_list_is_refused(text, words):
    with pytest.raises(BadValue, match=words):
        get_sigmas("custom", 4, MODEL, sigmas=text)
