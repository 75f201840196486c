"""One generation under way: its passes, one after another, and what each of them leaves for the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.image.generation import Generation
from ...core.image.parts import Networks
from ...core.passes import noisy_start, texts_of_pass
from ...core.profiles import Pass
from ...core.run import Sampling
from ...core.sampling import Noise
from .canvas import Canvas
from .codec import Floats, decode
from .masking import Kept, MaskedDenoiser, finished, kept_of, plain_of
from .refiner import RefinedDenoiser, plan_of, record_of_refiner, scores_of

if TYPE_CHECKING:
    from ...core.image.refiner_plan import RefinerPlan
    from ...core.sampling.spec import PairDenoiser
    from ..denoise import GuidedDenoiser
    from ..pipeline import Pipeline, Watch
    from ..texts import Texts

OnStage = Callable[[str, Sequence[NDArray[np.uint8]]], None]
"""Told of the pictures before and after each stage: "input", "first pass", "upscaled", "result" …"""


@dataclass(kw_only=True, eq=False)
class Drawing:
    """The pictures of one complete ``record`` while they are being made.

    ``pipeline``: of the pass that runs; ``decoder``: the one whose VAE reads the latents.
    """

    pipeline: Pipeline
    record: Generation
    batch: int = 1
    watch: Watch | None = None
    on_stage: OnStage | None = None
    done: int = 0
    networks: Networks = field(default_factory=Networks)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with the pipeline's own VAE."""
        self.decoder = self.pipeline

    def draw(self, kind: Pass, latent: Tensor | None = None, canvas: Canvas | None = None) -> Tensor:
        """Return the latents (B, C, h, w) of a pass; ``latent`` and ``canvas``: what it begins with.

        ``latent`` is clean, (B, C, h, w).  Raises ``BadValue`` for what cannot be run.
        """
        record = texts_of_pass(self.record, kind)
        sampling = self.pipeline.sampling(record, kind=kind, batch=self.batch)
        plan = plan_of(record, sampling)
        refiner = self.pipeline.refiner(record) if plan else None
        texts = self._read(self.pipeline, record, sampling)
        shape = self.pipeline.latent_shape(record)
        if latent is not None:
            shape = (latent.shape[1], latent.shape[2], latent.shape[3])
        first, noise = sampling.noise(shape)
        first, kept = first.to(self.pipeline.model.device), None
        if latent is not None and canvas is not None and canvas.mask is not None:
            kept = self._kept(sampling, canvas.mask, latent, first)
            latent = kept.latent
        start = noisy_start(record, sampling, first, latent)
        leg = _Leg(record=record, sampling=sampling, texts=texts, start=start, noise=noise, kept=kept)
        with torch.inference_mode():
            out = self._run(leg) if plan is None or refiner is None else self._refined(leg, plan, refiner)
        self.done += max(len(sampling.sigmas) - 1, 0)
        return out if kept is None else finished(out, kept, sampling)

    def decoded(self, latents: Tensor) -> list[Floats]:
        """Return the pictures (H, W, 3), float 0 … 1, of latents."""
        return list(decode(self.decoder.model, latents))

    def tell(self, stage: str, images: Sequence[NDArray[np.uint8]]) -> None:
        """Tell who watches the stages."""
        if self.on_stage:
            self.on_stage(stage, images)

    def _run(self, leg: _Leg) -> Tensor:
        """Run the sampler with the model."""
        base = self.pipeline.denoiser(leg.sampling, leg.texts, leg.start)
        return self.pipeline.sample(leg.sampling, leg.masked(base), leg.start, leg.noise, watch=self._watch())

    def _refined(self, leg: _Leg, plan: RefinerPlan, other: Pipeline) -> Tensor:
        """Run the sampler with the model, and from where ``plan`` says with the ``other`` one."""
        sampling, pipeline = leg.sampling, self.pipeline
        base = pipeline.denoiser(sampling, leg.texts, leg.start)

        def refiner() -> GuidedDenoiser:
            read = self._read(other, record_of_refiner(leg.record, sampling), sampling)
            return other.denoiser(sampling, read, leg.start, scores=scores_of(leg.record))

        if sampling.host.by_web_ui:
            self.decoder = other
        if plan.step is None:
            whole = leg.masked(RefinedDenoiser(base, refiner, plan))
            return pipeline.sample(sampling, whole, leg.start, leg.noise, watch=self._watch())
        before, after = plan.split(sampling.sigmas)
        noises = leg.noises_of((before, after))
        latent = pipeline.sample(
            sampling, leg.masked(base), leg.start, noises[0], sigmas=before, watch=self._watch()
        )
        if len(before) > 1 and sampling.host.runs_timesteps(sampling.sampler):
            latent = latent * (1 + float(before[-1]) ** 2) ** 0.5
        second = refiner()
        second.calls = base.calls
        watch = self._watch(len(before) - 1)
        return other.sample(sampling, leg.masked(second), latent, noises[1], sigmas=after, watch=watch)

    def _read(self, pipeline: Pipeline, record: Generation, sampling: Sampling) -> Texts:
        texts = pipeline.read(record, sampling)
        used = pipeline.networks(texts)
        self.networks = Networks(
            loras=tuple(dict.fromkeys((*self.networks.loras, *used.loras))),
            embeddings=tuple(dict.fromkeys((*self.networks.embeddings, *used.embeddings))),
        )
        self.warnings.extend(line for line in pipeline.warnings if line not in self.warnings)
        return texts

    def _watch(self, more: int = 0) -> Watch | None:
        """Return who watches the steps, told of those of earlier passes too."""
        watch, before = self.watch, self.done + more
        if watch is None:
            return None
        told: Watch = watch
        return lambda done, denoised: told(before + done, denoised)

    def _kept(self, sampling: Sampling, painted: NDArray[np.uint8], latent: Tensor, first: Tensor) -> Kept:
        """Return what a run over ``latent`` keeps; under the mask it begins with what the record says."""
        return kept_of(self.record, sampling, painted, latent, (first, self._plain_noise(sampling, first)))

    def _plain_noise(self, sampling: Sampling, first: Tensor) -> Tensor:
        """Return the start noise that the web UIs paint with: without variation and seed resize."""
        plain = plain_of(self.record, sampling.host)
        if plain is None:
            return first
        shape = (first.shape[1], first.shape[2], first.shape[3])
        return self.pipeline.sampling(plain, kind="image", batch=self.batch).noise(shape)[0].to(first)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Leg:
    """What a pass is run with; ``start``: (B, C, h, w)."""

    record: Generation
    sampling: Sampling
    texts: Texts
    start: Tensor
    noise: Noise
    kept: Kept | None

    def noises_of(self, parts: Sequence[Tensor]) -> list[Noise]:
        """Return the step noise of parts of the pass that samplers of their own run, ``parts`` of its sigmas."""
        shape = (self.start.shape[1], self.start.shape[2], self.start.shape[3])
        return [self.sampling.noise_of_part(sigmas, self.noise, shape) for sigmas in parts]

    def masked(self, inner: PairDenoiser) -> PairDenoiser:
        """Return ``inner``, painting inside the mask alone where there is one."""
        return inner if self.kept is None else MaskedDenoiser(inner, self.kept, self.sampling)
