"""What a sweep writes: pictures that are whole or not there, the list of cells, a gallery and grids.

``cells.json``, for galleries and other programs: ``version``; ``axes``, each with ``name``, ``label`` and
``values`` in words; ``cells``, each with its ``file`` below the folder (null where there is none), ``position``
(the index of its value on each axis), ``fields`` by the labels of the infotext, ``infotext``, and ``failed``, why
there is no picture.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.axes_plan import PLACES
from ...core.errors import BadFile
from ...core.gallery import GalleryAxis, GalleryCell, record_fields, write_gallery
from ...core.image import parse_infotext
from ...core.image.grid import GridStyle, labelled_grid
from .journal import Row
from .plan import Plan
from .records import restored

PICTURES = "pictures"
CELLS = "cells.json"
CELLS_VERSION = 1
GRID_SIDE = 4096
"""How many pixels the pictures of a grid take at most, along each side; larger ones are scaled down."""
SPARE = 1 << 20
"""Bytes that are left free on the disk."""


def file_of(cell: int, seed: int) -> str:
    """Return the file of a cell below the sweep's folder."""
    return f"{PICTURES}/{cell:05}-{seed}.png"


def put(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` is whole and on the disk, or not there; raises ``BadFile``."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadFile(_unwritable(path, error)) from error


def settle(folder: Path) -> None:
    """Make the names of files that were put into ``folder`` outlive a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_room(folder: Path, pictures: int, size: tuple[int, int] | None) -> str | None:
    """Return why ``pictures`` of ``size`` do not fit on the disk of ``folder``, None where they do."""
    width, height = size or (512, 512)
    needed = pictures * width * height * 3 + SPARE
    if shutil.disk_usage(folder).free >= needed:
        return None
    return f"the disk is full: {folder} has no room for a batch; make room"


def sweep_parts(folder: Path) -> None:
    """Remove what a run that was killed has left half written."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def write_cells(folder: Path, plan: Plan, rows: Sequence[Row]) -> Path:
    """Write ``cells.json`` and return its path; raises ``BadFile``."""
    text = json.dumps(
        {
            "version": CELLS_VERSION,
            "axes": [
                {"name": one.axis.name, "label": one.axis.label, "values": _shown(one)} for one in plan.axes
            ]
            + ([{"name": "seed", "label": "Seed", "values": _seeds(plan)}] if plan.seed_count > 1 else []),
            "cells": [_cell(plan, row) for row in rows],
        },
        ensure_ascii=False,
    )
    path = folder / CELLS
    put(path, text.encode())
    return path


def write_page(folder: Path) -> Path:
    """Write the gallery of the cells that ``cells.json`` lists and return its page; raises ``BadValue``."""
    data = json.loads((folder / CELLS).read_text(encoding="utf-8"))
    return write_gallery(
        folder,
        title=folder.resolve().name,
        axes=[GalleryAxis(**{**one, "values": tuple(one["values"])}) for one in data["axes"]],
        cells=[GalleryCell(**{**one, "position": tuple(one["position"])}) for one in data["cells"]],
    )


def write_grids(folder: Path, plan: Plan, rows: Sequence[Row]) -> list[Path]:
    """Write one labelled grid, x by y, for each value of z and each seed; return their paths.

    Raises ``BadFile`` where one cannot be written.
    """
    if not plan.axes:
        return []
    x, y, z, seeds = plan.shape
    labels = {one.place: one.labels for one in plan.axes}
    style = GridStyle(longest=max(32, GRID_SIDE // max(x, y)))
    files = {row.place: folder / row.file for row in rows if row.state == "done" and row.file}
    written: list[Path] = []
    for k in range(z):
        for s in range(seeds):
            cells = [files.get((i, j, k, s)) for j in range(y) for i in range(x)]
            if not any(cells):
                continue
            title = [*labels.get("z", [])[k : k + 1], *([_seed_words(plan, s)] if seeds > 1 else [])]
            grid = labelled_grid(
                cells, labels.get("x", [""]), labels.get("y", [""]), (" · ".join(title),), style=style
            )
            path = folder / ("grid.png" if z * seeds == 1 else f"grid-{k * seeds + s + 1}.png")
            part = path.with_name(f".{path.name}.part")
            try:
                grid.save(part, "PNG")
                part.replace(path)
            except OSError as error:
                part.unlink(missing_ok=True)
                raise BadFile(_unwritable(path, error)) from error
            written.append(path)
    return written


def _cell(plan: Plan, row: Row) -> dict[str, Any]:
    places = [row.place[PLACES.index(one.place)] for one in plan.axes]
    position = [*places, *([row.place[3]] if plan.seed_count > 1 else [])]
    is_done = row.state == "done" and row.file is not None
    return {
        "file": row.file if is_done else None,
        "position": position,
        "fields": _fields(plan, row, is_done=is_done),
        "infotext": row.infotext or "" if is_done else "",
        "failed": None if is_done else row.reason or "not made yet",
    }


def _fields(plan: Plan, row: Row, *, is_done: bool) -> dict[str, Any]:
    """Return what the picture's infotext says, or of one that is not there what was asked for."""
    if is_done:
        return record_fields(parse_infotext(row.infotext)) if row.infotext else {}
    return {} if row.batch is None else record_fields(replace(plan.base, **restored(row.record)))


def _shown(one: Any) -> list[str]:
    return [one.axis.write(value) for value in one.values]


def _seeds(plan: Plan) -> list[int]:
    if not isinstance(plan.seeds, int):
        return list(plan.seeds)
    first = plan.base.seed or 0
    return [first + i for i in range(plan.seeds)]


def _seed_words(plan: Plan, s: int) -> str:
    varied = any(one.axis.name == "seed" for one in plan.axes)
    return f"Seed: +{s}" if varied else f"Seed: {_seeds(plan)[s]}"


def _unwritable(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {path.parent} took no more; make room"
    return f"cannot write {path} ({error.strerror or error}); choose a folder that can be written"
