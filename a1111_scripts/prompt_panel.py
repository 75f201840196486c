"""The panel "Concord Prompt": by which rules the prompts of a request are read."""

from __future__ import annotations

import logging
from typing import Any

from ..core.errors import ConcordError
from ..core.prompt import DIALECTS
from .gradio_parts import elem_id
from .host import gr, listen, script_callbacks
from .panel import Panel
from .prompt_request import HOST, KEY, begin, forget, on_denoiser, request_of

log = logging.getLogger(__name__)

TITLE = "Concord Prompt"
CHOICES = (HOST, *DIALECTS)
TIP = (
    "host leaves prompts to the web UI; a1111 reads them as A1111 does, to the letter, with exact AND weights in every "
    "batch; concord mends its traps (edits switch at the step they name, LoRAs inside edits come and go, fades, "
    "weighted alternation); comfyui reads weights as ComfyUI does, without edits, AND and BREAK"
)


class ConcordPrompt(Panel):
    """Encodes the prompts of a request in a dialect of ours, in the place of the host's own conditionings."""

    label = TITLE

    def ui(self, is_img2img: bool) -> list[Any]:
        """Make the panel."""
        with gr.Accordion(TITLE, open=False, elem_id=elem_id("prompt", img2img=is_img2img)):
            dialect = gr.Dropdown(
                choices=list(CHOICES),
                value=HOST,
                label="Prompt dialect",
                info=TIP,
                elem_id=elem_id("prompt_dialect", img2img=is_img2img),
            )
        self.infotext_fields = [(dialect, _pasted)]
        self.paste_field_names = [KEY]
        return [dialect]

    def process(self, p: Any, dialect: str = HOST, *_: Any) -> None:
        """Begin the request; ``p.concord_dialect``, where another script set it, comes before the panel's."""
        try:
            begin(p, getattr(p, "concord_dialect", None) or dialect or HOST)
        except ConcordError as error:
            _give_up(p, error)

    def before_process_batch(self, p: Any, *_: Any, **__: Any) -> None:
        """Keep LoRAs that come and go from being on all the time."""
        if found := request_of(p):
            found.read(p)

    def process_batch(self, p: Any, *_: Any, **__: Any) -> None:
        """Encode the prompts of a batch."""
        if found := request_of(p):
            try:
                found.prepare(p)
            except ConcordError as error:
                _give_up(p, error)

    def process_before_every_sampling(self, p: Any, *_: Any, **__: Any) -> None:
        """Prepare the UNet of Forge and its kin, which call this."""
        if found := request_of(p):
            found.take_unet(p)

    def post_sample(self, p: Any, *_: Any) -> None:
        """Take off what was put on for single steps."""
        if found := request_of(p):
            found.end_pass()


def register() -> list[type]:
    """Listen to the host's model calls, and return the panel's class."""
    remove = getattr(script_callbacks, "remove_callbacks_for_function", None)
    if remove is not None:
        remove(on_denoiser)
    listen("cfg_denoiser", on_denoiser)
    return [ConcordPrompt]


def _pasted(params: dict[str, Any]) -> str:
    """Return what an infotext says of the dialect; one that says nothing was read by its host."""
    found = params.get(KEY)
    return found if found in CHOICES else HOST


def _give_up(p: Any, error: ConcordError) -> None:
    """Leave the request to the host, and say why, also under the picture."""
    line = f"Concord Prompt is off for this picture: {' '.join(str(error).split())}"
    log.error(line)
    forget(p)
    comment = getattr(p, "comment", None)
    if comment is not None:
        comment(line)
