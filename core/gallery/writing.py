"""Write a gallery into the folder of its pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..errors import BadValue
from .files import put
from .records import GalleryAxis, GalleryCell, Value
from .thumbnails import Shot, shots

PAGE, CELLS = "index.html", "cells.js"
SCRIPTS = ("dom.js", "data.js", "filters.js", "wall.js", "stage.js", "viewer.js", "start.js")
"""The page's scripts in the order in which they run; a page on the disk can load no modules."""
NOT_DRAWN = "not drawn yet"
_EXACT = 2**53
"""Whole numbers from here on are text in the table: JavaScript has them only to 53 bits."""
_MARKUP = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def write_gallery(
    folder: str | Path, *, title: str, axes: Sequence[GalleryAxis] = (), cells: Iterable[GalleryCell]
) -> Path:
    """Write ``index.html``, ``cells.js`` and ``thumbnails/`` into ``folder``, and return the page's path.

    The page opens from the disk, in any place that the folder is moved to.  Of an axis that a cell has no field
    for, its value on the axis becomes one.  Written again, as a sweep goes on, only new thumbnails are made.
    A picture that cannot be read is shown as failed, with the reason.

    Raises ``BadValue`` for positions that are not on the axes and for a folder that cannot be written.
    """
    folder, cells = Path(folder), list(cells)
    for cell in cells:
        _check_position(cell, axes)
    files = [cell.file for cell in cells if cell.file is not None and cell.failed is None]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = dict(zip(files, shots(folder, files), strict=True))
        put(folder / CELLS, script_of(title, axes, cells, found).encode())
        put(folder / PAGE, page_of(title).encode("utf-8", "replace"))
    except OSError as error:
        raise BadValue(
            f"cannot write the gallery {folder} ({error.strerror or error}); choose a folder that can be written"
        ) from error
    return folder / PAGE


def page_of(title: str) -> str:
    """Return the page, with its style and scripts in it."""
    source = Path(__file__).parent / "page"

    def text(name: str) -> str:
        return (source / name).read_text(encoding="utf-8")

    head, _, rest = text("gallery.html").partition("/* STYLE */")
    middle, _, tail = rest.partition("/* SCRIPT */")
    scripts = "\n".join(map(text, SCRIPTS))
    head, middle, tail = (part.replace("TITLE", escape(title)) for part in (head, middle, tail))
    return f'{head}{text("gallery.css")}{middle}"use strict";\n(() => {{\n{scripts}}})();\n{tail}'


def script_of(
    title: str, axes: Sequence[GalleryAxis], cells: Sequence[GalleryCell], found: dict[str, Shot]
) -> str:
    """Return the table of cells as a script of pure ASCII, in which no text can end anything.

    ``found``: what is known of the files.  A cell is a list: file, whether it has a thumbnail, width, height,
    position, why there is no picture, infotext, index of its workflow, and its values in the order of ``fields``.
    """
    rows = _with_axes(cells, axes)
    labels = list(dict.fromkeys([axis.label for axis in axes] + [label for row in rows for label in row]))
    workflows = list(dict.fromkeys(cell.workflow for cell in cells if cell.workflow is not None))
    places = {workflow: i for i, workflow in enumerate(workflows)}
    table = {
        "title": title,
        "axes": [
            {"name": axis.name, "label": axis.label, "values": [_value(one) for one in axis.values]}
            for axis in axes
        ],
        "fields": labels,
        "workflows": workflows,
        "cells": [
            [
                *_picture(cell, found),
                cell.infotext,
                -1 if cell.workflow is None else places[cell.workflow],
                [_value(row.get(label)) for label in labels],
            ]
            for cell, row in zip(cells, rows, strict=True)
        ],
    }
    text = json.dumps(table, separators=(",", ":"))
    return f"globalThis.CONCORD_GALLERY = {text.translate(_MARKUP)};\n"


def _picture(cell: GalleryCell, found: dict[str, Shot]) -> list[Any]:
    shot = found.get(cell.file or "", Shot(problem=NOT_DRAWN))
    failed = cell.failed if cell.failed is not None else shot.problem
    file = cell.file if failed is None else None
    return [file, int(shot.has_thumbnail), *shot.size, cell.position, failed]


def _with_axes(cells: Sequence[GalleryCell], axes: Sequence[GalleryAxis]) -> list[dict[str, Value]]:
    """Return the fields of the cells, with their values on axes that they have no field for.

    Where another cell at the same value has the field, as those next to one that failed, its value is taken: an
    axis may have 20 in words.
    """
    labels = [axis.label for axis in axes]
    words = [dict(enumerate(axis.values)) for axis in axes]
    for cell in cells:
        for label, at, i in zip(labels, words, cell.position or (), strict=False):
            if (value := cell.fields.get(label)) is not None:
                at[i] = value
    return [
        {label: at[i] for label, at, i in zip(labels, words, cell.position or (), strict=False)}
        | dict(cell.fields)
        for cell in cells
    ]


def _value(value: Value) -> Value:
    """Return a value as JSON and JavaScript have it."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    exact = math.isfinite(value) and (isinstance(value, float) or abs(value) < _EXACT)
    return value if exact else str(value)


def _check_position(cell: GalleryCell, axes: Sequence[GalleryAxis]) -> None:
    at = cell.position
    if at is None:
        return
    if len(at) != len(axes) or any(not 0 <= i < len(axis.values) for i, axis in zip(at, axes, strict=True)):
        sizes = " × ".join(str(len(axis.values)) for axis in axes) or "no"
        raise BadValue(
            f"the cell of {cell.file} is at {at}, but the axes have {sizes} values; count from 0 on every axis"
        )
