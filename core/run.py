"""From a generation record to what ``sample`` is given: the one translation that every front goes through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from .errors import BadValue
from .filled import filled, is_own, profile_of, sampler_called, scheduler_called
from .image.generation import Generation
from .image.img2img_plan import img2img_plan
from .image.parts import ConcordSettings
from .options import sampler_options_of, schedule_options_of
from .profiles import (
    Pass,
    Profile,
    Run,
    Seeds,
    end_of,
    noise_of,
    sampler_of,
    schedule_of,
    sigmas_of,
    start_of,
    table_of,
)
from .prompt.dialect import Dialect, RunShape, dialect_of
from .sampling import Denoiser, Noise, OnStep, SamplerSpec, sample
from .sampling.guidance import multiply_sigmas, scale_within
from .sampling.lcm import lcm_scalings
from .seeds import place_of, seeds_of
from .sigmas import SCHEDULERS, ModelSigmas
from .sigmas.registry import make_options
from .sigmas.timestep_runs import timestep_run

DEFAULT_STRENGTH = 0.75
ZERO_SNR = "Zero Terminal SNR"
"""A1111's word for a table brought to zero terminal SNR."""
WHOLE_TABLE = ("dpm_fast", "dpm_adaptive")
"""Samplers that the web UIs' text to image runs from the largest sigma of the model to the least, on any schedule."""
COUNTED = 20
"""Steps over which the denoiser calls of one step are counted."""


