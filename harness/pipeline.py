"""From a `Generation` record to pictures: the core's prompts, sigmas and samplers over diffusers' networks."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import BadType, BadValue, unknown
from ..core.image.generation import Generation, Networks
from ..core.image.model_ref import ModelRef
from ..core.image.names import sampler_name, scheduler_name, split_fused
from ..core.networks import Patched
from ..core.prompt import (
    DIALECTS,
    Conditioning,
    Known,
    NetworkTag,
    PromptPlan,
    RunShape,
    draw_warning,
    encode,
    plan,
)
from ..core.sampling import SAMPLERS, image_noise, sample
from ..core.sigmas import SCHEDULERS, get_sigmas
from .denoise import Guidance, GuidedDenoiser
from .embeddings import EmbeddingShelf
from .loras import LoraShelf, model_parts
from .models import Model, load_model
from .version import VERSION

log = logging.getLogger(__name__)

DEMO = Path(__file__).parents[1] / "models" / "demo"
"""The folder of the embedded model."""

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

    ``warnings`` holds what was said of the last prompt, one line each.
    """

    def __init__(
        self, model: Model, *, lora_folders: Sequence[Path] = (), embedding_folders: Sequence[Path] = ()
    ) -> None:
        """Take a loaded model, and folders in which networks and embeddings are looked up by their names."""
        self._embeddings = EmbeddingShelf(tuple(embedding_folders))
        self.model = self._embeddings.given_to(model)
        self.warnings: list[str] = []
        self._loras = LoraShelf(tuple(lora_folders), model)
        self._patched = Patched(model_parts(self.model))

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

        ``batch`` pictures have the seeds ``seed``, ``seed + 1``, … and each is the one its seed makes alone.
        Raises ``BadValue`` for settings that cannot be.
        """
        record = self.complete(wanted)
        if batch < 1:
            raise BadValue(f"batch is {batch}; pass 1 or more")
        if self.model.in_channels != self.model.latent_channels:
            raise BadValue(
                f"{self.model.name} takes {self.model.in_channels} channels, as inpainting models do; "
                f"generate needs one that takes {self.model.latent_channels}"
            )
        self._loras.warnings.clear()
        positive, negative = self._plan(record, is_negative=False), self._plan(record, is_negative=True)
        tags = [tag for call in range(positive.calls) for tag in positive.networks_at(call)]
        cond = self._encode(positive, record, apply_networks=self._lay_on)
        self._lay_on(
            [tag for tag in tags if all(tag in positive.networks_at(i) for i in range(positive.calls))]
        )
        uncond = self._encode(negative, record)
        denoiser = self._denoiser(record, cond, uncond, positive)
        latents = self._sample(record, batch, denoiser, watch)
        used = tuple(dict.fromkeys((*cond.embeddings, *uncond.embeddings)))
        networks = Networks(loras=self._loras.refs(tags), embeddings=self._embeddings.refs(used))
        record = dataclasses.replace(record, networks=networks)
        self.warnings = [
            *(draw_warning(one.text, warning) for one in (positive, negative) for warning in one.warnings),
            *self._embeddings.warnings,
            *self._loras.warnings,
        ]
        return [
            Picture(image, dataclasses.replace(record, seed=record.seed + i))  # pyright: ignore[reportOptionalOperand]
            for i, image in enumerate(self.decode(latents))
        ]

    def complete(self, wanted: Generation) -> Generation:
        """Return ``wanted`` with all that it leaves open filled in, names made the registries' own, and checked."""
        model, given = self.model, wanted
        sampler, scheduler = sampler_and_scheduler(given.sampler, given.scheduler)
        seed = (
            given.seed
            if given.seed is not None and given.seed >= 0
            else random.SystemRandom().getrandbits(32)
        )
        record = dataclasses.replace(
            given,
            steps=20 if given.steps is None else given.steps,
            sampler=sampler,
            scheduler=scheduler,
            cfg=self.default_cfg if given.cfg is None else given.cfg,
            seed=seed,
            size=given.size or model.size,
            clip_skip=given.clip_skip or 1,
            rng="CPU",
            model=ModelRef(name=model.name, hash=model.hash),
            version=f"Concord {VERSION}",
        )
        self._check_size(record)
        return record

    @property
    def default_cfg(self) -> float:
        """The CFG scale where none is asked for: 4 for the embedded model, 7 for others."""
        return 4.0 if self.model.path == DEMO else 7.0

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

    def _lay_on(self, tags: Sequence[NetworkTag]) -> None:
        """Set the model's weights to those with the networks of ``tags`` and no others."""
        self._patched.set(self._loras.uses(tags))

    def _plan(self, record: Generation, *, is_negative: bool) -> PromptPlan:
        """Lay one of the prompts out over the run."""
        assert record.steps is not None
        assert record.sampler is not None
        name = (record.concord and record.concord.dialect) or "a1111"
        if name not in DIALECTS:
            raise unknown("prompt dialect", name, DIALECTS)
        per_step = 2 if SAMPLERS[record.sampler].second_order else 1
        run = RunShape(negative=is_negative, calls_per_step=per_step)
        text = record.negative_prompt if is_negative else record.prompt
        known = Known(embeddings=self.model.text_encoders[0].embeddings)
        return plan(text, record.steps, dialect=DIALECTS[name], run=run, known=known)

    def _encode(
        self,
        prompt: PromptPlan,
        record: Generation,
        apply_networks: Callable[[Sequence[NetworkTag]], None] | None = None,
    ) -> Conditioning:
        assert record.clip_skip is not None
        return encode(
            prompt,
            self.model.text_encoders,
            emphasis=record.emphasis or "Original",
            clip_skip=record.clip_skip,
            zero_empty=prompt.run.negative and self.model.family == "sdxl",
            apply_networks=apply_networks,
        )

    def _denoiser(
        self, record: Generation, cond: Conditioning, uncond: Conditioning, prompt: PromptPlan
    ) -> GuidedDenoiser:
        """Return the denoiser, which also changes networks where the prompt schedules them."""
        assert record.size
        assert record.cfg is not None
        rescale = (record.concord and record.concord.cfg_rescale) or 0.0
        guidance = Guidance(scale=record.cfg, rescale=rescale)
        scheduled = any(segment.networks for part in prompt.parts for segment in part.segments)
        change = (lambda call: self._lay_on(prompt.networks_at(call))) if scheduled else None
        return GuidedDenoiser(self.model, cond, uncond, guidance, record.size, before_call=change)

    def _sample(
        self, record: Generation, batch: int, denoiser: GuidedDenoiser, watch: Watch | None
    ) -> Tensor:
        """Run the sampler and return the latents (B, 4, h, w)."""
        model = self.model
        assert record.steps
        assert record.size
        assert record.sampler
        assert record.scheduler
        assert record.seed is not None
        width, height = record.size
        stride = model.vae_stride
        noise = image_noise(
            (model.latent_channels, height // stride, width // stride),
            range(record.seed, record.seed + batch),
            ensd=record.ensd or 0,
        )
        sigmas = get_sigmas(record.scheduler, record.steps, model.sigmas)
        start = noise.first().to(model.device) * float(sigmas[0])

        def on_step(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
            del sigma, x
            if watch:
                watch(i + 1, denoised)

        with torch.inference_mode():
            return sample(
                record.sampler, denoiser, start, sigmas, model=model.sigmas, noise=noise, on_step=on_step
            )

    def _check_size(self, record: Generation) -> None:
        assert record.size
        stride = self.model.vae_stride
        if any(side < stride or side % stride for side in record.size):
            width, height = record.size
            near = "x".join(str(max(stride, round(side / stride) * stride)) for side in record.size)
            raise BadValue(
                f"size is {width}x{height}; both sides must be multiples of {stride}, such as {near}"
            )


def sampler_and_scheduler(sampler: str | None, scheduler: str | None) -> tuple[str, str]:
    """Return the registries' names for names, labels ("Euler a") and old fused labels ("DPM++ 2M Karras").

    None is dpmpp_2m, and the sampler's own schedule.  Raises ``BadValue`` that offers the nearest names.
    """
    name = sampler_name(sampler or "dpmpp_2m")
    if name not in SAMPLERS and scheduler is None and (both := split_fused(name)):
        return both
    spec = SAMPLERS[name]
    return spec.name, SCHEDULERS[scheduler_name(scheduler or spec.scheduler)].name
