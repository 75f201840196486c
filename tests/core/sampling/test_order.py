"""The order at which samplers converge to the exact solution of the ODE, measured."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from sampler_problems import BothAlike, exact_ode, mixture, options_without_noise
from sd_concord.core.sampling import SAMPLERS, sample
from sd_concord.core.sigmas import ModelSigmas

HIGH, LOW = 14.6, 0.03
AT_LEAST = {
    **dict.fromkeys(("heun", "dpm_2", "dpmpp_2m", "res_multistep", "deis", "ipndm", "lms", "uni_pc"), 2),
    "seeds_3": 2.8,
    "sa_solver": 3.5,
}
BETTER_START = {"dpmpp_3m_sde": 2.8, "deis": 2.8, "uni_pc": 2.8, "uni_pc_bh2": 2.8, "lms": 3.6}
NOT_MEASURABLE = {
    "dpm_adaptive": "chooses its own steps",
    "lcm": "does not follow the ODE",
    "er_sde": "always noisy",
    "euler_dy": "takes further steps on purpose",
    "euler_smea_dy": "takes further steps on purpose",
}


def problem(flow=False):
    """Return (denoiser, unit start, start sigma, end sigma, exact end)."""
    denoiser = mixture(flow=flow)
    unit = torch.randn(8, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    high, low = (0.98, 0.03) if flow else (HIGH, LOW)
    return denoiser, unit, high, low


def fitted_order(name, steps, exact, *, flow=False, **options):
    """Return the slope of log error over log step count; steps of Karras, or even in the log-SNR of a flow."""
    denoiser, unit, high, low = problem(flow)
    model = ModelSigmas.flow() if flow else ModelSigmas.sd()
    errors = []
    for n in steps:
        if flow:
            sigmas = (
                torch.linspace(math.log(high / (1 - high)), math.log(low / (1 - low)), n + 1)
                .double()
                .sigmoid()
            )
        else:
            sigmas = torch.linspace(high ** (1 / 7), low ** (1 / 7), n + 1, dtype=torch.float64) ** 7
        sigmas[0], sigmas[-1] = high, low
        out = sample(name, BothAlike(denoiser), unit * high, sigmas, model=model, **options)
        errors.append(float((out - exact).square().mean().sqrt()))
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.fixture(scope="module")
def exact():
    denoiser, unit, high, low = problem()
    return exact_ode(denoiser, unit * high, high, low)


@pytest.fixture(scope="module")
def exact_flow():
    denoiser, unit, high, low = problem(flow=True)
    return exact_ode(denoiser, unit * high, high, low)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in NOT_MEASURABLE])
def test_converges_at_the_order_it_declares(name, exact):
    spec = SAMPLERS[name]
    # dpm_fast lays its steps out in float32, so that more of them gain nothing.
    steps = (12, 24, 48) if name == "dpm_fast" else (80, 160, 320)
    assert fitted_order(name, steps, exact, **options_without_noise(spec)) >= spec.order - 0.2


@pytest.mark.parametrize(("name", "order"), AT_LEAST.items())
def test_declares_at_least(name, order):
    assert SAMPLERS[name].order >= order


@pytest.mark.parametrize(("name", "order"), BETTER_START.items())
def test_a_better_first_step_raises_the_order(name, order, exact):
    options = {**options_without_noise(SAMPLERS[name]), "start": "midpoint"}
    assert fitted_order(name, (40, 80, 160), exact, **options) >= order


def test_matched_predictions_mend_dpmpp_2s_cfg_pp(exact):
    assert fitted_order("dpmpp_2s_ancestral_cfg_pp", (40, 80), exact, eta=0.0) < 0.5
    assert fitted_order("dpmpp_2s_ancestral_cfg_pp", (40, 80), exact, eta=0.0, matched=True) >= 1.8


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, spec in SAMPLERS.items()
        if spec.flow and name not in NOT_MEASURABLE and spec.order > 0 and name != "dpm_fast"
    ],
)
def test_converges_on_a_flow(name, exact_flow):
    spec = SAMPLERS[name]
    options = options_without_noise(spec)
    if spec.options and "log_snr" in [field.name for field in dataclasses.fields(spec.options)]:
        options["log_snr"] = True
    assert fitted_order(name, (40, 80, 160), exact_flow, flow=True, **options) >= min(spec.order, 2) - 0.25


def test_the_adaptive_solver_meets_its_tolerance(exact):
    denoiser, unit, high, low = problem()
    sigmas = torch.tensor([high, low], dtype=torch.float64)
    errors = []
    for rtol in (0.05, 0.0005):
        out = sample("dpm_adaptive", denoiser, unit * high, sigmas, rtol=rtol, atol=rtol / 6)
        errors.append(float((out - exact).square().mean().sqrt()))
    assert errors[0] < 0.05
    assert errors[1] < errors[0] / 10


def test_log_snr_is_better_on_a_flow(exact_flow):
    denoiser, unit, high, low = problem(flow=True)
    sigmas = torch.linspace(high, low, 11, dtype=torch.float64)
    errors: dict[bool, float] = {}
    for log_snr in (False, True):
        out = sample("dpmpp_2m", denoiser, unit * high, sigmas, model=ModelSigmas.flow(), log_snr=log_snr)
        errors[log_snr] = float((out - exact_flow).square().mean().sqrt())
    assert errors[True] < errors[False] / 1.5


@pytest.mark.parametrize("name", ["dpmpp_2m", "res_multistep", "deis"])
def test_tail_extrapolation_takes_away_error_at_few_steps(name):
    from sd_concord.core.sigmas import get_sigmas

    denoiser, unit, _, _ = problem()
    sigmas = get_sigmas("sgm_uniform", 10, ModelSigmas.sd()).double()
    start = unit * float(sigmas[0])
    wanted = exact_ode(denoiser, start, float(sigmas[0]), 1e-5)
    plain, mended = (
        float((sample(name, denoiser, start, sigmas, tail_power=p) - wanted).square().mean().sqrt())
        for p in (0.0, 1.5)
    )
    assert mended <= 0.7 * plain


def test_tail_extrapolation_leaves_a_low_last_sigma_alone():
    denoiser, unit, high, _ = problem()
    sigmas = torch.tensor([high, 2.0, 0.3, 0.08, 0.0], dtype=torch.float64)
    plain, asked = (sample("dpmpp_2m", denoiser, unit * high, sigmas, tail_power=p) for p in (0.0, 1.5))
    assert torch.equal(plain, asked)


def test_exact_solution_solves_the_ode_of_one_gaussian():
    denoiser = mixture(dim=2, components=1)
    mu, std = denoiser.mu[0], float(denoiser.std[0])
    start = torch.tensor([[3.0, -2.0]], dtype=torch.float64)
    end = exact_ode(denoiser, start, 5.0, 0.5)
    ratio = math.sqrt((std**2 + 0.5**2) / (std**2 + 5.0**2))
    torch.testing.assert_close(end, mu + ratio * (start - mu), rtol=0, atol=1e-10)
