"""The detailer of a record that the core draws: found by our detectors, redrawn on what the host has loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ..core.detailer import (
    Crop,
    Detector,
    Options,
    Scene,
    detail,
    load_detector,
    with_defaults,
)
from ..core.detailer.crop_record import crop_mask, crop_record
from ..core.errors import BadValue
from ..core.image.generation import Generation
from ..core.image.parts import DetailerUnit
from .detailer_models import detector_of
from .drawn_codec import Pixels
from .host import shared

DrawCrop = Callable[[Generation, Pixels, Pixels], NDArray[Any]]
"""Draws a crop (h, w, 3) inside its mask (h, w), by the record of it."""
_OFF = {
    "restore_face": (False,),
    "controlnet_model": ("None",),
    "use_vae": (False,),
    "use_checkpoint": (False,),
}
"""What the detailer's own panel can do and is not drawn here, and the values that ask for nothing."""


def check_units(units: Sequence[DetailerUnit]) -> None:
    """Raise ``BadValue`` for units that ask for what is not drawn here."""
    for number, unit in enumerate(units, 1):
        u = with_defaults(unit)
        for name, off in _OFF.items():
            value = getattr(u, name)
            if value not in (*off, None):
                raise BadValue(
                    f"unit {number} of the detailer asks for {name} = {value!r}, which Concord Reproduce does not "
                    "draw; leave it out, or take the Concord Detailer's panel"
                )


def detectors_of(units: Sequence[DetailerUnit]) -> list[Detector]:
    """Return the detectors of ``units``; raises ``BadFile`` or ``Missing`` for one that cannot be had."""
    device = "cuda" if str(shared.device).startswith("cuda") else "cpu"
    every = [with_defaults(unit) for unit in units]
    return [
        load_detector(detector_of(u.model), u.model_classes or None, u.confidence, device=device)
        for u in every
    ]


def detailed(
    picture: Pixels, record: Generation, detectors: Sequence[Detector], draw: DrawCrop, *, sdxl: bool
) -> tuple[Pixels, Generation, list[str]]:
    """Return ``picture`` (H, W, 3) after the units of ``record``, the record of that, and what is to be said.

    ``record``: complete, of this one picture.  ``draw``: draws the crops.
    """
    scene = Scene(picture=replace(record, detailer=()), sdxl=sdxl)

    def inpaint(crops: Sequence[Crop]) -> list[NDArray[Any]]:
        return [draw(_of_crop(scene.picture, one), one.image, crop_mask(one)) for one in crops]

    units: list[DetailerUnit] = []
    lines: list[str] = []
    for unit, detector in zip(record.detailer, detectors, strict=True):
        options = Options(unit=unit, scene=scene, batch=1)
        result = detail(picture, detector(picture), inpaint, options)
        picture = result.image
        units.append(replace(unit, found=len(result.runs)))
        lines += result.words(detector.name)
    return picture, replace(record, detailer=tuple(units)), lines


def _of_crop(picture: Generation, one: Crop) -> Generation:
    """Return the complete record of one crop."""
    run = one.run
    return replace(
        crop_record(picture, run),
        prompt=run.prompt,
        negative_prompt=run.negative_prompt,
        seed=run.seed,
        denoising_strength=run.strength,
        size=run.size,
    )
