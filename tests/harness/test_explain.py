"""`sd-concord explain`: what it says, prints and writes."""

from __future__ import annotations

import argparse
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sd_concord.core.errors import BadValue
from sd_concord.core.prompt import Dialect, RunShape
from sd_concord.harness.explain import Explanation, add_arguments, explain, run

PROMPT = "a (red:1.3) [ball:cube:0.5] <lora:x:0.8> :0.7 AND [fog::10]"


def called(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(list(words)))


def explained(text: str, steps: int = 20, **shape: Any) -> Explanation:
    return explain(text, steps, ("a1111", Dialect.a1111()), RunShape(**shape))


def test_parts_texts_chunks_and_calls() -> None:
    (first,) = explained(PROMPT).passes
    assert [(part.weight, part.text) for part in first.parts] == [
        (0.7, "a (red:1.3) [ball:cube:0.5]"),
        (1.0, " [fog::10]"),
    ]
    ball, cube = first.parts[0].texts
    assert (ball.name, ball.text, cube.name, cube.text) == ("A", "a (red:1.3) ball", "B", "a (red:1.3) cube")
    (chunk,) = ball.chunks
    assert chunk.tokens == 3
    assert chunk.pieces == (("a", 1.0), ("red", 1.3), ("ball", 1.0))
    assert first.parts[0].calls == (((0, 1.0),),) * 11 + (((1, 1.0),),) * 9
    assert explained(PROMPT).networks == ("lora x 0.8",)


def test_both_passes_are_explained_and_an_edit_of_either_is_no_trap() -> None:
    text = "[a:b:1.5] [c:d:1.0]"
    once, twice = explained(text), explained(text, hires_steps=12)
    assert [one.name for one in twice.passes] == ["first pass", "hires pass"]
    assert [one.calls for one in twice.passes] == [20, 12]
    assert [text[w.start : w.end] for w in once.warnings] == ["[a:b:1.5]", "[c:d:1.0]"]
    assert [text[w.start : w.end] for w in twice.warnings] == []


def test_the_text_shows_the_timeline_and_carets(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("[a|b] :(", "--steps", "4") == 0
    shown = capsys.readouterr().out
    assert "A |██ █| calls 0-1, call 3" in shown
    assert "B |  █ | call 2" in shown
    assert "emoticon-opens-bracket" in shown
    assert "\n  [a|b] :(\n        ^^" in shown


def test_a_fade_is_shaded_and_its_shares_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    called("[a:b:0.0-1.0]", "--steps", "4", "--dialect", "concord")
    shown = capsys.readouterr().out
    assert "A |█▓▒░| call 0 at 88%, call 1 at 62%" in shown
    assert "B |░▒▓█| call 0 at 12%" in shown


def test_scheduled_networks_stand_with_their_text(capsys: pytest.CaptureFixture[str]) -> None:
    called("a [<lora:x:1>::0.5]", "--dialect", "concord")
    shown = capsys.readouterr().out
    assert "A: a   networks: lora x 1" in shown
    assert "networks, all the time: none" in shown


def test_json_holds_everything(capsys: pytest.CaptureFixture[str]) -> None:
    called(PROMPT + " :(", "--json", "--hires-steps", "8")
    found = json.loads(capsys.readouterr().out)
    assert found["prompt"] == PROMPT + " :("
    assert [len(one["parts"]) for one in found["passes"]] == [2, 2]
    warning = next(w for w in found["warnings"] if w["code"] == "emoticon-opens-bracket")
    assert found["prompt"][warning["start"] : warning["end"]] == ":("
    assert set(warning) == {"code", "start", "end", "message", "suggestion"}


class Tags(HTMLParser):
    """Counts open tags and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "script" not in tag
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_escapes_the_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.html"
    called("<script>alert(1)</script> [a:b:0.5] :( </pre>", "--html", str(path))
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert tags.open == []
    assert "<script>alert(1)</script> " in tags.text
    assert "emoticon-opens-bracket" in tags.text
    assert capsys.readouterr().out == ""


def test_every_row_of_the_page_has_as_many_columns_as_calls(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    called("[a|b] [c:d:5]", "--steps", "9", "--html", str(path))
    rows = path.read_text(encoding="utf-8").split("<tr>")[1:]
    spans = [sum(int(cell.split('"')[0]) for cell in row.split('colspan="')[1:]) for row in rows]
    assert spans
    assert set(spans) == {9}


def test_the_picture_has_a_row_a_text_and_its_bars_where_it_is_active(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    called("[a:b:0.5]", "--steps", "4", "--dialect", "concord", "--png", str(path))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] > 900
    height = pixels.shape[0] // 4
    first, second = pixels[14 + 26 + 13], pixels[14 + 52 + 13]
    left, right = slice(400, 640), slice(700, 920)
    colourful = [np.ptp(row[half], axis=1).mean() > 40 for row in (first, second) for half in (left, right)]
    assert colourful == [True, False, False, True]
    assert height > 20


def test_wildcards_keep_template_and_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("dynamicprompts")
    (tmp_path / "pet.txt").write_text("cat\ndog\n", encoding="utf-8")
    outputs = []
    for _ in range(2):
        called("a __pet__", "--wildcards", str(tmp_path), "--seed", "3", "--json")
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert outputs[0]["template"] == "a __pet__"
    assert outputs[0]["prompt"] in ("a cat", "a dog")


@pytest.mark.parametrize("option", ["--html", "--png"])
def test_a_file_that_cannot_be_written_is_one_line(option: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="cannot be written"):
        called("a", option, str(tmp_path / "missing" / "file"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "steps is 0"),
        (["--denoise", "2"], "denoise is 2"),
        (["--hires-steps", "0"], "hires_steps is 0"),
    ],
)
def test_bad_numbers_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(BadValue, match=said):
        called("a", *words)
