"""What can be wrong with a run, one rule a function: each finds nothing, or something and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ..sigmas import Convention, ModelSigmas, SchedulerSpec, get_sigmas
from .floor import floor_at, floor_of
from .spec import SamplerSpec

Prediction = Literal["eps", "v"]
NOTICEABLE = 0.02
"""A floor from which a run with more steps, or another schedule, is visibly cleaner."""
ABOVE_DATA = 20.0
"""Sigma above which the picture is settled to its brightness only."""
STEEP = 100.0
"""A largest sigma that only models of zero terminal SNR have."""
NO_JUMP = ("lcm", "uni_pc", "uni_pc_bh2")
"""Samplers for which the last step is none from far above."""
EDGE_SCHEDULES = ("karras", "exponential", "polyexponential", "kl_optimal")
"""Schedules laid out between the ends of the sigma range rather than over timesteps."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong, or worth knowing: a ``code`` to look up, what it is, and what to do."""

    code: str
    message: str
    advice: str

    def __str__(self) -> str:
        """Return the message and the advice."""
        return f"{self.message}; {self.advice}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run as the rules see it."""

    sampler: SamplerSpec
    scheduler: SchedulerSpec
    steps: int
    model: ModelSigmas
    sigmas: tuple[float, ...]
    convention: Convention
    prediction: Prediction
    cfg: float | None

    @property
    def last(self) -> float:
        """Return the last sigma above 0."""
        return self.sigmas[-1] or self.sigmas[-2]


def high_last_sigma(case: Case) -> Iterator[Finding]:
    """Find a jump to 0 from so high that it shows."""
    level = math.exp(-case.model.log_snr(case.last))
    floor = floor_at(level, to_zero=case.sigmas[-1] == 0)
    if floor < NOTICEABLE or case.sampler.name in NO_JUMP:
        return
    names = ("karras", "exponential", "normal")
    if case.model.is_flow or case.model.sigma_max > STEEP:
        names = ("beta57", "normal")
    rivals: list[tuple[float, str]] = []
    for name in names:
        other = floor_of(get_sigmas(name, case.steps, case.model), case.model)
        if other < floor / 1.5:
            rivals.append((other, name))
    use = " or ".join(f"{name} ({other:.2g})" for other, name in rivals)
    others = f"use {use}, or more steps" if use else "take more steps"
    tail = ", or set tail_power to 1.5" if _has_option(case.sampler, "tail_power") else ""
    yield Finding(
        code="floor",
        message=(
            f"{case.scheduler.name} at {case.steps} steps jumps to 0 from sigma {case.last:.3g}, which leaves an "
            f"error of about {floor:.2g} whatever the sampler"
        ),
        advice=others + tail,
    )


def wasted_steps(case: Case) -> Iterator[Finding]:
    """Find steps spent where only the brightness is decided, and edge schedules on v-prediction."""
    high = sum(sigma > ABOVE_DATA for sigma in case.sigmas)
    if case.model.sigma_max > STEEP and high > max(2, case.steps / 5):
        yield Finding(
            code="wasted",
            message=(
                f"{case.scheduler.name} spends {high} of {case.steps} steps above sigma {ABOVE_DATA:g} on this "
                f"zero-terminal-SNR model, where only brightness is decided"
            ),
            advice="use sgm_uniform, normal, simple or align_your_steps, which go by timestep",
        )
    elif case.prediction == "v" and case.scheduler.name in EDGE_SCHEDULES:
        yield Finding(
            code="v-prediction",
            message=f"{case.scheduler.name} puts few steps where a v-prediction model decides the composition",
            advice="use normal, simple or sgm_uniform, as the cards of such models ask",
        )


def wrong_kind(case: Case) -> Iterator[Finding]:
    """Find schedules made for the other kind of model."""
    if case.scheduler.made_for == "flow" and not case.model.is_flow:
        yield Finding(
            code="made-for-flow",
            message=f"{case.scheduler.name} is drawn for flow models, whose sigma falls from 1 to 0",
            advice="on Stable Diffusion most of it lies where little is decided; use karras",
        )
    if case.scheduler.made_for == "sd" and case.model.is_flow:
        yield Finding(
            code="made-for-sd",
            message=f"{case.scheduler.name} was found for Stable Diffusion's noise, not for a flow's",
            advice="use beta57, simple or oss",
        )


