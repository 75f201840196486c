"""One pass of a record over ComfyUI's models: noise, prompts, sampler, mask and refiner put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import BadValue
from ..core.image.generation import Generation
from ..core.image.masked_content import masked_latent
from ..core.image.parts import Inpaint, Networks, Refiner
from ..core.image.refiner_plan import RefinerPlan
from ..core.masked_run import Kept, MaskedDenoiser, finished, held_noise, is_hard, latent_mask
from ..core.profiles import Pass
from ..core.refined_run import RefinedDenoiser, plan_of, record_of_refiner, scores_of
from ..core.run import Sampling, sampling_of
from ..core.sampling import Noise
from ..core.sampling.spec import PairDenoiser
from .guider import Body, HostDenoiser, Opened, Side, guider
from .reading import Texts, read_texts
from .rig import STRIDE, Rig, timed

model_management: Any = import_module("comfy.model_management")


@dataclass(frozen=True, kw_only=True, eq=False)
class Second:
    """A refiner: its models, and when it takes over."""

    rig: Rig
    settings: Refiner


@dataclass(frozen=True, kw_only=True, eq=False)
class Leg:
    """What a pass is run with.

    ``texts``: of all pictures, or of each.  ``noise``: (B, C, h, w), unit variance; ``steps``: its successors.
    ``latent``: what image to image begins with, as ComfyUI's wires carry it.  ``mask``: (B or 1, 1, h, w), 1 where
    it is painted; ``held``: noise of the kept part.
    """

    record: Generation
    sampling: Sampling
    texts: Sequence[Texts]
    noise: Tensor
    steps: Noise
    latent: Tensor | None = None
    mask: Tensor | None = None
    held: Callable[[], Tensor] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Latents (B, C, h, w) as ComfyUI's wires carry them, and what there is to say of the prompts."""

    latent: Tensor
    networks: Networks = field(default_factory=Networks)
    warnings: list[str] = field(default_factory=list)


def draw(
    rig: Rig,
    record: Generation,
    kind: Pass,
    *,
    batch: int = 1,
    latent: Tensor | None = None,
    mask: Tensor | None = None,
    second: Second | None = None,
) -> Drawn:
    """Return the latents of a pass of a record that is filled in and has a size.

    ``latent``, (B, C, h, w): what it begins with; ``mask``, (B or 1, H, W) in 0 … 1: the part that is painted.
    Raises ``BadValue`` for what cannot be run.
    """
    assert record.size
    sampling = sampling_of(record, rig.sigmas, kind=kind, batch=batch, family=rig.family)
    texts = read_texts(rig.clip, record, sampling, is_sdxl=rig.is_sdxl)
    like = rig.empty(record.size, 1) if latent is None else latent
    noise, steps = sampling.noise((like.shape[1], like.shape[2], like.shape[3]))
    leg = Leg(record=record, sampling=sampling, texts=[texts], noise=noise, steps=steps, latent=latent)
    if mask is not None and latent is not None:
        small = small_mask(mask, sampling, record, (latent.shape[3], latent.shape[2]))
        leg = replace(leg, mask=small, held=held_noise(record, sampling, noise))
    return Drawn(latent=run(rig, leg, second), networks=texts.networks, warnings=texts.warnings)


