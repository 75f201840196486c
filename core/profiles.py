"""The choices in which hosts differ, one frozen record a host, and what a run makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .errors import BadValue, unknown
from .sampling import SAMPLERS, batch_brownian_tree, batch_noise, brownian, brownian_tree, image_noise
from .sampling.noise import NoiseStream, Source, Variation
from .sampling.spec import Host, SamplerSpec
from .sigmas import SCHEDULERS, Convention, ModelSigmas
from .sigmas.plan import StepRule, run_sigmas

Pass = Literal["text", "image", "hires"]
"""Text to image, image to image, and the second pass of hires."""
TIMESTEP_FORMS = (("ddim", "ddim_timesteps"), ("uni_pc", "uni_pc_timesteps"))
"""What the web UIs mean by these names."""
AUTOMATIC = (
    *(
        (name, "karras")
        for name in ("dpmpp_2m", "dpmpp_sde", "dpmpp_2s_ancestral", "dpm_2", "dpm_2_ancestral")
    ),
    ("restart", "karras"),
    *((name, "exponential") for name in ("dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde")),
)
"""The schedules that the web UIs call Automatic; of other samplers it is the uniform one."""
LCM_SPACING = 20
"""Timesteps between those that the web UIs' LCM knows: 19, 39, … 999."""
K_DIFFUSION = (
    *((name, "through_zero", True) for name in ("lms", "ipndm", "ipndm_v")),
    *((name, "eta", 1.0) for name in ("dpm_fast", "dpm_adaptive")),
)
"""Options under which a sampler gives the web UIs' numbers where ComfyUI's are the default."""
GLOBAL_SHIFT = 100_000
"""What Forge adds to the seed for torch's global generator, which it then cuts to 16 bits."""
BROWNIAN = (
    *("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"),
    *("dpmpp_sde_cfg_pp", "dpmpp_3m_sde_cfg_pp"),
)
"""The samplers that draw from a Brownian tree in the hosts; their other SDE samplers draw like ancestral ones."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a host does where hosts differ.

    ``verified``: compared with recordings of the host; else read in its code or taken over from a relative.
    Noise: ``noise_source`` the host's default ("philox": the card's numbers); ``noise_layout`` a generator an
    image, or one for the batch; ``ensd`` added to the seeds of step noise; ``step_noise`` goes on where the
    start noise ended, or begins again with the same seed; ``global_noise``: samplers whose step noise comes
    from torch's global generator; ``sde_noise`` a tree an image, one a batch, or the cheap path. Start:
    ``start_scale`` "sigma" multiplies the noise by sigma, "unit" by ``sqrt(1 + sigma^2)`` at full noise,
    "unit_text" in text to image (the web UIs' SGM noise multiplier). Schedule: ``convention``;
    ``float32_alphas`` in the sigma table; ``discards`` whose list of samplers drops the sigma before 0;
    ``image_rule`` and ``hires_rule`` how strength becomes steps; ``sampler_forms`` and ``sampler_options``
    (sampler, option, value): what the host's names mean here. Model: ``timesteps`` "nearest" or "fraction"
    between two; ``skips_negative`` at CFG 1; ``lcm`` asks it at any time ("plain"), or has a table of 50
    ("table"), and skips as that model was trained ("scaled"). Text: ``emphasis``; ``dialect``;
    ``comma_backtrack``; ``padding`` of prompts of unequal length: "apart" (two calls) or "repeat" (to a
    common length); ``zero_empty_negative`` for SDXL. Picture: ``posterior`` of the VAE "mean" or "sample"
    when an image is encoded; ``pixels`` cut or rounded. Inpainting: ``masking`` how the kept part is held:
    "after" each call, also before it with "fresh" noise at every call or always the "same"; ``pasting`` of the
    result on the picture: "exact" outside the mask, a web UI's "overlay", "none".
    """

    name: str
    label: str
    verified: bool = True
    noise_source: Source = "philox"
    noise_layout: Literal["image", "batch"] = "image"
    ensd: int = 0
    step_noise: Literal["continue", "restart"] = "continue"
    global_noise: tuple[str, ...] = ()
    sde_noise: Literal["tree_per_image", "tree_per_batch", "path"] = "tree_per_image"
    start_scale: Literal["sigma", "unit", "unit_text"] = "sigma"
    convention: Convention = "webui"
    float32_alphas: bool = False
    discards: Host | None = "webui"
    image_rule: StepRule = "webui"
    hires_rule: StepRule = "webui_exact"
    sampler_forms: tuple[tuple[str, str], ...] = TIMESTEP_FORMS
    sampler_options: tuple[tuple[str, str, Any], ...] = K_DIFFUSION
    timesteps: Literal["nearest", "fraction"] = "nearest"
    skips_negative: bool = False
    emphasis: Literal["Original", "No norm", "ComfyUI"] = "Original"
    dialect: Literal["a1111", "comfyui", "concord"] = "a1111"
    comma_backtrack: int = 20
    padding: Literal["apart", "repeat"] = "apart"
    zero_empty_negative: bool = True
    lcm: Literal["plain", "table", "scaled"] = "table"
    posterior: Literal["mean", "sample"] = "sample"
    pixels: Literal["cut", "round"] = "cut"
    masking: Literal["after", "fresh", "same"] = "after"
    pasting: Literal["exact", "overlay", "none"] = "overlay"

    @property
    def by_web_ui(self) -> bool:
        """Tell whether the host is A1111 or a fork of it."""
        return self.convention in ("webui", "reforge")

    def __post_init__(self) -> None:
        """Check that the samplers it names exist; raises ``BadValue``."""
        for name in (*dict(self.sampler_forms).values(), *(name for name, _, _ in self.sampler_options)):
            if name not in SAMPLERS:
                raise unknown("sampler", name, SAMPLERS)


