"""The cells of a grid: what is asked for, checked before anything runs, and then drawn by the host one by one."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

from PIL import Image

from ..core.axes import AXES, Axis, parse_values
from ..core.axes_plan import rank_of, read_seeds
from ..core.errors import BadValue
from ..core.image.generation import Generation
from ..core.image.grid import GridStyle, labelled_grid
from ..core.image.infotext import format_infotext, parse_infotext
from .host import images, processing, shared
from .names_here import axis_here
from .recipe_cells import laid_under, left_open, recipe_of, recipe_setter, switches_hires_on
from .request import Setter, changes, record_of, setter_of

log = logging.getLogger(__name__)

NOTHING = "Nothing"
"""The choice of an axis that is not used."""
MOST = 10_000
"""Cells of a grid."""
STOPPED = "stopped before it was drawn"
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


class Missed(NamedTuple):
    """A cell that was not drawn, with the reason."""

    reason: str


class Frame(NamedTuple):
    """What all cells have: ``settings`` of one value each; parts that recipes go ``without``; whether hires is on."""

    settings: tuple[Given, ...] = ()
    without: tuple[str, ...] = ()
    hires: bool = False


PLAIN = Frame()


class Planned(NamedTuple):
    """For each cell what is written into its copy of the request, and what there is to say of it all."""

    cells: list[list[Setter]]
    notes: list[str]


def setting(name: str, text: str) -> Given:
    """Return the axis ``name`` with the one value that ``text`` is; raises ``BadValue`` for what is none."""
    axis = axis_here(name)
    return Given(axis=axis, values=tuple(_with_seeds(axis, [axis.parse(text)])))


def seeds_given(text: str, axes: Sequence[Given], seed: int) -> Given:
    """Return the seeds that each cell of ``axes`` gets: how many, counted up, or which ones.

    ``seed``: of the request.  Raises ``BadValue`` for what is neither, and for a list beside an axis of seeds.
    """
    asked = read_seeds(text or "1", "seeds")
    varied = any(one.axis is not None and one.axis.name == "seed" for one in axes)
    if not isinstance(asked, int):
        if varied:
            raise BadValue("the axis seed and a list of seeds contradict each other; leave one of them out")
        return Given(axis=AXES["seed"], values=asked)
    if asked == 1:
        return Given()
    write = "+{}".format if varied else lambda value: str(seed + value)
    return Given(axis=replace(AXES["seed"], write=write, assign=_counted_up), values=tuple(range(asked)))


def _counted_up(record: Generation, value: int) -> Generation:
    return replace(record, seed=(record.seed or 0) + value)


def _with_seeds(axis: Axis, values: list[Any]) -> list[Any]:
    """Return ``values`` with numbers for seeds of -1."""
    if axis.name not in ("seed", "variation.seed"):
        return values
    return [random.SystemRandom().randrange(_SEED_END) if value < 0 else value for value in values]


def given(name: str | None, text: str) -> Given:
    """Return the axis ``name`` with the values in ``text``; raises ``BadValue`` for what is none of them.

    A seed of -1 is drawn here, once for all cells of the value.
    """
    if not name or name.casefold() == NOTHING.casefold():
        return Given()
    axis = axis_here(name)
    return Given(axis=axis, values=tuple(_with_seeds(axis, parse_values(axis, text))))


def planned(p: Any, axes: Sequence[Given], frame: Frame = PLAIN) -> Planned:
    """Return what the cells of ``axes`` are given, of which the first changes fastest.

    Raises ``BadValue`` where an axis, a setting or one of their values changes nothing here.
    """
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST:
        raise BadValue(f"this grid has {count} cells; {MOST} are the most, so leave out some values")
    names = [axis.axis.name for axis in axes if axis.axis is not None and axis.axis.kind != "search"]
    if twice := next((name for name in names if names.count(name) > 1 and name != "seed"), None):
        raise BadValue(f"the axis {twice} is there twice; give all its values at once")
    before, notes = record_of(p), dict[str, None]()
    for axis in axes:
        for value in axis.values:
            _setters(p, before, [(axis, value)], frame, notes)
    cells = product(*(axis.values for axis in reversed(axes)))
    made = [
        _setters(p, before, list(zip(axes, reversed(values), strict=True)), frame, notes) for values in cells
    ]
    return Planned(made, list(notes))


def _setters(
    p: Any, before: Generation, values: Sequence[tuple[Given, Any]], frame: Frame, notes: dict[str, None]
) -> list[Setter]:
    """Return what writes ``values`` over the frame into a copy of ``p``, and note what there is to say."""
    every = [*((one, one.values[0]) for one in frame.settings), *values]
    chosen = [(one.axis, value) for one, value in every if one.axis is not None]
    chosen.sort(key=lambda pair: rank_of(pair[0]))
    recipe = recipe_of(chosen)
    after = before if recipe is None else left_open(p, before)
    for axis, value in chosen:
        if axis.kind != "recipe":
            after = axis.apply(after, value)
        elif value == recipe:
            after, lines = laid_under(p, after, value, frame.without)
            notes |= dict.fromkeys(lines)
    found = [one for one in changes(before, after) if one.path != "concord.recipe"]
    there, setters = p, list[Setter]()
    if switches_hires_on(p, after, recipe, frame):
        there = copy(p)
        there.enable_hr = True
        setters.append(lambda own: _switch_hires_on(own, after))
    setters += [setter_of(there, change) for change in found]
    return setters if recipe is None else [*setters, recipe_setter(recipe)]


def _switch_hires_on(own: Any, record: Generation) -> None:
    """Switch the hires pass of a copy of the request on, with its own guidance as the first pass has it."""
    own.enable_hr = True
    if hasattr(own, "hr_cfg"):
        own.hr_cfg = own.cfg_scale if record.cfg is None else record.cfg
    if getattr(own, "hr_additional_modules", ()) is None:
        own.hr_additional_modules = ["Use same choices"]


def drawn(p: Any, plans: Sequence[Sequence[Setter]]) -> Iterator[Cell | Missed]:
    """Draw each cell with a copy of ``p``, and yield it, or why there is none: it failed, or all was stopped.

    All cells have the seed of the first.  Raises what the host raised if every cell failed.
    """
    state = shared.state
    state.job_count = len(plans) * p.n_iter
    failed: Exception | None = None
    well = False
    for i, setters in enumerate(plans):
        if state.interrupted or getattr(state, "stopping_generation", False):
            yield Missed(STOPPED)
            continue
        state.job = f"{i + 1} out of {len(plans)}"
        try:
            cell = _cell(p, setters)
        except Exception as error:
            log.error("Concord: cell %d of %d failed, the others go on: %s", i + 1, len(plans), error)
            failed, cell = error, Missed(" ".join(str(error).split()) or type(error).__name__)
        well = well or isinstance(cell, Cell)
        yield cell
    if failed is not None and not well:
        raise failed


def _cell(p: Any, setters: Sequence[Setter]) -> Cell | Missed:
    own = copy(p)
    own.styles = list(p.styles or ())
    own.override_settings = dict(p.override_settings or {})
    own.extra_generation_params = dict(p.extra_generation_params or {})
    for write in setters:
        write(own)
    processed = processing.process_images(own)
    first = processed.index_of_first_image
    pictures = processed.images[first : first + p.n_iter * p.batch_size]
    return Cell(processed=processed, pictures=tuple(pictures)) if pictures else Missed(STOPPED)


def with_keys(text: str, keys: Mapping[str, str]) -> str:
    """Return an infotext with further ``keys``."""
    record = parse_infotext(text)
    return format_infotext(replace(record, extras=(*record.extras, *keys.items())))


def answer(p: Any, first: Cell, sheets: Sequence[tuple[Image.Image, str]], cells: Sequence[Cell]) -> Any:
    """Return what a script answers to ``p``: the ``sheets`` with their infotexts, then the pictures of ``cells``.

    What has been said of any of them stands below.
    """
    processed = copy(first.processed)
    processed.images = [sheet for sheet, _ in sheets]
    processed.infotexts = [text for _, text in sheets]
    processed.info = processed.infotexts[0]
    processed.index_of_first_image = len(sheets)
    processed.comments = "".join(f"{line}\n" for line in getattr(p, "comments", None) or ())
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
