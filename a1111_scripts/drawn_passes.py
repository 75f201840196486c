"""The passes of a record over the host's model: noise, prompts, sampler and decoding put together."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from ..core.canvas import Canvas, Floats, canvas_of
from ..core.filled import profile_of
from ..core.guided_run import SCORES, GuidedDenoiser
from ..core.image.generation import Generation
from ..core.image.hires import cut_latent
from ..core.image.parts import Networks
from ..core.image.refiner_plan import RefinerPlan
from ..core.image.upscale import LATENT_UPSCALERS, upscale_image, upscale_latent
from ..core.masked_run import Kept, MaskedDenoiser, finished, kept_of, plain_of
from ..core.passes import DEFAULT_UPSCALER, noisy_start, size_of_hires, texts_of_pass
from ..core.profiles import Pass
from ..core.refined_run import RefinedDenoiser, plan_of, record_of_refiner, scores_of
from ..core.run import Sampling, sampling_of
from ..core.sampling import Noise
from .drawn_codec import Pixels, decode, decoded, encode, upscaler_here
from .drawn_models import Checkpoints, checkpoint_called
from .drawn_network import LATENT, HostNetwork, sigmas_of
from .drawn_texts import Reader, Texts, encoder_count, is_sdxl
from .host import sd_samplers_common, shared

STRIDE = 8
"""Pixels of one latent cell."""
Size = tuple[int, int]
"""Rows and columns of a latent."""


class Stopped(Exception):
    """The host was interrupted.  ``latent`` (B, C, h, w): the clean one seen last."""

    def __init__(self, latent: Tensor) -> None:
        """Keep the latent."""
        super().__init__()
        self.latent = latent


class Drawing:
    """The pictures of one complete ``record`` while they are being made.

    ``warnings``: what is to be said of the prompts.  ``named``: the LoRAs and embeddings that were used.
    ``stopped``: the host was interrupted.
    """

    def __init__(self, p: Any, checkpoints: Checkpoints, record: Generation, batch: int) -> None:
        """Take the host's request and its model.

        Raises ``BadType`` for a model that is none of Stable Diffusion, ``BadValue`` for a refiner that is not here.
        """
        self.reader = Reader(p)
        self.warnings: list[str] = []
        self.named = Networks()
        self.stopped = False
        self._checkpoints, self._record, self._batch = checkpoints, record, batch
        self._sigmas = sigmas_of(shared.sd_model)
        self._take_model()
        self._sampling("text")  # what cannot be sampled is refused before anything runs
        if record.refiner is not None and record.refiner.model is not None:
            checkpoint_called(record.refiner.model)

    def text(self) -> list[Pixels]:
        """Return the pictures of text to image, and of the hires pass where there is one."""
        record, hires = self._record, self._record.hires
        if hires is not None and (hires.upscaler or DEFAULT_UPSCALER) not in LATENT_UPSCALERS:
            upscaler_here(hires.upscaler or DEFAULT_UPSCALER)
        shared.state.job_count = max(shared.state.job_count, 1 if hires is None else 2)
        assert record.size
        width, height = record.size
        latents = self._pass("text", (height // STRIDE, width // STRIDE))
        if hires is not None and not self.stopped:
            shared.state.nextjob()
            larger = self._enlarged(latents)
            latents = self._pass("hires", (larger.shape[2], larger.shape[3]), larger)
        return decode(shared.sd_model, latents)

    def image(self, image: Pixels, mask: Pixels | None = None) -> list[Pixels]:
        """Return the pictures of image to image from ``image`` (H, W, 3), painted inside ``mask`` (H, W)."""
        record = self._record
        canvas = canvas_of(record, profile_of(record), image, mask)
        return [canvas.finished(one) for one in decoded(shared.sd_model, self._on(canvas))]

    def crop(self, image: Pixels, mask: Pixels) -> Floats:
        """Return what is drawn for one crop of the detailer, of the size of the run, not laid on anything."""
        [drawn] = decoded(shared.sd_model, self._on(Canvas(image=image, mask=mask)))
        return drawn

    def _on(self, canvas: Canvas) -> Tensor:
        """Return the latents of an image-to-image pass over what ``canvas`` shows."""
        record = self._record
        assert record.size
        width, height = record.size
        host, size = profile_of(record), (height // STRIDE, width // STRIDE)
        seeds = list(self._sampling("image").seeds.each())[: self._batch]
        count = len(seeds) if host.posterior == "sample" else 1
        latent = encode(shared.sd_model, [canvas.image] * count, host.posterior, seeds[:count])
        if tuple(latent.shape[2:]) != size:
            latent = interpolate(latent, size=size, mode="bilinear")
        latent = latent.expand(self._batch, -1, -1, -1).contiguous()
        return self._pass("image", size, latent, canvas.mask)

    def _take_model(self) -> None:
        """Draw with the model that the host has loaded."""
        self._model = shared.sd_model
        self._network = HostNetwork(self._model, encoder_count(self._model))

    def _sampling(self, kind: Pass, record: Generation | None = None) -> Sampling:
        family = "sdxl" if is_sdxl(self._model) else "sd1"
        record = texts_of_pass(record or self._record, kind)
        return sampling_of(record, self._sigmas, kind=kind, batch=self._batch, family=family)

    def _enlarged(self, latents: Tensor) -> Tensor:
        """Return the clean latents that the hires pass begins with."""
        record, size = self._record, size_of_hires(self._record)
        assert record.hires
        name = record.hires.upscaler or DEFAULT_UPSCALER
        if name in LATENT_UPSCALERS:
            larger = upscale_latent(latents, size.latent, name)
        else:
            upscaler = upscaler_here(name)
            pictures = [upscale_image(one, size.to, upscaler) for one in decode(shared.sd_model, latents)]
            every = list(self._sampling("hires").seeds.each())
            seeds = [every[i % len(every)] for i in range(len(pictures))]
            larger = encode(shared.sd_model, pictures, profile_of(record).posterior, seeds)
        return cut_latent(larger, size.cut).contiguous()

    def _pass(
        self, kind: Pass, size: Size, latent: Tensor | None = None, painted: Pixels | None = None
    ) -> Tensor:
        """Return the clean latents (B, C, h, w) of a pass of ``size``.

        ``latent``: what it begins with, clean.  ``painted``, uint8 (H, W): where alone it paints.
        """
        self._give_back()
        record, sampling = texts_of_pass(self._record, kind), self._sampling(kind)
        noise, steps = sampling.noise((LATENT, *size))
        noise, kept = noise.to(self._network.device), None
        if latent is not None:
            latent = latent.to(noise)
            if painted is not None:
                kept = kept_of(record, sampling, painted, latent, (noise, self._plain(sampling, noise)))
                latent = kept.latent
        start = noisy_start(record, sampling, noise, latent)
        run = _Run(self, record, sampling, start, kept)
        shared.state.sampling_steps, shared.state.sampling_step = len(sampling.sigmas) - 1, 0
        try:
            out = run.drawn(steps)
        except Stopped as stopped:
            self.stopped = True
            return stopped.latent
        finally:
            run.end()
        if not sampling.host.by_web_ui:
            self._give_back()
        return out if kept is None else finished(out, kept, sampling)

    def _plain(self, sampling: Sampling, first: Tensor) -> Tensor:
        """Return the start noise that the host paints with under a mask."""
        plain = plain_of(self._record, sampling.host)
        if plain is None:
            return first
        shape = (first.shape[1], first.shape[2], first.shape[3])
        return self._sampling("image", plain).noise(shape)[0].to(first)

    def denoiser(
        self, record: Generation, sampling: Sampling, start: Tensor, scores: tuple[float, float] = SCORES
    ) -> tuple[GuidedDenoiser, Texts]:
        """Return the loaded model with the prompts of a pass, ready to run on ``start`` (B, C, h, w), and those."""
        texts = self.reader.read(record, sampling)
        self.warnings += [line for line in texts.warnings if line not in self.warnings]
        self.named = Networks(
            loras=tuple(dict.fromkeys((*self.named.loras, *texts.named.loras))),
            embeddings=tuple(dict.fromkeys((*self.named.embeddings, *texts.named.embeddings))),
        )
        self._network.prepare(start)
        made = GuidedDenoiser(
            self._network,
            [texts.cond],
            [texts.uncond],
            sampling,
            (start.shape[3] * STRIDE, start.shape[2] * STRIDE),
            before_call=texts.switch if texts.loras.needed else None,
            scores=scores,
            empty=texts.empty,
        )
        return made, texts

    def use_refiner(self, name: str) -> None:
        """Let the host load the refiner ``name``, and draw with it."""
        self._checkpoints.use(name)
        self._take_model()

    def _give_back(self) -> None:
        """Draw with the model of the beginning again."""
        if self._checkpoints.is_away:
            self._checkpoints.give_back()
            self._take_model()


class _Run:
    """One pass under way, which a refiner may take over."""

    def __init__(
        self, drawing: Drawing, record: Generation, sampling: Sampling, start: Tensor, kept: Kept | None
    ) -> None:
        """Keep what the pass is run with; ``start`` is (B, C, h, w)."""
        self._drawing, self._record, self._sampling = drawing, record, sampling
        self._start, self._kept = start, kept
        self._texts: list[Texts] = []

    def drawn(self, noise: Noise) -> Tensor:
        """Return the clean latents; raises ``Stopped``."""
        plan = plan_of(self._record, self._sampling)
        if plan is None:
            return self._sampled(self._denoiser(), self._start, noise)
        if plan.step is None:
            return self._sampled(RefinedDenoiser(self._denoiser(), self._refiner, plan), self._start, noise)
        return self._in_two(plan, noise)

    def end(self) -> None:
        """Take the LoRAs of edits off the models."""
        for one in self._texts:
            one.loras.end()

    def _in_two(self, plan: RefinerPlan, noise: Noise) -> Tensor:
        """Return what two samplers make, one for each model, as in ComfyUI."""
        sampling, start = self._sampling, self._start
        before, after = plan.split(sampling.sigmas)
        shape = (start.shape[1], start.shape[2], start.shape[3])
        base = self._denoiser()
        first, second = (sampling.noise_of_part(part, noise, shape) for part in (before, after))
        latent = self._sampled(base, start, first, before)
        if len(before) > 1 and sampling.host.runs_timesteps(sampling.sampler):
            latent = latent * (1 + float(before[-1]) ** 2) ** 0.5
        refiner = self._refiner()
        refiner.calls = base.calls
        return self._sampled(refiner, latent, second, after)

    def _denoiser(
        self, record: Generation | None = None, scores: tuple[float, float] = SCORES
    ) -> GuidedDenoiser:
        """Return the denoiser of the loaded model; ``record``: what it is told, if not the pass's own."""
        made, texts = self._drawing.denoiser(record or self._record, self._sampling, self._start, scores)
        self._texts.append(texts)
        return made

    def _refiner(self) -> GuidedDenoiser:
        assert self._record.refiner is not None
        assert self._record.refiner.model is not None
        self.end()
        self._texts.clear()
        self._drawing.use_refiner(self._record.refiner.model)
        return self._denoiser(record_of_refiner(self._record, self._sampling), scores_of(self._record))

    def _sampled(self, inner: Any, start: Tensor, noise: Noise, sigmas: Tensor | None = None) -> Tensor:
        sampling = self._sampling
        denoise = inner if self._kept is None else MaskedDenoiser(inner, self._kept, sampling)
        return sampling.run(denoise, start, noise, sigmas=sigmas, on_step=_told)


def _told(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
    """Tell the host of a step: its progress and preview; raises ``Stopped`` when it is interrupted."""
    del sigma, x
    state = shared.state
    state.sampling_step = i + 1
    sd_samplers_common.store_latent(denoised)
    if state.interrupted or state.skipped or getattr(state, "stopping_generation", False):
        raise Stopped(denoised)
