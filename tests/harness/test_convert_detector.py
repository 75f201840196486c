"""`sd-concord convert-detector`."""

from __future__ import annotations

import os
from pathlib import Path

import checkpoints
import pytest
import torch
from sd_concord.core.detailer.detector import load_detector
from sd_concord.harness.cli import main


def test_a_checkpoint_is_converted_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoints.save(checkpoints.small(), tmp_path / "face.pt")
    assert main(["convert-detector", str(path), "--out", str(tmp_path / "mine.safetensors")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'mine.safetensors'}: detect, 2 classes: face, hand\n"
    path.unlink()
    assert load_detector(tmp_path / "mine.safetensors").labels == ("face", "hand")


def test_without_out_it_lies_beside_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoints.save(checkpoints.small(), tmp_path / "face.pt")
    assert main(["convert-detector", str(path)]) == 0
    said = Path(capsys.readouterr().out.partition(": detect")[0])
    assert said.parent == tmp_path
    assert said.is_file()


def test_a_file_that_would_run_something_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": checkpoints.Calls(os.mkdir, str(tmp_path / "ran"))}, tmp_path / "evil.pt")
    assert main(["convert-detector", str(tmp_path / "evil.pt")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: evil.pt is refused: it asks for")
    assert err.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["evil.pt"]
