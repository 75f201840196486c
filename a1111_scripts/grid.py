"""The script "Concord Grid": a labelled grid of pictures over three axes, each any field of the generation record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.axes import AXES
from ..core.errors import BadValue
from ..core.image.grid import GridStyle, labelled_grid
from .cells import NOTHING, Cell, Given, answer, drawn, given, planned, save, with_keys
from .gradio_parts import elem_id
from .host import gr, processing, scripts, shared

TITLE = "Concord Grid"
NAMES = ("X", "Y", "Z")
HELP = (
    "Values are parted by commas; numbers also as ranges: `10-30 (+5)` is 10, 15, 20, 25, 30, and `0.3-0.6 [4]` four "
    'values. One with a comma stands in double quotes. "Prompt S/R" searches for its first value. Write `lora NAME` '
    "as the axis for the weight of a network, `option NAME` for an option of the sampler or schedule."
)


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

    @property
    def axes(self) -> list[tuple[str, str]]:
        """Return the names of the three axes with the texts of their values."""
        return [(self.x, self.x_values), (self.y, self.y_values), (self.z, self.z_values)]

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
        self.infotext_fields = [
            (control, key)
            for i, name in enumerate(NAMES)
            for control, key in zip(controls[2 * i : 2 * i + 2], _keys(name), strict=True)
        ]
        self.paste_field_names = [key for _, key in self.infotext_fields]
        return [*controls, keep, margin, longest]

    def run(self, p: Any, *arguments: Any) -> Any:
        """Draw the cells and return the grid with them; raises ``BadValue`` before anything runs."""
        asked = Asked(*arguments)
        axes = [given(name, text) for name, text in asked.axes]
        if all(axis.axis is None for axis in axes):
            raise BadValue("no axis is chosen; choose what X varies and write its values")
        processing.fix_seed(p)
        plans = planned(p, axes)
        _check_size(p, len(plans), asked.style)
        return _answer(p, asked, axes, list(drawn(p, plans)))


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


def _answer(p: Any, asked: Asked, axes: Sequence[Given], cells: Sequence[Cell | None]) -> Any:
    """Return the host's answer: the grid, and the pictures of its cells if they are to be kept."""
    there = [cell for cell in cells if cell is not None]
    if not there:
        return processing.Processed(p, [], p.seed, "")
    x, y, z = (axis.labels for axis in axes)
    sheet = labelled_grid([cell and cell.shown for cell in cells], x, y, z, style=asked.style)
    keys = {"Script": TITLE}
    for name, axis, (_, text) in zip(NAMES, axes, asked.axes, strict=True):
        if axis.axis is not None:
            keys |= dict(zip(_keys(name), (axis.axis.label, text), strict=True))
    text = with_keys(there[0].lines("infotexts")[0], keys)
    save(p, sheet, text, "concord_grid", there[0].lines("all_seeds")[0])
    return answer(there[0], [(sheet, text)], there if asked.keep else [])


def register() -> list[type]:
    """Return the script."""
    return [ConcordGrid]
