"""The passes of a record over the host's model: noise, prompts, sampler and decoding put together."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from ..core.filled import profile_of
from ..core.guided_run import GuidedDenoiser
from ..core.image.framing import framed
from ..core.image.generation import Generation
from ..core.image.hires import cut_latent
from ..core.image.keys import RESIZE_MODES
from ..core.image.parts import ConcordSettings, Networks
from ..core.image.upscale import LATENT_UPSCALERS, upscale_image, upscale_latent
from ..core.passes import DEFAULT_UPSCALER, noisy_start, size_of_hires, texts_of_pass
from ..core.profiles import Pass
from ..core.run import Sampling, sampling_of
from .drawn_codec import Pixels, decode, encode, upscaler_here
from .drawn_network import LATENT, HostNetwork, sigmas_of
from .drawn_texts import Reader, encoder_count, is_sdxl
from .host import sd_samplers_common, shared

STRIDE = 8
"""Pixels of one latent cell."""


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

    def __init__(self, p: Any, model: Any, record: Generation, batch: int) -> None:
        """Take the host's request and model; raises ``BadType`` for a model that is none of Stable Diffusion."""
        self.reader = Reader(p)
        self.warnings: list[str] = []
        self.named = Networks()
        self.stopped = False
        self._model, self._record, self._batch = model, record, batch
        self._sigmas = sigmas_of(model)
        self._network = HostNetwork(model, encoder_count(model))
        self._sampling("text")  # what cannot be sampled is refused before anything runs

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
        return decode(self._model, latents)

    def image(self, image: Pixels) -> list[Pixels]:
        """Return the pictures of image to image from ``image`` (H, W, 3)."""
        record = self._record
        assert record.size
        width, height = record.size
        host, size = profile_of(record), (height // STRIDE, width // STRIDE)
        mode = (record.concord or ConcordSettings()).resize_mode or RESIZE_MODES[0]
        if mode != RESIZE_MODES[3]:
            image = framed(image, record.size, mode)
        seeds = list(self._sampling("image").seeds.each())[: self._batch]
        count = len(seeds) if host.posterior == "sample" else 1
        latent = encode(self._model, [image] * count, host.posterior, seeds[:count])
        if tuple(latent.shape[2:]) != size:
            latent = interpolate(latent, size=size, mode="bilinear")
        return decode(
            self._model, self._pass("image", size, latent.expand(self._batch, -1, -1, -1).contiguous())
        )

    def _sampling(self, kind: Pass) -> Sampling:
        family = "sdxl" if is_sdxl(self._model) else "sd1"
        record = texts_of_pass(self._record, kind)
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
            pictures = [upscale_image(one, size.to, upscaler) for one in decode(self._model, latents)]
            every = list(self._sampling("hires").seeds.each())
            seeds = [every[i % len(every)] for i in range(len(pictures))]
            larger = encode(self._model, pictures, profile_of(record).posterior, seeds)
        return cut_latent(larger, size.cut).contiguous()

    def _pass(self, kind: Pass, size: tuple[int, int], latent: Tensor | None = None) -> Tensor:
        """Return the clean latents (B, C, h, w) of a pass; ``size``: (h, w); ``latent``: what it begins with."""
        record, sampling = texts_of_pass(self._record, kind), self._sampling(kind)
        texts = self.reader.read(record, sampling)
        self.warnings += [line for line in texts.warnings if line not in self.warnings]
        self.named = Networks(
            loras=tuple(dict.fromkeys((*self.named.loras, *texts.named.loras))),
            embeddings=tuple(dict.fromkeys((*self.named.embeddings, *texts.named.embeddings))),
        )
        noise, steps = sampling.noise((LATENT, *size))
        noise = noise.to(self._network.device)
        start = noisy_start(record, sampling, noise, latent if latent is None else latent.to(noise))
        self._network.prepare(start)
        denoise = GuidedDenoiser(
            self._network,
            [texts.cond],
            [texts.uncond],
            sampling,
            (size[1] * STRIDE, size[0] * STRIDE),
            before_call=texts.switch if texts.loras.needed else None,
            empty=texts.empty,
        )
        shared.state.sampling_steps, shared.state.sampling_step = len(sampling.sigmas) - 1, 0
        try:
            return sampling.run(denoise, start, steps, on_step=_told)
        except Stopped as stopped:
            self.stopped = True
            return stopped.latent
        finally:
            texts.loras.end()


def _told(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
    """Tell the host of a step: its progress and preview; raises ``Stopped`` when it is interrupted."""
    del sigma, x
    state = shared.state
    state.sampling_step = i + 1
    sd_samplers_common.store_latent(denoised)
    if state.interrupted or state.skipped or getattr(state, "stopping_generation", False):
        raise Stopped(denoised)
