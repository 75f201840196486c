"""The choices in which hosts differ, one frozen record a host, and what a run makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import BadValue, unknown
from .profile_noise import BROWNIAN, GLOBAL_SHIFT, Seeds, noise_of
from .sampling import SAMPLERS
from .sampling.noise import Source
from .sampling.spec import Host, SamplerSpec
from .sigmas import SCHEDULERS, Convention, ModelSigmas
from .sigmas.plan import StepRule, run_sigmas

__all__ = [
    "AUTOMATIC",
    "BROWNIAN",
    "GLOBAL_SHIFT",
    "IGNORABLE",
    "K_DIFFUSION",
    "LCM_SPACING",
    "PROFILES",
    "TEXT",
    "TIMESTEP_FORMS",
    "Pass",
    "Profile",
    "Run",
    "Seeds",
    "convention_of",
    "end_of",
    "noise_of",
    "profile",
    "sampler_of",
    "schedule_of",
    "sigmas_of",
    "start_of",
    "table_of",
    "with_own_sampler",
]

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
_TIMESTEP_RUNS = ("ddim_timesteps", "plms", "uni_pc_timesteps")
_WITH_CFG_PP = (*_TIMESTEP_RUNS, "ddim_cfgpp")
IGNORABLE = ("comma_backtrack", "pad_conds", "downcast_alphas", "skip_early_cfg", "ngms_all_steps", "tiling")
"""Settings of a record that not every host follows."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a host does where hosts differ.

    ``verified``: compared with recordings of the host; else read in its code or taken over from a relative.
    Noise: ``noise_source`` the host's default ("philox": the card's numbers); ``noise_layout`` a generator an
    image, or one for the batch; ``ensd`` added to the seeds of step noise; ``step_noise`` goes on where the
    start noise ended, or begins again with the same seed; ``global_noise``: samplers whose step noise comes
    from torch's global generator; ``sde_noise`` a tree an image, one a batch, or the cheap path. Start:
    ``start_scale`` "sigma" multiplies the noise by sigma, "unit" by ``sqrt(1 + sigma^2)`` at full noise,
    "unit_text" in text to image (the web UIs' SGM noise multiplier). Schedule: ``convention``; ``schedules``
    that it has, None for all of its convention; ``timestep_runs``: its samplers that step in timesteps, over
    a variance-preserving latent; ``float32_alphas`` in the sigma table; ``discards`` whose list of samplers
    drops the sigma before 0; ``image_rule`` and ``hires_rule`` how strength becomes steps; ``sampler_forms``
    and ``sampler_options`` (sampler, option, value): what the host's names mean here. Model: ``timesteps``
    "nearest" or "fraction" between two; ``input_scale``: the latent is divided by the "root" of ``sigma^2 +
    1``, or multiplied by its "inverse", which differs in the last digit; ``skips_negative`` at CFG 1; ``lcm``
    asks it at any time ("plain"), or has a table of 50 ("table"), and skips as that model was trained
    ("scaled"). Text: ``emphasis``; ``dialect``; ``comma_backtrack``; ``padding`` of prompts of unequal
    length: "apart" (two calls) or "repeat" (to a common length); ``zero_empty_negative`` for SDXL;
    ``ignores`` settings of a record that it has no ear for, of ``IGNORABLE``; ``early_calls`` at which calls
    a minimum sigma of the negative holds, the "odd" or the "even" ones; ``rescale`` of guidance in the
    "clean" latent or in the "velocity"; ``refiner_switch`` by noise, by calls or by whole steps
    (``SwitchBy``), ``refiner_networks`` whether the prompt's LoRAs hold for it too. Picture: ``posterior`` of
    the VAE "mean" or "sample" when an image is encoded; ``pixels`` cut or rounded. Inpainting: ``masking``
    how the kept part is held: "after" each call, also before it with "fresh" noise at every call or always
    the "same"; ``pasting`` of the result on the picture: "exact" outside the mask, a web UI's "overlay",
    "none".
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
    schedules: tuple[str, ...] | None = None
    timestep_runs: tuple[str, ...] = _TIMESTEP_RUNS
    float32_alphas: bool = False
    discards: Host | None = "webui"
    image_rule: StepRule = "webui"
    hires_rule: StepRule = "webui_exact"
    sampler_forms: tuple[tuple[str, str], ...] = TIMESTEP_FORMS
    sampler_options: tuple[tuple[str, str, Any], ...] = K_DIFFUSION
    timesteps: Literal["nearest", "fraction"] = "nearest"
    input_scale: Literal["root", "inverse"] = "root"
    skips_negative: bool = False
    emphasis: Literal["Original", "No norm", "ComfyUI"] = "Original"
    dialect: Literal["a1111", "comfyui", "concord"] = "a1111"
    comma_backtrack: int = 20
    ignores: tuple[str, ...] = ()
    early_calls: Literal["odd", "even"] = "odd"
    rescale: Literal["clean", "velocity"] = "clean"
    refiner_switch: Literal["webui_noise", "webui_calls", "comfyui_steps"] = "webui_noise"
    refiner_networks: bool = True
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

    def runs_timesteps(self, spec: SamplerSpec) -> bool:
        """Tell whether ``spec`` steps in timesteps here, as in the web UIs."""
        return spec.name in self.timestep_runs

    def has_schedule(self, name: str) -> bool:
        """Tell whether the host has a schedule called ``name`` of its own."""
        if self.schedules is not None:
            return name in self.schedules
        return self.convention == "concord" or self.convention in SCHEDULERS[name].hosts

    def __post_init__(self) -> None:
        """Check that the samplers, schedules and settings it names exist; raises ``BadValue``."""
        for name in self.schedules or ():
            if name not in SCHEDULERS:
                raise unknown("schedule", name, SCHEDULERS)
        for name in self.ignores:
            if name not in IGNORABLE:
                raise unknown("setting that a host may ignore", name, IGNORABLE)
        own = (*dict(self.sampler_forms).values(), *self.timestep_runs)
        for name in (*own, *(name for name, _, _ in self.sampler_options)):
            if name not in SAMPLERS:
                raise unknown("sampler", name, SAMPLERS)


_OF_TIMESTEPS = ("ddim_timesteps", "uni_pc_timesteps")
_OF_A1111 = ("normal", "karras", "exponential", "polyexponential", "sgm_uniform", *_OF_TIMESTEPS)
_OF_A1111_1_10 = (
    *_OF_A1111,
    "kl_optimal",
    "align_your_steps",
    "align_your_steps_sd1",
    "simple",
    "ddim_uniform",
    "beta",
)
_A1111 = Profile(
    name="a1111",
    label="A1111 1.9.4",
    schedules=_OF_A1111,
    float32_alphas=True,
    timesteps="fraction",
    input_scale="inverse",
    lcm="scaled",
    refiner_networks=False,
    ignores=("skip_early_cfg", "ngms_all_steps"),
)
_FORGE = Profile(
    name="forge",
    label="Forge f2.0.1",
    padding="repeat",
    skips_negative=True,
    refiner_switch="webui_calls",
    global_noise=("ddpm",),
    timestep_runs=_WITH_CFG_PP,
    masking="fresh",
    ignores=("comma_backtrack", "pad_conds", "downcast_alphas", "tiling"),
)
_ALL = (
    Profile(
        name="concord",
        label="Concord",
        noise_source="cpu",
        sde_noise="path",
        convention="concord",
        timestep_runs=(),
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
        timestep_runs=(),
        discards="comfyui",
        image_rule="ksampler",
        hires_rule="ksampler",
        sampler_forms=(),
        sampler_options=(),
        skips_negative=True,
        rescale="velocity",
        refiner_switch="comfyui_steps",
        emphasis="ComfyUI",
        dialect="comfyui",
        padding="repeat",
        zero_empty_negative=False,
        lcm="plain",
        posterior="mean",
        masking="same",
        pasting="none",
    ),
    replace(
        _A1111,
        name="a1111-1.10",
        label="A1111 1.10",
        verified=False,
        schedules=_OF_A1111_1_10,
        timestep_runs=_WITH_CFG_PP,
        ignores=(),
    ),
    replace(
        _FORGE,
        name="reforge",
        label="reForge",
        verified=False,
        convention="reforge",
        timestep_runs=_TIMESTEP_RUNS,
        timesteps="fraction",
        ignores=("pad_conds", "downcast_alphas"),
        early_calls="even",
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
    if host.runs_timesteps(spec):
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
    own: bool = False,
    **options: Any,
) -> Tensor:
    """Return the sigmas of a run of ``steps`` in ``host`` over ``schedule``, as ``schedule_of`` gives it.

    ``own``: the schedule is Concord's, whatever the host has, see ``convention_of``.  ``options``: of the schedule.
    Raises ``BadValue`` as ``run_sigmas``.
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
        convention=convention_of(host, schedule, own=own),
        **_own_of(schedule, options) if host.runs_timesteps(spec) else options,
    )


def convention_of(host: Profile, schedule: str, *, own: bool = False) -> Convention:
    """Return whose list of sigmas is followed: the host's, Concord's where it has none or ``own`` asks for that."""
    return host.convention if host.has_schedule(schedule) and not own else "concord"


def with_own_sampler(host: Profile) -> Profile:
    """Return ``host`` as it runs a sampler of ours: no other is meant by its name, and it is run as ours are."""
    return replace(host, sampler_forms=(), global_noise=(), timestep_runs=())


def _own_of(schedule: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``options`` that a timestep sampler of the web UIs looks at: its schedule's own."""
    record = SCHEDULERS[schedule].options
    known = {one.name for one in fields(record)} if record else set[str]()
    return {name: value for name, value in options.items() if name in known}


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
        (host.runs_timesteps(spec) and latent is None)
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
    if host.runs_timesteps(spec):
        return latent / math.sqrt(1 + sigma**2)
    return latent
