"""What a plan's recipes have to say of it before it runs."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.image import Generation
from ...core.recipes import findings_of
from .plan import Cell, Plan, cells_of

Place = tuple[int, int, int, int]


def advice(plan: Plan, cells: Sequence[Cell] | None = None) -> list[str]:
    """Return in what the cells of ``plan`` disagree with the cards of their recipes, each line once.

    The cells looked at are those that differ in one axis at most from the first of their recipe: that shows every
    value.  What depends on the kind of the model, or on files, is said by the sweep itself.
    """
    if not _recipe_of(plan.base) and all(one.axis.kind != "recipe" for one in plan.axes):
        return []
    first: dict[str, Place] = {}
    lines: dict[str, None] = {}
    for cell in cells_of(plan) if cells is None else cells:
        name = _recipe_of(cell.record)
        if name is None or cell.problem is not None:
            continue
        steps_away = sum(
            one != other for one, other in zip(cell.place, first.setdefault(name, cell.place), strict=True)
        )
        if steps_away <= 1:
            lines |= dict.fromkeys(map(str, findings_of(cell.record)))
    return list(lines)


def _recipe_of(record: Generation) -> str | None:
    return record.concord and record.concord.recipe
