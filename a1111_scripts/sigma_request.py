"""What the panel "Concord Sigmas" does to a request: its sigmas, the options of its sampler, and what is recorded.

All of it hangs on the request, and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.image import ConcordSettings, Generation, format_infotext
from ..core.image.keys import KEYS
from ..core.image.pairs import read_pairs
from ..core.options import with_options
from ..core.options_text import option_defaults, read_options_text
from ..core.sampling import SAMPLERS, SamplerSpec
from ..core.sampling.guidance import multiply_sigmas
from ..core.sigmas import SCHEDULERS, get_sigmas
from ..core.sigmas.custom import read_sigmas
from .denoiser import PANEL_OPTIONS, model_sigmas
from .host import processing, sd_samplers, sd_samplers_common, sd_schedulers, shared
from .labels import FUNCTION_MARK, SAMPLER_MARK
from .schedulers import with_schedule_options

CUSTOM = "custom"
TAIL = "tail_power"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the controls of the panel say, in their order."""

    factor: float = 1.0
    start: float = 0.0
    end: float = 1.0
    tail_power: float = 0.0
    sigmas: str = ""
    sampler_options: str = ""
    schedule_options: str = ""

    @property
    def is_neutral(self) -> bool:
        """Tell whether nothing is asked for."""
        return self.factor == 1 and not (self.tail_power or self.texts)

    @property
    def texts(self) -> str:
        """What is written in the text boxes, "" for nothing."""
        return (self.sigmas + self.sampler_options + self.schedule_options).strip()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to a request: checked, and by names of the core.

    ``sampler``, ``schedule``: of the first pass, None for ones of the host.  ``sampler_given``, ``schedule_given``:
    their options.
    """

    asked: Asked
    sampler: str | None
    schedule: str | None
    sampler_given: Mapping[str, Any]
    schedule_given: Mapping[str, Any]


def plan_of(p: Any, asked: Asked) -> tuple[Plan, list[str]]:
    """Return the plan of what is asked of request ``p``, and what cannot be had, in words.

    Raises ``BadValue`` or ``BadType`` for what cannot be read.
    """
    sampler, remarks = sampler_in(p.sampler_name), list[str]()
    schedule = CUSTOM if asked.sigmas.strip() else schedule_in(p, getattr(p, "scheduler", None))
    multiply_sigmas(torch.ones(2), asked.factor, asked.start, asked.end)  # raises for what is out of range
    of_sampler: dict[str, Any] = {}
    if sampler is not None:
        record = SAMPLERS[sampler].options
        of_sampler = read_options_text(asked.sampler_options, record, f"sampler {p.sampler_name!r}")
        if asked.tail_power and TAIL in option_defaults(record):
            of_sampler[TAIL] = float(asked.tail_power)
        elif asked.tail_power:
            remarks.append(f"{p.sampler_name} has no tail power")
    elif asked.sampler_options.strip() or asked.tail_power:
        remarks.append(f"{p.sampler_name} is the host's, and takes neither sampler options nor a tail power")
    of_schedule: dict[str, Any] = {}
    if schedule == CUSTOM:
        of_schedule["sigmas"] = " ".join(f"{sigma:g}" for sigma in read_sigmas(asked.sigmas))
    elif schedule is not None:
        record = SCHEDULERS[schedule].options
        of_schedule = read_options_text(asked.schedule_options, record, f"scheduler {schedule!r}")
    elif asked.schedule_options.strip():
        remarks.append("this schedule is the host's, and takes no schedule options")
    found = Plan(
        asked=asked,
        sampler=sampler,
        schedule=schedule,
        sampler_given=of_sampler,
        schedule_given=of_schedule,
    )
    return found, remarks


def apply(p: Any, plan: Plan) -> None:
    """Hang ``plan`` on the request ``p``, which has none."""
    if plan.asked.factor != 1 or plan.schedule_given:
        p.sampler_noise_scheduler_override = PanelSigmas(p, plan, p.sampler_noise_scheduler_override)
    if plan.sampler_given:
        setattr(p, PANEL_OPTIONS, sampler_options(plan))
        p.extra_generation_params |= _recorded(plan, sampler=True)


def remove(p: Any) -> None:
    """Take an earlier plan off the request ``p``."""
    if isinstance(p.sampler_noise_scheduler_override, PanelSigmas):
        p.sampler_noise_scheduler_override = p.sampler_noise_scheduler_override.base
    if hasattr(p, PANEL_OPTIONS):
        delattr(p, PANEL_OPTIONS)


def sampler_options(plan: Plan) -> Callable[[SamplerSpec], dict[str, Any]]:
    """Return what gives a sampler of ours its options: of another one, as in the hires pass, those that it knows."""

    def given(spec: SamplerSpec) -> dict[str, Any]:
        known = option_defaults(spec.options)
        return {name: value for name, value in plan.sampler_given.items() if name in known}

    return given


class PanelSigmas:
    """The sigmas of a pass, as the host asks a request for them; ``used``: it has."""

    def __init__(self, p: Any, plan: Plan, base: Callable[[int], Tensor] | None) -> None:
        """Belong to ``p``; ``base``: what it brings already, from another script."""
        self.base, self.used = base, False
        self._p, self._plan = p, plan

    def __call__(self, steps: int) -> Tensor:
        """Return the sigmas of ``steps`` steps, one more than are run where the host then drops the last above 0."""
        drops, self.used = _drops(self._p), True
        sigmas = self._multiplied(self._laid_out(steps, drops))
        self._p.extra_generation_params |= _recorded(self._plan, sampler=False)
        return torch.cat([sigmas[:-1], sigmas[-2:]]) if drops else sigmas

    def _laid_out(self, steps: int, drops: bool) -> Tensor:
        """Return the sigmas that are run, before they are multiplied."""
        own = self._schedule_of_pass()
        if self.base is not None or own == CUSTOM:
            sigmas = self.base(steps) if self.base is not None else self._custom(steps)
            return torch.cat([sigmas[:-2], sigmas[-1:]]) if drops else sigmas
        given = self._plan.schedule_given if own is not None else {}
        known = option_defaults(SCHEDULERS[own].options) if own is not None else {}
        options = {name: value for name, value in given.items() if name in known}
        self._p.sampler_noise_scheduler_override = None
        try:
            with with_schedule_options(options) if options else nullcontext():
                return self._p.sampler.get_sigmas(self._p, steps - drops)
        finally:
            self._p.sampler_noise_scheduler_override = self

    def _custom(self, steps: int) -> Tensor:
        if not self._p.is_hr_pass:
            self._p.extra_generation_params["Schedule type"] = SCHEDULERS[CUSTOM].label
        wrap = self._p.sampler.model_wrap
        sigmas = get_sigmas(CUSTOM, steps, model_sigmas(wrap), **self._plan.schedule_given)
        return sigmas.to(shared.device)

    def _schedule_of_pass(self) -> str | None:
        """Return the core's name of the pass's schedule; that of hires is the first one's unless it is told another."""
        p, first = self._p, getattr(self._p, "scheduler", None)
        if p.is_hr_pass and getattr(p, "hr_scheduler", None) not in (None, first):
            return schedule_in(p, p.hr_scheduler)
        return self._plan.schedule

    def _multiplied(self, sigmas: Tensor) -> Tensor:
        """Return ``sigmas`` with the factor, which counts its shares over the part that is run."""
        asked = self._plan.asked
        if asked.factor == 1:
            return sigmas
        shares = asked.factor, asked.start, asked.end
        run = len(sigmas) - 1 if (kept := _kept_steps(self._p)) is None else kept
        whole, tail = multiply_sigmas(sigmas, *shares), multiply_sigmas(sigmas[-(run + 1) :], *shares)
        return torch.cat([whole[: len(sigmas) - len(tail)], tail])


