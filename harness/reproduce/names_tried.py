"""Other samplers and schedules that are tried when a picture does not come out as recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from ...core.filled import filled, is_own, scheduler_called
from ...core.image.names import OURS, sampler_label, scheduler_label
from ...core.profiles import Profile
from ...core.run import COUNTED
from ...core.sampling import SAMPLERS
from ...core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas
from .case import Case, changed, settings
from .changes import Change

USUAL_SCHEDULES = ("karras", "normal", "exponential", "sgm_uniform", "simple", "beta", "align_your_steps")
USUAL_SAMPLERS = (
    *("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"),
    *("dpmpp_2s_ancestral", "heun", "ddim", "ddim_timesteps", "uni_pc", "uni_pc_timesteps", "lcm", "lms"),
)


def now_running(case: Case) -> list[str]:
    """Return the schedule that runs, where it is one that has a name of its own."""
    name = scheduler_called(filled(case.record).scheduler or "")
    return [name] if name in SCHEDULERS else []


def schedules(case: Case, names: Iterable[str], *, twins_alone: bool = False) -> Iterator[Change]:
    """Yield those of the schedules that the program has, and Concord's of the same names where they are others.

    ``twins_alone``: of the schedule that runs the other of that name; else all but the two.
    """
    record, host = case.record, case.host
    spec = SAMPLERS[case.sampler]
    if host.runs_timesteps(spec):
        return
    now, own = now_running(case), is_own(record, "text", "scheduler")
    says = record.scheduler and shown_as(case, scheduler_label(record.scheduler), record.scheduler)
    says = f"{says}{OURS}" if own else says
    program = [path for path in (settings(case).own or ()) if path != "scheduler"]
    for name in names:
        if name.endswith(("_timesteps", "_sd1", "_sdxl")) or (name in now) != twins_alone:
            continue
        shown = shown_as(case, scheduler_label(name), name)
        if host.has_schedule(name) and not (twins_alone and not own):
            own_names = settings(case, own=tuple(program) or None)
            yield changed(case, "Schedule type", shown, says, scheduler=name, concord=own_names)
        if host.by_web_ui and has_twin(host, name) and not (twins_alone and own):
            own_names = settings(case, own=(*program, "scheduler"))
            yield changed(case, "Schedule type", shown + OURS, says, scheduler=name, concord=own_names)


def has_twin(host: Profile, name: str) -> bool:
    """Tell whether ``host`` has a schedule of that name whose sigmas are not those of Concord's."""
    if not host.has_schedule(name):
        return False
    own, other = (
        get_sigmas(name, COUNTED, ModelSigmas.sd(), convention=one) for one in ("concord", host.convention)
    )
    return own.shape != other.shape or not torch.allclose(own, other, rtol=1e-4)


def samplers(case: Case, names: Iterable[str]) -> Iterator[Change]:
    """Yield those of the samplers that guide as the one that is named."""
    record, now = case.record, SAMPLERS[case.sampler]
    own_names = settings(
        case, own=tuple(path for path in settings(case).own or () if path != "sampler") or None
    )
    for name in names:
        if name != now.name and SAMPLERS[name].needs_uncond == now.needs_uncond:
            says = record.sampler and shown_as(case, sampler_label(record.sampler), record.sampler)
            shown = shown_as(case, sampler_label(name), name)
            new: dict[str, Any] = {"sampler": name, "sampler_options": None, "concord": own_names}
            yield changed(case, "Sampler", shown, says, **new)


def shown_as(case: Case, label: str, name: str) -> str:
    """Return what the program that made the picture calls a thing."""
    return label if case.host.by_web_ui else name
