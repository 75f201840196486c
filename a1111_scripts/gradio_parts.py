"""Components that gradio 3.41 and 4.40 want made differently, and the ids of all of ours."""

from __future__ import annotations

from typing import Any

from .host import gr


def elem_id(name: str, *, img2img: bool) -> str:
    """Return the id of component ``name`` on a tab, ``concord_txt2img_<name>``."""
    return f"concord_{'img2img' if img2img else 'txt2img'}_{name}"


def picture(**given: Any) -> Any:
    """Return an image that is shown and cannot be put in; ``given``: as for ``gr.Image``."""
    return gr.Image(interactive=False, type="pil", show_download_button=False, **given)
