"""The doctor: its floor against measured ones, and its words."""

from __future__ import annotations

import math

import pytest
import torch
from golden import golden_dir
from hypothesis import given
from hypothesis import strategies as st
from sampler_problems import load_golden
from sd_concord.core.errors import BadValue
from sd_concord.core.sampling import sample
from sd_concord.core.sampling.doctor import diagnose
from sd_concord.core.sampling.floor import floor_at, floor_of
from sd_concord.core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas

SD, ZSNR, FLOW = ModelSigmas.sd(), ModelSigmas.zsnr(), ModelSigmas.flow(3.0)
MODELS = {"sd": SD, "zsnr": ZSNR, "flow3": FLOW}
PUBLISHED = {
    0.344: 0.089,
    0.199: 0.050,
    0.111: 0.0216,
    0.098: 0.0176,
    0.041: 0.0036,
    0.0292: 0.0019,
    0.015: 0.0005,
}


def measured_floors(kind, levels):
    """Return {last sigma: error of ending there on the denoised}, along the exact ODE of a golden mixture."""
    denoiser, _, _ = load_golden(golden_dir("samplers")).problem("gmm16", kind, torch.float64)
    model = MODELS[kind]
    first = 0.9999 if model.is_flow else model.sigma_max
    fine = torch.linspace(math.log(first), math.log(1e-4), 600, dtype=torch.float64).exp().tolist()
    sigmas = torch.tensor([*sorted({*fine, *levels}, reverse=True), 0.0], dtype=torch.float64)
    unit = torch.randn(32, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    seen = {}

    def on_step(i, sigma, x, denoised):
        if sigma in levels:
            seen[sigma] = denoised

    end = sample("seeds_3", denoiser, unit * first, sigmas, model=model, on_step=on_step, eta=0.0)
    return {sigma: float((denoised - end).square().mean().sqrt()) for sigma, denoised in seen.items()}


@pytest.mark.golden
@pytest.mark.parametrize("kind", MODELS)
def test_the_floor_is_near_the_measured_one_for_every_schedule(kind):
    model = MODELS[kind]
    lists = {(name, n): get_sigmas(name, n, model) for name in SCHEDULERS for n in (5, 8, 10, 20, 28, 40)}
    top = 0.9999 if model.is_flow else model.sigma_max
    measured = measured_floors(kind, {float(sigmas[-2]) for sigmas in lists.values()} - {top})
    for case, sigmas in lists.items():
        floor = measured[float(sigmas[-2])]
        assert floor / 1.5 <= floor_of(sigmas, model) <= floor * 1.5, case


@pytest.mark.parametrize(("sigma", "floor"), PUBLISHED.items())
def test_the_floor_is_near_the_published_one(sigma, floor):
    assert floor / 1.2 < floor_at(sigma, to_zero=True) < floor * 1.2


@given(st.floats(1e-4, 100), st.floats(1.0, 2.0))
def test_the_floor_rises_with_the_last_sigma(level, factor):
    assert floor_at(level, to_zero=True) <= floor_at(level * factor, to_zero=True) <= 1


def codes(*run, **more):
    return {finding.code for finding in diagnose(*run, **more).findings}


@pytest.mark.parametrize(
    ("run", "more", "code", "word"),
    [
        (("dpmpp_2m", "sgm_uniform", 10, SD), {}, "floor", "jumps to 0 from sigma 0.344"),
        (("dpmpp_2m", "karras", 20, ZSNR), {"prediction": "v"}, "wasted", "13 of 20 steps above sigma 20"),
        (("euler", "karras", 20, SD), {"prediction": "v"}, "v-prediction", "v-prediction"),
        (("euler", "bong_tangent", 20, SD), {}, "made-for-flow", "flow models"),
        (("euler", "align_your_steps", 20, FLOW), {}, "made-for-sd", "Stable Diffusion"),
        (("euler", "ddim_uniform", 12, SD), {}, "count", "12 steps do not divide 1000.*13"),
        (("euler", "ddim_uniform", 12, SD), {"convention": "comfyui"}, "count", "makes 13 steps of the 12"),
        (("euler", "beta", 200, SD), {"convention": "comfyui"}, "count", "of the 200 asked"),
        (("lcm", "sgm_uniform", 8, SD), {"cfg": 7.0}, "lcm-cfg", "CFG 7"),
        (("lcm", "sgm_uniform", 30, SD), {}, "lcm-steps", "30 steps"),
        (("ipndm_v", "karras", 50, SD), {}, "ipndm-v", "beyond 40"),
        (("ipndm_v", "linear_quadratic", 10, FLOW), {}, "ipndm-v", "blow up"),
        (("euler_cfg_pp", "karras", 20, SD), {"cfg": 7.0}, "cfgpp-cfg", "another scale"),
        (("heun", "karras", 8, SD), {"cfg": 7.0}, "lookahead-cfg", "looks ahead"),
        (("uni_pc", "karras", 6, SD), {}, "uni-pc-few", "swings"),
        (("restart", "karras", 12, SD), {}, "restart-few", "below 20"),
        (("heunpp2", "karras", 20, SD), {}, "first-order", "three calls"),
        (("dpm_adaptive", "karras", 20, SD), {}, "own-steps", "own steps"),
        (("plms", "simple", 20, FLOW), {}, "no-flow", "does not work on flow"),
        (("dpmpp_2m", "beta57", 10, FLOW), {}, "log-snr", "-log sigma"),
        (("euler", "ays", 10, ZSNR), {"convention": "comfyui"}, "start", "begins at sigma 14.61"),
        (("euler", "kl_optimal", 20, SD), {"convention": "webui"}, "no-zero", "without a step to 0"),
        (("euler", "laplace", 20, FLOW), {"convention": "comfyui"}, "repeats", "repeats sigmas"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_says_what_is_wrong(run, more, code, word):
    found = {finding.code: finding for finding in diagnose(*run, **more).findings}
    assert code in found
    import re

    assert re.search(word, found[code].message)
    assert found[code].advice
    assert str(found[code]) in diagnose(*run, **more).words()


@pytest.mark.parametrize(
    ("run", "more"),
    [
        (("dpmpp_2m", "karras", 25, SD), {"cfg": 7.0}),
        (("euler_ancestral", "normal", 28, SD), {"cfg": 7.0}),
        (("dpmpp_3m_sde", "exponential", 60, SD), {}),
        (("euler", "normal", 30, ZSNR), {"prediction": "v", "cfg": 5.0}),
        (("lcm", "sgm_uniform", 5, SD), {"cfg": 1.5}),
        (("euler", "beta57", 20, FLOW), {}),
        (("euler", "ddim_uniform", 20, SD), {}),
        (("ipndm_v", "karras", 40, SD), {}),
        (("euler_ancestral_cfg_pp", "normal", 20, SD), {"cfg": 1.0}),
    ],
)
def test_is_silent_about_what_cards_advise(run, more):
    assert not codes(*run, **more)


def test_a_run_that_ends_above_0_has_the_floor_of_its_noise():
    sigmas = torch.tensor([14.6, 1.0, 0.05])
    assert floor_of(sigmas, SD) == pytest.approx(0.05**2 / (2 * 0.215**2) * 0.2, rel=0.1)
    assert diagnose("uni_pc", "sgm_uniform", 10, SD).floor < 1e-4
    assert diagnose("euler", "sgm_uniform", 10, SD).floor > 0.05


def test_refuses_unknown_names():
    with pytest.raises(BadValue, match="unknown sampler 'eulr'"):
        diagnose("eulr", "karras", 10, SD)
    with pytest.raises(BadValue, match="unknown scheduler 'karas'"):
        diagnose("euler", "karas", 10, SD)
