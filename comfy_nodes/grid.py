"""Pictures side by side: Concord Grid, as one picture with labels and as a gallery for the browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import BadValue
from ..core.gallery import GalleryAxis, GalleryCell, record_fields, write_gallery
from ..core.image import Generation, format_infotext, save_image
from ..core.image.file_names import fill_pattern
from ..core.image.grid import GridStyle, labelled_grid
from .host import folder_paths, io, schema, ui
from .images import chunks_of, records_of
from .wires import RECORD, image_of, pixels_of

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Where pictures lie: the labels of columns and rows, which may be empty texts, and what each stands for."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    names: tuple[str, str]

    @classmethod
    def of(cls, count: int, columns: Sequence[str], rows: Sequence[str], names: tuple[str, str]) -> Table:
        """Return the table of ``count`` pictures; a side without labels has as many places as it takes.

        Raises ``BadValue`` where the pictures do not fit.
        """
        wide = len(columns) or math.ceil(count / len(rows) if rows else math.sqrt(count))
        high = len(rows) or math.ceil(count / wide)
        if count > wide * high:
            raise BadValue(
                f"there are {count} pictures for {wide} columns and {high} rows; add a label for each, one a line"
            )
        return cls(
            columns=tuple(columns) or ("",) * wide,
            rows=tuple(rows) or ("",) * high,
            names=names,
        )

    @property
    def axes(self) -> list[GalleryAxis]:
        """The axes of the gallery; places without labels are counted."""
        sides = (self.columns, self.rows)
        return [
            GalleryAxis(
                name=name,
                label=name,
                values=tuple(label or i for i, label in enumerate(labels, start=1)),
            )
            for name, labels in zip(self.names, sides, strict=True)
        ]


class ConcordGrid(io.ComfyNode):
    """Concord Grid."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordGrid",
            display_name="Concord Grid",
            category="Concord/image",
            description="Sets pictures side by side with labels, as one picture and, if a folder is named, as a "
            "gallery that a browser opens from the disk: filter, sort, zoom, compare.",
            search_aliases=["xy plot", "xyz plot", "contact sheet", "image grid", "gallery", "compare"],
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "images", tooltip="A batch, or a list of pictures or batches; row by row from the left."
                ),
                io.String.Input(
                    "x_labels",
                    default="",
                    multiline=True,
                    tooltip="Of the columns, one a line, or a wired list; empty: as many as make a square.",
                ),
                io.String.Input(
                    "y_labels",
                    default="",
                    multiline=True,
                    tooltip="Of the rows, one a line, or a wired list; empty: as many as it takes.",
                ),
                io.String.Input(
                    "x_name",
                    default="x",
                    tooltip="What the columns are, such as steps; the gallery filters by it.",
                ),
                io.String.Input("y_name", default="y", tooltip="What the rows are, such as sampler."),
                io.Int.Input(
                    "cell_size",
                    default=512,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Long side to which the pictures of the grid are scaled down; 0: as they are.",
                ),
                io.String.Input(
                    "gallery",
                    default="",
                    tooltip="A new folder below ComfyUI's output folder, such as Concord/grids/%date%; empty: none.",
                ),
                RECORD.Input(
                    "record",
                    optional=True,
                    tooltip="How the pictures were made, for the gallery: one of a batch, or one for each.",
                ),
            ],
            outputs=[
                io.Image.Output("picture", display_name="IMAGE", tooltip="The grid."),
                io.String.Output(
                    "page", display_name="page", tooltip="The gallery's index.html; empty without one."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        x_labels: list[str],
        y_labels: list[str],
        x_name: list[str],
        y_name: list[str],
        cell_size: list[int],
        gallery: list[str],
        record: list[Generation] | None = None,
    ) -> Any:
        """Draw the grid, and write the gallery."""
        pictures = [one for batch in images for one in pixels_of(batch)]
        names = names_of(x_name[0], y_name[0])
        table = Table.of(len(pictures), lines(x_labels), lines(y_labels), names)
        image = image_of([drawn(pictures, table, cell_size[0])])
        page = ""
        if gallery[0].strip():
            records = records_in(record, [len(batch) for batch in images])
            chunks = chunks_of(cls.hidden.prompt, cls.hidden.extra_pnginfo, "png")
            if import_module("comfy.cli_args").args.disable_metadata:
                records, chunks = [Generation()] * len(pictures), {}
            page = str(written(new_folder(gallery[0], records[0]), pictures, records, table, chunks))
        return io.NodeOutput(image, page, ui=ui.PreviewImage(image, cls=cls))


def lines(texts: Sequence[str]) -> list[str]:
    """Return the labels in ``texts``, one a line; lines that are empty at the end are none."""
    return "\n".join(texts).rstrip().splitlines()


def names_of(x_name: str, y_name: str) -> tuple[str, str]:
    """Return two names for the axes that can be told apart."""
    x, y = x_name.strip() or "x", y_name.strip() or "y"
    return x, y if y != x else f"{y} (rows)"


def drawn(pictures: Sequence[Pixels], table: Table, longest: int) -> Pixels:
    """Return the grid; places without a picture stay empty."""
    places = len(table.columns) * len(table.rows)
    cells = [*pictures, *[None] * (places - len(pictures))]
    grid = labelled_grid(cells, table.columns, table.rows, style=GridStyle(longest=longest))
    return np.asarray(grid)


def records_in(given: Sequence[Generation] | None, batches: Sequence[int]) -> list[Generation]:
    """Return the record of each picture of batches with ``batches`` pictures each; empty ones without any.

    Raises ``BadValue`` for another number of records.
    """
    count = sum(batches)
    records = [one for one in given or [] if one is not None]
    if not records:
        return [Generation()] * count
    if len(records) == 1:
        return records_of(records[0], count)
    if len(records) == len(batches):
        return [one for record, n in zip(records, batches, strict=True) for one in records_of(record, n)]
    raise BadValue(
        f"there are {len(records)} records for {len(batches)} batches; wire one record, or one for each batch"
    )


def new_folder(pattern: str, record: Generation) -> Path:
    """Make a folder below the output folder, numbered where one of its name is there, and return it."""
    name = fill_pattern(pattern, record, now=datetime.now())
    if "%counter%" not in name:
        name += "_%counter%"
    for number in range(1, 100_000):
        path = Path(folder_paths.get_output_directory(), name.replace("%counter%", f"{number:05}"))
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise BadValue(
                f"cannot make the folder {path} ({error.strerror}); choose another name"
            ) from error
        return path
    raise BadValue(f"there are too many folders called {name}; choose another name")


def written(
    folder: Path,
    pictures: Sequence[Pixels],
    records: Sequence[Generation],
    table: Table,
    chunks: dict[str, str],
) -> Path:
    """Write the pictures, each with its record, and the gallery; return its page."""
    axes, cells = table.axes, list[GalleryCell]()
    for i, (picture, record) in enumerate(zip(pictures, records, strict=True)):
        row, column = divmod(i, len(table.columns))
        file = save_image(folder / f"{i + 1:05}.png", picture, record, chunks)
        fields = {axes[0].label: axes[0].values[column], axes[1].label: axes[1].values[row]}
        cells.append(
            GalleryCell(
                file=file.name,
                fields=fields | record_fields(record),
                infotext=format_infotext(record),
                position=(column, row),
                workflow=chunks.get("workflow"),
            )
        )
    return write_gallery(folder, title=" × ".join(reversed(table.names)), axes=axes, cells=cells)


NODES: list[type] = [ConcordGrid]
