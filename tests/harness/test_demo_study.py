"""The study of the embedded model, held to painters whose answers are known."""

import re

import numpy as np
import pytest
from sd_concord.harness import cli
from sd_concord.harness.commands import demo_study
from sd_concord.harness.train.draw import draw
from sd_concord.harness.train.scenes import COLOURS, Item, Scene
from sd_concord.harness.train.study import breaks, markdown, negative, paired, sheet, switch, weight, wilson


def thing(kind, colour, x=40, radius=20):
    return Item(kind=kind, colour=colour, size="", x=x, y=64, radius=radius)


def show(*items):
    return draw(Scene(items=items, background="gray"))


def table(part):
    return [dict(zip(part.head, row, strict=True)) for row in part.rows if len(row) == len(part.head)]


def test_wilson_is_the_published_interval():
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 … 0.3662."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_paired_is_a_mean_and_its_interval():
    assert paired([1.0, -1.0, 1.0, -1.0]) == pytest.approx((0, -1.96 / 3**0.5, 1.96 / 3**0.5))


def test_a_switch_is_seen_where_it_happens():
    def paint(prompt, negative="", *, count, seed=0):
        at = float(re.search(r":([0-9.]+)]", prompt).group(1))
        return [show(thing("circle" if at > 0.55 else "square", "red"))] * count

    part = switch(paint, "[circle:square:w]", "a red [circle:square:{w}]", ("kind", "circle"), 4)
    assert [row["circle"] for row in table(part)] == ["0.00"] * 6 + ["1.00"] * 5


def test_weight_is_an_area_and_its_change():
    def paint(prompt, negative="", *, count, seed=0):
        w = float(re.search(r":([0-9.]+)\)", prompt).group(1))
        return [show(thing("square", "blue", radius=20 * w))] * count

    rows = table(weight(paint, 3))
    areas = [float(row["area"].rstrip(" %")) for row in rows]
    assert areas == sorted(areas)
    assert areas[-1] / areas[2] == pytest.approx(1.6**2, rel=0.1)
    assert rows[2]["against 1.0"] == "+0.00"


def test_suppression_is_counted():
    def paint(prompt, negative="", *, count, seed=0):
        colour = prompt.split()[1]
        return [show(thing("circle", "purple" if negative == colour else colour))] * count

    rows = negative(paint, 2).rows
    assert [(row[2], row[4]) for row in rows[:4]] == [("1.00", "0.00")] * 4
    assert [(row[1], row[2]) for row in rows[4:]] == [
        ("white background", "0.00"),
        ("gray background", "1.00"),
        ("teal background", "0.00"),
    ]


def test_break_is_compared_in_pairs_and_shown(tmp_path):
    def paint(prompt, negative="", *, count, seed=0):
        one, other = re.findall(r"with (\w+) hair", prompt)
        other = other if "BREAK" in prompt else one
        return [show(thing("face", one, 34), thing("face", other, 94))] * count

    part = breaks(paint, 8)
    assert part.rows[0][:2] == ("and", "0.00")
    assert part.rows[1][:2] == ("BREAK", "1.00")
    assert part.rows[2][:2] == ("BREAK minus and", "+1.00")
    assert "| BREAK minus and | +1.00 | +1.00 … +1.00 |" in markdown([part])
    assert np.asarray(sheet([part])).std() > 0


def test_the_command_writes_tables_and_a_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo_study, "study", lambda paint, count: [weight(paint, count)])
    picture = tmp_path / "study.png"
    options = ["--count", "2", "--steps", "1", "--cfg", "1", "--picture", str(picture)]
    assert cli.main(["demo-study", *options]) == 0
    assert capsys.readouterr().out.count("## ") == 1
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_all_colours_of_the_study_are_known():
    assert {"red", "yellow", "blue", "white"} <= COLOURS.keys()


def test_too_few_pictures_are_refused(capsys):
    assert cli.main(["demo-study", "--count", "1"]) == 1
    assert "--count is 1; pass 2 or more" in capsys.readouterr().err
