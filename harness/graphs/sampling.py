"""Nodes of a graph: the samplers themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...core.errors import BadValue
from ...core.image.graph import Node
from ...core.profile_noise import asked_in_float32
from ...core.profiles import BROWNIAN, PROFILES, start_of
from ...core.sampling import SAMPLERS, Noise, batch_brownian_tree, batch_noise, sample
from ...core.sampling.spec import SamplerSpec
from ...core.sigmas.plan import run_sigmas
from .denoising import GraphDenoiser, HeldDenoiser
from .models import lay_on
from .playing import Play, node
from .schedules import sampler_called
from .values import GuiderWire, LatentWire, ModelWire, NoiseWire, SamplerWire

HOST = PROFILES["comfyui"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One run of a sampler; ``sigmas``: fewer than two and nothing is done."""

    guider: GuiderWire
    sampler: SamplerWire
    sigmas: Tensor
    noise: NoiseWire
    latent: LatentWire


@torch.inference_mode()
def sampled(run: Run) -> Tensor:
    """Return the clean latents (B, C, h, w) at the end of a run."""
    latent, model = run.latent.samples, run.guider.model
    if len(run.sigmas) < 2:
        return latent
    pipeline = model.pipeline
    lay_on(pipeline, model.loras)
    latent = latent.to(pipeline.model.device)
    spec = SAMPLERS[run.sampler.name]
    noise = _start_noise(run).to(latent)
    size = (latent.shape[2], latent.shape[3])
    inner = GraphDenoiser(run.guider, size)
    denoiser = inner if run.latent.mask is None else _held(run, inner, latent, noise)
    first = float(run.sigmas[0])
    start = start_of(HOST, spec, noise, first, model.sigmas, latent=latent)
    return sample(
        spec.name,
        denoiser,
        start,
        run.sigmas,
        model=model.sigmas,
        noise=_step_noise(run, spec),
        **run.sampler.options,
    )


def _start_noise(run: Run) -> Tensor:
    shape = tuple(run.latent.samples.shape)
    if not run.noise.is_added:
        return torch.zeros(shape)
    return batch_noise(shape, run.noise.seed, indices=run.latent.indices).first()


def _step_noise(run: Run, spec: SamplerSpec) -> Noise:
    shape = tuple(run.latent.samples.shape)
    if spec.name in BROWNIAN and len({float(sigma) for sigma in run.sigmas if sigma > 0}) > 1:
        tree = batch_brownian_tree(run.sigmas, run.noise.seed, shape)
        tree = asked_in_float32(spec.name, tree, run.sigmas)

        def drawn(sigma: float, sigma_next: float) -> Tensor:
            return tree(sigma, sigma_next)

        return drawn
    return batch_noise(shape, run.noise.seed)


def _held(run: Run, inner: GraphDenoiser, latent: Tensor, noise: Tensor) -> HeldDenoiser:
    """Return a denoiser that paints in the mask of the latent; ddim holds the rest with the next seed's noise."""
    assert run.latent.mask is not None
    mask = interpolate(run.latent.mask[:, None].float(), size=tuple(latent.shape[2:]), mode="bilinear")
    if run.sampler.name == "ddim":
        noise = batch_noise(tuple(latent.shape), run.noise.seed + 1).first().to(latent)
    return HeldDenoiser(inner=inner, mask=mask.to(latent), latent=latent, noise=noise)


def _guided(play: Play, at: Node, model: ModelWire) -> GuiderWire:
    return GuiderWire(
        model=model,
        positive=play.wire(at, "positive"),
        negative=play.wire(at, "negative"),
        scale=play.number(at, "cfg"),
    )


def _laid_out(play: Play, at: Node, model: ModelWire, sampler: str, denoise: float) -> Tensor:
    return run_sigmas(
        play.text(at, "scheduler"),
        play.whole(at, "steps"),
        model.sigmas,
        denoise=denoise,
        rule="ksampler",
        discard_penultimate=HOST.discards in SAMPLERS[sampler].discards_penultimate,
        convention="comfyui",
    )


