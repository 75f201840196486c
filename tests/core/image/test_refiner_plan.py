"""When the refiner takes over, in each program's reading."""

from __future__ import annotations

import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.image.refiner_plan import RefinerPlan, refiner_plan, refiner_runs_in, refiner_sizes
from sd_concord.core.sigmas import ModelSigmas, get_sigmas

MODEL = ModelSigmas.sd()


def first_due(plan: RefinerPlan, sigmas: torch.Tensor) -> int:
    calls = [plan.is_due(i, float(sigma)) for i, sigma in enumerate(sigmas[:-1])]
    assert calls == sorted(calls)
    return calls.index(True) if True in calls else len(calls)


@pytest.mark.parametrize(
    ("schedule", "by", "step"),
    [
        ("normal", "webui_calls", 16),
        ("normal", "webui_noise", 16),
        ("karras", "webui_calls", 16),
        ("karras", "webui_noise", 12),
        ("exponential", "webui_noise", 10),
    ],
)
def test_the_switch_is_by_calls_or_by_noise(schedule: str, by: str, step: int) -> None:
    plan = refiner_plan(0.8, 20, MODEL, by=by)  # type: ignore[arg-type]
    assert first_due(plan, get_sigmas(schedule, 20, MODEL, convention="webui")) == step


def test_noise_is_counted_in_training_timesteps() -> None:
    plan = refiner_plan(0.8, 20, MODEL)
    assert plan.noise_left_behind(MODEL.sigma_max) == 0
    assert plan.noise_left_behind(0) == pytest.approx(0.999)
    assert plan.noise_left_behind(float(MODEL.table[199])) == pytest.approx(0.8)
    assert plan.is_due(0, float(MODEL.table[199]))
    assert not plan.is_due(19, float(MODEL.table[200]))


def test_a_table_of_few_entries_is_counted_as_the_first_of_the_training() -> None:
    """A1111's LCM knows fifty timesteps, so that its refiner is always past 0.949."""
    few = ModelSigmas.from_table(MODEL.table[19::20], MODEL.kind, MODEL.shift)
    plan = refiner_plan(0.949, 20, MODEL, asked=few)
    assert plan.noise_left_behind(MODEL.sigma_max) == pytest.approx(0.95)
    assert first_due(plan, get_sigmas("normal", 20, MODEL)) == 0


def test_a_sampler_of_two_calls_a_step_switches_at_the_call() -> None:
    plan = refiner_plan(0.5, 5, MODEL, by="webui_calls", calls_per_step=2)
    assert [plan.is_due(i, 1.0) for i in range(10)] == [False] * 5 + [True] * 5


@pytest.mark.parametrize(("at", "step"), [(0.8, 20), (0.5, 13), (0.0, 0), (1.0, 25)])
def test_comfyui_cuts_the_sigmas_at_a_whole_step(at: float, step: int) -> None:
    sigmas = get_sigmas("normal", 25, MODEL)
    plan = refiner_plan(at, 25, MODEL, by="comfyui_steps")
    base, rest = plan.split(sigmas)
    assert plan.step == step
    assert torch.equal(base, sigmas[: step + 1])
    assert torch.equal(rest, sigmas[step:])
    assert not plan.is_due(24, 0.0)


def test_the_web_uis_do_not_cut() -> None:
    sigmas = get_sigmas("normal", 10, MODEL)
    base, rest = refiner_plan(0.8, 10, MODEL).split(sigmas)
    assert torch.equal(base, sigmas)
    assert len(rest) == 1


def test_never_is_one() -> None:
    for by in ("webui_noise", "webui_calls"):
        assert first_due(refiner_plan(1.0, 10, MODEL, by=by), get_sigmas("normal", 10, MODEL)) == 10


def test_the_passes_of_hires() -> None:
    runs = {
        (refined, hires): refiner_runs_in(refined, is_hires_pass=hires, has_hires=True)
        for refined in ("first", "second", "both")
        for hires in (False, True)
    }
    assert runs == {
        ("first", False): True,
        ("first", True): False,
        ("second", False): False,
        ("second", True): True,
        ("both", False): True,
        ("both", True): True,
    }
    assert refiner_runs_in("second", is_hires_pass=False, has_hires=False)


def test_the_refiners_numbers_are_height_first() -> None:
    assert refiner_sizes((768, 1024), (4, 8), score=6.0) == [1024, 768, 8, 4, 6]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadValue, match=r"the refiner switches at 1\.2; pass 0 to 1"):
        refiner_plan(1.2, 10, MODEL)
    with pytest.raises(BadValue, match=r"unknown reading of the refiner's switch 'noise'.*webui_noise"):
        refiner_plan(0.8, 10, MODEL, by="noise")  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="0 steps of 1 calls"):
        refiner_plan(0.8, 0, MODEL)
    with pytest.raises(BadValue, match="unknown pass of the refiner 'hires'"):
        refiner_runs_in("hires", is_hires_pass=True, has_hires=True)  # type: ignore[arg-type]
