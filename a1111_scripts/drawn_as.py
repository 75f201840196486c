"""A generation record drawn by the core on what the host has loaded, under whatever profile it names.

The host lends its text encoders, its UNet and its VAE; noise, sigmas, sampler, guidance and the reading of prompts are
the core's, so that another program's picture comes out.  Afterwards the host is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..core.canvas import Floats, filled_inpaint, picture_hash
from ..core.detailer import Detector
from ..core.errors import BadValue
from ..core.filled import filled, profile_of, tiles
from ..core.image.generation import Generation
from ..core.image.model_ref import ModelRef
from ..core.passes import complete_hires
from ..core.run import DEFAULT_STRENGTH
from ..core.seeds import image_of
from ..core.version import VERSION
from .drawn_codec import Pixels
from .drawn_details import check_units, detailed, detectors_of
from .drawn_models import Checkpoints
from .drawn_passes import STRIDE, Drawing
from .drawn_texts import Reader, is_sdxl
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


def draw(
    p: Any,
    wanted: Generation,
    *,
    batch: int = 1,
    image: Pixels | None = None,
    mask: Pixels | None = None,
) -> Drawn:
    """Draw the pictures of ``wanted`` under the profile that it names, on the model that the host has loaded.

    ``p``: the host's request, which is left as it is.  ``image`` (H, W, 3): image to image begins with it, and
    paints inside ``mask`` (H, W) alone.
    Raises ``BadValue`` or ``BadType`` for what cannot be drawn here, before anything runs.
    """
    check(wanted, image, mask)
    record = complete(wanted, load_model(), image, masked=mask is not None)
    detectors = detectors_of(record.detailer)
    checkpoints = Checkpoints()
    drawing = Drawing(p, checkpoints, record, batch)
    with _lent(checkpoints, drawing.reader), torch.inference_mode():
        pictures = drawing.text() if image is None else drawing.image(image, mask)
        record = replace(record, networks=drawing.named)
        together = mask is not None and profile_of(record).masking == "fresh"
        records = [image_of(record, i, batch, together=together) for i in range(len(pictures))]
        drawn = Drawn(pictures=pictures, records=records, warnings=drawing.warnings, stopped=drawing.stopped)
        return _detailed(p, checkpoints, drawn, detectors) if detectors else drawn


def _detailed(p: Any, checkpoints: Checkpoints, drawn: Drawn, detectors: Sequence[Detector]) -> Drawn:
    """Return ``drawn`` after its detailer."""
    pictures: list[Pixels] = []
    records: list[Generation] = []
    warnings = list(drawn.warnings)
    stopped = drawn.stopped

    def draw_crop(record: Generation, image: Pixels, mask: Pixels) -> Pixels | Floats:
        nonlocal stopped
        if stopped:
            return image
        drawing = Drawing(p, checkpoints, record, 1)
        found = drawing.crop(image, mask)
        warnings.extend(line for line in drawing.warnings if line not in warnings)
        stopped = drawing.stopped
        return image if stopped else found

    if checkpoints.is_away:
        checkpoints.give_back()
    for picture, record in zip(drawn.pictures, drawn.records, strict=True):
        sdxl = is_sdxl(shared.sd_model)
        done, its, lines = detailed(picture, record, detectors, draw_crop, sdxl=sdxl)
        pictures.append(done)
        records.append(its)
        warnings.extend(line for line in lines if line not in warnings)
    return Drawn(pictures=pictures, records=records, warnings=warnings, stopped=stopped)


def check(record: Generation, image: Pixels | None, mask: Pixels | None = None) -> None:
    """Raise ``BadValue`` for what is not drawn here."""
    hires = record.hires
    check_units(record.detailer)
    if record.inpaint is not None and mask is None:
        raise BadValue(
            "the picture was inpainted; put the one that it was made from and its mask into img2img's inpaint "
            "upload, and run it there"
        )
    elsewhere = (
        "Concord Reproduce does not draw; leave it out, or use the command line (sd-concord reproduce)"
    )
    nowhere = "Concord does not draw; leave it out"
    for asked, what, where in (
        (
            hires and hires.checkpoint not in (None, "", "Use same checkpoint"),
            "a hires checkpoint",
            elsewhere,
        ),
        (tiles(record), "tiling", elsewhere),
        (record.face_restoration, "face restoration", nowhere),
        (record.token_merging_ratio or record.token_merging_ratio_hr, "token merging", nowhere),
    ):
        if asked:
            raise BadValue(f"the settings ask for {what}, which {where}")
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


def complete(
    wanted: Generation, model: Any, image: Pixels | None = None, *, masked: bool = False
) -> Generation:
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
        md5 = picture_hash(image)
        record = replace(record, denoising_strength=strength, init_image_hash=md5)
    record = filled_inpaint(record, profile_of(record), masked=masked)
    refiner = record.refiner
    if refiner is not None and refiner.model in (None, "", "None"):
        record = replace(record, refiner=None)
    return complete_hires(record)


def model_ref(model: Any) -> ModelRef:
    """Return what an infotext calls the host's ``model``."""
    info = getattr(model, "sd_checkpoint_info", None)
    return ModelRef(name=getattr(info, "name_for_extra", None), hash=getattr(model, "sd_model_hash", None))


@contextmanager
def _lent(checkpoints: Checkpoints, reader: Reader) -> Iterator[None]:
    """Borrow the host's model inside; afterwards it is loaded, without LoRAs, with its own patchers again."""
    model = shared.sd_model
    before = getattr(model, "forge_objects", None)
    try:
        yield
    finally:
        reader.clear()
        if checkpoints.is_away:
            checkpoints.give_back()
        if before is not None and shared.sd_model is model:
            model.forge_objects = before
