"""Concord's samplers and schedules in ComfyUI's own tables, and out of them again.

Every name begins with ``concord_``: other packs refuse to load where a name of theirs is taken.  Entries are
only ever appended, so ComfyUI's defaults and the places of other packs' names stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS, get_sigmas
from ..core.sigmas.schedule import MAX_STEPS
from .denoiser import model_sigmas, sampler_function
from .host import k_diffusion, samplers

log = logging.getLogger(__name__)

PREFIX = "concord_"
MARK = "made_by_concord"


def register() -> None:
    """Add every sampler and schedule; again, from this or a newer copy of the pack, it replaces its own only."""
    for spec in SAMPLERS.values():
        _add_sampler(PREFIX + spec.name, sampler_function(spec))
    for name in SCHEDULERS:
        _add_scheduler(PREFIX + name, partial(scheduler_sigmas, name))


def unregister() -> None:
    """Take out what ``register`` put in, and nothing else."""
    for module in _sampler_modules():
        for attribute in [name for name, value in vars(module).items() if hasattr(value, MARK)]:
            delattr(module, attribute)
            _take_out(_sampler_lists(), attribute.removeprefix("sample_"))
    handlers = samplers.SCHEDULER_HANDLERS
    for name in [name for name, handler in handlers.items() if hasattr(handler.handler, MARK)]:
        del handlers[name]
        _take_out(_scheduler_lists(), name)


def scheduler_sigmas(name: str, model_sampling: Any, steps: int) -> torch.Tensor:
    """Return the ``steps + 1`` sigmas of schedule ``name`` for ComfyUI's ``model_sampling``.

    At a small strength ComfyUI asks for steps by the hundred thousand to keep the last few: 10000 are the most.
    """
    return get_sigmas(name, min(max(steps, 1), MAX_STEPS), model_sigmas(model_sampling))


def _add_sampler(name: str, run: Callable[..., Any]) -> None:
    setattr(run, MARK, True)
    attribute = f"sample_{name}"
    held = [getattr(module, attribute, None) for module in _sampler_modules()]
    taken = any(one is not None and not hasattr(one, MARK) for one in held)
    if taken or (not any(held) and _is_listed(_sampler_lists(), name)):
        log.warning("Concord: another pack has a sampler %r; it stays as it is", name)
        return
    for module in _sampler_modules():
        setattr(module, attribute, run)
    _put_in(_sampler_lists(), name)


def _add_scheduler(name: str, run: Any) -> None:
    setattr(run, MARK, True)
    held = samplers.SCHEDULER_HANDLERS.get(name)
    if (held is not None and not hasattr(held.handler, MARK)) or (
        held is None and _is_listed(_scheduler_lists(), name)
    ):
        log.warning("Concord: another pack has a scheduler %r; it stays as it is", name)
        return
    samplers.SCHEDULER_HANDLERS[name] = samplers.SchedulerHandler(run)
    _put_in(_scheduler_lists(), name)


def _sampler_modules() -> Iterator[Any]:
    """Yield where ComfyUI looks functions up: one module, unless another pack has put its own in its place."""
    yield from {id(module): module for module in (k_diffusion, samplers.k_diffusion_sampling)}.values()


def _sampler_lists() -> list[list[str]]:
    """Return the lists of the menus: one object, unless another pack has put a new list into ``KSampler``."""
    return _distinct(samplers.SAMPLER_NAMES, samplers.KSampler.SAMPLERS)


def _scheduler_lists() -> list[list[str]]:
    return _distinct(samplers.SCHEDULER_NAMES, samplers.KSampler.SCHEDULERS)


def _distinct(*lists: list[str]) -> list[list[str]]:
    return list({id(one): one for one in lists}.values())


def _is_listed(lists: list[list[str]], name: str) -> bool:
    return any(name in one for one in lists)


def _put_in(lists: list[list[str]], name: str) -> None:
    for one in lists:
        if name not in one:
            one.append(name)


def _take_out(lists: list[list[str]], name: str) -> None:
    for one in lists:
        if name in one:
            one.remove(name)
