"""Which profile a picture's own record asks for, and what old versions of its program did otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from .filled import filled, is_own, profile_of, sampler_called, scheduler_called
from .image.generation import Generation
from .image.keys import KEYS
from .image.names import is_ours_alone
from .image.pairs import read_pairs
from .image.parts import OWNED, ConcordSettings, Refiner, ScheduleOptions
from .image.versions import VersionKey, version_key
from .profiles import Pass, profile, sampler_of, schedule_of
from .sigmas import SCHEDULERS

_FORGE = re.compile(r"f([0-9]+)\.")
OTHERWISE = "a1111"
"""The profile of an infotext that names no program: old ones of A1111 do not."""
_OLD_TIMESTEP_SAMPLERS = ("ddim", "ddim_timesteps", "plms")


def profile_named(record: Generation) -> str | None:
    """Return the name of the profile that ``record`` asks for by itself, or by the program that wrote it.

    Forge before its version 2 and reForge, which is made from that, write versions of one form and are one
    profile.  None: the program is unknown, or has no profile.
    """
    if record.concord is not None and record.concord.profile is not None:
        return record.concord.profile
    version = record.version or ""
    if found := _FORGE.match(version):
        return "forge" if int(found[1]) >= 2 else "reforge"
    if version.startswith("neo"):
        return "forge-classic"
    if record.host == "a1111":
        return "a1111-1.10" if not _is_before(version, "1.10.0a0") else "a1111"
    return {"comfyui": "comfyui", "concord": "concord"}.get(record.host or "")


def with_profile(record: Generation, name: str | None = None) -> Generation:
    """Return ``record`` under profile ``name``; None: the one it asks for, ``OTHERWISE`` where it asks for none.

    What old versions of A1111 did otherwise is added, as A1111 adds it when their text is pasted.  Raises
    ``BadValue`` for an unknown profile.
    """
    chosen = profile(name or profile_named(record) or OTHERWISE)
    settings = replace(record.concord or ConcordSettings(), profile=chosen.name)
    if chosen.by_web_ui:
        settings = replace(settings, own=_own_of(record) or None)
    return with_old_habits(replace(record, concord=settings))


def borrowed(record: Generation) -> tuple[str, ...]:
    """Return in words what a pass takes from Concord where its profile has another of that name, or none."""
    record = filled(record)
    passes: list[Pass] = ["text", *(["hires"] if record.hires else [])]
    return tuple(dict.fromkeys(line for kind in passes for line in _borrowed_in(record, kind)))


def _borrowed_in(record: Generation, kind: Pass) -> Iterator[str]:
    host = profile_of(record, kind)
    hires = record.hires if kind == "hires" else None
    sampler = sampler_called((hires and hires.sampler) or record.sampler or "")
    wanted = (hires and hires.scheduler) or record.scheduler
    spec, _ = sampler_of(host, sampler)
    name = schedule_of(host, spec, None if wanted is None else scheduler_called(wanted))
    if is_own(record, kind, "sampler"):
        yield f"sampler {spec.label}: Concord's own, as its name in the text says"
    if is_own(record, kind, "scheduler") and host.convention != "concord":
        yield f"schedule {SCHEDULERS[name].label}: Concord's own sigmas, as its name in the text says"
    elif not host.has_schedule(name):
        yield f"schedule {SCHEDULERS[name].label}: Concord's own sigmas, as {host.label} has no such schedule"


def _own_of(record: Generation) -> tuple[str, ...]:
    """Return what of ``OWNED`` is Concord's in the text of a web UI: also by a label that only we give."""
    own = set((record.concord and record.concord.own) or ())
    if record.concord is None or record.concord.profile is None:
        texts = dict(read_pairs(record.source, KEYS))
        own |= {
            key.path for key in KEYS.values() if key.path in OWNED and is_ours_alone(texts.get(key.label, ""))
        }
    return tuple(path for path in OWNED if path in own)


def with_old_habits(record: Generation) -> Generation:
    """Return ``record`` with what versions of A1111 before 1.6, 1.7 and 1.8 did otherwise, where it says nothing.

    Source: A1111 1.9.4; tests/golden/infotext/parse.jsonl.gz.
    """
    version = record.version or ""
    if version_key(version) is None:
        return record
    if _is_before(version, "1.6.0"):
        if "[" in record.prompt and record.old_timelines is None:
            record = replace(record, old_timelines=True)
        if record.sampler in _OLD_TIMESTEP_SAMPLERS and record.pad_conds_v0 is None:
            record = replace(record, pad_conds_v0=True)
    options = record.schedule_options or ScheduleOptions()
    if _is_before(version, "1.7.0-225") and options.downcast_alphas is None:
        record = replace(record, schedule_options=replace(options, downcast_alphas=True))
    refiner = record.refiner or Refiner()
    if _is_before(version, "1.8.0") and refiner.model is not None and refiner.by_steps is None:
        record = replace(record, refiner=replace(refiner, by_steps=True))
    return record


def _is_before(version: str, limit: str) -> bool:
    """Tell whether ``version`` comes before ``limit``; one that cannot be read does not."""
    key, wanted = version_key(version), version_key(limit)
    return _ordered(key, wanted)


def _ordered(key: VersionKey | None, wanted: VersionKey | None) -> bool:
    return key is not None and wanted is not None and key < wanted
