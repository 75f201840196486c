"""Concord Detector Loader, Detect, Detailer Unit and Detailer: parts of pictures found and drawn anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.detailer import (
    Crop,
    Detections,
    Detector,
    Options,
    Result,
    Scene,
    detail,
    load_detector,
    mask_from_array,
    masks_of,
    preview,
    select,
    unit_masks,
)
from ..core.detailer.detector import NAMES, SUFFIXES
from ..core.errors import BadFile, BadValue
from ..core.filled import filled
from ..core.image.generation import Generation
from ..core.image.parts import DetailerUnit
from ..core.profiles import PROFILES
from ..core.seeds import image_of as record_of_image
from .detailer_widgets import MAIN, MORE, unit_of
from .host import folder_paths, io, schema
from .inpainting import inpaint
from .records import Asked, finished_record, merged, record_of
from .rig import Rig
from .sampling import MAX_SEED, prompt_inputs, run_inputs
from .wires import DETECTIONS, DETECTOR, RECORD, UNITS, image_of, pixels_of

log = logging.getLogger(__name__)
FOLDERS = ("ultralytics", "adetailer", "detectors")
"""Folders of ComfyUI's models folder in which detectors lie, those of other packs first."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitOf:
    """A unit of the detailer with its detector, and its own models where it has some."""

    unit: DetailerUnit
    detector: Detector
    rig: Rig | None = None


def detector_files() -> dict[str, Path]:
    """Return the detectors that lie in ComfyUI's folders by what a dropdown calls them."""
    found: dict[str, Path] = {}
    for folder in (Path(folder_paths.models_dir) / name for name in FOLDERS):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix.lower() in SUFFIXES:
                found.setdefault(path.relative_to(folder).as_posix(), path)
    return found


