"""A model's sigmas and what follows from them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sd_concord.core.errors import BadValue
from sd_concord.core.sigmas import ModelSigmas, get_sigmas

SD, ZSNR, FLOW = ModelSigmas.sd(), ModelSigmas.zsnr(), ModelSigmas.flow(3.0)
MODELS = pytest.mark.parametrize("model", [SD, ZSNR, FLOW], ids=["sd", "zsnr", "flow"])


def test_known_ends():
    assert (SD.sigma_min, SD.sigma_max) == pytest.approx((0.0291672, 14.6146), rel=1e-5)
    assert ZSNR.sigma_max == pytest.approx(4518.7637, rel=1e-7)
    assert (FLOW.sigma_min, FLOW.sigma_max) == pytest.approx((3 / 1002, 1.0))
    assert len(SD.values) == 1000


@MODELS
def test_places_and_sigmas_are_inverse(model):
    for i in (0, 1, 500, 998, 999):
        assert model.nearest_index(model.values[i]) == i
        assert model.index(model.values[i]) == pytest.approx(i, abs=1e-9)
        assert model.sigma_at(i) == pytest.approx(model.values[i], rel=1e-12)
    between = math.sqrt(model.values[500] * model.values[501])
    assert model.index(between) == pytest.approx(500.5, abs=1e-6)
    assert model.sigma_at(500.5) == pytest.approx(between, rel=1e-9)


@MODELS
def test_beyond_the_ends_is_held(model):
    assert model.index(0.0) == 0
    assert model.index(1e9) == 999
    assert model.sigma_at(-5) == pytest.approx(model.sigma_min)


def test_timesteps():
    assert SD.timestep(SD.values[123] * 1.0001, rounded=True) == 123
    assert 123 < SD.timestep(SD.values[123] * 1.001) < 124
    assert FLOW.timestep(0.25) == 250.0


def test_halfway_between_two_timesteps_the_last_digit_of_a_float32_decides():
    """SGM Uniform has such sigmas: the hosts make 833 of timestep 832.5, and 943 of 943.5, where float64 has 944."""
    for steps, place, half, whole in ((12, 2, 832.5, 833), (18, 1, 943.5, 943), (18, 5, 721.5, 721)):
        sigma = float(get_sigmas("sgm_uniform", steps, SD, convention="webui")[place])
        assert SD.timestep(sigma) == pytest.approx(half, abs=1e-4)
        assert SD.timestep(sigma, rounded=True) == whole


def test_a_fraction_of_a_timestep_is_k_diffusions_to_the_last_bit():
    logs = SD.float32_logs
    for sigma in (14.6146, 5.9489, 0.7, 0.0293):
        level = torch.tensor(sigma).log()
        low = int((level - logs).ge(0).cumsum(0).argmax().clamp(max=998))
        share = ((logs[low] - level) / (logs[low] - logs[low + 1])).clamp(0, 1)
        assert SD.timestep(sigma) == float((1 - share) * low + share * (low + 1))


@given(st.floats(1e-4, 0.9999))
def test_log_snr_and_back(sigma):
    for model in (SD, FLOW):
        assert model.sigma_of_log_snr(model.log_snr(sigma)) == pytest.approx(sigma, rel=1e-9)
        assert model.log_snr(sigma) == pytest.approx(math.log(model.alpha(sigma) / sigma), abs=1e-9)


def test_log_snr_at_the_ends():
    assert SD.log_snr(0.0) == math.inf
    assert FLOW.log_snr(1.0) == -math.inf
    assert FLOW.sigma_of_log_snr(-800.0) == 1.0
    assert FLOW.sigma_of_log_snr(800.0) == 0.0


def test_alphas_belong_to_the_sigmas():
    variance = SD.alphas.double() ** 2 * (1 + SD.table.double() ** 2)
    torch.testing.assert_close(variance, torch.ones(1000, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(FLOW.alphas + FLOW.table, torch.ones(1000))


@pytest.mark.golden
def test_percent_to_sigma_is_comfyuis():
    import json

    from golden import golden_dir

    models = {
        "sd": SD,
        "zsnr": ZSNR,
        "flow3": FLOW,
        "flux1.15": ModelSigmas.flow(math.exp(1.15), count=10_000),
    }
    index = json.loads((golden_dir("noise_sigmas") / "comfyui.json").read_text())
    for kind, table in index["tables"].items():
        for percent, sigma in table["percent_to_sigma"].items():
            got = models[kind].percent_to_sigma(float(percent))
            if sigma > 1e8:
                assert got == math.inf
            else:  # the host interpolates in float32, where the last step of zsnr is steep
                assert got == pytest.approx(sigma, rel=2e-5)


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        (torch.tensor([1.0]), "ve", "one dimension of 2 or more"),
        (torch.tensor([2.0, 1.0]), "ve", "strictly rising"),
        (torch.tensor([0.0, 1.0]), "ve", "above 0"),
        (torch.tensor([1.0, float("nan")]), "ve", "finite"),
        (torch.tensor([0.5, 2.0]), "flow", "must end at 1 or below"),
    ],
)
def test_refuses_tables(table, kind, message):
    with pytest.raises(BadValue, match=message):
        ModelSigmas.from_table(table, kind)


def test_refuses_a_shift_of_0():
    with pytest.raises(BadValue, match="shift is 0"):
        ModelSigmas.flow(0.0)


def test_a_table_is_copied():
    table = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64, requires_grad=True)
    model = ModelSigmas.from_table(table)
    with torch.no_grad():
        table[0] = 5.0
    assert model.sigma_min == pytest.approx(0.1)
    assert not model.table.requires_grad
