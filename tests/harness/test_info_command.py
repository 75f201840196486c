"""`sd-concord info`: what made a picture, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sd_concord.core.image import (
    DetailerUnit,
    Generation,
    Hires,
    ModelRef,
    format_infotext,
    save_image,
)
from sd_concord.harness.cli import main

PIXELS = np.zeros((16, 16, 3), np.uint8)
RECORD = Generation(
    prompt="a fox,\n(snow:1.2)",
    negative_prompt="blurry",
    steps=20,
    sampler="dpmpp_2m",
    seed=42,
    size=(512, 768),
    model=ModelRef(name="base", hash="0123456789"),
    hires=Hires(upscale=1.6, steps=22, upscaler="R-ESRGAN 4x+ Anime6B"),
    detailer=(DetailerUnit(model="face.pt"), DetailerUnit(model="hand.pt", prompt="hand")),
    extras=(("Foo bar", "1"), ("Civitai resources", '[{"type": "lora", "modelName": "Ink", "weight": 0.8}]')),
)
SHOWN = """prompt:
  a fox,
  (snow:1.2)
negative prompt:
  blurry
steps: 20
sampler: dpmpp_2m
seed: 42
size: 512x768
model:
  name: base
  hash: 0123456789
hires:
  upscale: 1.6
  steps: 22
  upscaler: R-ESRGAN 4x+ Anime6B
detailer 1:
  model: face.pt
detailer 2:
  model: hand.pt
  prompt: hand
civitai resources:
  lora: Ink at 0.8
Foo bar: 1
"""


def test_settings_are_shown_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_image(tmp_path / "a.png", PIXELS, RECORD)
    assert main(["info", str(path)]) == 0
    assert capsys.readouterr().out == SHOWN


def test_json_holds_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_image(tmp_path / "a.png", PIXELS, RECORD, {"workflow": "{}"})
    assert main(["info", "--json", str(path), str(path)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0] == found[1]
    assert found[0]["hires"] == {"upscale": 1.6, "steps": 22, "upscaler": "R-ESRGAN 4x+ Anime6B"}
    assert found[0]["size"] == [512, 768]
    assert found[0]["detailer"] == [{"model": "face.pt"}, {"model": "hand.pt", "prompt": "hand"}]
    assert found[0]["extras"]["Foo bar"] == "1"
    assert found[0]["civitai_resources"][0]["name"] == "Ink"
    assert found[0]["chunks"] == ["workflow"]
    assert found[0]["infotext"] == format_infotext(RECORD)
    assert "source" not in found[0]


def test_infotext_is_that_of_the_web_uis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_image(tmp_path / "a.png", PIXELS, RECORD)
    assert main(["info", "--infotext", str(path)]) == 0
    assert capsys.readouterr().out == format_infotext(RECORD) + "\n"


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = save_image(
        tmp_path / "a.png", PIXELS, Generation(prompt="a fox", steps=1, sampler="euler", seed=2)
    )
    Image.fromarray(PIXELS).save(tmp_path / "bare.png")
    assert main(["info", str(tmp_path / "bare.png"), str(tmp_path / "none.png"), str(good)]) == 1
    out, err = capsys.readouterr()
    assert f"{good}\nprompt:\n  a fox\n" in out
    assert "bare.png holds no generation settings" in err
    assert "none.png does not exist; check the path" in err
    assert main(["info", "--json", str(tmp_path / "none.png")]) == 1
    assert "does not exist" in json.loads(capsys.readouterr().out)["error"]


def test_text_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_image(
        tmp_path / "a.png", PIXELS, Generation(prompt="a\x1b[31m 日本\r", steps=1, sampler="euler", seed=2)
    )
    assert main(["info", str(path)]) == 0
    assert "a\ufffd[31m 日本" in capsys.readouterr().out
