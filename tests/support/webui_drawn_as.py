"""Pictures that Concord Reproduce draws in a real web UI, of any record under any profile."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from webui_host import WebUIHost

TITLE = "Concord Reproduce"
TEXT, FILE = "an infotext", "a picture file"


@dataclass(frozen=True, kw_only=True)
class DrawnAs:
    """The pictures, uint8 (H, W, 3), with their infotexts, and what the script ``said``."""

    pictures: list[NDArray[np.uint8]]
    infotexts: list[str]
    said: str


def drawn_as(
    host: WebUIHost,
    record_text: str,
    profile: str = "auto",
    *,
    init_image: Path | None = None,
    mask: Path | None = None,
    **payload: Any,
) -> DrawnAs:
    """Draw an infotext in ``host`` under ``profile``, in the img2img tab from ``init_image`` where there is one."""
    return _run(host, [TEXT, profile, record_text, None], (init_image, mask), payload)


def redrawn(
    host: WebUIHost,
    file: Path,
    profile: str = "auto",
    *,
    init_image: Path | None = None,
    mask: Path | None = None,
    **payload: Any,
) -> DrawnAs:
    """Draw a picture file again in ``host`` and let it be compared; ``mask``: what of ``init_image`` is painted."""
    return _run(host, [FILE, profile, "", str(file)], (init_image, mask), payload)


def _run(
    host: WebUIHost,
    arguments: list[Any],
    pictures: tuple[Path | None, Path | None],
    payload: dict[str, Any],
) -> DrawnAs:
    body = {"script_name": TITLE, "script_args": arguments, **payload}
    init_image, mask = pictures
    if init_image is not None:
        body["init_images"] = [base64.b64encode(init_image.read_bytes()).decode()]
    if mask is not None:
        body["mask"] = base64.b64encode(mask.read_bytes()).decode()
    answer = host.post(f"/sdapi/v1/{'txt2img' if init_image is None else 'img2img'}", body)
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in answer["images"]
    ]
    info = json.loads(answer["info"])
    said = str(info["extra_generation_params"].get(TITLE, ""))
    return DrawnAs(pictures=pictures, infotexts=info["infotexts"], said=said)
