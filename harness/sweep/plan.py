"""What a sweep makes: a base record, axes, seeds; and the cells that follow from them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

from ...core.axes import Axis, parse_axis
from ...core.axes_plan import rank_of
from ...core.errors import BadValue, ConcordError
from ...core.image import Generation
from .setup import Setup

MOST_CELLS = 200_000
NOT_DRAWN = frozenset(
    {
        *("distilled_cfg", "image_cfg", "fp8_weight", "cache_fp16_weight", "face_restoration"),
        *("token_merging_ratio", "token_merging_ratio_hr", "conditional_mask_weight", "hires.distilled_cfg"),
    }
)
"""Axes of the record that the command line's pipeline has no part for: pictures would say what is not true."""
OF_PICTURES = ("inpaint.", "noise_multiplier", "concord.resize_mode", "concord.exact_steps")
"""Axes of image to image, which a sweep does not do; by their beginnings."""


@dataclass(frozen=True, kw_only=True)
class PlanAxis:
    """One axis: where it lies (``x``, ``y``, ``z``), its ``text``, what varies, and its values."""

    place: str
    text: str
    axis: Axis
    values: tuple[Any, ...]

    @property
    def labels(self) -> list[str]:
        """Its values in words, as they stand beside a grid."""
        return [self.axis.words(value) for value in self.values]


class Cell(NamedTuple):
    """One picture of a sweep: its number, place (x, y, z, seed) and record; ``problem``: why it cannot be made."""

    number: int
    place: tuple[int, int, int, int]
    record: Generation
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole sweep.

    ``axes``: those of x, y and z that there are.  ``seeds``: how many each cell of the grid gets, counted up, or
    the seeds themselves.  ``together``: how many pictures go through the network at once, at most; None: as their
    size suggests.  ``threads``: of the processor, for each worker.  All of them decide what pictures
    look like to the last bit.  Raises ``BadValue`` for what cannot be.
    """

    base: Generation
    axes: tuple[PlanAxis, ...] = ()
    seeds: int | tuple[int, ...] = 1
    together: int | None = None
    threads: int = 1
    setup: Setup = field(default_factory=Setup)

    def __post_init__(self) -> None:
        """Check the fields."""
        for name, value in (("--batch", self.together), ("--threads", self.threads)):
            if value is not None and value < 1:
                raise BadValue(f"{name} is {value}; pass 1 or more")
        names = [one.axis.name for one in self.axes]
        for name in names:
            if names.count(name) > 1:
                raise BadValue(f"the axis {name} is there twice; give all its values at once")
        if "seed" in names and not isinstance(self.seeds, int):
            raise BadValue("the axis seed and a list of seeds contradict each other; leave one of them out")
        if self.count > MOST_CELLS:
            raise BadValue(f"the plan has {self.count} cells; {MOST_CELLS} are the most")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """How many values x, y, z and the seeds have; 1 for an axis that is not there."""
        sizes = {one.place: len(one.values) for one in self.axes}
        return sizes.get("x", 1), sizes.get("y", 1), sizes.get("z", 1), self.seed_count

    @property
    def seed_count(self) -> int:
        """How many seeds each cell of the grid gets."""
        return self.seeds if isinstance(self.seeds, int) else len(self.seeds)

    @property
    def count(self) -> int:
        """How many cells there are."""
        x, y, z, seeds = self.shape
        return x * y * z * seeds


def read_axes(texts: dict[str, str | None]) -> tuple[PlanAxis, ...]:
    """Return the axes of ``{"x": "sampler=euler,dpmpp_2m", …}``, those that are None left out.

    Raises ``BadValue`` for what is no axis, and for one that the command line does not draw.
    """
    axes: list[PlanAxis] = []
    for place, text in texts.items():
        if text is None:
            continue
        axis, values = parse_axis(text)
        if axis.name in NOT_DRAWN or axis.name.startswith(OF_PICTURES):
            raise BadValue(f"--{place} {axis.name}: a sweep draws nothing by it; take another axis")
        axes.append(PlanAxis(place=place, text=text, axis=axis, values=tuple(values)))
    return tuple(axes)


def cells_of(plan: Plan) -> list[Cell]:
    """Return the cells in the order of the grid: x counts fastest, then y, seeds and z.

    A cell whose values do not go together has a ``problem``.  Seeds below 0 are drawn here, once for all cells that
    leave them open.
    """
    x, y, z, seeds = plan.shape
    settle = _Settled()
    records = _Records(plan)
    cells: list[Cell] = []
    for k, s, j, i in product(range(z), range(seeds), range(y), range(x)):
        record, problem = records.at({"x": i, "y": j, "z": k})
        if problem is None:
            record = settle(record)
            seed = plan.seeds[s] if not isinstance(plan.seeds, int) else (record.seed or 0) + s
            record = record if seed == record.seed else replace(record, seed=seed)
        cells.append(Cell(len(cells), (i, j, k, s), record, problem))
    if cells and all(cell.problem for cell in cells):
        raise BadValue(f"no cell of the plan can be made: {cells[0].problem}")
    return cells


class _Records:
    """The record of each place of the grid, made of the record of the place with one axis less."""

    def __init__(self, plan: Plan) -> None:
        self._axes = sorted(plan.axes, key=lambda one: rank_of(one.axis))
        self._made: dict[tuple[int, ...], tuple[Generation, str | None]] = {(): (plan.base, None)}

    def at(self, place: dict[str, int]) -> tuple[Generation, str | None]:
        """Return the record, and the problem where there is none."""
        return self._of(tuple(place[one.place] for one in self._axes))

    def _of(self, indices: tuple[int, ...]) -> tuple[Generation, str | None]:
        if indices in self._made:
            return self._made[indices]
        record, problem = self._of(indices[:-1])
        one = self._axes[len(indices) - 1]
        if problem is None:
            try:
                record = one.axis.apply(record, one.values[indices[-1]])
            except ConcordError as error:
                problem = str(error)
        self._made[indices] = record, problem
        return record, problem


class _Settled:
    """Draws the seeds that records leave open, one number for all."""

    def __init__(self) -> None:
        self._drawn: int | None = None

    def __call__(self, record: Generation) -> Generation:
        """Return ``record`` with every seed a number."""
        if record.seed is None or record.seed < 0:
            record = replace(record, seed=self._number())
        varied = record.variation
        if varied is not None and (varied.strength or 0) > 0 and (varied.seed is None or varied.seed < 0):
            record = replace(record, variation=replace(varied, seed=self._number()))
        return record

    def _number(self) -> int:
        if self._drawn is None:
            self._drawn = random.SystemRandom().getrandbits(32)
        return self._drawn