def _kept_steps(p: Any) -> int | None:
    """Return how many steps of what is laid out are run; None for all."""
    if p.is_hr_pass:
        _, last = sd_samplers_common.setup_img2img_steps(p, p.hr_second_pass_steps or p.steps)
    elif isinstance(p, processing.StableDiffusionProcessingImg2Img):
        _, last = sd_samplers_common.setup_img2img_steps(p)
    else:
        return None
    return last + 1


def _drops(p: Any) -> bool:
    """Tell whether the host asks for one step more and then drops the last sigma above 0."""
    always = shared.opts.always_discard_next_to_last_sigma
    return bool(p.sampler.config.options.get("discard_next_to_last_sigma", False) or always)


def sampler_in(label: str | None) -> str | None:
    """Return the core's name of a sampler of ours by its label here; None for one of the host."""
    config = sd_samplers.find_sampler_config(label)
    return None if config is None else config.options.get(SAMPLER_MARK)


def schedule_in(p: Any, label: str | None) -> str | None:
    """Return the core's name of a schedule of ours by its label here; None for one of the host.

    "Automatic" is the one of the sampler.
    """
    if sd_schedulers is None:
        return None
    if label in (None, "", "Automatic", "automatic"):
        name = p.hr_sampler_name if p.is_hr_pass and getattr(p, "hr_sampler_name", None) else p.sampler_name
        config = sd_samplers.find_sampler_config(name)
        label = None if config is None else config.options.get("scheduler")
    found = sd_schedulers.schedulers_map.get(label)
    return None if found is None else getattr(found.function, FUNCTION_MARK, None)


def _recorded(plan: Plan, *, sampler: bool) -> dict[str, str]:
    """Return the keys that the infotext gets: those of the sampler's options, or of the sigmas."""
    record = Generation(sampler=plan.sampler or "euler", scheduler=plan.schedule or "normal")
    if sampler:
        record = with_options(record, plan.sampler_given)
    else:
        asked = plan.asked
        own = ConcordSettings(
            sigma_multiply=asked.factor if asked.factor != 1 else None,
            sigma_multiply_start=asked.start if asked.factor != 1 and asked.start > 0 else None,
            sigma_multiply_end=asked.end if asked.factor != 1 and asked.end < 1 else None,
        )
        record = Generation(sampler=record.sampler, scheduler=record.scheduler, concord=own)
        record = with_options(record, plan.schedule_given)
    found = dict(read_pairs(format_infotext(record).strip(), KEYS))
    return {key: text for key, text in found.items() if key not in ("Sampler", "Schedule type")}


def remark(p: Any, words: str) -> None:
    """Put a line under the picture."""
    comment = getattr(p, "comment", None)
    if comment is not None:
        comment(f"Concord Sigmas: {words}")
