"""`sd-concord sigmas`: lists, the doctor's words, the picture."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from sd_concord.core.sigma_plot import COLOURS, PANEL, Curve, draw, ticks_over
from sd_concord.core.sigmas import ModelSigmas
from sd_concord.harness.cli import main


def test_prints_lists_and_words(capsys):
    assert main(["sigmas", "--scheduler", "karras,ays,sgm_uniform", "--steps", "10"]) == 0
    said = capsys.readouterr().out
    assert "karras  14.61" in said
    assert "align_your_steps  14.61 6.318" in said
    assert "error floor 0.0019" in said
    assert "sgm_uniform at 10 steps jumps to 0 from sigma 0.344" in said


def test_prints_json(capsys):
    assert main(["sigmas", "--scheduler", "ddim_uniform", "--steps", "12", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["ddim_uniform"]
    assert len(figures["sigmas"]) == 13
    assert 0 < figures["floor"] < 0.01
    assert [finding["code"] for finding in figures["findings"]] == ["count"]


@pytest.mark.parametrize("kind", ["sd", "zsnr", "flow"])
def test_draws(kind, tmp_path, capsys):
    path = tmp_path / "out.png"
    assert main(["sigmas", "--scheduler", "karras, beta", "--kind", kind, "--plot", str(path)]) == 0
    with Image.open(path) as picture:
        colours = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in picture.convert("RGB").getcolors(1 << 20)}
    assert set(COLOURS[:2]) <= colours
    assert COLOURS[2] not in colours


def test_tells_the_doctor_of_the_model(capsys):
    main(["sigmas", "--scheduler", "karras", "--kind", "zsnr", "--v-prediction"])
    assert "zero-terminal-SNR" in capsys.readouterr().out
    main(["sigmas", "--sampler", "lcm", "--cfg", "7", "--steps", "6"])
    assert "LCM at CFG 7" in capsys.readouterr().out
    main(["sigmas", "--scheduler", "kl_optimal", "--convention", "webui"])
    assert "without a step to 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheduler", "karas"], "unknown scheduler 'karas'; did you mean karras"),
        (["--sampler", "eulr"], "unknown sampler 'eulr'; did you mean euler"),
        (["--steps", "0"], "steps is 0"),
        (["--convention", "a1111"], "unknown convention 'a1111'"),
        (["--plot", "/nowhere/at/all.png"], "cannot write /nowhere/at/all.png"),
        (["--plot", "picture.unknown"], "cannot write picture.unknown"),
        (["--kind", "flow", "--shift", "0"], "shift is 0"),
    ],
)
def test_refuses_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sigmas", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_curve_falls_from_the_top_left_to_the_bottom_right():
    picture = draw([Curve("line", (1.0, 0.5, 0.0), "")], ModelSigmas.flow())
    wanted = tuple(int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5))
    left = [
        (x, y)
        for x in range(56, 56 + PANEL[0])
        for y in range(40, 70 + PANEL[1])
        if picture.getpixel((x, y)) == wanted
    ]
    heights = {
        x: sum(y for at, y in left if at == x) / sum(at == x for at, _ in left) for x in (100, 300, 500)
    }
    assert heights[100] < heights[300] < heights[500]
    # A straight line from one corner of the axes to the other.
    slope = (heights[500] - heights[100]) / 400
    assert slope == pytest.approx(PANEL[1] / PANEL[0], rel=0.02)


@pytest.mark.parametrize("values", [[0.0, 14.6], [-3.0, 3.5], [0.0, 4518.7], [0.02, 0.03], [2.0, 2.0], []])
def test_ticks_enclose_their_values(values):
    ticks = ticks_over(values)
    assert 2 <= len(ticks) <= 13
    if values:
        assert ticks[0] <= min(values)
        assert ticks[-1] >= max(values)