_A1111 = Profile(name="a1111", label="A1111 1.9.4", float32_alphas=True, timesteps="fraction", lcm="scaled")
_FORGE = Profile(
    name="forge",
    label="Forge f2.0.1",
    padding="repeat",
    skips_negative=True,
    global_noise=("ddpm",),
    masking="fresh",
)
_ALL = (
    Profile(
        name="concord",
        label="Concord",
        noise_source="cpu",
        sde_noise="path",
        convention="concord",
        discards=None,
        image_rule="ksampler",
        hires_rule="ksampler",
        sampler_forms=(),
        sampler_options=(),
        lcm="plain",
        posterior="mean",
        masking="same",
        pasting="exact",
    ),
    _A1111,
    _FORGE,
    Profile(
        name="comfyui",
        label="ComfyUI 0.3.64",
        noise_source="cpu",
        noise_layout="batch",
        step_noise="restart",
        sde_noise="tree_per_batch",
        start_scale="unit",
        convention="comfyui",
        discards="comfyui",
        image_rule="ksampler",
        hires_rule="ksampler",
        sampler_forms=(),
        sampler_options=(),
        skips_negative=True,
        emphasis="ComfyUI",
        dialect="comfyui",
        padding="repeat",
        zero_empty_negative=False,
        lcm="plain",
        posterior="mean",
        masking="same",
        pasting="none",
    ),
    replace(_A1111, name="a1111-1.10", label="A1111 1.10", verified=False),
    replace(
        _FORGE, name="reforge", label="reForge", verified=False, convention="reforge", timesteps="fraction"
    ),
    replace(_FORGE, name="forge-classic", label="Forge Classic", verified=False),
)
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})
"""Every profile by name."""


def profile(name: str) -> Profile:
    """Return the profile called ``name``; raises ``BadValue`` that offers the nearest names."""
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which pass a run is, its ``strength`` (0 … 1; text to image has none), and ``discard``: None is the host's."""

    kind: Pass = "text"
    strength: float = 1.0
    discard: bool | None = None


TEXT = Run()
"""Text to image."""


def sampler_of(host: Profile, name: str) -> tuple[SamplerSpec, Mapping[str, Any]]:
    """Return the sampler that ``host`` means by ``name`` (ours or its label), and the options that make it so."""
    by_label = {spec.label: spec.name for spec in SAMPLERS.values()}
    own = SAMPLERS[by_label.get(name, name)].name
    spec = SAMPLERS[dict(host.sampler_forms).get(own, own)]
    return spec, {option: value for name, option, value in host.sampler_options if name == spec.name}


def table_of(host: Profile, model: ModelSigmas, spec: SamplerSpec | None = None) -> ModelSigmas:
    """Return the sigma table that ``host`` makes of ``model``, for sampler ``spec`` if it has one of its own."""
    own = model.with_float32_alphas() if host.float32_alphas else model
    if host.lcm == "plain" or spec is None or spec.name != "lcm":
        return own
    return ModelSigmas.from_table(own.table[LCM_SPACING - 1 :: LCM_SPACING], own.kind, own.shift)


def schedule_of(host: Profile, spec: SamplerSpec, schedule: str | None, family: str | None = None) -> str:
    """Return the schedule that ``host`` means by ``schedule``; None and "automatic" are the sampler's own there.

    ``family``: "sd1" or "sdxl", for schedules that were found for one of them.
    """
    name = schedule
    if name is None or name.lower() == "automatic":
        name = dict(AUTOMATIC).get(spec.name, "normal") if host.by_web_ui else spec.scheduler
    if spec.timesteps and host.by_web_ui:
        name = spec.scheduler
    own = SCHEDULERS[name].name
    return f"{own}_{family}" if f"{own}_{family}" in SCHEDULERS else own


