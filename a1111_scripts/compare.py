"""The script "Concord Compare": one seed under several samplers, schedules or dialects, and how the pictures differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..core.errors import BadValue
from ..core.image.grid import difference, labelled_grid
from .cells import NOTHING, Cell, Given, Missed, answer, drawn, given, planned, save, with_keys
from .gradio_parts import elem_id
from .grid import axis_labels
from .host import gr, processing, scripts
from .recipes import note

TITLE = "Concord Compare"
KEYS = ("Concord compare", "Concord compare values", "Concord compare amplify")
FIRST = ("Sampler", "Schedule type", "Concord prompt dialect")
"""The axes that stand at the head of the list."""


class ConcordCompare(scripts.Script):
    """The script as the host's list has it."""

    def title(self) -> str:
        """Return the name in the list."""
        return TITLE

    def ui(self, is_img2img: bool) -> list[Any]:
        """Return the controls: what varies, its values, how much differences are amplified, and what is kept."""
        with gr.Row():
            axis = gr.Dropdown(
                label="Compare",
                choices=[*FIRST, *(label for label in axis_labels() if label not in {*FIRST, NOTHING})],
                value=FIRST[0],
                allow_custom_value=True,
                elem_id=elem_id("compare_axis", img2img=is_img2img),
            )
            values = gr.Textbox(
                label="Values, parted by commas; the others are compared with the first",
                value="",
                lines=1,
                elem_id=elem_id("compare_values", img2img=is_img2img),
            )
        with gr.Row():
            amplify = gr.Slider(
                label="Show differences so many times as large",
                minimum=1,
                maximum=64,
                step=1,
                value=8,
                elem_id=elem_id("compare_amplify", img2img=is_img2img),
            )
            keep = gr.Checkbox(
                label="Keep the pictures, and the differences by themselves",
                value=True,
                elem_id=elem_id("compare_keep", img2img=is_img2img),
            )
        self.infotext_fields = list(zip((axis, values, amplify), KEYS, strict=True))
        self.paste_field_names = list(KEYS)
        return [axis, values, amplify, keep]

    def run(self, p: Any, axis: str, values: str, amplify: float = 8, keep: bool = True) -> Any:
        """Draw a picture of each value and return them side by side; raises ``BadValue`` before anything runs."""
        asked = given(axis, values)
        if len(asked.values) < 2:
            raise BadValue(f"Compare got {len(asked.values)} value; write two or more, parted by commas")
        processing.fix_seed(p)
        plan = planned(p, [asked])
        for line in plan.notes:
            note(p, f"{TITLE}: {line}")
        cells = list(drawn(p, plan.cells))
        there = [cell for cell in cells if isinstance(cell, Cell)]
        if not there:
            return processing.Processed(p, [], p.seed, "")
        sheet, apart = _sheet(asked, cells, amplify)
        label = asked.axis.label if asked.axis else axis
        keys = {"Script": TITLE, **dict(zip(KEYS, (label, values, f"{amplify:g}"), strict=True))}
        text = with_keys(there[0].lines("infotexts")[0], keys)
        save(p, sheet, text, "concord_compare", there[0].lines("all_seeds")[0])
        sheets = [(sheet, text), *((one, text) for one in apart)]
        return answer(p, there[0], sheets if keep else sheets[:1], there if keep else [])


def _sheet(
    asked: Given, cells: Sequence[Cell | Missed], amplify: float
) -> tuple[Image.Image, list[Image.Image]]:
    """Return the pictures above their differences from the first, and the differences by themselves."""
    above = [cell.shown if isinstance(cell, Cell) else None for cell in cells]
    first = next(i for i, shown in enumerate(above) if shown is not None)
    below: list[Image.Image | None] = []
    labels: list[str] = []
    for i, (shown, label) in enumerate(zip(above, asked.labels, strict=True)):
        apart, words = _apart(above[first], None if i == first else shown, amplify)
        below.append(apart)
        labels.append(f"{label}\n{words}".strip())
    sheet = labelled_grid([*above, *below], labels, ["", f"difference x{amplify:g}"])
    return sheet, [apart for apart in below if apart is not None]


def _apart(
    first: Image.Image | None, other: Image.Image | None, amplify: float
) -> tuple[Image.Image | None, str]:
    """Return the difference of two pictures and its words; nothing where there are no two."""
    if first is None or other is None:
        return None, ""
    if first.size != other.size:
        return None, f"{other.width}x{other.height}, not compared"
    found = difference(first, other, amplify)
    return Image.fromarray(found.image), found.words


def register() -> list[type]:
    """Return the script."""
    return [ConcordCompare]
