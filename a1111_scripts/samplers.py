"""Concord's samplers in the table that the host keeps of them.

A sampler of ours replaces that of an earlier load, and nothing else.  Those of the web UIs that have a table of their
own for LCM are made by the host's class for it, as its model is asked differently.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from ..core.profiles import BROWNIAN
from ..core.sampling import SAMPLERS, SamplerSpec
from .denoiser import sampler_function
from .host import Host, detect, sd_samplers, sd_samplers_common, sd_samplers_kdiffusion
from .labels import SAMPLER_MARK, folded, free_label
from .unguided import listen


def register() -> list[type]:
    """Add every sampler; there are no scripts."""
    host = detect()
    take_out()
    listen()
    own = own_samplers()
    answering = {name.lower() for one in own for name in (one.name, *one.aliases)}
    twins = {folded(one.name): one for one in own}
    found: list[Any] = []
    for spec in SAMPLERS.values():
        aliases = [f"concord_{spec.name}", *([spec.name] if spec.name not in answering else [])]
        options = {**options_here(spec), **_default_schedule(spec, twins.get(folded(spec.label)))}
        label, run = free_label(spec.label, twins), function_here(spec, host)
        found.append(sd_samplers_common.SamplerData(label, partial(make_sampler, run), aliases, options))
    add(found)
    return []


def own_samplers() -> list[Any]:
    """Return the samplers in the host's table that are not ours."""
    return [one for one in sd_samplers.all_samplers if SAMPLER_MARK not in one.options]


def take_out() -> None:
    """Take ours out of the host's tables, those that are fused with a schedule too."""
    sd_samplers.all_samplers[:] = own_samplers()
    for name in [name for name, one in sd_samplers.all_samplers_map.items() if SAMPLER_MARK in one.options]:
        del sd_samplers.all_samplers_map[name]
    extra = sd_samplers_kdiffusion.sampler_extra_params
    for function in [function for function in extra if hasattr(function, "spec")]:
        del extra[function]


def add(found: list[Any]) -> None:
    """Put samplers into the host's tables, and let it look at those anew."""
    sd_samplers.all_samplers.extend(found)
    sd_samplers.all_samplers_map.update({one.name: one for one in found})
    sd_samplers.set_samplers()
    if hasattr(sd_samplers, "get_sampler_and_scheduler"):
        sd_samplers.get_sampler_and_scheduler.cache_clear()


def function_here(spec: SamplerSpec, host: Host) -> Any:
    """Return the function of ``spec``, known to the host as one that takes churn and noise from the settings."""
    run: Any = sampler_function(spec, host.profile)
    sd_samplers_kdiffusion.sampler_extra_params[run] = [name for name in run.passed if name != "eta"]
    return run


def make_sampler(run: Any, model: Any) -> Any:
    """Return the host's sampler that calls ``run``."""
    made = _sampler_class(run.spec)(run, model)
    if run.spec.timesteps:  # these have an eta of their own
        made.eta_option_field, made.eta_infotext_field, made.eta_default = "eta_ddim", "Eta DDIM", 0.0
    return made


def _sampler_class(spec: SamplerSpec) -> Callable[..., Any]:
    if spec.name == "lcm":
        return import_module("modules.sd_samplers_lcm").LCMSampler
    return sd_samplers_kdiffusion.KDiffusionSampler


def options_here(spec: SamplerSpec) -> dict[str, Any]:
    """Return what the host has to know of ``spec``: calls a step, the sigma to drop, and where its noise is from."""
    tree = spec.name in BROWNIAN
    found = {
        SAMPLER_MARK: spec.name,
        "second_order": spec.second_order,
        "discard_next_to_last_sigma": "webui" in spec.discards_penultimate,
        "brownian_noise": tree,
        "uses_ensd": spec.kind != "deterministic" and not tree,
        "default_eta_is_0": spec.timesteps,
    }
    return {name: value for name, value in found.items() if value}


def _default_schedule(spec: SamplerSpec, twin: Any) -> dict[str, str]:
    """Return what "Automatic" is: as with the host's own sampler of that name, else the one that goes with ours.

    The host's timestep samplers know no schedules; ours have theirs among them.
    """
    name = spec.scheduler if twin is None or spec.timesteps else twin.options.get("scheduler")
    return {} if name is None else {"scheduler": name}