Padding = Literal["apart", "repeat", "empty", "last"]


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How predictions are combined: CFG ``scale`` while sigma is in ``low`` … ``high``, and 1 outside.

    ``rescale`` (0 … 1): towards the deviation of the positive's prediction; ``in_velocity``: of the velocity, not
    of the clean latent.  ``skips_negative``: at scale 1 the weighted parts of the positive stand alone,
    whatever their weights.  ``minimum``: below this sigma the calls of ``minimum_calls`` go without the
    negative; ``early``: so do all calls of this share of ``calls``, from the start.
    """

    scale: float = 7.0
    rescale: float = 0.0
    low: float = 0.0
    high: float = math.inf
    skips_negative: bool = False
    in_velocity: bool = False
    minimum: float = 0.0
    minimum_calls: Literal["odd", "even", "all"] = "odd"
    early: float = 0.0
    calls: int = 1

    def is_alone(self, call: int, sigma: float) -> bool:
        """Tell whether denoiser call ``call``, from 0, goes without the negative prompt (A1111's NGMS).

        Source: A1111 1.9.4, "Negative Guidance minimum sigma"; 1.10, "Ignore negative prompt during early sampling".
        """
        if self.early and call / self.calls <= self.early:
            return True
        due = self.minimum_calls == "all" or (call % 2 == 1) == (self.minimum_calls == "odd")
        return due and sigma < self.minimum

    def scale_at(self, sigma: float) -> float:
        """Return the scale at ``sigma``."""
        return scale_within(sigma, self.scale, self.low, self.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampling:
    """One pass of a record, ready to be run over a denoiser.

    ``steps``: of this pass; ``first_steps``: of text to image, which prompts count by; ``run_steps``: those that
    the host counts as it runs, fewer in image to image, and fewer than the sigmas' where a sampler adds one.
    ``model``: the sigma table as the host has it. ``sigmas``: of the pass; fewer than two: nothing is to be done.
    ``laid_out``: the list that they were taken from, which step noise is drawn over; ``begin``: the sigma that the
    start noise is scaled to, if it is not their first. ``options``: of the sampler. ``padding``: of prompts of unequal
    length: as the profile's, or with "empty" chunks, or their "last" vector. ``place``: the image kept of noise that
    is drawn for a whole batch.
    """

    host: Profile
    kind: Pass
    first_steps: int
    steps: int
    run_steps: int
    strength: float
    sampler: SamplerSpec
    options: Mapping[str, Any]
    schedule: str
    sigmas: Tensor
    model: ModelSigmas
    seeds: Seeds
    guidance: Guidance
    dialect: Dialect
    emphasis: str
    padding: Padding
    laid_out: Tensor
    begin: float | None = None
    place: int | None = None

    @property
    def shape(self) -> RunShape:
        """The run that the positive prompt is laid out over."""
        reduced = self.kind == "image" and self.host.image_rule == "webui"
        return RunShape(
            calls_per_step=calls_per_step(self.sampler, self.dialect),
            denoise=max(self.strength, 1e-9) if reduced else 1.0,
            hires_steps=self.steps if self.kind == "hires" else None,
        )

    def noise(self, shape: tuple[int, int, int]) -> tuple[Tensor, Noise]:
        """Return the start noise (B, C, h, w), unit variance, and the source of step noise.

        ``shape``: of one latent, (C, h, w).
        """
        first, steps = noise_of(self.host, self.sampler, shape, self.seeds, self.laid_out)
        i = self.place

        def drawn(sigma: float, sigma_next: float) -> Tensor:
            noise = steps(sigma, sigma_next)
            return noise if i is None else noise[i : i + 1]

        return first if i is None else first[i : i + 1], drawn

    def noise_of_part(self, sigmas: Tensor, whole: Noise, shape: tuple[int, int, int]) -> Noise:
        """Return the step noise of a part of the pass, with its own sampler: ``sigmas``, of those of the pass.

        ``whole``: that of the pass, which goes on unless the host begins step noise anew with every sampler; it
        then draws over the part's sigmas alone.  ``shape``: of one latent, (C, h, w).
        """
        if self.host.step_noise != "restart":
            return whole
        return replace(self, laid_out=sigmas).noise(shape)[1]

    def start(self, noise: Tensor, latent: Tensor | None = None, extra: float = 0.0) -> Tensor:
        """Return the noisy latent that the pass begins with; ``latent``: the clean one of image to image.

        ``extra``: A1111's extra noise, on top of what the first sigma asks for.
        """
        if len(self.sigmas) < 2 and latent is not None:
            return latent
        first = float(self.sigmas[0]) if len(self.sigmas) else self.model.sigma_max
        begin = first if self.begin is None or latent is None else self.begin
        start = start_of(self.host, self.sampler, noise, begin, self.model, latent=latent)
        if latent is not None and extra:
            start = torch.add(start, noise, alpha=extra)
        return start if begin == first else start * math.sqrt((1 + first**2) / (1 + begin**2))

    def timestep(self, sigma: float) -> float:
        """Return what the network is told as time at ``sigma``."""
        if self._is_scaled_lcm:
            return self._lcm_timestep(sigma)
        return self.model.timestep(sigma, rounded=self.host.timesteps == "nearest")

    def run(
        self,
        denoise: Denoiser,
        start: Tensor,
        noise: Noise,
        *,
        sigmas: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Return the latent (B, C, h, w) that is to be decoded, from ``start`` at the first of the sigmas.

        ``sigmas``: a part of those of the pass, as for a refiner.  Raises as ``sample``.
        """
        levels = self._levels if sigmas is None else sigmas
        if len(levels) < 2:
            return start
        out = sample(
            self.sampler.name,
            self._scaled(denoise) if self._is_scaled_lcm else denoise,
            start,
            levels,
            model=self.model,
            noise=noise,
            on_step=on_step,
            **self.options,
        )
        return end_of(self.host, self.sampler, out, float(levels[-1]))

    @property
    def _levels(self) -> Tensor:
        """Return what the sampler is given: the sigmas, or for those that use the ends alone those of its table."""
        uses_table = self.host.by_web_ui and self.kind == "text" and self.sampler.name in WHOLE_TABLE
        if not uses_table or len(self.sigmas) < 3:
            return self.sigmas
        table, steps = self.model, len(self.sigmas) - 1
        return torch.cat([torch.linspace(table.sigma_max, table.sigma_min, steps), torch.zeros(1)])

    @property
    def _is_scaled_lcm(self) -> bool:
        return self.host.lcm == "scaled" and self.sampler.name == "lcm"

    def _lcm_timestep(self, sigma: float) -> float:
        """Return the nearest of the fifty timesteps that latent consistency models were trained on.

        In float32, where a sigma of SGM Uniform can be as near to two of them: the less noisy one, as in A1111.
        """
        table = table_of(self.host, self.model, self.sampler)
        logs = table.table.float().log()
        nearest = int((logs - torch.tensor(sigma, dtype=torch.float32).log()).abs().numpy().argmin())
        return self.model.timestep(table.values[nearest], rounded=True)

    def _scaled(self, denoise: Denoiser) -> Denoiser:
        """Return ``denoise`` with the skip that these models were trained with."""

        def scaled(x: Tensor, sigma: Tensor) -> Tensor:
            skip, out = lcm_scalings(self._lcm_timestep(float(sigma)))
            return torch.add(denoise(x, sigma) * out, x, alpha=skip)

        return scaled


def sampling_of(
    record: Generation,
    model: ModelSigmas,
    *,
    kind: Pass = "text",
    batch: int = 1,
    family: str | None = None,
) -> Sampling:
    """Return what ``record`` asks for in a pass of ``batch`` images: all that depends on neither text nor network.

    ``model``: the sigmas it was trained on.  ``family``: "sd1" or "sdxl", for schedules found for one of them.
    What the record leaves open is as ``filled`` has it.  Raises ``BadValue`` for what cannot be run.
    """
    record = filled(record)
    host = _adjusted(profile_of(record, kind), record)
    model = _trained_on(host, record, model)
    own = record.concord or ConcordSettings()
    first, _ = sampler_of(profile_of(record), cast("str", record.sampler))
    sampler, scheduler, steps, cfg = _of_pass(record, kind)
    spec, habits = sampler_of(host, sampler_called(sampler))
    schedule = schedule_of(host, spec, scheduler_called(scheduler), family)
    options = sampler_options_of(record, spec, strict=spec is first)
    make_options(f"sampler {spec.name!r}", spec.options, options)
    strength = 1.0 if kind == "text" else _or(record.denoising_strength, DEFAULT_STRENGTH)
    discard = record.schedule_options and record.schedule_options.discard_penultimate
    # A web UI's minimum and maximum sigma are settings for all schedules, whether they look at them or not.
    strict = scheduler == record.scheduler and not host.by_web_ui
    of_schedule = schedule_options_of(record, SCHEDULERS[schedule], strict=strict)
    run_steps = steps
    run = Run(kind=kind, strength=strength, discard=discard)
    given: dict[str, Any] = {**of_schedule, "own": is_own(record, kind, "scheduler")}
    sigmas, begin = sigmas_of(host, spec, schedule, steps, model, run=run, **given), None
    laid_out = sigmas
    if kind != "text" and host.by_web_ui:
        exact = kind == "hires" or host.image_rule == "webui_exact"
        plan = img2img_plan(steps, strength, requested=steps if exact else None)
        run_steps = plan.run
        if host.runs_timesteps(spec):
            table, skip = table_of(host, model), of_schedule.get("skip_type", "time_uniform")
            sigmas, begin = timestep_run(schedule, plan.steps, plan.start, table, skip)
        elif plan.steps:
            whole = Run(discard=discard)
            laid_out = sigmas_of(host, spec, schedule, plan.steps, model, run=whole, **given)
    return Sampling(
        host=host,
        kind=kind,
        first_steps=cast("int", record.steps),
        steps=steps,
        run_steps=run_steps,
        strength=strength,
        sampler=spec,
        options={**habits, **options},
        schedule=schedule,
        sigmas=_multiplied(sigmas, own),
        laid_out=_multiplied(laid_out, own),
        begin=begin,
        model=table_of(host, model),
        seeds=seeds_of(record, batch),
        guidance=_guidance(host, cfg, record, model, run_steps * (2 if spec.second_order else 1)),
        dialect=_dialect(host, record),
        emphasis=record.emphasis or host.emphasis,
        padding=_padding(host, record),
        place=place_of(record, batch),
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _adjusted(host: Profile, record: Generation) -> Profile:
    """Return ``host`` with the initial scale and the rule of steps that the record asks for."""
    unit = record.schedule_options and record.schedule_options.sgm_noise
    if record.concord and record.concord.exact_steps and host.image_rule == "webui":
        host = replace(host, image_rule="webui_exact")
    return host if unit is None else replace(host, start_scale="unit_text" if unit else "sigma")


def _trained_on(host: Profile, record: Generation, model: ModelSigmas) -> ModelSigmas:
    """Return ``model`` with the changes of its table that the record asks for."""
    asked = record.schedule_options
    if asked is None or model.is_flow:
        return model
    if asked.downcast_alphas and "downcast_alphas" not in host.ignores:
        model = model.with_half_alphas()
    return model.with_zero_snr() if asked.noise_schedule == ZERO_SNR else model


def _dialect(host: Profile, record: Generation) -> Dialect:
    """Return the rules by which prompts are read."""
    own = record.concord or ConcordSettings()
    asked = None if "comma_backtrack" in host.ignores else own.comma_backtrack
    return replace(
        dialect_of(own.dialect or host.dialect),
        comma_backtrack=host.comma_backtrack if asked is None else asked,
        old_timeline=record.old_timelines or False,
    )


def _padding(host: Profile, record: Generation) -> Padding:
    """Return what is done where prompts differ in length."""
    if "pad_conds" in host.ignores:
        return host.padding
    return "last" if record.pad_conds_v0 else "empty" if record.pad_conds else host.padding


def _of_pass(record: Generation, kind: Pass) -> tuple[str, str, int, float]:
    """Return sampler, scheduler, steps and CFG scale of a pass."""
    first = cast("tuple[str, str, int, float]", (record.sampler, record.scheduler, record.steps, record.cfg))
    hires = record.hires
    if kind != "hires" or hires is None:
        return first
    sampler, scheduler, steps, cfg = first
    return (
        hires.sampler or sampler,
        hires.scheduler or scheduler,
        hires.steps or steps,
        cfg if hires.cfg is None else hires.cfg,
    )


def _multiplied(sigmas: Tensor, own: ConcordSettings) -> Tensor:
    """Return ``sigmas`` with the factor of the record."""
    if own.sigma_multiply is None:
        return sigmas
    start, end = _or(own.sigma_multiply_start, 0.0), _or(own.sigma_multiply_end, 1.0)
    return multiply_sigmas(sigmas, own.sigma_multiply, start, end)


def _guidance(host: Profile, cfg: float, record: Generation, model: ModelSigmas, calls: int) -> Guidance:
    """Return the guidance that the record asks for; its interval is shares of the run, from the start."""
    own = record.concord or ConcordSettings()
    every = record.ngms_all_steps and "ngms_all_steps" not in host.ignores
    early = 0.0 if "skip_early_cfg" in host.ignores else record.skip_early_cfg or 0.0
    start, end = _or(own.guidance_start, 0.0), _or(own.guidance_end, 1.0)
    if start > end:
        raise BadValue(f"guidance_start is {start:g} and guidance_end {end:g}; pass start before end")
    return Guidance(
        scale=cfg,
        rescale=own.cfg_rescale or 0.0,
        low=model.percent_to_sigma(end),
        high=math.inf if start <= 0 else model.percent_to_sigma(start),
        skips_negative=host.skips_negative,
        in_velocity=host.rescale == "velocity",
        minimum=record.ngms or 0.0,
        minimum_calls="all" if every else host.early_calls,
        early=early,
        calls=calls,
    )


def calls_per_step(spec: SamplerSpec, dialect: Dialect) -> int:
    """Return the denoiser calls by which a prompt counts steps: A1111's two for samplers of second order.

    A dialect with an exact switch counts what the sampler really does.
    """
    if dialect.exact_switch and spec.nfe is not None:
        return max(round(spec.nfe(COUNTED) / COUNTED), 1)
    return 2 if spec.second_order else 1
