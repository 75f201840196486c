"""What lies under the mask, and how softly the mask holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.image.masked_content import (
    blend_keeping_detail,
    differential_mask,
    fill_masked,
    masked_latent,
    soft_mask,
)
from sd_concord.core.sigmas import ModelSigmas

MODEL = ModelSigmas.sd()


def test_fill_keeps_what_is_not_masked_and_forgets_what_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    mask = np.zeros((64, 80), np.uint8)
    mask[16:48, 20:60] = 255
    out = fill_masked(image, mask)
    assert np.array_equal(out[mask == 0], image[mask == 0])
    other = image.copy()
    other[mask > 0] = 255 - other[mask > 0]
    assert np.array_equal(fill_masked(other, mask), out)


def test_fill_draws_colour_from_the_nearest() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32, 0] = 200
    image[:, 32:, 2] = 200
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 24:40] = 255
    out = fill_masked(image, mask).astype(int)
    assert (out[:, 26, 0] > out[:, 26, 2] + 50).all()
    assert (out[:, 37, 2] > out[:, 37, 0] + 50).all()
    assert (out[:, 24:40].sum(-1) > 120).all()


def test_the_latent_begins_as_named() -> None:
    generator = torch.Generator().manual_seed(0)
    latent, noise = (torch.randn(2, 4, 6, 8, generator=generator) for _ in range(2))
    mask = torch.zeros(6, 8)
    mask[2:4] = 1
    inside = mask.bool().expand_as(latent)
    for content in ("original", "fill"):
        assert torch.equal(masked_latent(latent, mask, content, noise), latent)
    for content, value in (("noise", noise), ("nothing", torch.zeros_like(noise))):
        out = masked_latent(latent, mask, content, noise)
        assert torch.equal(out[inside], value[inside])
        assert torch.equal(out[~inside], latent[~inside])
    half = masked_latent(latent, mask / 2, "noise", noise)
    torch.testing.assert_close(half[inside], (latent + noise)[inside] / 2)


def test_differential_diffusion_paints_stronger_pixels_longer() -> None:
    mask = (torch.arange(100) + 0.5) / 100
    first = float(MODEL.table[799])
    counts = [
        int(differential_mask(mask, sigma, first, MODEL).sum())
        for sigma in (first, float(MODEL.table[399]), float(MODEL.table[79]), 0.0)
    ]
    assert counts == [0, 50, 90, 100]
    hard = (mask > 0.5).float()
    assert torch.equal(differential_mask(hard, first, first, MODEL), hard)


def test_a_soft_mask_opens_as_the_noise_goes() -> None:
    mask = torch.tensor([0.0, 0.3, 1.0])
    shares = [soft_mask(mask, sigma) for sigma in (14.0, 2.0, 0.5, 0.0)]
    assert [float(share[1]) for share in shares] == sorted(float(share[1]) for share in shares)
    assert all(share[0] == 0 and share[2] == 1 for share in shares)
    assert float(shares[1][1]) == pytest.approx(0.3)
    assert shares[-1].tolist() == [0, 1, 1]
    assert soft_mask(mask, 14.0, scale=0).tolist() == [0, 1, 1]
    assert float(soft_mask(mask, 4.0, power=0.5)[1]) == pytest.approx(0.3)


def test_blending_keeps_the_length_of_the_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(2))
    half = torch.full((1, 1, 8, 8), 0.5)
    for mask, wanted in ((torch.zeros(1, 1, 8, 8), one), (torch.ones(1, 1, 8, 8), other)):
        torch.testing.assert_close(blend_keeping_detail(one, other, mask), wanted)
    lengths = [value.norm(dim=1) for value in (one, other, blend_keeping_detail(one, other, half))]
    wanted = ((lengths[0] ** 4 + lengths[1] ** 4) / 2) ** 0.25
    torch.testing.assert_close(lengths[2], wanted)
    assert bool(blend_keeping_detail(one, -one, half).isfinite().all())
    mean = ((lengths[0] + lengths[1]) / 2).squeeze()
    plain = blend_keeping_detail(one, other, half[0, 0], detail=1.0).norm(dim=1).squeeze()
    torch.testing.assert_close(plain, mean)


def test_what_does_not_fit_is_refused() -> None:
    latent = torch.zeros(1, 4, 8, 8)
    with pytest.raises(BadValue, match=r"unknown masked content 'latent noise'.*noise"):
        masked_latent(latent, torch.zeros(8, 8), "latent noise", latent)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match=r"mask is \(4, 8\) but the picture is \(8, 8\)"):
        masked_latent(latent, torch.zeros(4, 8), "noise", latent)
    with pytest.raises(BadValue, match=r"mask is \(4, 4\) but the picture is \(8, 8\)"):
        fill_masked(np.zeros((8, 8, 3), np.uint8), np.zeros((4, 4), np.uint8))
