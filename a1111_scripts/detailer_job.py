"""The detailer's work in one request of the host: what was asked, the pictures one by one, and what is said of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..core.detailer import (
    Detections,
    Detector,
    Mask,
    Options,
    Result,
    Scene,
    detail,
    load_detector,
    mask_from_array,
    preview,
    select,
    unit_masks,
    with_defaults,
)
from ..core.errors import ConcordError
from ..core.image.generation import Generation
from ..core.image.infotext import unit_texts
from ..core.image.parts import DetailerUnit, Variation
from ..core.version import VERSION
from .detailer_axes import replacements_of, values_of
from .detailer_inpaint import Drawer, is_stopped
from .detailer_models import detector_of
from .detailer_settings import CROPS, SAVE_BEFORE, SAVE_PREVIEWS, setting
from .detailer_units import BEFORE_HIRES, SKIP, Asked, asked_of, with_values
from .host import images, processing, shared

log = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]
KEYS = ("ADetailer ", "Concord detailer ")
"""How the infotext's keys of all detailers begin."""
_EMPTY = DetailerUnit()


@dataclass(kw_only=True, eq=False)
class Job:
    """The detailer in the request ``p``.

    ``first``: the number of its first unit in the infotext, None until it is written.  ``found``: for each picture
    and unit, how many parts were redrawn.  ``before``: fields of the request that it has changed.
    """

    p: Any
    asked: Asked
    first: int | None = None
    found: dict[int, dict[int, int]] = field(default_factory=dict[int, dict[int, int]])
    before: dict[str, Any] = field(default_factory=dict[str, Any])
    _caches: dict[int, tuple[list[Any], list[Any]]] = field(
        default_factory=dict[int, tuple[list[Any], list[Any]]]
    )
    _said: set[str] = field(default_factory=set[str])

    def say(self, line: str) -> None:
        """Put a line into the log and below the picture, once."""
        if line not in self._said:
            self._said.add(line)
            log.warning("Concord: %s", line)
            self.p.comment(f"Concord: {line}")

    @property
    def is_early(self) -> bool:
        """Tell whether units work before the second pass."""
        return self.asked.early and bool(getattr(self.p, "enable_hr", False))

    def units(self, *, early: bool) -> list[tuple[int, DetailerUnit]]:
        """Return the units that work before the second pass, or those that work after all, with their places.

        One with a model of its own waits for the end, as the second pass has its model loaded already.
        """
        every = [(place, unit) for place, unit in enumerate(self.asked.units) if unit != _EMPTY]
        return [
            one for one in every if early == (self.is_early and not (one[1].use_checkpoint or one[1].use_vae))
        ]

    def redraw(
        self, picture: Pixels, index: int, *, early: bool = False, held: dict[str, Any] | None = None
    ) -> Pixels:
        """Return picture ``index`` of the request, uint8 (H, W, 3), after the units whose turn it is.

        A unit that cannot work leaves the picture as it is, and it is said why.  ``held``: settings of all passes.
        """
        units = self.units(early=early)
        if units and setting(SAVE_BEFORE) and not early:
            self._save(picture, index, "-ad-before")
        for place, _ in units:
            if is_stopped():
                break
            try:
                picture = self._redrawn(picture, index, place, held or {})
            except ConcordError as error:
                self.say(f"unit {place + 1} of the detailer leaves the picture as it is: {error}")
        return picture

    def _redrawn(self, picture: Pixels, index: int, place: int, held: dict[str, Any]) -> Pixels:
        unit = self.asked.units[place]
        detector = detector_for(unit)
        found = detector(picture)
        scene = Scene(
            picture=self.record(index),
            sdxl=bool(getattr(shared.sd_model, "is_sdxl", False)),
            user_mask=user_mask(self.p, (picture.shape[1], picture.shape[0])),
            replacements=replacements_of(self.p),
        )
        if setting(SAVE_PREVIEWS):
            kept = select(found, unit)
            self._save(preview(picture, kept, unit_masks(kept, unit)), index, f"-ad-preview-{place + 1}")
        caches = self._caches.setdefault(place, ([None] * 3, [None] * 3))
        drawer = Drawer(p=self.p, unit=unit, held=held, caches=caches)
        result = detail(picture, found, drawer, Options(unit=unit, scene=scene, batch=int(setting(CROPS))))
        if drawer.stopped:
            return result.image
        self.found.setdefault(index, {})[place] = len(result.runs)
        self._tell(place, detector, found, result)
        return result.image

    def _tell(self, place: int, detector: Detector, found: Detections, result: Result) -> None:
        if result.spoilt:
            for line in result.words(detector.name):
                self.say(line)
        elif not result.runs:
            which = (
                "found nothing to redraw" if not len(found.boxes) else "found nothing that the unit works on"
            )
            log.info("Concord: unit %d of the detailer: %s %s", place + 1, detector.name, which)

    def record(self, index: int) -> Generation:
        """Return the record of picture ``index`` as far as the detailer goes by it, names as the host has them."""
        p = self.p
        own: dict[str, Any] = {name: self.before.get(name, getattr(p, name, None)) for name in _OWN}
        strength = float(getattr(p, "subseed_strength", 0) or 0)
        return Generation(
            prompt=_of(p.all_prompts, index),
            negative_prompt=_of(p.all_negative_prompts, index),
            seed=int(_of(p.all_seeds, index)),
            variation=Variation(seed=int(_of(p.all_subseeds, index)), strength=strength)
            if strength > 0
            else None,
            steps=int(own["steps"]),
            sampler=own["sampler_name"],
            scheduler=own["scheduler"],
            cfg=float(p.cfg_scale),
            size=(int(own["width"]), int(own["height"])),
            noise_multiplier=float(getattr(shared.opts, "initial_noise_multiplier", 1.0)),
        )

    def write(self, index: int | None = None) -> None:
        """Put the units into the infotext of the request, and how many parts they drew in picture ``index``."""
        texts = self.p.extra_generation_params
        if self.first is None:
            self.first = sum(key == "ADetailer model" or key.startswith("ADetailer model ") for key in texts)
            self.first -= sum(key.startswith("ADetailer model classes") for key in texts)
        counts = {} if index is None else self.found.get(index, {})
        units = [replace(unit, found=counts.get(place)) for place, unit in enumerate(self.asked.units)]
        made = unit_texts(units, self.first)
        for key in [key for key in texts if key.startswith("Concord detailer found") and key not in made]:
            del texts[key]
        texts.update(made)
        texts["Concord version"] = VERSION
        if self.is_early:
            texts[BEFORE_HIRES] = "True"
        if self.before:
            texts[SKIP] = "True"

    def leave_out_img2img(self) -> None:
        """Let the host's own pass do next to nothing, as ADetailer does; the infotext says what was asked."""
        p = self.p
        self.before = {name: getattr(p, name) for name in _OWN if hasattr(p, name)}
        size = f"{p.width}x{p.height}"
        p.extra_generation_params |= {"Steps": p.steps, "Sampler": p.sampler_name, "Size": size}
        p.steps, p.sampler_name, p.width, p.height = 1, "Euler", 128, 128

    def give_back(self) -> None:
        """Undo that, for a script that uses the request again."""
        for name, value in self.before.items():
            setattr(self.p, name, value)

    def _save(self, picture: Pixels, index: int, suffix: str) -> None:
        p = self.p
        if p.save_samples():
            seed, prompt = _of(p.all_seeds, index), _of(p.all_prompts, index)
            made = Image.fromarray(picture)
            images.save_image(
                made, p.outpath_samples, "", seed, prompt, shared.opts.samples_format, p=p, suffix=suffix
            )


