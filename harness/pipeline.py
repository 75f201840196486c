"""From a `Generation` record to pictures: the core's prompts, sigmas and samplers over diffusers' networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import BadFile, BadType, BadValue
from ..core.filled import filled, profile_of, tiles
from ..core.image.generation import Generation
from ..core.image.model_ref import ModelRef
from ..core.image.parts import Networks
from ..core.image.upscale import LATENT_UPSCALERS, Upscaler
from ..core.image.upscalers import find_upscaler
from ..core.passes import complete_hires
from ..core.profiles import Pass
from ..core.prompt import NetworkTag
from ..core.run import Sampling, sampling_of
from ..core.sampling import Denoiser, Noise
from ..core.seeds import image_of
from .denoise import SCORES, GuidedDenoiser
from .models import Model, load_model
from .stages.canvas import ONLY_MASKED, check_mask, check_picture
from .stages.codec import decode, levels
from .stages.detailing import BATCH, detailed, detectors_of
from .stages.drawing import Drawing, OnStage
from .stages.picture import complete_image, draw_image, draw_text, run_size
from .stages.refiner import SWITCH_AT
from .stages.second import SecondModels, check_same_latents, recorded_name
from .texts import TextReader, Texts
from .tiling import tiled
from .version import VERSION

DEMO = Path(__file__).parents[1] / "models" / "demo"
"""The folder of the embedded model."""
FAMILIES = {"sd15": "sd1", "sdxl": "sdxl"}
"""What schedules call the families of models."""

Watch = Callable[[int, Tensor], None]
"""Called after each step with the number of steps done and the clean latent (B, 4, h, w) seen so far."""


@dataclass(frozen=True)
class Picture:
    """A finished picture, uint8 (H, W, 3), and everything that made it."""

    image: NDArray[np.uint8]
    generation: Generation


class Pipeline:
    """A model that makes pictures.

    >>> pipeline = Pipeline.load()
    >>> [picture] = pipeline("a red circle", steps=10, seed=1)
    >>> picture.image.shape
    (128, 128, 3)

    ``warnings`` holds what was said of the last prompt, one line each.  `stages` makes `generate`
    out of `complete`, `sampling`, `read`, `denoiser`, `sample` and `decode`.
    """

    def __init__(
        self,
        model: Model,
        *,
        lora_folders: Sequence[Path] = (),
        embedding_folders: Sequence[Path] = (),
        model_folders: Sequence[Path] = (),
        upscaler_folders: Sequence[Path] = (),
        detector_folders: Sequence[Path] = (),
    ) -> None:
        """Take a loaded model, and folders in which other files are looked up by the names that records use.

        ``second`` holds the models of hires passes and refiners; ``detailer_batch`` is how many crops of a
        detailer unit go through the model together.
        """
        self._reader = TextReader(model, lora_folders, embedding_folders)
        self.model = self._reader.model
        self.warnings: list[str] = []
        self._upscaler_folders = tuple(upscaler_folders)
        self.detector_folders = tuple(detector_folders)
        self.detailer_batch = BATCH

        def load(path: Path) -> Pipeline:
            return Pipeline.load(
                path,
                lora_folders=lora_folders,
                embedding_folders=embedding_folders,
                device=model.device,
                dtype=model.dtype,
                refiner=True,
            )

        folders = (*model_folders, *([model.path.parent] if model.path.name else []))
        self.second = SecondModels(folders, load)

    @classmethod
    def load(
        cls,
        path: str | Path = DEMO,
        *,
        lora_folders: Sequence[Path] = (),
        embedding_folders: Sequence[Path] = (),
        model_folders: Sequence[Path] = (),
        upscaler_folders: Sequence[Path] = (),
        detector_folders: Sequence[Path] = (),
        **options: Any,
    ) -> Pipeline:
        """Load a model, the embedded one unless given.  ``options`` are those of `load_model`."""
        return cls(
            load_model(path, **options),
            lora_folders=lora_folders,
            embedding_folders=embedding_folders,
            model_folders=model_folders,
            upscaler_folders=upscaler_folders,
            detector_folders=detector_folders,
        )

    def __call__(
        self,
        prompt: str,
        negative_prompt: str = "",
        *,
        batch: int = 1,
        watch: Watch | None = None,
        **fields: Any,
    ) -> list[Picture]:
        """Make ``batch`` pictures.  ``fields`` are those of `Generation`: ``steps``, ``cfg``, ``seed`` …"""
        known = {field.name for field in dataclasses.fields(Generation)}
        for name in fields.keys() - known:
            raise BadType(f"unknown setting {name!r}; known: {', '.join(sorted(known))}")
        record = Generation(prompt=prompt, negative_prompt=negative_prompt, **fields)
        return self.generate(record, batch=batch, watch=watch)

    def generate(
        self,
        wanted: Generation,
        *,
        batch: int = 1,
        init_image: NDArray[np.uint8] | None = None,
        mask: NDArray[np.uint8] | None = None,
        watch: Watch | None = None,
        on_stage: OnStage | None = None,
    ) -> list[Picture]:
        """Make the pictures of a record; what it leaves open is filled in by `complete`.

        ``batch`` pictures have the seeds ``seed``, ``seed + 1``, … and each is the one its seed makes alone,
        but for profiles of hosts that draw noise for a whole batch.  ``init_image``, uint8 (H, W, 3): image to
        image begins with it; ``mask``, uint8 (H, W), 255 where it is to be painted.  ``on_stage`` is told of
        the pictures before and after each stage.  Raises ``BadValue`` for settings that cannot be.
        """
        if init_image is None and mask is not None:
            raise BadValue("a mask needs the picture that it is of; pass init_image too")
        if init_image is not None:
            init_image = check_picture(init_image)
            mask = None if mask is None else check_mask(mask, init_image)
        record = self.complete(wanted, init_image=init_image, masked=mask is not None)
        detectors_of(record, self.detector_folders)
        drawing = Drawing(pipeline=self, record=record, batch=batch, watch=watch, on_stage=on_stage)
        with tiled(self.model, tiles(record)):
            images = draw_text(drawing) if init_image is None else draw_image(drawing, init_image, mask)
        self.warnings = drawing.warnings
        drawing.tell("result", images)
        record = dataclasses.replace(record, networks=drawing.networks)
        one_by_one = profile_of(record).masking != "fresh" or mask is None
        pictures = [
            Picture(image, image_of(record, i, batch, together=not one_by_one))
            for i, image in enumerate(images)
        ]
        return [self.detail(picture, on_stage) for picture in pictures] if record.detailer else pictures

    def detail(self, picture: Picture, on_stage: OnStage | None = None) -> Picture:
        """Return ``picture`` after the detailer units of its record, which is a complete one.

        Adds to ``warnings``; raises ``BadValue`` or ``BadFile`` for units that cannot be run.
        """
        before = self.warnings
        record = picture.generation
        with tiled(self.model, tiles(record)):
            done = detailed(self, picture.image, record, batch=self.detailer_batch, on_stage=on_stage)
        self.warnings = [*before, *(line for line in done.warnings if line not in before)]
        return Picture(done.image, done.generation)

    def complete(
        self, wanted: Generation, *, init_image: NDArray[np.uint8] | None = None, masked: bool = False
    ) -> Generation:
        """Return ``wanted`` with all that it leaves open filled in, names made the registries' own, and checked.

        ``init_image``, ``masked``: of image to image.  Raises ``BadValue`` for settings that cannot be.
        """
        model = self.model
        size = model.size
        if init_image is not None and (wanted.inpaint is None or wanted.inpaint.area != ONLY_MASKED):
            size = run_size(init_image, model.vae_stride)
        record = dataclasses.replace(
            filled(wanted, cfg=self.default_cfg),
            size=wanted.size or size,
            clip_skip=wanted.clip_skip or 1,
            model=ModelRef(name=model.name, hash=model.hash),
            version=f"Concord {VERSION}",
        )
        self._check_size(record)
        if init_image is not None:
            record = complete_image(record, init_image, masked=masked)
        return self._with_seconds(complete_hires(record, model.vae_stride))

    @property
    def default_cfg(self) -> float:
        """The CFG scale where none is asked for: 4 for the embedded model, 7 for others."""
        return 4.0 if self.model.path == DEMO else 7.0

    def sampling(self, record: Generation, *, kind: Pass = "text", batch: int = 1) -> Sampling:
        """Return what a complete record asks for in a pass of ``batch`` pictures; raises ``BadValue``."""
        model = self.model
        if batch < 1:
            raise BadValue(f"batch is {batch}; pass 1 or more")
        if model.in_channels != model.latent_channels:
            raise BadValue(
                f"{model.name} takes {model.in_channels} channels, as inpainting models do; "
                f"generate needs one that takes {model.latent_channels}"
            )
        return sampling_of(record, model.sigmas, kind=kind, batch=batch, family=FAMILIES[model.family])

    def count_steps(self, record: Generation, *, is_image: bool = False) -> int:
        """Return how many steps the passes of a complete record take in all."""
        kinds: list[Pass] = ["image" if is_image else "text", *(["hires"] if record.hires else [])]
        return sum(max(len(self.sampling(record, kind=kind).sigmas) - 1, 0) for kind in kinds)

    def refiner(self, record: Generation) -> Pipeline | None:
        """Return the pipeline of the refiner that ``record`` names; raises ``BadValue`` for another family."""
        name = record.refiner and record.refiner.model
        if not name:
            return None
        other = self.second.get(name)
        check_same_latents(self.model, other.model, "refiner")
        return other

    def upscaler(self, name: str) -> Upscaler:
        """Return the upscaler of pictures that goes by ``name``; raises ``BadValue`` that lists what there is."""
        latent = ", ".join(LATENT_UPSCALERS)
        try:
            return find_upscaler(name, self._upscaler_folders, device=self.model.device)
        except BadFile:
            raise
        except BadValue as error:
            raise BadValue(f"{error}; of latents: {latent}") from error

    def read(self, record: Generation, sampling: Sampling) -> Texts:
        """Lay out and encode the prompts of a pass, and lay their networks on the model; sets ``warnings``."""
        texts = self._reader.read(record, sampling)
        self.warnings = self._reader.warnings(texts)
        return texts

    def networks(self, texts: Texts) -> Networks:
        """Return how a record names the networks and embeddings that ``texts`` use."""
        return self._reader.networks(texts)

    def latent_shape(self, record: Generation) -> tuple[int, int, int]:
        """Return the shape (C, h, w) of the first pass's latent."""
        model = self.model
        width, height = record.size or model.size
        return model.latent_channels, height // model.vae_stride, width // model.vae_stride

    def network_changes(self, texts: Texts) -> Callable[[int], None] | None:
        """Return what lays the networks of each call on the model, None where they stay."""
        if not texts.schedules_networks:
            return None
        return lambda call: self._reader.lay_on(texts.positive.networks_at(call))

    def lay_on(self, texts: Texts) -> None:
        """Lay the networks of the first call of ``texts`` on the model, and no others."""
        self._reader.lay_on(texts.positive.networks_at(0))

    def use_networks(self, tags: Sequence[NetworkTag]) -> None:
        """Lay the networks of ``tags`` on the model, and no others."""
        self._reader.lay_on(tags)

    def denoiser(
        self, sampling: Sampling, texts: Texts, start: Tensor, scores: tuple[float, float] = SCORES
    ) -> GuidedDenoiser:
        """Return the network with the prompts of a pass that begins with ``start`` (B, C, h, w).

        ``scores``: aesthetic scores of the prompts, which SDXL's refiner is told.
        """
        change = self.network_changes(texts)
        stride = self.model.vae_stride
        size = (start.shape[3] * stride, start.shape[2] * stride)
        return GuidedDenoiser(
            self.model,
            [texts.cond],
            [texts.uncond],
            sampling,
            size,
            before_call=change,
            scores=scores,
            empty=texts.empty,
        )

    def sample(
        self,
        sampling: Sampling,
        denoiser: Denoiser,
        start: Tensor,
        noise: Noise,
        *,
        sigmas: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Run the sampler from ``start`` over ``sigmas``, the pass's own unless given; return clean latents."""

        def on_step(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
            del sigma, x
            if watch:
                watch(i + 1, denoised)

        with torch.inference_mode():
            return sampling.run(denoiser, start, noise, sigmas=sigmas, on_step=on_step)

    def decode(self, latents: Tensor) -> Iterable[NDArray[np.uint8]]:
        """Yield the picture of each latent (B, 4, h, w) as uint8 (H, W, 3), one at a time to save memory.

        Values are cut to whole levels, not rounded, as A1111, Forge and ComfyUI do.
        """
        return map(levels, decode(self.model, latents))

    def _with_seconds(self, record: Generation) -> Generation:
        """Return ``record`` with its second models named as A1111 names them, loaded and checked."""
        hires, refiner = record.hires, record.refiner
        if refiner is not None and refiner.model:
            other = self.refiner(record)
            assert other
            at = SWITCH_AT if refiner.switch_at is None else refiner.switch_at
            refiner = dataclasses.replace(refiner, model=recorded_name(other.model), switch_at=at)
        if hires is not None and hires.checkpoint:
            name = recorded_name(self.second.get(hires.checkpoint).model)
            hires = dataclasses.replace(hires, checkpoint=name)
        return dataclasses.replace(record, hires=hires, refiner=refiner)

    def _check_size(self, record: Generation) -> None:
        assert record.size
        stride = self.model.vae_stride
        if any(side < stride or side % stride for side in record.size):
            width, height = record.size
            near = "x".join(str(max(stride, round(side / stride) * stride)) for side in record.size)
            raise BadValue(
                f"size is {width}x{height}; both sides must be multiples of {stride}, such as {near}"
            )
