"""What the sampling core adds to a step: operations and waits by count, times as ratios to k-diffusion."""

from __future__ import annotations

import importlib.util
import sys
import time

import pytest
import torch
from sd_concord.core.sampling import SAMPLERS
from sd_concord.harness.bench import sampling

TRIES = 6
"""A busy machine may spoil a measurement, but hardly this many in turn."""


@pytest.fixture(scope="module")
def k_diffusion():
    module = sampling.k_diffusion()
    if module is None:
        pytest.skip("k-diffusion is not installed; `pip install --no-deps k-diffusion` brings it")
    return module


def least(measure):
    """Return the least of some tries, the first that is good enough."""
    found = []
    for _ in range(TRIES):
        found.append(measure())
        if found[-1] <= 1:
            break
    return min(found)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "dpm_adaptive"])
def test_a_model_call_costs_at_most_six_operations_and_no_wait(name):
    operations, waits = sampling.counted(name)
    assert 1 <= operations <= 6
    assert waits == 0


def test_the_adaptive_sampler_waits_once_a_trial_step():
    start, sigmas, picture = sampling.problem(1)
    steps = []
    with sampling.Count(start.numel()) as count:
        sampling.sample(
            "dpm_adaptive", sampling.Still(picture), start, sigmas, on_step=lambda *step: steps.append(step)
        )
    assert count.waits == len(steps) > 1


def test_the_count_sees_operations_reads_and_no_views():
    x = torch.ones(4, 4)
    with sampling.Count(16) as count:
        x.mul_(2)
        (x + 1).view(16)[:4].mul_(3)
        x.sum().add_(1)
        x.clone()
        assert count.operations == 4
        with count.apart():
            x.add(1)
        assert (count.operations, count.waits) == (4, 0)
        assert x[0, 0] > 1
        float(x[0, 0])
    assert count.waits == 2


@pytest.mark.parametrize("batch", sampling.BATCHES)
@pytest.mark.parametrize("name", sampling.SHARED)
def test_takes_at_most_k_diffusions_time(k_diffusion, name, batch):
    key = f"ratio_{name}_b{batch}"
    assert least(lambda: sampling.sampler_times(k_diffusion, name, batch, rounds=5)[key]) <= 1


@pytest.mark.parametrize("name", sampling.SHARED)
def test_what_is_timed_computes_the_same(k_diffusion, name):
    start, sigmas, picture = sampling.problem(1)
    runs = sampling.ours, lambda *given: sampling.theirs(k_diffusion, *given)
    mine, other = (run(name, start, sigmas[:-1], picture)() for run in runs)
    assert not torch.allclose(mine, picture, atol=1e-3)
    # Twenty steps of float32 from sigma 14.6.
    torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)


def test_works_take_turns_and_the_ratio_is_that_of_their_medians(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    takes = {"ours": [9.0, 1.0, 2.0, 3.0], "theirs": [9.0, 4.0, 4.0, 90.0]}  # the first warms up

    def work(name):
        order.append(name)
        clock[0] += takes[name][(len(order) - 1) // 2]

    times = sampling.seconds(lambda: work("ours"), lambda: work("theirs"), rounds=3)
    assert times == [[1.0, 2.0, 3.0], [4.0, 4.0, 90.0]]
    assert order[2:] == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert sampling.ratio(times) == 0.25


def test_without_k_diffusion_own_figures_come_alone(monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sampling, "SIDE", 8)
    figures = sampling.run()
    assert figures["waits"] == 0
    assert {f"ops_{name}" for name in SAMPLERS} | {"us_euler_b1", "us_lms_b4"} <= set(figures)
    assert not [name for name in figures if name.startswith("ratio")]
    assert "no ratios to k-diffusion; `pip install --no-deps" in caplog.text


def test_loading_k_diffusion_leaves_no_stand_in(k_diffusion):
    assert not [name for name in sys.modules if name.startswith("concord_bench")]
    if importlib.util.find_spec("torchdiffeq") is None:
        assert "torchdiffeq" not in sys.modules
    assert k_diffusion.sample_euler
