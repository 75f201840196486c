"""The study of error against steps: its exact answers are exact, its measures measure, its verdicts follow figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sd_concord.core.errors import BadFile
from sd_concord.core.sigmas import ModelSigmas
from sd_concord.harness.cli import main
from sd_concord.harness.study.advice import ADVICE, Figures
from sd_concord.harness.study.chart import Chart, draw
from sd_concord.harness.study.errors import Cloud, path_error
from sd_concord.harness.study.mixture import Mixture
from sd_concord.harness.study.report import charts, markdown
from sd_concord.harness.study.runs import Result, over_mixture


def result(problem="sd", sampler="euler", schedule="karras", steps=20, **errors) -> Result:
    return Result(problem=problem, sampler=sampler, schedule=schedule, steps=steps, calls=steps, **errors)


def test_one_gaussian_is_solved_in_closed_form():
    one = Mixture(
        mu=torch.tensor([[1.0, -2.0]]).double(),
        std=torch.tensor([0.3]).double(),
        weights=torch.ones(1).double(),
    )
    x = torch.tensor([[10.0, 4.0], [-3.0, 0.0]]).double()
    shrunk = 0.3 / (0.3**2 + 14.0**2) ** 0.5
    assert torch.allclose(one.solve(x, 14.0), one.mu + shrunk * (x - one.mu), atol=1e-6)


def test_the_denoiser_is_the_mean_of_the_data_given_the_noisy_one():
    mixture = Mixture.random(dim=1, components=3)
    grid = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    density = sum(
        weight / std * torch.exp(-0.5 * ((grid - mu) / std) ** 2)
        for mu, std, weight in zip(mixture.mu[:, 0], mixture.std, mixture.weights, strict=True)
    )
    x, sigma = torch.tensor([[0.4]]).double(), 0.7
    posterior = density * torch.exp(-0.5 * ((grid - x[0]) / sigma) ** 2)
    mean = (posterior * grid).sum() / posterior.sum()
    assert mixture(x, sigma)[0, 0] == pytest.approx(float(mean), abs=1e-6)


def test_a_cloud_that_is_moved_is_as_far_as_it_was_moved():
    generator = torch.Generator().manual_seed(0)
    mixture = Mixture.random()
    truth = mixture.draw(16 * 512, generator)
    cloud = Cloud(truth, 512)
    near = cloud.error(mixture.draw(512, generator))
    moved = cloud.error(truth[::16] + 1.0)
    assert near < 0.2
    assert moved == pytest.approx(
        1.0, abs=0.3
    )  # a shift of 1 in each of 16 dimensions, seen from all directions


def test_path_error_is_a_share_of_the_spread():
    exact = torch.tensor([[0.0], [2.0]])
    assert path_error(exact, exact) == 0
    assert path_error(exact + 1, exact) == 1


def test_more_steps_come_nearer_and_better_samplers_nearer_still():
    rows = list(
        over_mixture(
            ModelSigmas.sd(),
            "sd",
            samplers=("euler", "dpmpp_2m", "euler_ancestral"),
            schedules=("karras",),
            steps=(10, 40),
        )
    )
    figures = Figures(rows)
    assert figures.of("sd", "euler", "karras", 40) < 0.5 * figures.of("sd", "euler", "karras", 10)
    assert figures.of("sd", "dpmpp_2m", "karras", 40) < 0.2 * figures.of("sd", "euler", "karras", 40)
    ancestral = next(one for one in rows if one.sampler == "euler_ancestral")
    assert ancestral.path is None  # it draws noise: there is no one path to follow
    assert ancestral.cloud is not None


def test_advice_is_judged_by_the_figures_and_not_by_fame():
    no_karras = next(advice for advice in ADVICE if "no Karras" in advice.words)
    names = ("karras", "normal", "sgm_uniform", "align_your_steps_sd1")
    bad = [result("zsnr", schedule=name, steps=20, path=0.9 if name == "karras" else 0.1) for name in names]
    good = [result("zsnr", schedule=name, steps=20, path=0.1 if name == "karras" else 0.9) for name in names]
    assert no_karras.judge(Figures(bad)).holds == "holds"
    assert no_karras.judge(Figures(good)).holds == "does not hold"


def test_the_report_names_every_piece_of_advice_and_every_sampler_measured():
    rows = [
        result(sampler=sampler, schedule=schedule, steps=steps, path=1 / steps)
        for sampler in ("euler", "dpmpp_2m", "ipndm_v", "deis")
        for schedule in ("karras", "normal", "exponential", "sgm_uniform", "align_your_steps_sd1", "beta")
        for steps in (10, 20, 40)
    ]
    text = markdown(rows, 0.05)
    for advice in ADVICE:
        assert advice.words in text
    assert "| IPNDM_V | path |" in text
    assert set(charts(rows)) == {"sd"}


def test_a_chart_shows_its_lines():
    picture = draw([Chart(title="error", lines={"a": [(10, 0.1), (20, 0.01)], "b": [(10, 0.2), (20, 0.1)]})])
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert {(0x1F, 0x77, 0xB4), (0xD6, 0x27, 0x28)} <= colours


def test_the_command_writes_a_study_from_kept_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    kept = tmp_path / "kept.json"
    row = {"problem": "sd", "sampler": "euler", "schedule": "karras", "steps": 20, "calls": 20, "path": 0.19}
    kept.write_text(json.dumps({"floor": 0.05, "results": [row]}))
    assert main(["study", "--results", str(kept), "--out", str(tmp_path / "study.md")]) == 0
    assert "| Euler | 0.190 |" in (tmp_path / "study.md").read_text(encoding="utf-8")
    kept.write_text("{}")
    assert main(["study", "--results", str(kept)]) != 0
    assert "holds no study" in capsys.readouterr().err


def test_kept_figures_that_are_none_are_refused(tmp_path: Path):
    from sd_concord.harness.commands.study import _read

    (tmp_path / "kept.json").write_text("[1]")
    with pytest.raises(BadFile, match="remove it"):
        _read(tmp_path / "kept.json")
