"""What noise costs: as ratios to torchsde and to torch's own generator."""

from __future__ import annotations

import importlib.util

import pytest
from sd_concord.harness.bench import noise

TRIES = 6
"""A busy machine may spoil a measurement, but hardly this many in turn."""


def test_brownian_noise_takes_at_most_a_fifteenth_of_torchsdes_time():
    if importlib.util.find_spec("torchsde") is None:
        pytest.skip("torchsde is not installed; `pip install torchsde` brings it")
    found = []
    for _ in range(TRIES):
        found.append(15 * noise.brownian_times(rounds=1)["ratio_brownian"])
        if found[-1] <= 1:
            break
    assert min(found) <= 1


def test_without_torchsde_own_figures_come_alone(monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(noise, "SIDE", 8)
    monkeypatch.setattr(noise, "PATHS", 1)
    assert set(noise.run()) == {"us_brownian", "ms_philox", "ratio_philox_to_cpu"}
    assert "no ratio to torchsde; `pip install --no-deps" in caplog.text