def wrong_count(case: Case) -> Iterator[Finding]:
    """Find lists that are longer or shorter than the steps asked for, in this convention or a host's."""
    made = len(case.sigmas) - 1
    if made != case.steps:
        yield Finding(
            code="count",
            message=f"{case.convention}'s {case.scheduler.name} makes {made} steps of the {case.steps} asked for",
            advice="use convention 'concord', or a step count that divides the timesteps",
        )
    elif case.scheduler.name == "ddim_uniform" and len(case.model.values) % case.steps:
        size = len(case.model.values)
        hosts = len(range(1, size, max(size // case.steps, 1)))
        yield Finding(
            code="count",
            message=f"{case.steps} steps do not divide {size}: ComfyUI and the web UIs make {hosts} steps of them",
            advice=f"expect another picture there, or take a step count that divides {size}",
        )


def wrong_ends(case: Case) -> Iterator[Finding]:
    """Find a start below the model's noise, and lists without their 0 or with repeats."""
    if case.sigmas[0] < case.model.sigma_max * 0.99 and not case.model.is_flow:
        yield Finding(
            code="start",
            message=f"it begins at sigma {case.sigmas[0]:.4g}, but the model's noise at {case.model.sigma_max:.4g}",
            advice="brightness and contrast will be off; use a schedule that goes by timestep",
        )
    if case.sigmas[-1] > 0:
        yield Finding(
            code="no-zero",
            message=f"{case.convention}'s {case.scheduler.name} ends at sigma {case.last:.3g} without a step to 0",
            advice="noise is left in the picture; use convention 'concord'",
        )
    if any(a == b for a, b in pairwise(case.sigmas)):
        yield Finding(
            code="repeats",
            message=f"{case.convention}'s {case.scheduler.name} repeats sigmas, and these steps do nothing",
            advice="use convention 'concord'",
        )


def guidance(case: Case) -> Iterator[Finding]:
    """Find a guidance that the sampler is not for."""
    if case.cfg is None:
        return
    if case.sampler.name == "lcm" and case.cfg > 2:
        yield Finding(
            code="lcm-cfg",
            message=f"LCM at CFG {case.cfg:g} burns out: its model has guidance distilled into it",
            advice="set CFG to 1 … 2",
        )
    if case.sampler.needs_uncond and case.cfg > 2.5 and case.sampler.name != "ddim_cfgpp":
        yield Finding(
            code="cfgpp-cfg",
            message=f"CFG is {case.cfg:g}, but {case.sampler.name} takes it on another scale, useful from 0.6 to 2",
            advice=f"set CFG to {case.cfg / 12.5 + 0.4:.1f} or so",
        )
    if case.sampler.second_order and case.sampler.order == 2 and case.steps <= 10 and case.cfg > 3:
        yield Finding(
            code="lookahead-cfg",
            message=f"{case.sampler.name} looks ahead over steps too long for CFG {case.cfg:g} at {case.steps} steps",
            advice="use a multistep sampler such as dpmpp_2m, which is also half the cost, or more steps",
        )


def sampler_limits(case: Case) -> Iterator[Finding]:
    """Find what is known of single samplers."""
    name, steps = case.sampler.name, case.steps
    if case.model.is_flow and not case.sampler.flow:
        yield Finding(
            code="no-flow",
            message=f"{name} does not work on flow models",
            advice="use euler, dpmpp_2m or dpmpp_2m_sde",
        )
    if name == "ipndm_v" and (steps > 40 or case.scheduler.name == "linear_quadratic"):
        yield Finding(
            code="ipndm-v",
            message=(
                "ipndm_v's weights do not belong to unequal steps; "
                + ("beyond 40 they cost more than they give" if steps > 40 else "they blow up where it bends")
            ),
            advice="use ipndm_vs, its exact form, or lms",
        )
    if name in ("uni_pc", "uni_pc_bh2") and case.scheduler.name in EDGE_SCHEDULES and steps <= 8:
        yield Finding(
            code="uni-pc-few",
            message=f"{name} swings at {steps} steps of {case.scheduler.name}, whose first steps are long",
            advice="use align_your_steps, or 10 steps and more",
        )
    if name == "restart" and steps < 20:
        yield Finding(
            code="restart-few",
            message=f"restart does not restart below 20 steps, and {steps} are asked for: this is Heun's method",
            advice="take 20 steps or more",
        )
    if name == "lcm" and steps > 12:
        yield Finding(
            code="lcm-steps",
            message=f"lcm gains nothing from {steps} steps: each begins again from the denoised",
            advice="take 4 to 8 steps",
        )
    if name == "heunpp2":
        yield Finding(
            code="first-order",
            message="heunpp2 costs three calls a step and converges like Euler's method",
            advice="use heun, or dpmpp_2m at a third of the cost",
        )
    if name in ("dpm_fast", "dpm_adaptive"):
        yield Finding(
            code="own-steps",
            message=f"{name} lays out its own steps between the first and the last sigma, and ends at the last",
            advice="the schedule plays no other part",
        )
    if case.model.is_flow and _has_option(case.sampler, "log_snr") and steps <= 12:
        yield Finding(
            code="log-snr",
            message=f"{name} integrates this flow in -log sigma, as in ComfyUI",
            advice="set log_snr, which is more exact at few steps of schedules such as beta57",
        )


def _has_option(sampler: SamplerSpec, name: str) -> bool:
    """Tell whether ``sampler`` has the option ``name``."""
    return sampler.options is not None and name in sampler.options.__dataclass_fields__


RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    high_last_sigma,
    wasted_steps,
    wrong_kind,
    wrong_count,
    wrong_ends,
    guidance,
    sampler_limits,
)
