"""The script "Concord Reproduce": another program's picture, or the tab's, drawn under its profile and compared."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..core.errors import unknown
from ..core.profiles import PROFILES
from .gradio_parts import elem_id
from .host import gr, scripts

TITLE = "Concord Reproduce"
TAB, TEXT, FILE = "the fields of this tab", "an infotext", "a picture file"
SOURCES = (TAB, TEXT, FILE)
AUTO = "auto"
UNVERIFIED = " (unverified)"


class ConcordReproduce(scripts.Script):
    """The script as the host's list has it."""

    def title(self) -> str:
        """Return the name in the list."""
        return TITLE

    def ui(self, is_img2img: bool) -> list[Any]:
        """Return the controls: where the settings come from, the profile, an infotext and a picture file."""
        with gr.Row():
            source = gr.Radio(
                label="Settings of",
                choices=list(SOURCES),
                value=FILE,
                elem_id=elem_id("reproduce_source", img2img=is_img2img),
            )
            profile = gr.Dropdown(
                label="Draw as (auto: as the program that made it, or this one for the tab's fields)",
                choices=[AUTO, *profile_labels()],
                value=AUTO,
                elem_id=elem_id("reproduce_profile", img2img=is_img2img),
            )
        text = gr.Textbox(
            label="Infotext",
            value="",
            lines=4,
            elem_id=elem_id("reproduce_text", img2img=is_img2img),
        )
        file = gr.File(
            label="A picture of A1111, Forge, reForge, ComfyUI or Concord: drawn again, and compared",
            elem_id=elem_id("reproduce_file", img2img=is_img2img),
        )
        return [source, profile, text, file]

    def run(self, p: Any, source: str = TAB, profile: str = AUTO, text: str = "", file: Any = None) -> Any:
        """Draw what is asked for, and say how far it is from the file; raises ``ConcordError`` before anything runs."""
        parts: Any = import_module(".reproduced", __package__)  # what draws is not needed to show the panel
        return parts.drawn_again(p, source, profile_called(profile), text, file)


def register() -> list[type]:
    """Return the script."""
    return [ConcordReproduce]


def profile_labels() -> list[str]:
    """Return the names of the profiles, those that are compared with no recording marked so."""
    return [name + ("" if host.verified else UNVERIFIED) for name, host in PROFILES.items()]


def profile_called(label: str | None) -> str | None:
    """Return the profile of a label or name, None for auto; raises ``BadValue`` that offers the nearest."""
    name = (label or AUTO).removesuffix(UNVERIFIED)
    if name == AUTO:
        return None
    if name not in PROFILES:
        raise unknown("profile", name, [AUTO, *PROFILES])
    return name
