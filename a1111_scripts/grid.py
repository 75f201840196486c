"""The script "Concord Grid": a labelled grid of pictures over three axes, each any field of the generation record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from ..core.axes import AXES
from ..core.axes_plan import PLACES
from ..core.errors import BadValue
from ..core.image.grid import GridStyle, labelled_grid
from .cells import (
    NOTHING,
    Cell,
    Frame,
    Given,
    Missed,
    answer,
    given,
    planned,
    save,
    seeds_given,
    with_keys,
)
from .gradio_parts import elem_id
from .grid_gallery import OF_REQUEST, drawn_with_gallery
from .grid_plan import GridPlan, grid_plan
from .host import gr, processing, scripts, shared
from .recipes import note

TITLE = "Concord Grid"
NAMES = ("X", "Y", "Z")
HELP = (
    "Values are parted by commas; numbers also as ranges: `10-30 (+5)` is 10, 15, 20, 25, 30, and `0.3-0.6 [4]` four "
    'values. One with a comma stands in double quotes. "Prompt S/R" searches for its first value. Write `lora NAME` '
    "as the axis for the weight of a network, `option NAME` for an option of the sampler or schedule. An axis of "
    "recipes puts each card's settings in place of those above."
)
PLAN_HELP = "a plan's file (.yaml, .json) or its lines, as sd-concord sweep takes them; the fields come first"
SEEDS = "Concord grid seeds"


class Asked(NamedTuple):
    """The values of the controls, in their order."""

    x: str
    x_values: str
    y: str = NOTHING
    y_values: str = ""
    z: str = NOTHING
    z_values: str = ""
    keep: bool = True
    margin: float = 4
    longest: float = 0
    plan: str = ""
    seeds: str = ""
    gallery: bool = False

    def axes(self, plan: GridPlan) -> list[tuple[str, str]]:
        """Return the names of the three axes with the texts of their values; the fields come before the ``plan``.

        Beside a plan an axis that is given no values is not meant.
        """
        own = [(self.x, self.x_values), (self.y, self.y_values), (self.z, self.z_values)]
        if not self.plan.strip():
            return own
        meant = [name and name != NOTHING and values.strip() for name, values in own]
        places = zip(PLACES, own, meant, strict=True)
        return [axis if is_meant else plan.axes.get(place, (NOTHING, "")) for place, axis, is_meant in places]

    @property
    def style(self) -> GridStyle:
        """Return how the grid is laid out."""
        return GridStyle(margin=round(self.margin), longest=round(self.longest))


def axis_labels() -> list[str]:
    """Return the axes as the list shows them."""
    return [NOTHING, *(axis.label for axis in AXES.values())]


class ConcordGrid(scripts.Script):
    """The script as the host's list has it."""

    def title(self) -> str:
        """Return the name in the list."""
        return TITLE

    def ui(self, is_img2img: bool) -> list[Any]:
        """Return the controls: three axes with their values, then what is shown."""
        controls: list[Any] = []
        for name, first in zip(NAMES, ("Sampler", NOTHING, NOTHING), strict=True):
            with gr.Row():
                controls.append(
                    gr.Dropdown(
                        label=f"{name} axis",
                        choices=axis_labels(),
                        value=first,
                        allow_custom_value=True,
                        elem_id=elem_id(f"grid_{name.lower()}", img2img=is_img2img),
                    )
                )
                controls.append(
                    gr.Textbox(
                        label=f"{name} values",
                        value="",
                        lines=1,
                        elem_id=elem_id(f"grid_{name.lower()}_values", img2img=is_img2img),
                    )
                )
        gr.Markdown(HELP)
        with gr.Row():
            keep = gr.Checkbox(
                label="Keep the pictures of the cells",
                value=True,
                elem_id=elem_id("grid_keep", img2img=is_img2img),
            )
            margin = gr.Slider(
                label="Margin between cells",
                minimum=0,
                maximum=100,
                step=1,
                value=4,
                elem_id=elem_id("grid_margin", img2img=is_img2img),
            )
            longest = gr.Slider(
                label="Long side of a cell in the grid, 0 for the picture's own",
                minimum=0,
                maximum=2048,
                step=8,
                value=0,
                elem_id=elem_id("grid_longest", img2img=is_img2img),
            )
        plan = gr.Textbox(
            label="Plan",
            value="",
            lines=3,
            info=PLAN_HELP,
            elem_id=elem_id("grid_plan", img2img=is_img2img),
        )
        with gr.Row():
            seeds = gr.Textbox(
                label="Seeds for each cell: how many, or which",
                value="",
                lines=1,
                info="4, or 7,9,100-107; a sheet each",
                elem_id=elem_id("grid_seeds", img2img=is_img2img),
            )
            gallery = gr.Checkbox(
                label="Gallery for the browser, beside the host's grids",
                value=True,
                elem_id=elem_id("grid_gallery", img2img=is_img2img),
            )
        pasted = [
            (control, key)
            for i, name in enumerate(NAMES)
            for control, key in zip(controls[2 * i : 2 * i + 2], _keys(name), strict=True)
        ]
        self.infotext_fields = [*pasted, (seeds, SEEDS)]
        self.paste_field_names = [key for _, key in self.infotext_fields]
        return [*controls, keep, margin, longest, plan, seeds, gallery]

    def run(self, p: Any, *arguments: Any) -> Any:
        """Draw the cells and return the grid with them; raises ``BadValue`` before anything runs."""
        asked = Asked(*arguments)
        plan = grid_plan(asked.plan)
        texts = asked.axes(plan)
        axes = [given(name, text) for name, text in texts]
        seeds = asked.seeds.strip() or plan.seeds or ""
        if all(axis.axis is None for axis in axes) and not seeds:
            raise BadValue("no axis is chosen; choose what X varies and write its values, or give a plan")
        processing.fix_seed(p)
        axes.append(seeds_given(seeds, [*axes, *plan.settings], _seed_of(p, plan)))
        cells = planned(p, axes, Frame(plan.settings, plan.without, plan.hires))
        _check_size(p, len(cells.cells) // len(axes[3].values), asked.style)
        for line in [*cells.notes, *_left(plan)]:
            note(p, f"{TITLE}: {line}")
        sheets = _Sheets(asked, axes, [*texts, ("Seeds", seeds)])
        return sheets.answer(p, drawn_with_gallery(TITLE, p, cells.cells, axes, keep=asked.gallery))


def _seed_of(p: Any, plan: GridPlan) -> int:
    """Return the first seed: the plan's, or the request's."""
    named = [one.values[0] for one in plan.settings if one.axis is not None and one.axis.name == "seed"]
    return named[-1] if named else p.seed


def _left(plan: GridPlan) -> list[str]:
    """Return what is said of those keys of a plan that are not for a web UI."""
    return [f"left to this web UI's own settings, of the plan: {', '.join(plan.left)}"] if plan.left else []


def _keys(name: str) -> tuple[str, str]:
    """Return the infotext's keys of an axis and its values."""
    return f"Concord grid {name}", f"Concord grid {name} values"


def _check_size(p: Any, count: int, style: GridStyle) -> None:
    """Raise ``BadValue`` for a grid of more pixels than the host's setting allows."""
    pixels = p.width * p.height * p.batch_size * p.n_iter
    if style.longest:
        pixels *= min(1.0, style.longest / max(p.width, p.height)) ** 2
    megapixels = count * pixels / 1e6
    if megapixels > shared.opts.img_max_size_mp:
        raise BadValue(
            f"the grid would have {megapixels:.0f} megapixels and the settings allow {shared.opts.img_max_size_mp:g}; "
            "give its cells a shorter long side, or leave out some values"
        )


class _Sheets(NamedTuple):
    """The sheets of a grid: one a seed, with z side by side; ``texts``: names and values of the axes as typed."""

    asked: Asked
    axes: Sequence[Given]
    texts: Sequence[tuple[str, str]]

    def answer(self, p: Any, cells: Sequence[Cell | Missed]) -> Any:
        """Return the host's answer: the sheets, and the pictures of their cells if they are to be kept."""
        there = [cell for cell in cells if isinstance(cell, Cell)]
        if not there:
            return processing.Processed(p, [], p.seed, "")
        size = len(cells) // len(self.axes[3].values)
        parts = [cells[i : i + size] for i in range(0, len(cells), size)]
        drawn = zip(parts, self.axes[3].labels, strict=True)
        sheets = [
            self._sheet(p, part, label) for part, label in drawn if any(isinstance(one, Cell) for one in part)
        ]
        made = answer(p, there[0], sheets, there if self.asked.keep else [])
        if page := getattr(p, OF_REQUEST, None):
            made.extra_generation_params = {
                **(getattr(made, "extra_generation_params", None) or {}),
                f"{TITLE} gallery": page,
            }
        return made

    def _sheet(self, p: Any, cells: Sequence[Cell | Missed], seed: str) -> tuple[Image.Image, str]:
        """Return the sheet of one seed with its infotext, saved where the host keeps grids."""
        x, y, z = (axis.labels for axis in self.axes[:3])
        titles = [" · ".join(part for part in (one, seed) if part) for one in z]
        shown = [cell.shown if isinstance(cell, Cell) else None for cell in cells]
        sheet = labelled_grid(shown, x, y, titles, style=self.asked.style)
        first = next(cell for cell in cells if isinstance(cell, Cell))
        text = with_keys(first.lines("infotexts")[0], self._keys())
        save(p, sheet, text, "concord_grid", first.lines("all_seeds")[0])
        return sheet, text

    def _keys(self) -> dict[str, str]:
        """Return what the infotext of a sheet says of the grid."""
        keys = {"Script": TITLE}
        for name, axis, (_, text) in zip(NAMES, self.axes, self.texts, strict=False):
            if axis.axis is not None:
                keys |= dict(zip(_keys(name), (axis.axis.label, text), strict=True))
        return keys | ({SEEDS: self.texts[3][1]} if self.axes[3].axis is not None else {})


def register() -> list[type]:
    """Return the script."""
    return [ConcordGrid]
