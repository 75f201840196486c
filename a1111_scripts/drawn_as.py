"""A generation record drawn by the core on what the host has loaded, under whatever profile it names.

The host lends its text encoders, its UNet and its VAE; noise, sigmas, sampler, guidance and the reading of prompts are
the core's, so that another program's picture comes out.  Afterwards the host is as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..core.errors import BadValue
from ..core.filled import filled
from ..core.image.generation import Generation
from ..core.image.model_ref import ModelRef
from ..core.passes import complete_hires
from ..core.run import DEFAULT_STRENGTH
from ..core.seeds import image_of
from ..core.version import VERSION
from .drawn_codec import Pixels
from .drawn_passes import STRIDE, Drawing
from .drawn_texts import Reader
from .host import sd_models, shared

DEFAULT_SIZE = (512, 512)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The ``pictures`` (H, W, 3) of a record, the record of each, and what is to be said of the prompts.

    ``stopped``: the host was interrupted, and they are as far as they came.
    """

    pictures: list[Pixels]
    records: list[Generation]
    warnings: list[str]
    stopped: bool = False


def draw(p: Any, wanted: Generation, *, batch: int = 1, image: Pixels | None = None) -> Drawn:
    """Draw the pictures of ``wanted`` under the profile that it names, on the model that the host has loaded.

    ``p``: the host's request, which is left as it is.  ``image`` (H, W, 3): image to image begins with it.
    Raises ``BadValue`` or ``BadType`` for what cannot be drawn here, before anything runs.
    """
    check(wanted, image)
    model = load_model()
    record = complete(wanted, model, image)
    drawing = Drawing(p, model, record, batch)
    with _lent(model, drawing.reader), torch.inference_mode():
        pictures = drawing.text() if image is None else drawing.image(image)
    record = replace(record, networks=drawing.named)
    return Drawn(
        pictures=pictures,
        records=[image_of(record, i, batch) for i in range(len(pictures))],
        warnings=drawing.warnings,
        stopped=drawing.stopped,
    )


def check(record: Generation, image: Pixels | None) -> None:
    """Raise ``BadValue`` for what is not drawn here."""
    hires = record.hires
    for asked, what in (
        (record.detailer, "a detailer"),
        (record.inpaint, "inpainting"),
        (record.refiner and record.refiner.model not in (None, "", "None"), "a refiner"),
        (hires and hires.checkpoint not in (None, "", "Use same checkpoint"), "a hires checkpoint"),
        (record.tiling, "tiling"),
        (record.face_restoration, "face restoration"),
        (record.token_merging_ratio or record.token_merging_ratio_hr, "token merging"),
    ):
        if asked:
            raise BadValue(
                f"the settings ask for {what}, which Concord Reproduce does not draw; leave it out, or use the "
                "command line (sd-concord reproduce)"
            )
    if image is None and hires is None and record.denoising_strength is not None:
        raise BadValue(
            "the picture was made from another one; put that into the img2img tab and run it there"
        )
    if image is not None and hires is not None:
        raise BadValue("hires is a second pass of text to image; run this in the txt2img tab")


def load_model() -> Any:
    """Return the model that the host is to draw with, loaded."""
    reload = getattr(sd_models, "forge_model_reload", None) or getattr(
        sd_models, "reload_model_weights", None
    )
    if reload is not None:
        reload()
    return shared.sd_model


def complete(wanted: Generation, model: Any, image: Pixels | None = None) -> Generation:
    """Return ``wanted`` with all that it leaves open filled in; raises ``BadValue`` for what cannot be."""
    size = wanted.size or (image is not None and (image.shape[1], image.shape[0])) or DEFAULT_SIZE
    if any(side < STRIDE or side % STRIDE for side in size):
        near = "x".join(str(max(STRIDE, round(side / STRIDE) * STRIDE)) for side in size)
        raise BadValue(
            f"size is {size[0]}x{size[1]}; both sides must be multiples of {STRIDE}, such as {near}"
        )
    record = replace(
        filled(wanted),
        size=size,
        clip_skip=wanted.clip_skip or 1,
        model=model_ref(model),
        vae=None,
        version=f"Concord {VERSION}",
        init_image_hash=None,
    )
    if image is not None:
        strength = DEFAULT_STRENGTH if record.denoising_strength is None else record.denoising_strength
        md5 = hashlib.md5(np.ascontiguousarray(image).tobytes(), usedforsecurity=False).hexdigest()
        record = replace(record, denoising_strength=strength, init_image_hash=md5)
    return complete_hires(record)


def model_ref(model: Any) -> ModelRef:
    """Return what an infotext calls the host's ``model``."""
    info = getattr(model, "sd_checkpoint_info", None)
    return ModelRef(name=getattr(info, "name_for_extra", None), hash=getattr(model, "sd_model_hash", None))


@contextmanager
def _lent(model: Any, reader: Reader) -> Iterator[None]:
    """Borrow the host's model inside; afterwards it has no LoRAs, and its own patchers again."""
    before = getattr(model, "forge_objects", None)
    try:
        yield
    finally:
        reader.clear()
        if before is not None:
            model.forge_objects = before
