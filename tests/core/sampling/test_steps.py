"""The weighted sum that every sampler's step is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.sampling.steps import SHORT, combine, phi_2, phi_3
from torch.utils._python_dispatch import TorchDispatchMode

WEIGHTS = st.floats(-3, 3)


class Count(TorchDispatchMode):
    """Counts operations."""

    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        return func(*args, **(kwargs or {}))


def tensors(n):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(64, generator=generator, dtype=torch.float64) for _ in range(n)]


@settings(deadline=None)
@given(scale=WEIGHTS, weights=st.lists(WEIGHTS, max_size=4), to_one=st.booleans())
def test_adds_up_to_the_weighted_sum_in_a_new_tensor(scale, weights, to_one):
    if to_one and weights:
        weights[-1] += 1 - scale - sum(weights)
    x, *terms = tensors(len(weights) + 1)
    before = [tensor.clone() for tensor in (x, *terms)]
    out = combine(x, scale, *zip(weights, terms, strict=True))
    wanted = scale * x + sum(weight * term for weight, term in zip(weights, terms, strict=True))
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    for tensor, then in zip((x, *terms), before, strict=True):
        assert torch.equal(tensor, then)
        assert out.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize("scale", [1.0, 0.5, 1 - 1e-14, 0.0])
def test_gives_a_new_tensor_even_without_terms(scale):
    (x,) = tensors(1)
    out = combine(x, scale, (0.0, x))
    assert out.data_ptr() != x.data_ptr()
    torch.testing.assert_close(out, scale * x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "weights", "operations"),
    [
        (1.0, (0.5, -0.2), 2),
        (0.0, (0.5, -0.2), 2),
        (0.7, (0.5, -0.2), 2),
        (0.7, (0.5, -0.3), 3),
        (0.7, (0.5, 0.0), 2),
    ],
    ids=["scale 1", "scale 0", "sum 1", "any", "weight 0"],
)
def test_takes_as_few_operations_as_there_are_terms(scale, weights, operations):
    x, one, two = tensors(3)
    with Count() as count:
        combine(x, scale, (weights[0], one), (weights[1], two))
    assert count.operations == operations


def test_a_tensor_named_twice_is_added_once():
    x, one, two = tensors(3)
    with Count() as count:
        out = combine(x, 0.4, (0.5, one), (0.3, two), (0.25, one))
    assert count.operations == 3
    torch.testing.assert_close(out, 0.4 * x + 0.75 * one + 0.3 * two)


@pytest.mark.parametrize("phi", [phi_2, phi_3])
def test_exponential_weights_meet_their_series(phi):
    at = SHORT * (1 - 1e-12)
    assert phi(at) == pytest.approx(phi(SHORT), rel=1e-6)
    assert phi(0.0) == 0.0