@node("KSampler")
def ksampler(play: Play, at: Node) -> tuple[LatentWire]:
    """Sample a latent, all of a schedule or its end."""
    model: ModelWire = play.wire(at, "model")
    name = sampler_called(play.text(at, "sampler_name"))
    run = Run(
        guider=_guided(play, at, model),
        sampler=SamplerWire(name=name),
        sigmas=_laid_out(play, at, model, name, play.number(at, "denoise", 1.0)),
        noise=NoiseWire(seed=play.whole(at, "seed")),
        latent=play.wire(at, "latent_image"),
    )
    return (replace(run.latent, samples=sampled(run)),)


@node("KSamplerAdvanced")
def ksampler_advanced(play: Play, at: Node) -> tuple[LatentWire]:
    """Sample a part of a schedule; without leftover noise the part ends in 0."""
    model: ModelWire = play.wire(at, "model")
    name = sampler_called(play.text(at, "sampler_name"))
    sigmas = _laid_out(play, at, model, name, 1.0)
    end, start = play.whole(at, "end_at_step", 10000), play.whole(at, "start_at_step", 0)
    if end < len(sigmas) - 1:
        sigmas = sigmas[: end + 1].clone()
        if not play.flag(at, "return_with_leftover_noise"):
            sigmas[-1] = 0.0
    run = Run(
        guider=_guided(play, at, model),
        sampler=SamplerWire(name=name),
        sigmas=sigmas[start:],
        noise=NoiseWire(seed=play.whole(at, "noise_seed"), is_added=play.flag(at, "add_noise", True)),
        latent=play.wire(at, "latent_image"),
    )
    return (replace(run.latent, samples=sampled(run)),)


@node("SamplerCustom")
def sampler_custom(play: Play, at: Node) -> tuple[LatentWire, LatentWire]:
    """Sample a latent over sigmas that come in by a wire."""
    run = Run(
        guider=_guided(play, at, play.wire(at, "model")),
        sampler=play.wire(at, "sampler"),
        sigmas=play.wire(at, "sigmas"),
        noise=NoiseWire(seed=play.whole(at, "noise_seed"), is_added=play.flag(at, "add_noise", True)),
        latent=play.wire(at, "latent_image"),
    )
    out = replace(run.latent, samples=sampled(run))
    return out, out


@node("SamplerCustomAdvanced")
def sampler_custom_advanced(play: Play, at: Node) -> tuple[LatentWire, LatentWire]:
    """Sample a latent with everything that comes in by wires."""
    run = Run(
        guider=play.wire(at, "guider"),
        sampler=play.wire(at, "sampler"),
        sigmas=play.wire(at, "sigmas"),
        noise=play.wire(at, "noise"),
        latent=play.wire(at, "latent_image"),
    )
    out = replace(run.latent, samples=sampled(run))
    return out, out


@node("RandomNoise")
def random_noise(play: Play, at: Node) -> tuple[NoiseWire]:
    """Choose a seed."""
    return (NoiseWire(seed=play.whole(at, "noise_seed")),)


@node("DisableNoise")
def no_noise(play: Play, at: Node) -> tuple[NoiseWire]:
    """Add no noise."""
    del play, at
    return (NoiseWire(seed=0, is_added=False),)


@node("CFGGuider")
def cfg_guider(play: Play, at: Node) -> tuple[GuiderWire]:
    """Guide from a negative prompt to a positive one."""
    return (_guided(play, at, play.wire(at, "model")),)


@node("BasicGuider")
def basic_guider(play: Play, at: Node) -> tuple[GuiderWire]:
    """Take a prompt as it is."""
    return (GuiderWire(model=play.wire(at, "model"), positive=play.wire(at, "conditioning")),)


@node("DualCFGGuider")
def dual_guider(play: Play, at: Node) -> tuple[GuiderWire]:
    """Guide to one prompt from another, and to that from the negative."""
    style = play.text(at, "style", "regular")
    if style not in ("regular", "nested"):
        raise BadValue(f"DualCFGGuider {at.id}: style is {style!r}; known: regular, nested")
    return (
        GuiderWire(
            model=play.wire(at, "model"),
            positive=play.wire(at, "cond1"),
            negative=play.wire(at, "negative"),
            middle=play.wire(at, "cond2"),
            scale=play.number(at, "cfg_conds"),
            middle_scale=play.number(at, "cfg_cond2_negative"),
            nested=style == "nested",
        ),
    )
