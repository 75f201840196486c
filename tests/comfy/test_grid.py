"""Concord Grid over the stand-in of ComfyUI."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from comfy_fake import FakeComfy
from PIL import Image
from sd_concord.core.errors import BadValue
from sd_concord.core.image import Generation, read_chunks, read_image_info
from sd_concord.core.image.grid import labelled_grid

RED, GREEN, BLUE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


@pytest.fixture
def grid(fake_comfy: FakeComfy, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with ComfyUI's command line."""
    module = fake_comfy.module("grid")
    own = ModuleType("comfy.cli_args")
    own.args = module.arguments = SimpleNamespace(disable_metadata=False)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "comfy.cli_args", own)
    module.ConcordGrid.hidden = SimpleNamespace(
        prompt={"1": {"class_type": "x", "inputs": {}}}, extra_pnginfo={"workflow": {"a": "</script>"}}
    )
    return module


def image(*colours: tuple[int, int, int], size: tuple[int, int] = (32, 24)) -> torch.Tensor:
    """Return an IMAGE of plain pictures; ``size``: (width, height)."""
    pixels = np.array(colours, np.float32).reshape(-1, 1, 1, 3) / 255
    return torch.tensor(pixels.repeat(size[1], 1).repeat(size[0], 2))


def run(grid: ModuleType, *images: torch.Tensor, **given: Any) -> Any:
    settings = {"x_labels": "", "y_labels": "", "x_name": "x", "y_name": "y", "cell_size": 0, "gallery": ""}
    lists = {
        name: value if isinstance(value, list) else [value] for name, value in (settings | given).items()
    }
    return grid.ConcordGrid.execute(images=list(images), **lists)


def table(page: str) -> dict[str, Any]:
    text = Path(page).with_name("cells.js").read_text(encoding="ascii")
    return json.loads(text.partition(" = ")[2].removesuffix(";\n"))


def colours(picture: np.ndarray) -> list[list[int]]:
    """Return the colours of (H, W, 3) from the left above, each once."""
    found = [tuple(one) for one in picture.reshape(-1, 3).tolist()]
    return [list(one) for one in dict.fromkeys(found) if one in (RED, GREEN, BLUE)]


def test_a_batch_is_drawn_row_by_row(grid: ModuleType) -> None:
    out = run(grid, image(RED, GREEN, BLUE), x_labels="a\nb", y_labels="1\n2")
    picture, page = out.args
    wanted = labelled_grid(
        [np.full((24, 32, 3), one, np.uint8) for one in (RED, GREEN, BLUE)] + [None], ("a", "b"), ("1", "2")
    )
    assert page == ""
    assert out.ui.image is picture
    assert picture.dtype == torch.float32
    assert np.array_equal(picture[0].numpy(), np.asarray(wanted).astype(np.float32) / 255)


def test_lists_of_any_sizes_are_taken_in_order(grid: ModuleType) -> None:
    pictures = (image(RED), image(GREEN, size=(64, 64)), image(BLUE))
    out = run(grid, *pictures, x_labels=["one", "two\nthree"])
    levels = (out.args[0][0].numpy() * 255).astype(np.uint8)
    assert sorted(colours(levels)) == sorted(map(list, (RED, GREEN, BLUE)))
    assert levels.shape[1] >= 3 * 64


@pytest.mark.parametrize(
    ("count", "columns", "rows", "shape"),
    [
        (9, 0, 0, (3, 3)),
        (5, 0, 0, (3, 2)),
        (6, 2, 0, (2, 3)),
        (6, 0, 2, (3, 2)),
        (1, 0, 0, (1, 1)),
        (3, 2, 2, (2, 2)),
    ],
)
def test_a_side_without_labels_has_as_many_places_as_it_takes(
    grid: ModuleType, count: int, columns: int, rows: int, shape: tuple[int, int]
) -> None:
    found = grid.Table.of(count, ["x"] * columns, ["y"] * rows, ("x", "y"))
    assert (len(found.columns), len(found.rows)) == shape


