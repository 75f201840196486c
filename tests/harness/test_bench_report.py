"""What `bench` writes, and the benchmarks that set whole pictures against diffusers' own pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import miniature
from sd_concord.harness.bench import generate, prompt, sdxl
from sd_concord.harness.cli import main
from sd_concord.harness.commands.bench import report


def test_a_report_names_the_machine_the_versions_and_every_figure():
    text = report({"prompt": {"ms_20_tags": 1.5}, "sdxl": {}}, {"prompt": "Prompts.", "sdxl": "On a GPU."})
    assert "cores" in text
    assert "torch 2." in text
    assert "| ms_20_tags | 1.5 |" in text
    assert "On a GPU.\n\n| figure | value |\n| --- | --- |\n| none here | – |" in text


def test_the_command_writes_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(prompt, "run", lambda: {"ms_20_tags": 0.25})
    assert main(["bench", "prompt", "--write", str(tmp_path / "BENCHMARKS.md")]) == 0
    assert "| ms_20_tags | 0.25 |" in (tmp_path / "BENCHMARKS.md").read_text(encoding="utf-8")


def test_a_weighted_prompt_is_read_and_encoded_sooner_than_by_compel():
    pytest.importorskip(
        "compel", reason="compel is not installed; `pip install --no-deps compel pyparsing` brings it"
    )
    assert prompt.compel_times(rounds=3)["ratio_compel"] < 1


def test_a_picture_takes_no_longer_than_in_diffusers():
    tries = (generate.run(rounds=2) for _ in range(4))  # a busy machine may spoil one
    assert min(one["ratio_diffusers_b1"] for one in tries) < 1.1


def test_sdxl_shapes_are_measured_beside_diffusers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sdxl, "RUNS", {"ays_12": (2, "align_your_steps"), "karras_28": (3, "karras")})
    figures = sdxl.measured(miniature("sdxl"), tmp_path, device="cpu", dtype="float32", side=64, rounds=1)
    assert set(figures) == {
        *("s_ays_12", "ratio_diffusers_ays_12", "s_karras_28", "ratio_diffusers_karras_28"),
        *("pictures_a_minute_ays_12", "outside_unet"),
    }
    assert all(value > 0 for value in figures.values())


def test_the_shapes_are_sdxls():
    import torch

    with torch.device("meta"):
        unet = sdxl.random_unet()
    assert sum(weight.numel() for weight in unet.parameters()) == 2_567_463_684
