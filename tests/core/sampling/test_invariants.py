"""What holds for every sampler on any schedule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_problems import BothAlike
from sd_concord.core.sampling import SAMPLERS, sample

SHAPE = (1, 4, 6, 6)
FALLING = st.lists(st.floats(0.01, 50.0), min_size=2, max_size=7, unique=True).map(
    lambda values: torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
)
ONE_STEP = [
    "euler", "heun", "dpm_2", "ddim", "dpmpp_2s_ancestral", "dpmpp_sde", "seeds_2", "seeds_3", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "euler_ancestral", "ddpm", "dpm_2_ancestral", "euler_cfg_pp", "euler_ancestral_cfg_pp",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde_cfg_pp", "ddim_timesteps", "ddim_cfgpp", "lcm",
]  # fmt: skip
TWINS = {
    "euler_ancestral": "euler",
    "ddpm": "euler",
    "ddim_timesteps": "euler",
    "dpm_2_ancestral": "dpm_2",
    "dpmpp_2m_sde": "dpmpp_2m",
    "dpmpp_2m_sde_heun": "res_multistep",
    "res_multistep_ancestral": "res_multistep",
    "dpmpp_sde": "seeds_2",
    "dpmpp_2s_ancestral": "seeds_2",
    "exp_heun_2_x0_sde": "exp_heun_2_x0",
    "euler_ancestral_cfg_pp": "euler_cfg_pp",
    "res_multistep_ancestral_cfg_pp": "res_multistep_cfg_pp",
}
TO_NOISE = ("dpm_fast", "dpm_adaptive", "uni_pc", "uni_pc_bh2", "uni_pc_timesteps")
"""These end at a last sigma above 0 whatever they are given."""


def start(seed=3, dtype=torch.float64):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Noise:
    """Step noise that is a function of the step, so that a run taken up again draws the same."""

    def __call__(self, sigma, sigma_next):
        return start(seed=int(1e6 * sigma_next))


def toy(x, sigma):
    """Denoise a Gaussian of mean 0.3 and deviation 0.5."""
    return (0.3 + 0.25 * (x - 0.3) / (0.25 + sigma * sigma)).to(x.dtype)


def to_zero(sigmas):
    return torch.cat([sigmas, sigmas.new_zeros(1)])


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(list(SAMPLERS)), sigmas=FALLING, ends=st.booleans())
def test_what_is_given_is_never_changed(name, sigmas, ends):
    sigmas = to_zero(sigmas) if ends else sigmas
    x = start() * sigmas[0]
    before = x.clone(), sigmas.clone()
    sample(name, BothAlike(toy), x, sigmas, noise=Noise())
    assert torch.equal(x, before[0])
    assert torch.equal(sigmas, before[1])


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(SAMPLERS)),
    sigmas=FALLING,
    dtype=st.sampled_from([torch.float16, torch.bfloat16]),
)
def test_half_precision_stays_finite(name, sigmas, dtype):
    x = (start() * sigmas[0]).to(dtype)
    out = sample(name, BothAlike(toy), x, to_zero(sigmas), noise=Noise())
    assert out.dtype == dtype
    assert torch.isfinite(out).all()


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(ONE_STEP), sigmas=FALLING, place=st.integers(1, 6), ends=st.booleans())
def test_a_run_may_be_split_anywhere(name, sigmas, place, ends):
    sigmas = to_zero(sigmas) if ends else sigmas
    place = min(place, len(sigmas) - 1)
    x = start() * sigmas[0]
    whole = sample(name, BothAlike(toy), x, sigmas, noise=Noise())
    parts = [part for part in (sigmas[: place + 1], sigmas[place:]) if len(part) > 1]
    for part in parts:
        x = sample(name, BothAlike(toy), x, part, noise=Noise())
    torch.testing.assert_close(x, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("noisy", "plain"), TWINS.items())
@settings(max_examples=8, deadline=None)
@given(sigmas=FALLING, ends=st.booleans())
def test_eta_0_is_the_deterministic_twin(noisy, plain, sigmas, ends):
    sigmas = to_zero(sigmas) if ends else sigmas
    x, drawn = start() * sigmas[0], []

    def noise(sigma, sigma_next):
        drawn.append(sigma)
        return torch.zeros_like(x)

    options = {"eta": 0.0} if SAMPLERS[plain].kind == "sde" else {}
    twin = sample(plain, BothAlike(toy), x, sigmas, **options)
    out = sample(noisy, BothAlike(toy), x, sigmas, noise=noise, eta=0.0)
    # Two ways to the same weights, which grow with the ratio of neighbouring steps.
    torch.testing.assert_close(out, twin, rtol=1e-7, atol=1e-7)
    assert not drawn


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([name for name in SAMPLERS if name not in TO_NOISE]),
    sigmas=FALLING,
    level=st.floats(-3, 3),
)
def test_a_constant_is_preserved_on_any_schedule(name, sigmas, level):
    x = level + start() * sigmas[0]
    out = sample(
        name, BothAlike(lambda x, sigma: torch.full_like(x, level)), x, to_zero(sigmas), noise=Noise()
    )
    assert float((out - level).abs().max()) < 1e-6


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in TO_NOISE])
def test_sigmas_that_differ_by_rounding_alone_are_one(name):
    """A slope over such a step would divide by nothing."""
    sigmas = torch.tensor([50.0, 49.99999999999999, 9.0, 8.9999999, 1.0, 0.0], dtype=torch.float64)
    x = 0.3 + start() * 50
    out = sample(name, BothAlike(lambda x, sigma: torch.full_like(x, 0.3)), x, sigmas, noise=Noise())
    assert float((out - 0.3).abs().max()) < 1e-6


@pytest.mark.parametrize("name", [name for name in ONE_STEP if SAMPLERS[name].kind == "deterministic"])
@settings(max_examples=5, deadline=None)
@given(sigmas=FALLING)
def test_the_result_at_a_last_sigma_above_0_is_the_state_there(name, sigmas):
    """What a whole run shows at the beginning of its last step is what the run cut there returns."""
    x, told = start() * sigmas[0], []
    sample(name, BothAlike(toy), x, to_zero(sigmas), on_step=lambda i, s, x, d: told.append((s, x.clone())))
    sigma, state = told[-1]
    assert sigma == float(sigmas[-1])
    torch.testing.assert_close(sample(name, BothAlike(toy), x, sigmas), state, rtol=1e-9, atol=1e-9)
