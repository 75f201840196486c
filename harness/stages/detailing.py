"""The detailer over a pipeline: units in turn, each with its detector, its crops redrawn in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.detailer import (
    Crop,
    Detections,
    Detector,
    Options,
    Result,
    Scene,
    detail,
    load_detector,
    preview,
    select,
    unit_masks,
    with_defaults,
)
from ...core.detailer.crop_record import crop_mask, crop_record
from ...core.detailer.detector import NAMES
from ...core.errors import BadValue
from ...core.image.generation import Generation
from ...core.image.parts import DetailerUnit
from . import crops
from .codec import Floats

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from .drawing import OnStage

Pixels = NDArray[np.uint8]
BATCH = 8
"""Crops that go through the model together."""
ALIASES = {"face": ("face", "mediapipe_face_full", "mediapipe_face_short")}
"""Detectors that need no file, and ADetailer's names that they stand in for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detailed:
    """A picture after all units: ``image`` uint8 (H, W, 3), its record, and what there is to say, line by line."""

    image: Pixels
    generation: Generation
    warnings: tuple[str, ...] = ()


def detailed(
    pipeline: Pipeline,
    image: Pixels,
    record: Generation,
    *,
    batch: int = BATCH,
    on_stage: OnStage | None = None,
) -> Detailed:
    """Return ``image`` after the detailer units of a complete ``record``, whose ``found`` says how many each drew.

    Raises ``BadValue`` or ``BadFile`` for units that cannot be run; nothing is drawn then.
    """
    detectors = detectors_of(record, pipeline.detector_folders)
    warnings: list[str] = []
    units: list[DetailerUnit] = []
    for number, (unit, detector) in enumerate(zip(record.detailer, detectors, strict=True), 1):
        found = detector(image)
        if on_stage:
            kept = select(found, unit)
            on_stage(f"detected {number}", [preview(image, kept, unit_masks(kept, unit))])
        result = _redrawn(pipeline, image, replace(record, detailer=(unit,)), found, batch)
        image = result.image
        name = unit.model if unit.model in NAMES else detector.name
        units.append(replace(unit, model=name, found=len(result.runs)))
        warnings += result.words(detector.name)
        warnings += [line for line in pipeline.warnings if line not in warnings]
        if on_stage:
            on_stage(f"detailed {number}", [image])
    return Detailed(image=image, generation=replace(record, detailer=tuple(units)), warnings=tuple(warnings))


def detectors_of(record: Generation, folders: Sequence[Path] = ()) -> list[Detector]:
    """Return the detectors of the units of ``record``; raises before any work for units that cannot be run."""
    _check(record.detailer)
    return [find_detector(unit, folders) for unit in record.detailer]


def find_detector(unit: DetailerUnit, folders: Sequence[Path] = ()) -> Detector:
    """Return the detector that ``unit`` names: a name, a file, or a file of that name in ``folders``.

    Raises ``BadValue`` or ``BadFile`` that lists what there is, ``Missing`` for a package.
    """
    u = with_defaults(unit)
    name = u.model or "face"
    name = next((own for own, names in ALIASES.items() if name in names), name)
    path = Path(name)
    if name not in NAMES and not path.is_file():
        stems = {file.name: file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()}
        known = {**{Path(key).stem: file for key, file in stems.items()}, **stems}
        path = known.get(path.name, path)
    return load_detector(name if name in NAMES else path, u.model_classes or None, u.confidence)


def _check(units: Sequence[DetailerUnit]) -> None:
    """Raise ``BadValue`` for what only the web UIs have."""
    for unit in units:
        u = with_defaults(unit)
        for name, off in (("restore_face", False), ("controlnet_model", "None"), ("use_vae", False)):
            value = getattr(u, name)
            if value != off and not (name == "use_vae" and u.vae in (None, "Use same VAE")):
                raise BadValue(
                    f"the detailer's {name} is {value!r}, which only the web UIs have; leave it {off!r}"
                )


def _redrawn(pipeline: Pipeline, image: Pixels, record: Generation, found: Detections, batch: int) -> Result:
    """Return the result of the one unit of ``record``."""
    [unit] = record.detailer
    scene = Scene(picture=replace(record, detailer=()), sdxl=pipeline.model.family == "sdxl")

    def inpaint(wanted: Sequence[Crop]) -> list[Floats]:
        first = wanted[0].run
        other = pipeline.second.get(first.checkpoint) if first.checkpoint else pipeline
        parts = [_part(one) for one in wanted]
        drawn = crops.inpaint_crops(other, parts, crop_record(scene.picture, first), batch=len(parts))
        if other is not pipeline:
            pipeline.warnings = other.warnings
        return drawn

    return detail(image, found, inpaint, Options(unit=unit, scene=scene, batch=batch))


def _part(one: Crop) -> crops.Crop:
    run = one.run
    return crops.Crop(
        image=one.image,
        mask=crop_mask(one),
        prompt=run.prompt,
        negative_prompt=run.negative_prompt,
        seed=run.seed,
        strength=run.strength,
    )