_OWN = ("steps", "sampler_name", "scheduler", "width", "height")


def _of(values: Any, index: int) -> Any:
    """Return what picture ``index`` has of a list; the last where other scripts have made more pictures."""
    return values[min(index, len(values) - 1)]


def job_of(p: Any, args: tuple[Any, ...]) -> Job | None:
    """Return the job that a script's arguments ask for in the request ``p``, None for none.

    Values of the host's X/Y/Z plot take the place of the arguments'.
    """
    asked = asked_of(args)
    units = list(asked.units)
    wrong = list(asked.wrong)
    for place, values in values_of(p).items():
        if place < len(units) and units[place] != _EMPTY:
            try:
                units[place] = with_values(units[place], values)
            except ConcordError as error:
                wrong.append(f"unit {place + 1} of the detailer goes without the plot's value: {error}")
    job = Job(p=p, asked=replace(asked, units=tuple(units)))
    for line in wrong:
        job.say(line)
    return job if units else None


def forget_texts(p: Any) -> None:
    """Take the keys of all detailers out of the infotext: requests that are copies of one share them."""
    for key in [key for key in p.extra_generation_params if key.startswith(KEYS)]:
        del p.extra_generation_params[key]


def detector_for(unit: DetailerUnit) -> Detector:
    """Return the detector of a unit; raises ``ConcordError`` where it cannot be had."""
    u = with_defaults(unit)
    device = "cuda" if str(shared.device).startswith("cuda") else "cpu"
    return load_detector(detector_of(u.model), u.model_classes or None, u.confidence, device=device)


def user_mask(p: Any, size: tuple[int, int]) -> Mask | None:
    """Return what the user has painted, where the picture is the whole one; ``size``: (width, height) of that.

    With "only masked" the picture is the part round the mask already.
    """
    painted = getattr(p, "image_mask", None)
    if painted is None or getattr(p, "inpaint_full_res", False):
        return None
    return mask_from_array(np.asarray(_painted(p).resize(size)))


def _painted(p: Any) -> Any:
    made = processing.create_binary_mask(p.image_mask).convert("L")
    return ImageOps.invert(made) if p.inpainting_mask_invert else made


def paints_nothing(p: Any) -> bool:
    """Tell whether the request inpaints with a mask that has nothing in it, which ADetailer leaves alone."""
    return getattr(p, "image_mask", None) is not None and _painted(p).getbbox() is None
