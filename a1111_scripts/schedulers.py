"""Concord's schedules in the table that the host keeps of them; fused with samplers where it keeps none."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import Any

from torch import Tensor

from ..core.options_text import option_defaults
from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS, SchedulerSpec, get_sigmas
from .denoiser import model_sigmas
from .host import Host, detect, sd_samplers, sd_samplers_common, sd_samplers_kdiffusion, sd_schedulers, shared
from .labels import FUNCTION_MARK, folded, free_label
from .samplers import add, function_here, options_here, own_samplers

FUSED_SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "deis", "res_multistep")
FUSED_SCHEDULES = ("align_your_steps", "beta", "kl_optimal", "sgm_uniform", "simple")
"""What a host without a table of schedules gets: each of these samplers with each of these."""
_given: ContextVar[Mapping[str, Any]] = ContextVar("concord_schedule_options", default=MappingProxyType({}))


def register() -> list[type]:
    """Add every schedule; there are no scripts."""
    host = detect()
    if sd_schedulers is None:
        taken = {folded(one.name) for one in own_samplers()}
        pairs = product(FUSED_SAMPLERS, FUSED_SCHEDULES)
        add([fused_data(sampler, schedule, host, taken) for sampler, schedule in pairs])
    else:
        take_out()
        own = sd_schedulers.schedulers
        taken = {folded(name) for one in own for name in (one.name, one.label, *(one.aliases or []))}
        for found in [scheduler_data(spec, taken) for spec in SCHEDULERS.values()]:
            own.append(found)
            sd_schedulers.schedulers_map.update({found.name: found, found.label: found})
        sd_samplers.get_sampler_and_scheduler.cache_clear()
    return []


def take_out() -> None:
    """Take ours out of the host's tables."""
    table, named = sd_schedulers.schedulers, sd_schedulers.schedulers_map
    table[:] = [one for one in table if not hasattr(one.function, FUNCTION_MARK)]
    for name in [name for name, one in named.items() if hasattr(one.function, FUNCTION_MARK)]:
        del named[name]


def scheduler_data(spec: SchedulerSpec, taken: Container[str]) -> Any:
    """Return the host's record of ``spec``; ``taken``: the names that the host has, ``folded``."""
    run = partial(schedule_sigmas, spec)
    setattr(run, FUNCTION_MARK, spec.name)
    return sd_schedulers.Scheduler(
        f"concord_{spec.name}" if folded(spec.name) in taken else spec.name,
        free_label(spec.label, taken),
        run,
        default_rho=option_defaults(spec.options).get("rho", -1),
        need_inner_model=True,
    )


def schedule_sigmas(
    spec: SchedulerSpec,
    n: int,
    sigma_min: float,
    sigma_max: float,
    inner_model: Any,
    device: Any,
    **options: Any,
) -> Tensor:
    """Return the ``n + 1`` sigmas of ``spec``, as the host calls it.

    ``sigma_min``, ``sigma_max``: the model's own, unless the host's settings say otherwise, which schedules that know
    such ends follow.  ``inner_model``: the host's wrapped model.
    """
    model = model_sigmas(inner_model)
    known = option_defaults(spec.options)
    for name, given, own in (
        ("sigma_min", sigma_min, model.sigma_min),
        ("sigma_max", sigma_max, model.sigma_max),
    ):
        if name in known and not math.isclose(given, own, rel_tol=1e-4):
            options[name] = float(given)
    return get_sigmas(for_family(spec.name, inner_model), n, model, **{**options, **_given.get()}).to(device)


@contextmanager
def with_schedule_options(options: Mapping[str, Any]) -> Iterator[None]:
    """Give ``options`` to the schedules of ours that are laid out in this context."""
    token = _given.set(options)
    try:
        yield
    finally:
        _given.reset(token)


def for_family(name: str, inner_model: Any) -> str:
    """Return the form of schedule ``name`` that was found for the kind of model that is loaded."""
    sd_model = getattr(inner_model, "inner_model", None) or shared.sd_model
    family = "sdxl" if getattr(sd_model, "is_sdxl", False) else "sd1"
    return f"{name}_{family}" if f"{name}_{family}" in SCHEDULERS else name


def fused_data(sampler: str, schedule: str, host: Host, taken: Container[str]) -> Any:
    """Return the host's record of a sampler with a schedule of ours; its name is that of both."""
    spec = SAMPLERS[sampler]
    return sd_samplers_common.SamplerData(
        free_label(f"{spec.label} {SCHEDULERS[schedule].label}", taken),
        partial(make_fused, function_here(spec, host), schedule),
        [f"concord_{sampler}_{schedule}"],
        options_here(spec),
    )


def make_fused(run: Any, schedule: str, model: Any) -> Any:
    """Return the host's sampler that calls ``run`` with sigmas of ``schedule``."""

    class Fused(sd_samplers_kdiffusion.KDiffusionSampler):
        """A sampler that lays its own sigmas out."""

        def get_sigmas(self, p: Any, steps: int) -> Tensor:
            """Return the sigmas of ``steps`` steps, unless the request brings its own."""
            if p.sampler_noise_scheduler_override:
                return super().get_sigmas(p, steps)
            p.sampler_noise_scheduler_override = self._laid_out
            try:
                return super().get_sigmas(p, steps)
            finally:
                p.sampler_noise_scheduler_override = None

        def _laid_out(self, steps: int) -> Tensor:
            wrap = self.model_wrap
            ends = wrap.sigmas[0].item(), wrap.sigmas[-1].item()
            return schedule_sigmas(SCHEDULERS[schedule], steps, *ends, wrap, shared.device)

    return Fused(run, model)
