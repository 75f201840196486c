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

from ..core.errors import BadType, BadValue
from ..core.filled import filled
from ..core.image.generation import Generation
from ..core.image.model_ref import ModelRef
from ..core.profiles import Pass
from ..core.run import Sampling, sampling_of
from ..core.sampling import Noise
from ..core.seeds import image_of
from .denoise import GuidedDenoiser
from .models import Model, load_model
from .texts import TextReader, Texts
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

    ``warnings`` holds what was said of the last prompt, one line each.  `generate` is made of `complete`,
    `sampling`, `read`, `start`, `sample` and `decode`, from which other passes are made.
    """

    def __init__(
        self, model: Model, *, lora_folders: Sequence[Path] = (), embedding_folders: Sequence[Path] = ()
    ) -> None:
        """Take a loaded model, and folders in which networks and embeddings are looked up by their names."""
        self._reader = TextReader(model, lora_folders, embedding_folders)
        self.model = self._reader.model
        self.warnings: list[str] = []

    @classmethod
    def load(
        cls,
        path: str | Path = DEMO,
        *,
        lora_folders: Sequence[Path] = (),
        embedding_folders: Sequence[Path] = (),
        **options: Any,
    ) -> Pipeline:
        """Load a model, the embedded one unless given.  ``options`` are those of `load_model`."""
        model = load_model(path, **options)
        return cls(model, lora_folders=lora_folders, embedding_folders=embedding_folders)

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

    def generate(self, wanted: Generation, *, batch: int = 1, watch: Watch | None = None) -> list[Picture]:
        """Make the pictures of a record; what it leaves open is filled in by `complete`.

        ``batch`` pictures have the seeds ``seed``, ``seed + 1``, … and each is the one its seed makes alone,
        but for profiles of hosts that draw noise for a whole batch.  Raises ``BadValue`` for settings that
        cannot be.
        """
        record = self.complete(wanted)
        sampling = self.sampling(record, batch=batch)
        texts = self.read(record, sampling)
        start, noise = self.start(record, sampling)
        latents = self.sample(sampling, texts, start, noise, watch=watch)
        record = dataclasses.replace(record, networks=self._reader.networks(texts))
        return [Picture(image, image_of(record, i, batch)) for i, image in enumerate(self.decode(latents))]

    def complete(self, wanted: Generation) -> Generation:
        """Return ``wanted`` with all that it leaves open filled in, names made the registries' own, and checked."""
        model = self.model
        record = dataclasses.replace(
            filled(wanted, cfg=self.default_cfg),
            size=wanted.size or model.size,
            clip_skip=wanted.clip_skip or 1,
            model=ModelRef(name=model.name, hash=model.hash),
            version=f"Concord {VERSION}",
        )
        self._check_size(record)
        return record

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

    def read(self, record: Generation, sampling: Sampling) -> Texts:
        """Lay out and encode the prompts of a pass, and lay their networks on the model; sets ``warnings``."""
        texts = self._reader.read(record, sampling)
        self.warnings = self._reader.warnings(texts)
        return texts

    def start(
        self, record: Generation, sampling: Sampling, latent: Tensor | None = None
    ) -> tuple[Tensor, Noise]:
        """Return the noisy latent (B, C, h, w) that a pass begins with, and its source of step noise.

        ``latent``: the clean one (B, C, h, w) of image to image, whose size then counts.
        """
        model = self.model
        width, height = record.size or model.size
        stride = model.vae_stride
        shape = (model.latent_channels, height // stride, width // stride)
        if latent is not None:
            shape = (latent.shape[1], latent.shape[2], latent.shape[3])
        first, noise = sampling.noise(shape)
        return sampling.start(first.to(model.device), latent), noise

    def sample(
        self,
        sampling: Sampling,
        texts: Texts,
        start: Tensor,
        noise: Noise,
        *,
        sigmas: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Run the sampler from ``start`` over ``sigmas``, the pass's own unless given; return clean latents."""
        change = (
            (lambda call: self._reader.lay_on(texts.positive.networks_at(call)))
            if texts.schedules_networks
            else None
        )
        stride = self.model.vae_stride
        size = (start.shape[3] * stride, start.shape[2] * stride)
        denoiser = GuidedDenoiser(self.model, texts.cond, texts.uncond, sampling, size, before_call=change)

        def on_step(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
            del sigma, x
            if watch:
                watch(i + 1, denoised)

        with torch.inference_mode():
            return sampling.run(denoiser, start, noise, sigmas=sigmas, on_step=on_step)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Iterable[NDArray[np.uint8]]:
        """Yield the picture of each latent (B, 4, h, w) as uint8 (H, W, 3), one at a time to save memory.

        Values are cut to whole levels, not rounded, as A1111, Forge and ComfyUI do.
        """
        model = self.model
        vae: Any = model.vae
        for latent in latents:
            clean = latent[None] / model.scale_factor + model.shift_factor
            image = vae.decode(clean.to(vae.dtype), return_dict=False)[0][0].float()
            levels = (image / 2 + 0.5).clamp(0, 1).mul(255).to(torch.uint8)
            yield levels.permute(1, 2, 0).cpu().numpy()

    def _check_size(self, record: Generation) -> None:
        assert record.size
        stride = self.model.vae_stride
        if any(side < stride or side % stride for side in record.size):
            width, height = record.size
            near = "x".join(str(max(stride, round(side / stride) * stride)) for side in record.size)
            raise BadValue(
                f"size is {width}x{height}; both sides must be multiples of {stride}, such as {near}"
            )