class DetectorLoader(io.ComfyNode):
    """Concord Detector Loader."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordDetectorLoader",
            display_name="Concord Detector Loader",
            category="Concord/detailer",
            description="Loads what finds faces, hands or anything else. No code in the file is ever run.",
            search_aliases=["adetailer", "yolo", "ultralytics detector", "face detector", "bbox detector"],
            inputs=[
                io.Combo.Input(
                    "detector",
                    options=[*NAMES, *detector_files()],
                    default="face",
                    tooltip="'face' needs no file; others lie in models/ultralytics, adetailer or detectors.",
                ),
                io.String.Input(
                    "classes",
                    default="",
                    tooltip="What counts, with commas, such as cat, dog; empty: everything.",
                ),
                io.Float.Input(
                    "confidence", default=0.3, min=0.0, max=1.0, step=0.01, tooltip="How sure it must be."
                ),
            ],
            outputs=[DETECTOR.Output("found", display_name="detector")],
        )

    @classmethod
    def execute(cls, detector: str, classes: str, confidence: float) -> Any:
        """Load the detector."""
        path = None if detector in NAMES else detector_files().get(detector)
        if path is None and detector not in NAMES:
            raise BadFile(f"the detector {detector!r} is gone; put its file back, or choose another")
        device = str(import_module("comfy.model_management").get_torch_device())
        return io.NodeOutput(load_detector(path or detector, classes or None, confidence, device=device))


class Detect(io.ComfyNode):
    """Concord Detect."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordDetect",
            display_name="Concord Detect",
            category="Concord/detailer",
            description="Finds things in pictures and shows boxes and masks.",
            search_aliases=["detect faces", "bbox", "segs", "face mask", "adetailer preview"],
            inputs=[
                io.Image.Input("images", tooltip="One picture or a batch."),
                DETECTOR.Input("detector", tooltip="From Concord Detector Loader."),
                UNITS.Input(
                    "units", optional=True, tooltip="Shows what the first unit would keep, and its masks."
                ),
            ],
            outputs=[
                DETECTIONS.Output("detections", display_name="detections", tooltip="For Concord Detailer."),
                io.Image.Output(
                    "preview", display_name="preview", tooltip="Boxes, masks and how sure it is."
                ),
                io.Mask.Output("masks", display_name="MASK", tooltip="All masks of a picture together."),
                io.Int.Output("count", display_name="count", tooltip="How many were found in all pictures."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, detector: Detector, units: tuple[UnitOf, ...] = ()) -> Any:
        """Find things."""
        pictures = pixels_of(images)
        unit = units[0].unit if units else None
        found = [_kept(detector(one), unit) for one in pictures]
        masks = [masks_of(one) if unit is None else unit_masks(one, unit) for one in found]
        shown = [preview(*three) for three in zip(pictures, found, masks, strict=True)]
        union = torch.stack(
            [_union([one.full() for one in each], seen.size) for each, seen in zip(masks, found, strict=True)]
        )
        return io.NodeOutput(found, image_of(shown), union, sum(len(one.boxes) for one in found))


def _kept(found: Detections, unit: DetailerUnit | None) -> Detections:
    return found if unit is None else select(found, unit)


def _union(masks: Sequence[Pixels], size: tuple[int, int]) -> Tensor:
    """Return masks as one (H, W), 0 … 1; ``size``: (width, height)."""
    whole = np.zeros((size[1], size[0]), np.uint8)
    for one in masks:
        whole = np.maximum(whole, one)
    return torch.tensor(whole.astype(np.float32) / 255)


class Unit(io.ComfyNode):
    """Concord Detailer Unit."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordDetailerUnit",
            display_name="Concord Detailer Unit",
            category="Concord/detailer",
            description="What Concord Detailer does with what one detector finds. Units are chained.",
            search_aliases=["adetailer unit", "face detailer settings", "adetailer tab"],
            inputs=[
                DETECTOR.Input("detector", tooltip="What finds the parts."),
                *(widget.input() for widget in (*MAIN, *MORE)),
                UNITS.Input("before", optional=True, tooltip="Units that work before this one."),
                io.Model.Input("model", optional=True, tooltip="A model of its own; else the detailer's."),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder of that model."),
                io.Vae.Input("vae", optional=True, tooltip="The VAE of that model."),
            ],
            outputs=[UNITS.Output("units", display_name="units")],
        )

    @classmethod
    def execute(
        cls,
        detector: Detector,
        before: tuple[UnitOf, ...] = (),
        model: Any = None,
        clip: Any = None,
        vae: Any = None,
        **widgets: Any,
    ) -> Any:
        """Put the unit behind those before it."""
        given = [one is not None for one in (model, clip, vae)]
        if any(given) and not all(given):
            raise BadValue("a unit's own model needs its CLIP and VAE too; wire all three, or none")
        rig = Rig(model=model, clip=clip, vae=vae) if all(given) else None
        unit = unit_of(widgets, detector.name)
        return io.NodeOutput((*before, UnitOf(unit=unit, detector=detector, rig=rig)))


class Detailer(io.ComfyNode):
    """Concord Detailer."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordDetailer",
            display_name="Concord Detailer",
            category="Concord/detailer",
            description="Finds faces, hands or anything else and draws them anew at a larger size.",
            search_aliases=["adetailer", "face detailer", "fix faces", "fix hands", "inpaint detected"],
            inputs=[
                io.Image.Input("images", tooltip="One picture or a batch."),
                io.Model.Input("model", tooltip="The model that draws."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.Vae.Input("vae", tooltip="Its VAE."),
                UNITS.Input("units", tooltip="From Concord Detailer Unit."),
                *prompt_inputs(),
                io.Combo.Input(
                    "profile", options=list(PROFILES), default="a1111", tooltip="The program followed."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Of the first picture.",
                ),
                *run_inputs(),
                io.Int.Input("crops", default=8, min=1, max=64, tooltip="Parts that are drawn at once."),
                RECORD.Input(
                    "record", optional=True, tooltip="Of the pictures: what it says counts, not the widgets."
                ),
                DETECTIONS.Input(
                    "detections",
                    optional=True,
                    tooltip="From Concord Detect, for the first unit in place of its own.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Only what touches it is worked on."),
            ],
            outputs=[
                io.Image.Output("detailed", display_name="IMAGE"),
                RECORD.Output("made", display_name="record"),
                io.Image.Output("preview", display_name="preview", tooltip="What the last unit worked on."),
                io.String.Output("warnings", display_name="warnings"),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        units: tuple[UnitOf, ...],
        record: Generation | None = None,
        detections: list[Detections] | None = None,
        mask: Tensor | None = None,
        **widgets: Any,
    ) -> Any:
        """Redraw the parts."""
        rig = Rig(**{name: widgets.pop(name) for name in ("model", "clip", "vae")})
        pictures, crops = pixels_of(images), widgets.pop("crops")
        height, width = pictures[0].shape[:2]
        asked = Asked(**widgets, width=width, height=height, denoise=1.0)
        whole = record or finished_record(merged(None, record_of(asked), own_seed=True), None)
        work = Work(rig=rig, record=filled(whole), units=units, crops=crops, detections=detections, mask=mask)
        done = [work.picture(one, i, len(pictures)) for i, one in enumerate(pictures)]
        made = replace(whole, detailer=(*whole.detailer, *work.recorded(done)))
        words = "\n\n".join(dict.fromkeys(line for one in done for line in one.warnings))
        for line in words.splitlines():
            log.warning("Concord: %s", line)
        return io.NodeOutput(
            image_of([one.image for one in done]),
            made,
            image_of([one.shown for one in done]),
            words,
            ui={"text": [words]} if words else None,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """A picture after all units: what the last one worked on, how many parts each drew, and what is to be said."""

    image: Pixels
    shown: Pixels
    counts: tuple[int, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A batch of pictures to be detailed; ``record``: of the first, filled in."""

    rig: Rig
    record: Generation
    units: tuple[UnitOf, ...]
    crops: int
    detections: list[Detections] | None = None
    mask: Tensor | None = None

    def picture(self, image: Pixels, i: int, batch: int) -> Done:
        """Return picture ``i`` of the batch after all units."""
        record = record_of_image(self.record, i, batch)
        shown, counts, warnings = image, [], list[str]()
        for number, one in enumerate(self.units):
            found = one.detector(image) if number or self.detections is None else self._given(i, batch)
            kept = select(found, one.unit)
            shown = preview(image, kept, unit_masks(kept, one.unit))
            result = self._redrawn(image, found, one, record, i, warnings)
            image = result.image
            counts.append(len(result.runs))
            warnings += result.words(one.detector.name)
        return Done(image=image, shown=shown, counts=tuple(counts), warnings=tuple(warnings))

    def recorded(self, done: Sequence[Done]) -> list[DetailerUnit]:
        """Return the units as the record keeps them; how many parts each drew is known of a single picture."""
        if len(done) != 1:
            return [one.unit for one in self.units]
        return [replace(one.unit, found=count) for one, count in zip(self.units, done[0].counts, strict=True)]

    def _redrawn(
        self, image: Pixels, found: Detections, one: UnitOf, record: Generation, i: int, warnings: list[str]
    ) -> Result:
        rig = one.rig or self.rig
        scene = Scene(
            picture=replace(record, hires=None, refiner=None, detailer=()),
            sdxl=rig.is_sdxl,
            user_mask=None if self.mask is None else mask_from_array(self._mask(i, image)),
        )

        def redraw(crops: Sequence[Crop]) -> list[NDArray[Any]]:
            return inpaint(rig, scene.picture, crops, warnings)

        return detail(image, found, redraw, Options(unit=one.unit, scene=scene, batch=self.crops))

    def _given(self, i: int, batch: int) -> Detections:
        """Return what was detected beforehand; raises ``BadValue`` for another number of pictures."""
        given = self.detections or []
        if len(given) != batch:
            raise BadValue(
                f"there are detections of {len(given)} pictures for {batch}; wire Concord Detect to these pictures"
            )
        return given[i]

    def _mask(self, i: int, image: Pixels) -> Pixels:
        """Return the mask of picture ``i``, uint8 (H, W); raises ``BadValue`` for one of another size."""
        assert self.mask is not None
        masks = self.mask.reshape(-1, *self.mask.shape[-2:])
        one = masks[min(i, len(masks) - 1)]
        if tuple(one.shape) != image.shape[:2]:
            (h, w), (height, width) = one.shape, image.shape[:2]
            raise BadValue(f"the mask is {w}x{h} but the picture is {width}x{height}; make it of that size")
        return (one.cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()


NODES: list[type] = [DetectorLoader, Detect, Unit, Detailer]
