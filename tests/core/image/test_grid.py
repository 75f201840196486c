"""Labelled grids, and the difference of two pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont
from sd_concord.core.errors import BadFile, BadType, BadValue
from sd_concord.core.image.grid import EMPTY, PAPER, GridStyle, difference, labelled_grid, wrapped


def plain(level: int, width: int = 32, height: int = 24) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def found(grid: Image.Image, level: int) -> tuple[int, int, int, int]:
    """The box (x1, y1, x2, y2) of the cell that is all ``level``."""
    rows, columns = np.nonzero((np.asarray(grid) == level).all(-1))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_without_labels_it_is_the_cells_and_the_margins() -> None:
    grid = labelled_grid([plain(10 + i) for i in range(6)], [""] * 3, [""] * 2, style=GridStyle(margin=5))
    assert grid.size == (3 * 32 + 2 * 5, 2 * 24 + 5)
    for i in range(6):
        x, y = i % 3 * 37, i // 3 * 29
        assert found(grid, 10 + i) == (x, y, x + 32, y + 24)


def test_cells_stand_row_by_row_and_grid_by_grid() -> None:
    grid = labelled_grid([plain(10 + i) for i in range(8)], ["a", "b"], ["c", "d"], ["e", "f"])
    places = [found(grid, 10 + i)[:2] for i in range(8)]
    assert places == sorted(places, key=lambda place: (place[0] > grid.width // 2, place[1], place[0]))
    assert len({x for x, _ in places}) == 4
    assert len({y for _, y in places}) == 2


@pytest.mark.parametrize("words", ["short", "many words " * 6, "x" * 90, "two\nlines"])
def test_the_writing_has_its_room_and_touches_no_cell(words: str) -> None:
    grid = labelled_grid(
        [plain(200), plain(201), plain(202), plain(203)], [words, "b"], ["c", words], [words]
    )
    pixels = np.asarray(grid)
    for level in range(200, 204):
        x1, y1, x2, y2 = found(grid, level)
        assert (pixels[y1:y2, x1:x2] == level).all()
        assert (x2 - x1, y2 - y1) == (32, 24)
    assert (pixels < 100).any()


def test_a_row_is_as_high_as_its_label() -> None:
    style = GridStyle(margin=0, letters=10)
    heights = [labelled_grid([plain(9)], [""], [label], style=style).height for label in ("a", "word " * 20)]
    assert heights[0] == 24
    assert heights[1] > 4 * 13


def test_grids_side_by_side_stand_further_apart_than_cells() -> None:
    grid = labelled_grid(
        [plain(10), plain(11), plain(12), plain(13)], ["", ""], [""], ["", ""], style=GridStyle(margin=3)
    )
    starts = [found(grid, level)[0] for level in range(10, 14)]
    assert starts == [0, 35, 79, 114]
    assert grid.width == 146


def test_each_label_stands_at_its_own_row_and_column() -> None:
    cells = [plain(200 + i, 64, 64) for i in range(4)]
    dark = np.asarray(labelled_grid(cells, ["", "X"], ["", "Y"])).max(-1) < 100
    x1, y1, x2, y2 = found(labelled_grid(cells, ["", "X"], ["", "Y"]), 203)
    above, beside = dark[:y1, x1:x2], dark[y1:y2, :x1]
    assert above.any()
    assert beside.any()
    assert above.sum() + beside.sum() == dark.sum()


def test_lines_are_broken_between_words_and_fit() -> None:
    font = ImageFont.load_default(14)
    text = "a sentence with several words and onethatisverymuchtoolongforaline of it"
    lines = wrapped(text, font, 90)
    assert all(font.getlength(line) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert lines[0] == "a sentence"


def test_smaller_cells_stand_in_the_middle_and_missing_ones_are_empty() -> None:
    grid = labelled_grid([plain(50), plain(60, 16, 8), None], ["", "", ""], style=GridStyle(margin=0))
    assert found(grid, 60) == (32 + 8, 8, 32 + 24, 16)
    assert grid.getpixel((40, 2)) == PAPER
    assert grid.getpixel((70, 12)) == EMPTY


def test_cells_can_be_scaled_down_but_never_up() -> None:
    style = GridStyle(margin=0, longest=16)
    grid = labelled_grid([plain(50), plain(60, 8, 8)], ["", ""], style=style)
    assert grid.size == (32, 12)
    assert found(grid, 50) == (0, 0, 16, 12)
    assert found(labelled_grid([plain(60, 8, 8)], [""], style=style), 60) == (0, 0, 8, 8)


def test_pillows_pictures_of_any_mode_and_files_are_cells_too(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (7, 7, 7)).save(tmp_path / "a.png")
    cells = [Image.new("L", (8, 8), 5), Image.new("RGBA", (8, 8), (6, 6, 6, 255)), tmp_path / "a.png"]
    grid = labelled_grid(cells, [""] * 3, style=GridStyle(margin=0))
    assert [grid.getpixel((4 + 8 * i, 4))[0] for i in range(3)] == [5, 6, 7]


def test_a_file_that_is_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(BadFile, match=r"a\.png is no picture"):
        labelled_grid([tmp_path / "a.png"], [""])


@pytest.mark.parametrize("cells", [[], [plain(1)] * 3])
def test_a_wrong_number_of_cells_is_told(cells: list[np.ndarray]) -> None:
    with pytest.raises(BadValue, match=f"got {len(cells)} cells for 2 rows of 1"):
        labelled_grid(cells, ["a"], ["b", "c"])


@pytest.mark.parametrize("name", ["margin", "letters", "longest"])
def test_a_size_below_0_is_told(name: str) -> None:
    with pytest.raises(BadValue, match=name):
        GridStyle(**{name: -1})


def test_another_kind_of_array_is_told() -> None:
    with pytest.raises(BadType, match="float32"):
        labelled_grid([np.zeros((4, 4, 3), np.float32)], [""])  # pyright: ignore[reportArgumentType]


MEASURE = """
import resource, sys
from pathlib import Path
from sd_concord.core.image.grid import labelled_grid
def megabytes(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
labelled_grid([Path(sys.argv[1])] * 2, ["a", "b"])
before = megabytes()
grid = labelled_grid([Path(sys.argv[1])] * 36, ["column"] * 6, ["row"] * 6)
print((megabytes() - before) / (grid.width * grid.height * 4 / 2**20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measured in Linux's units")
def test_a_grid_of_files_takes_little_more_memory_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    Image.new("RGB", (1024, 1024), (9, 9, 9)).save(path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True
    )
    assert float(done.stdout) < 1.2


def test_the_difference_is_absolute_and_amplified_up_to_white() -> None:
    first, second = plain(100), plain(100)
    second[0, 0], second[0, 1] = (103, 97, 100), (200, 0, 100)
    found = difference(first, second, amplify=8)
    assert found.image[0, 0].tolist() == [24, 24, 0]
    assert found.image[0, 1].tolist() == [255, 255, 0]
    assert (found.largest, found.mean, found.share) == (100, 206 / first.size, 4 / first.size)
    assert found.words == "largest 100, mean 0.0894 of 255"


def test_a_picture_does_not_differ_from_itself() -> None:
    found = difference(plain(3), Image.fromarray(plain(3)))
    assert (found.largest, found.mean, found.share, found.words) == (0, 0, 0, "no difference")
    assert not found.image.any()


def test_a_tall_picture_is_compared_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd_concord.core.image.grid.BAND", 64)
    second = plain(0)
    second[-1, -1] = 9
    assert difference(plain(0), second, 1).image[-1, -1].tolist() == [9, 9, 9]


def test_pictures_of_two_sizes_are_told() -> None:
    with pytest.raises(BadValue, match="32x24 and 8x8"):
        difference(plain(0), plain(0, 8, 8))


@pytest.mark.parametrize("amplify", [0, -1, float("inf"), float("nan")])
def test_an_amplification_that_is_none_is_told(amplify: float) -> None:
    with pytest.raises(BadValue, match="amplify"):
        difference(plain(0), plain(0), amplify)
