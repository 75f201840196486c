"""What Concord Reproduce is to draw: the record of the tab's fields, of a pasted infotext or of a picture file."""

from __future__ import annotations

import base64
import binascii
import io
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..core.canvas import INVERTED, ONLY_MASKED, check_mask
from ..core.errors import BadFile, BadValue
from ..core.filled import profile_of
from ..core.image.comfyui_graph import LEFT_OUT
from ..core.image.generation import Generation
from ..core.image.infotext import format_infotext, parse_infotext
from ..core.image.keys import KEYS, RESIZE_MODES
from ..core.image.parts import ConcordSettings, Inpaint
from ..core.profile_choice import profile_named, with_profile
from ..core.same_picture import is_lossy
from .drawn_codec import Pixels
from .host import detect, images, processing, shared
from .reproduce import FILE, SOURCES, TAB, TEXT
from .request import record_of

FILLS = ("fill", "original", "latent noise", "latent nothing")
"""What the masked part begins as, by the number that a request has for it."""
NO_PROGRAM = "the text does not say which program made the picture"


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A ``record`` under a profile; ``recorded``: the pixels that it is to be compared with; ``notes``: on both."""

    record: Generation
    recorded: Pixels | None = None
    lossy: bool = False
    notes: tuple[str, ...] = ()


def asked(p: Any, source: str, profile: str | None, text: str, file: Any) -> Asked:
    """Return what request ``p`` is to draw under ``profile``; None: the one that the settings ask for by themselves.

    Raises ``BadValue`` or ``BadFile`` where the source has no settings.
    """
    from ..core.image.reading import read_image_info  # loads every reader  # noqa: PLC0415

    if source == TAB:
        return Asked(record=with_profile(record_of_tab(p), profile or detect().profile))
    if source == TEXT:
        record = parse_infotext(text or "")
        if record.steps is None and record.sampler is None:
            raise BadValue(
                "the infotext has no settings; paste all of it, with the line that begins with Steps:"
            )
        return Asked(record=with_profile(record, profile), notes=_notes(record, profile))
    if source != FILE:
        raise BadValue(f"source is {source!r}; use {', '.join(map(repr, SOURCES))}")
    with tempfile.TemporaryDirectory() as folder:
        path = _path_of(file, Path(folder))
        record = read_image_info(path)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        return Asked(
            record=with_profile(record, profile),
            recorded=pixels,
            lossy=is_lossy(path),
            notes=_notes(record, profile),
        )


def record_of_tab(p: Any) -> Generation:
    """Return what request ``p`` and the host's settings, with those that it overrides, say."""
    record = record_of(p)
    if hasattr(p, "enable_hr") and record.hires is None:
        record = replace(record, denoising_strength=None)
    if record.refiner is not None and record.refiner.model in (None, "", "None"):
        record = replace(record, refiner=None)
    painted = getattr(p, "image_mask", None) is not None
    record = replace(record, inpaint=inpaint_of_tab(p) if painted else None)
    if getattr(p, "subseed_strength", 0) in (0, None):
        record = replace(record, variation=None)
    checkpoint = (p.override_settings or {}).get("sd_model_checkpoint")
    loaded = getattr(getattr(shared.sd_model, "sd_checkpoint_info", None), "ids", ())
    if checkpoint and checkpoint not in loaded and checkpoint != shared.opts.data.get("sd_model_checkpoint"):
        raise BadValue(
            f"the tab overrides the checkpoint with {checkpoint}; choose it at the top of the page instead"
        )
    written = [f"{key}: {value}" for key, value in _settings(p).items()]
    text = format_infotext(replace(record, version=None))
    return parse_infotext(", ".join([text, *written]))


def _settings(p: Any) -> dict[str, str]:
    """Return the settings of the host that are not as they come, by the labels that infotexts have for them."""
    found: dict[str, str] = {}
    for name, info in shared.opts.data_labels.items():
        label, default = getattr(info, "infotext", None) or "", info.default
        value = (p.override_settings or {}).get(name, shared.opts.data.get(name, default))
        key = KEYS.get(label)
        if key is not None and value != default and key.path not in ("model.hash", "vae.name"):
            found[label] = str(value)
    return found


def init_image(p: Any, record: Generation) -> tuple[Generation, Pixels | None, Pixels | None]:
    """Return ``record`` with how the tab's picture is resized, that picture (H, W, 3), and its mask (H, W).

    Both are None in txt2img.  A text without any key of inpainting may be of that: a web UI writes neither a mask
    blur of 0 nor what is as by default.  Raises ``BadValue`` for a mask of another size.
    """
    pictures = getattr(p, "init_images", None)
    if not pictures:
        return record, None, None
    background = getattr(shared.opts, "img2img_background_color", "#ffffff")
    image = np.asarray(images.flatten(pictures[0], background).convert("RGB"))
    own = record.concord or ConcordSettings()
    mode = getattr(p, "resize_mode", 0) or 0
    if own.resize_mode is None and mode:
        record = replace(record, concord=replace(own, resize_mode=RESIZE_MODES[mode]))
    painted = getattr(p, "image_mask", None)
    if painted is None:
        return record, image, None
    made = np.asarray(processing.create_binary_mask(painted).convert("L"))
    settings = record.inpaint or Inpaint()
    if settings.mask_blur is None and profile_of(record).by_web_ui:
        settings = replace(settings, mask_blur=0)
    return replace(record, inpaint=settings), image, check_mask(made, image)


def inpaint_of_tab(p: Any) -> Inpaint:
    """Return how the tab paints inside its mask."""
    content = FILLS[getattr(p, "inpainting_fill", 1) or 0]
    return Inpaint(
        mask_blur=getattr(p, "mask_blur", None),
        mask_mode=INVERTED if getattr(p, "inpainting_mask_invert", 0) else None,
        content=content,
        area=ONLY_MASKED if getattr(p, "inpaint_full_res", False) else None,
        padding=getattr(p, "inpaint_full_res_padding", None),
    )


def _notes(record: Generation, profile: str | None) -> tuple[str, ...]:
    """Return what of the settings cannot be matched."""
    notes = [] if profile or profile_named(record) else [NO_PROGRAM]
    left = dict(record.extras).get(LEFT_OUT)
    if left:
        notes += [f"left out: {one}" for one in left.split("; ")]
    ref = record.model
    loaded = getattr(shared.sd_model, "sd_model_hash", None)
    if ref is not None and ref.hash and loaded and not _same_hash(ref.hash, loaded):
        notes.append(f"the picture's model is {ref.name or ''} [{ref.hash}], and [{loaded}] is loaded")
    return tuple(notes)


def _same_hash(one: str, other: str) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter].lower() == other[:shorter].lower()


def _path_of(file: Any, folder: Path) -> Path:
    """Return the path of what the page or the API gives for a file: a path, an open file, or base64."""
    if not file:
        raise BadFile("there is no picture file; drop one into the box, or take another source")
    name = getattr(file, "name", file)
    if not isinstance(name, str):
        raise BadFile(f"the picture file is a {type(file).__name__}; pass a path, or the file in base64")
    if len(name) < 1024 and Path(name).is_file():
        return Path(name)
    try:
        content = base64.b64decode(name.partition(",")[2] or name, validate=True)
        with Image.open(io.BytesIO(content)) as image:
            path = folder / f"picture.{(image.format or 'png').lower()}"
    except (binascii.Error, ValueError, OSError) as error:
        raise BadFile(
            "the picture file is neither a path nor a picture in base64; pass one of the two"
        ) from error
    path.write_bytes(content)
    return path
