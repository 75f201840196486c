"""Guidance against its closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.sampling.guidance import (
    cfg,
    cfg_pp_scale,
    multiply_sigmas,
    rescale,
    rescaled_cfg,
    scale_within,
)

GENERATOR = torch.Generator().manual_seed(1)
COND, UNCOND, X = torch.randn(3, 2, 4, 6, 6, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.0, 0.4, 1.0, 7.5])
def test_cfg(scale):
    torch.testing.assert_close(cfg(COND, UNCOND, scale), UNCOND + scale * (COND - UNCOND))


def test_cfg_ends_exactly():
    assert torch.equal(cfg(COND, UNCOND, 1.0), COND)
    assert torch.equal(cfg(COND, UNCOND, 0.0), UNCOND)


def test_rescale_brings_each_image_to_the_deviation_of_cond():
    guided = cfg(COND, UNCOND, 8.0)
    axes = (1, 2, 3)
    torch.testing.assert_close(rescale(guided, COND, 1.0).std(axes), COND.std(axes))
    assert torch.equal(rescale(guided, COND, 0.0), guided)
    half = (rescale(guided, COND, 1.0) + guided) / 2
    torch.testing.assert_close(rescale(guided, COND, 0.5), half)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 14.6, 4518.0])
def test_rescaled_cfg_rescales_the_velocity(sigma):
    """v = alpha noise - sigma_vp clean, with alpha = 1 / sqrt(1 + sigma^2), sigma_vp = sigma alpha."""
    alpha = 1 / math.sqrt(1 + sigma**2)
    v = [alpha * (X - clean) / sigma - sigma * alpha * clean for clean in (COND, UNCOND)]
    guided = rescale(cfg(v[0], v[1], 6.0), v[0], 0.7)
    clean = (alpha * X * alpha) - sigma * alpha * guided
    got = rescaled_cfg(X, COND, UNCOND, sigma=sigma, scale=6.0, amount=0.7)
    torch.testing.assert_close(got, clean, rtol=0, atol=1e-9 * max(1, sigma))


def test_rescaled_cfg_without_rescale_is_cfg():
    got = rescaled_cfg(X, COND, UNCOND, sigma=2.0, scale=6.0, amount=0.0)
    torch.testing.assert_close(got, cfg(COND, UNCOND, 6.0))


def test_cfg_pp_scale():
    assert cfg_pp_scale(7.5) == 0.6
    assert cfg_pp_scale(1.0, 1.0) == 1.0


@pytest.mark.parametrize(("sigma", "scale"), [(5.5, 1.0), (5.0, 4.0), (1.0, 4.0), (0.5, 4.0), (0.4, 1.0)])
def test_guidance_within_an_interval(sigma, scale):
    assert scale_within(sigma, 4.0, 0.5, 5.0) == scale


def test_multiply_sigmas_takes_a_share_of_the_list():
    sigmas = torch.tensor([10.0, 8.0, 6.0, 4.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.0])
    out = multiply_sigmas(sigmas, 0.5, 0.2, 0.5)
    assert out.tolist() == pytest.approx([10.0, 8.0, 3.0, 2.0, 1.0, 1.0, 0.5, 0.2, 0.1, 0.0])
    assert sigmas[2] == 6.0
    torch.testing.assert_close(multiply_sigmas(sigmas, 0.9), sigmas * 0.9)


def test_multiply_sigmas_refuses():
    with pytest.raises(BadValue, match=r"start and end are 0.6 and 0.2"):
        multiply_sigmas(torch.ones(3), 1.0, 0.6, 0.2)
    with pytest.raises(BadValue, match="factor is -1"):
        multiply_sigmas(torch.ones(3), -1.0)