def test_pictures_without_a_place_are_refused(grid: ModuleType) -> None:
    with pytest.raises(BadValue, match="there are 3 pictures for 2 columns and 1 rows"):
        run(grid, image(RED, GREEN, BLUE), x_labels="a\nb", y_labels="c")


def test_cells_are_scaled_down(grid: ModuleType) -> None:
    large, small = (run(grid, image(RED, size=(256, 128)), cell_size=size).args[0] for size in (0, 64))
    assert large.shape[1:3] == (128, 256)
    assert small.shape[1:3] == (32, 64)


def test_empty_lines_are_labels_but_for_those_at_the_end(grid: ModuleType) -> None:
    assert grid.lines(["a\n\nb\n\n"]) == ["a", "", "b"]
    assert grid.lines([""]) == []
    assert grid.names_of(" ", "x") == ("x", "x (rows)")


def test_the_gallery_has_every_picture_with_its_record_and_the_workflow(
    grid: ModuleType, fake_comfy: FakeComfy
) -> None:
    record = Generation(prompt="a cat", seed=5, steps=3, size=(32, 24))
    given = {"x_labels": "3\n20", "x_name": "steps", "y_name": "sampler", "gallery": "Concord/grids/%seed%"}
    out = run(grid, image(RED, GREEN, BLUE), record=[record], **given)
    page = Path(out.args[1])
    assert page == fake_comfy.folder / "output" / "Concord" / "grids" / "5_00001" / "index.html"
    found = table(str(page))
    assert found["title"] == "sampler × steps"
    assert [axis["values"] for axis in found["axes"]] == [["3", "20"], [1, 2]]
    assert [cell[4] for cell in found["cells"]] == [[0, 0], [1, 0], [0, 1]]
    assert found["fields"][:4] == ["steps", "sampler", "Prompt", "Steps"]
    assert [json.loads(one) for one in found["workflows"]] == [{"a": "</script>"}]
    for i, (cell, colour) in enumerate(zip(found["cells"], (RED, GREEN, BLUE), strict=True)):
        path = page.parent / cell[0]
        assert read_image_info(path).seed == 5 + i
        assert f"Seed: {5 + i}" in cell[6]
        assert set(read_chunks(path)) == {"prompt", "workflow"}
        with Image.open(path) as opened:
            assert opened.getpixel((1, 1)) == colour


def test_each_gallery_has_a_folder_of_its_own(grid: ModuleType) -> None:
    pages = [
        run(grid, image(RED), gallery=name).args[1] for name in ("g", "g", "a %counter% b", "a %counter% b")
    ]
    assert [Path(page).parent.name for page in pages] == ["g_00001", "g_00002", "a 00001 b", "a 00002 b"]


def test_a_gallery_lies_below_the_output_folder(grid: ModuleType) -> None:
    with pytest.raises(BadValue, match="leads outside"):
        run(grid, image(RED), gallery="../elsewhere")


def test_without_metadata_nothing_is_written_beside_the_pixels(grid: ModuleType) -> None:
    grid.arguments.disable_metadata = True
    page = run(grid, image(RED), record=[Generation(prompt="a", seed=5)], gallery="g").args[1]
    assert Image.open(Path(page).parent / "00001.png").info == {}
    found = table(page)
    assert found["fields"] == ["x", "y"]
    assert found["workflows"] == []


def test_records_are_one_of_all_or_one_of_each_batch(grid: ModuleType) -> None:
    one, other = Generation(seed=1), Generation(seed=7)
    assert [record.seed for record in grid.records_in([one], [2, 1])] == [1, 2, 3]
    assert [record.seed for record in grid.records_in([one, other], [2, 1])] == [1, 2, 7]
    assert grid.records_in(None, [2]) == [Generation()] * 2
    with pytest.raises(BadValue, match="there are 2 records for 3 batches"):
        grid.records_in([one, other], [1, 1, 1])
