"""The cells of a grid: what is asked for, checked before anything runs, and then drawn by the host one by one."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from PIL import Image

from ..core.axes import Axis, parse_values
from ..core.errors import BadValue
from ..core.image.generation import Generation
from ..core.image.grid import GridStyle, labelled_grid
from ..core.image.infotext import format_infotext, parse_infotext
from .host import images, processing, shared
from .names_here import axis_here
from .request import Setter, changes, record_of, setter_of

log = logging.getLogger(__name__)

NOTHING = "Nothing"
"""The choice of an axis that is not used."""
MOST = 10_000
"""Cells of a grid."""
_SEED_END = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Given:
    """An axis with its values; none is one cell as the request has it."""

    axis: Axis | None = None
    values: tuple[Any, ...] = (None,)

    @property
    def labels(self) -> list[str]:
        """Return what is written beside the cells of each value."""
        return [""] if self.axis is None else [self.axis.words(value) for value in self.values]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """What the host drew for a cell: its ``pictures`` with their infotexts, prompts and seeds, as it answered."""

    processed: Any
    pictures: tuple[Image.Image, ...]

    @property
    def shown(self) -> Image.Image:
        """Return the picture of the cell, of several a grid."""
        if len(self.pictures) == 1:
            return self.pictures[0]
        columns = math.ceil(math.sqrt(len(self.pictures)))
        rows = math.ceil(len(self.pictures) / columns)
        missing = [None] * (columns * rows - len(self.pictures))
        return labelled_grid(
            [*self.pictures, *missing], [""] * columns, [""] * rows, style=GridStyle(margin=0)
        )

    def lines(self, name: str) -> list[Any]:
        """Return one entry a picture of a list that the host keeps in parallel (``infotexts``, ``all_seeds``)."""
        first = self.processed.index_of_first_image if name == "infotexts" else 0
        return list(getattr(self.processed, name))[first : first + len(self.pictures)]


def given(name: str | None, text: str) -> Given:
    """Return the axis ``name`` with the values in ``text``; raises ``BadValue`` for what is none of them.

    A seed of -1 is drawn here, once for all cells of the value.
    """
    if not name or name.casefold() == NOTHING.casefold():
        return Given()
    axis = axis_here(name)
    values = parse_values(axis, text)
    if axis.name in ("seed", "variation.seed"):
        values = [random.SystemRandom().randrange(_SEED_END) if value < 0 else value for value in values]
    return Given(axis=axis, values=tuple(values))


def planned(p: Any, axes: Sequence[Given]) -> list[list[Setter]]:
    """Return for each cell what is written into its copy of request ``p``; the first of ``axes`` changes fastest.

    Raises ``BadValue`` where an axis or one of its values changes nothing here.
    """
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST:
        raise BadValue(f"this grid has {count} cells; {MOST} are the most, so leave out some values")
    before = record_of(p)
    for axis in axes:
        for value in axis.values:
            _setters(p, before, [(axis, value)])
    cells = product(*(axis.values for axis in reversed(axes)))
    return [_setters(p, before, list(zip(axes, reversed(values), strict=True))) for values in cells]


def _setters(p: Any, before: Generation, values: Sequence[tuple[Given, Any]]) -> list[Setter]:
    after = before
    for one, value in values:
        if one.axis is not None:
            after = one.axis.apply(after, value)
    return [setter_of(p, change) for change in changes(before, after)]


def drawn(p: Any, plans: Sequence[Sequence[Setter]]) -> Iterator[Cell | None]:
    """Draw each cell with a copy of ``p``, and yield it; None for one that failed, or was not begun when stopped.

    All cells have the seed of the first.  Raises what the host raised if every cell failed.
    """
    state = shared.state
    state.job_count = len(plans) * p.n_iter
    failed: Exception | None = None
    well = False
    for i, setters in enumerate(plans):
        if state.interrupted or getattr(state, "stopping_generation", False):
            yield None
            continue
        state.job = f"{i + 1} out of {len(plans)}"
        try:
            cell = _cell(p, setters)
        except Exception as error:
            log.error("Concord: cell %d of %d failed, the others go on: %s", i + 1, len(plans), error)
            failed, cell = error, None
        well = well or cell is not None
        yield cell
    if failed is not None and not well:
        raise failed


def _cell(p: Any, setters: Sequence[Setter]) -> Cell | None:
    own = copy(p)
    own.styles = list(p.styles or ())
    own.override_settings = dict(p.override_settings or {})
    own.extra_generation_params = dict(p.extra_generation_params or {})
    for write in setters:
        write(own)
    processed = processing.process_images(own)
    first = processed.index_of_first_image
    pictures = processed.images[first : first + p.n_iter * p.batch_size]
    return Cell(processed=processed, pictures=tuple(pictures)) if pictures else None


def with_keys(text: str, keys: Mapping[str, str]) -> str:
    """Return an infotext with further ``keys``."""
    record = parse_infotext(text)
    return format_infotext(replace(record, extras=(*record.extras, *keys.items())))


def answer(first: Cell, sheets: Sequence[tuple[Image.Image, str]], cells: Sequence[Cell]) -> Any:
    """Return what a script answers with: the ``sheets`` with their infotexts, then the pictures of ``cells``."""
    processed = copy(first.processed)
    processed.images = [sheet for sheet, _ in sheets]
    processed.infotexts = [text for _, text in sheets]
    processed.info = processed.infotexts[0]
    processed.index_of_first_image = len(sheets)
    for name in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
        setattr(processed, name, [one for cell in cells or [first] for one in cell.lines(name)])
    for cell in cells:
        processed.images += cell.pictures
        processed.infotexts += cell.lines("infotexts")
    return processed


def save(p: Any, sheet: Image.Image, text: str, name: str, seed: int) -> None:
    """Write a sheet into the host's folder of grids, if it keeps grids."""
    if shared.opts.grid_save and not getattr(p, "do_not_save_grid", False):
        images.save_image(
            sheet,
            p.outpath_grids,
            name,
            extension=shared.opts.grid_format,
            info=text,
            prompt=p.prompt,
            seed=seed,
            grid=True,
            p=p,
        )