def small_mask(mask: Tensor, sampling: Sampling, record: Generation, size: tuple[int, int]) -> Tensor:
    """Return masks (B, H, W) in 0 … 1 at ``size`` (columns, rows) of the latent, (B, 1, h, w)."""
    hard = is_hard(record.inpaint or Inpaint())
    by_web_ui = sampling.host.pasting != "none"
    levels = (
        (mask.reshape(-1, *mask.shape[-2:]).cpu().float().clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    )
    return torch.cat([latent_mask(one, size, by_web_ui=by_web_ui, hard=hard) for one in levels])


def run(rig: Rig, leg: Leg, second: Second | None = None) -> Tensor:
    """Run a pass and return its latents as ComfyUI's wires carry them; raises ``BadValue``."""
    if len(leg.sampling.sigmas) < 2:
        return torch.zeros_like(leg.noise) if leg.latent is None else leg.latent
    record = leg.record if second is None else replace(leg.record, refiner=second.settings)
    plan = None if second is None else plan_of(record, leg.sampling)
    if second is None or plan is None:
        return _opened(rig, leg, _plain(leg))
    return _refined(rig, replace(leg, record=record), second, plan)


def _plain(leg: Leg) -> Body:
    """Return the run of one model."""

    def body(denoiser: HostDenoiser, latent: Tensor, callback: Any) -> Tensor:
        start, masked, finish = _begun(leg, latent)
        return finish(leg.sampling.run(masked(denoiser), start, leg.steps, on_step=_told(leg, callback)))

    return body


def _refined(rig: Rig, leg: Leg, second: Second, plan: RefinerPlan) -> Tensor:
    """Run a pass in which the second model takes over: its run is open round that of the first."""
    if rig.channels != second.rig.channels or rig.sigmas.kind != second.rig.sigmas.kind:
        raise BadValue("the refiner has latents of another kind than the model; wire one of the same family")
    sampling = leg.sampling
    asked = record_of_refiner(leg.record, sampling)
    texts = read_texts(second.rig.clip, asked, sampling, is_sdxl=second.rig.is_sdxl)
    out: list[Tensor] = []

    def outer(other: HostDenoiser, _: Tensor, __: Any) -> Tensor:
        def taken_over() -> HostDenoiser:
            model_management.load_models_gpu([other.patcher])
            return other

        def inner(denoiser: HostDenoiser, latent: Tensor, callback: Any) -> Tensor:
            start, masked, finish = _begun(leg, latent)
            told = _told(leg, callback)
            if plan.step is None:
                whole = RefinedDenoiser(denoiser, taken_over, plan)
                return finish(sampling.run(masked(whole), start, leg.steps, on_step=told))
            before, after = plan.split(sampling.sigmas)
            shape = (start.shape[1], start.shape[2], start.shape[3])
            noises = [sampling.noise_of_part(one, leg.steps, shape) for one in (before, after)]
            x = sampling.run(masked(denoiser), start, noises[0], sigmas=before, on_step=told)
            if len(before) > 1 and sampling.host.runs_timesteps(sampling.sampler):
                x = x * (1 + float(before[-1]) ** 2) ** 0.5
            taken_over().calls = denoiser.calls
            later = _told(leg, callback, len(before) - 1)
            return finish(sampling.run(masked(other), x, noises[1], sigmas=after, on_step=later))

        out.append(_opened(rig, leg, inner))
        return torch.zeros_like(leg.noise)

    _opened(second.rig, replace(leg, texts=[texts]), outer, scores_of(leg.record))
    return out[0]


def _begun(
    leg: Leg, latent: Tensor
) -> tuple[Tensor, Callable[[PairDenoiser], PairDenoiser], Callable[[Tensor], Tensor]]:
    """Return the noisy start, what masks a denoiser, and what is done at the end.

    ``latent``: the clean one as the model has it.
    """
    record, sampling = leg.record, leg.sampling
    noise = leg.noise.to(latent.device)
    clean = None if leg.latent is None else latent.to(noise.dtype)
    kept: Kept | None = None
    if leg.mask is not None and clean is not None:
        own = record.inpaint or Inpaint()
        mask = leg.mask.to(noise)
        clean = masked_latent(clean, mask, "original", noise)
        held = leg.held
        kept = Kept(
            latent=clean,
            mask=mask,
            noise=None if held is None else lambda: held().to(noise),
            settings=own,
        )
    if sampling.kind == "image" and record.noise_multiplier is not None:
        noise = noise * record.noise_multiplier
    start = sampling.start(noise, clean, record.extra_noise or 0.0)

    def masked(inner: PairDenoiser) -> PairDenoiser:
        return inner if kept is None else MaskedDenoiser(inner, kept, sampling)

    def finish(out: Tensor) -> Tensor:
        return out if kept is None else finished(out, kept, sampling)

    return start, masked, finish


def _told(leg: Leg, callback: Any, more: int = 0) -> Any:
    """Return what tells ComfyUI of each step: its progress, its preview, and whether to stop."""
    steps = len(leg.sampling.sigmas) - 1

    def on_step(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
        del sigma
        model_management.throw_exception_if_processing_interrupted()
        if callback is not None:
            callback(min(i + more, steps - 1), denoised, x, steps)

    return on_step


def _opened(rig: Rig, leg: Leg, body: Body, scores: tuple[float, float] | None = None) -> Tensor:
    """Run ``body`` with the model loaded and the prompts prepared; return its latents, unscaled, on the CPU."""
    sampling, first = leg.sampling, leg.texts[0]
    sides = [
        Side(conds=conds, told=_told_besides(leg, scores, i), hooks=first.hooks, state=first.state)
        for i, conds in enumerate(([one.cond for one in leg.texts], [one.uncond for one in leg.texts]))
    ]
    model = timed(first.laid_on(rig.model), sampling)
    made = guider(model, sides[0], sides[1], sampling.guidance, first.lasts)
    latent = torch.zeros_like(leg.noise) if leg.latent is None else leg.latent.to(leg.noise)
    callback = import_module("latent_preview").prepare_callback(model, max(len(sampling.sigmas) - 1, 1))
    mask = None if leg.mask is None else leg.mask.expand(len(leg.noise), -1, -1, -1)
    with torch.inference_mode():
        out = made.sample(
            leg.noise,
            latent,
            Opened(body),
            sampling.sigmas,
            denoise_mask=mask,
            callback=callback,
            disable_pbar=True,
            seed=sampling.seeds.seed,
        )
    return out.to(model_management.intermediate_device())


def _told_besides(leg: Leg, scores: tuple[float, float] | None, side: int) -> dict[str, Any]:
    """Return what SDXL is told beside the text, by ComfyUI's names; ComfyUI itself tells no size."""
    height, width = (cells * STRIDE for cells in leg.noise.shape[2:])
    told: dict[str, Any] = {}
    if leg.sampling.host.name != "comfyui":
        told = {"width": width, "height": height, "target_width": width, "target_height": height}
    return told if scores is None else {**told, "aesthetic_score": scores[side]}
