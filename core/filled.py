"""What a generation record leaves open: filled in, and its names made those of the registries."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Literal

from .image.generation import Generation
from .image.names import sampler_name, scheduler_name, split_fused
from .image.parts import ConcordSettings
from .profiles import Pass, Profile, profile, sampler_of, schedule_of, with_own_sampler
from .sampling import SAMPLERS
from .sigmas import SCHEDULERS

DEFAULT_PROFILE = "concord"
DEFAULT_STEPS = 20
DEFAULT_SAMPLER = "dpmpp_2m"


def profile_of(record: Generation, kind: Pass = "text") -> Profile:
    """Return the profile that ``record`` names for a pass, Concord's own unless it does; raises ``BadValue``.

    A sampler of ours that the program's user chose is run as ours is.
    """
    host = profile((record.concord and record.concord.profile) or DEFAULT_PROFILE)
    return with_own_sampler(host) if is_own(record, kind, "sampler") else host


def tiles(record: Generation) -> bool:
    """Tell whether the picture of ``record`` is one that tiles; not every program follows that setting."""
    return bool(record.tiling) and "tiling" not in profile_of(record).ignores


def is_own(record: Generation, kind: Pass, name: Literal["sampler", "scheduler"]) -> bool:
    """Tell whether the sampler or schedule of a pass is Concord's own, beside one that the program has."""
    own = (record.concord and record.concord.own) or ()
    apart = kind == "hires" and record.hires is not None and getattr(record.hires, name) is not None
    return (f"hires.{name}" if apart else name) in own


def sampler_called(text: str) -> str:
    """Return the registry's name for a name, alias or label: "ddim" is ComfyUI's, "DDIM" the web UIs'."""
    return SAMPLERS[text].name if text in SAMPLERS else sampler_name(text)


def scheduler_called(text: str) -> str:
    """Return the registry's name for a name, alias or label; an unknown text as it is."""
    return SCHEDULERS[text].name if text in SCHEDULERS else scheduler_name(text)


def names_of(host: Profile, sampler: str | None, scheduler: str | None) -> tuple[str, str]:
    """Return the registries' names for names, labels ("Euler a") and old fused labels ("DPM++ 2M Karras").

    None is dpmpp_2m, and the sampler's own schedule there.  Raises ``BadValue`` that offers the nearest names.
    """
    name = sampler_called(sampler or DEFAULT_SAMPLER)
    if name not in SAMPLERS and scheduler is None and (both := split_fused(name)):
        name, scheduler = both
    spec, _ = sampler_of(host, name)
    wanted = None if scheduler is None else scheduler_called(scheduler)
    return spec.name, schedule_of(host, spec, wanted)


def filled(wanted: Generation, *, cfg: float = 7.0) -> Generation:
    """Return ``wanted`` with what a pass needs filled in and names made the registries' own.

    ``cfg``: where none is asked for; CFG++ samplers take 1.  A seed below 0 is drawn.
    Raises ``BadValue`` for unknown names.
    """
    host = profile_of(wanted)
    sampler, scheduler = names_of(host, wanted.sampler, wanted.scheduler)
    if SAMPLERS[sampler].needs_uncond:
        cfg = 1.0
    variation = wanted.variation
    if variation is not None and (variation.strength or 0) > 0:
        variation = replace(variation, seed=_drawn(variation.seed))
    return replace(
        wanted,
        steps=DEFAULT_STEPS if wanted.steps is None else wanted.steps,
        sampler=sampler,
        scheduler=scheduler,
        cfg=cfg if wanted.cfg is None else wanted.cfg,
        seed=_drawn(wanted.seed),
        variation=variation,
        rng=wanted.rng.upper() if wanted.rng else {"cpu": "CPU"}.get(host.noise_source, "NV"),
        concord=replace(wanted.concord or ConcordSettings(), profile=host.name),
    )


def _drawn(seed: int | None) -> int:
    """Return ``seed``, or one of 32 bits where there is none."""
    return seed if seed is not None and seed >= 0 else random.SystemRandom().getrandbits(32)