def sigmas_of(
    host: Profile,
    spec: SamplerSpec,
    schedule: str,
    steps: int,
    model: ModelSigmas,
    *,
    run: Run = TEXT,
    **options: Any,
) -> Tensor:
    """Return the sigmas of a run of ``steps`` in ``host`` over ``schedule``, as ``schedule_of`` gives it.

    ``options``: of the schedule.  Raises ``BadValue`` as ``run_sigmas``.
    """
    rules: dict[Pass, StepRule] = {"text": "ksampler", "image": host.image_rule, "hires": host.hires_rule}
    return run_sigmas(
        schedule,
        steps,
        table_of(host, model, spec),
        denoise=1.0 if run.kind == "text" else run.strength,
        rule=rules[run.kind],
        discard_penultimate=host.discards in spec.discards_penultimate
        if run.discard is None
        else run.discard,
        convention=host.convention,
        **({} if spec.timesteps and host.by_web_ui else options),
    )


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The seeds of a batch: the first image's, how many images, and what alters them.

    ``source``, ``ensd``: None is the host's own.  ``variation``, ``resize_from``: as in ``image_noise``; one
    generator for a whole batch knows neither.
    """

    seed: int
    batch: int = 1
    source: Source | None = None
    ensd: int | None = None
    variation: Variation | None = None
    resize_from: tuple[int, int] | None = None

    def each(self) -> Sequence[int]:
        """Return the seed of each image; with a variation they all share the first, as in the web UIs."""
        varied = self.variation is not None and self.variation.strength > 0
        return [self.seed] * self.batch if varied else range(self.seed, self.seed + self.batch)


def noise_of(
    host: Profile, spec: SamplerSpec, shape: tuple[int, int, int], seeds: Seeds, sigmas: Tensor
) -> tuple[Tensor, Callable[[float, float], Tensor]]:
    """Return the start noise (B, C, h, w) of a run in ``host`` and the source of its step noise.

    ``shape``: of one latent (C, h, w).  ``sigmas``: of the run, which SDE samplers draw over.
    """
    source = seeds.source or host.noise_source
    ensd = host.ensd if seeds.ensd is None else seeds.ensd
    whole = (seeds.batch, *shape)
    stream: NoiseStream
    if host.noise_layout == "batch":
        stream = batch_noise(whole, seeds.seed, restart=host.step_noise == "restart")
    else:
        stream = image_noise(shape, seeds.each(), source, seeds.variation, seeds.resize_from, ensd)
    if spec.name in host.global_noise:
        return stream.first(), _global_noise(shape, seeds)
    by_tree = host.sde_noise != "path"
    if spec.kind != "sde" or (by_tree and spec.name not in BROWNIAN) or not _has_room(sigmas):
        return stream.first(), stream
    if host.sde_noise == "tree_per_batch":
        return stream.first(), batch_brownian_tree(sigmas, seeds.seed, whole)
    if by_tree:
        return stream.first(), brownian_tree(sigmas, seeds.each(), shape, source)
    own = [_path_seed(seed + ensd) for seed in seeds.each()]
    return stream.first(), brownian(sigmas, own, shape, source)


def _global_noise(shape: tuple[int, int, int], seeds: Seeds) -> Callable[[float, float], Tensor]:
    """Return the step noise of samplers that Forge lets draw from torch's global generator, as it seeds that.

    Each image has its own here; in Forge a batch shares one.
    """
    own = [batch_noise((1, *shape), (seed + GLOBAL_SHIFT) % 2**16) for seed in seeds.each()]

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return torch.cat([stream(sigma, sigma_next) for stream in own])

    return noise


def _has_room(sigmas: Tensor) -> bool:
    """Tell whether there are two sigmas above 0 for a motion to lie between."""
    return len({float(sigma) for sigma in sigmas if sigma > 0}) > 1


def _path_seed(seed: int) -> int:
    """Return the seed of an image's Brownian path: another one, or its first step would be the start noise."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(1,))
    return int(sequence.generate_state(1, np.uint64)[0])


def start_of(
    host: Profile,
    spec: SamplerSpec,
    noise: Tensor,
    sigma: float,
    model: ModelSigmas,
    *,
    latent: Tensor | None = None,
) -> Tensor:
    """Return the noisy latent (B, C, h, w) at which a run begins at ``sigma``.

    ``noise``: unit variance, (B, C, h, w).  ``latent``: the clean latent of image to image and hires.
    Raises ``BadValue`` when the two differ in shape.
    """
    if latent is not None and latent.shape != noise.shape:
        got, wanted = tuple(latent.shape), tuple(noise.shape)
        raise BadValue(f"latent is {got} but noise is {wanted}; make both for the same batch and size")
    scale = sigma
    full = sigma >= model.sigma_max * (1 - 1e-5)
    if not model.is_flow and (
        (spec.timesteps and host.by_web_ui and latent is None)
        or (host.start_scale == "unit" and full)
        or (host.start_scale == "unit_text" and latent is None)
    ):
        scale = math.sqrt(1 + sigma**2)
    if latent is None:
        return noise * scale
    return torch.add(latent * model.alpha(sigma), noise, alpha=scale)


def end_of(host: Profile, spec: SamplerSpec, latent: Tensor, sigma: float) -> Tensor:
    """Return what ``host`` decodes of a run that ended with ``latent`` at ``sigma``.

    Timestep samplers of the web UIs stop short of 0, and their variance-preserving latent is decoded as it
    is.
    """
    if spec.timesteps and host.by_web_ui:
        return latent / math.sqrt(1 + sigma**2)
    return latent
