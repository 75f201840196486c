"""From the widgets of Concord Sampler to a generation record, and from a record on the wire to a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import BadValue
from ..core.filled import filled, names_of, profile_of
from ..core.image.generation import Generation
from ..core.image.model_ref import ModelRef
from ..core.image.parts import ConcordSettings, ScheduleOptions, Variation
from ..core.options import with_options
from ..core.prompt import expand_wildcards
from ..core.version import VERSION
from .registration import PREFIX
from .wires import upstream_value

OF_PROFILE = "as the profile"
"""The entry of a dropdown that leaves a choice to the profile."""
NOISE = {"CPU": "CPU", "graphics card": "NV"}
"""Noise sources by what the dropdown calls them."""
SWITCH = {"on": True, "off": False}
MODEL_FILES = ("ckpt_name", "unet_name", "model_name")
"""Inputs of loaders that hold a file's name."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the widgets of Concord Sampler say, by the names of its inputs."""

    profile: str
    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    width: int
    height: int
    denoise: float
    positive: str = ""
    negative: str = ""
    batch_size: int = 1
    record_seed: bool = True
    clip_skip: int = 0
    noise: str = OF_PROFILE
    ensd: int = 0
    sgm_noise: str = OF_PROFILE
    cfg_rescale: float = 0.0
    emphasis: str = OF_PROFILE
    dialect: str = OF_PROFILE
    variation_seed: int = 0
    variation: float = 0.0
    options: str = ""
    wildcards: bool = False


def record_of(asked: Asked) -> Generation:
    """Return the record of what the widgets say; raises ``BadValue`` that names the setting."""
    sgm = SWITCH.get(asked.sgm_noise)
    record = Generation(
        prompt=asked.positive,
        negative_prompt=asked.negative,
        steps=asked.steps,
        sampler=bare(asked.sampler),
        scheduler=bare(asked.scheduler),
        cfg=asked.cfg,
        seed=asked.seed,
        size=(asked.width, asked.height),
        clip_skip=asked.clip_skip or None,
        rng=NOISE.get(asked.noise),
        ensd=asked.ensd or None,
        schedule_options=None if sgm is None else ScheduleOptions(sgm_noise=sgm),
        variation=Variation(seed=asked.variation_seed, strength=asked.variation) if asked.variation else None,
        emphasis=None if asked.emphasis == OF_PROFILE else asked.emphasis,
        concord=ConcordSettings(
            profile=asked.profile,
            dialect=None if asked.dialect == OF_PROFILE else asked.dialect,
            cfg_rescale=asked.cfg_rescale or None,
        ),
    )
    return optioned(record, asked.options)


def bare(name: str) -> str:
    """Return the core's name of a sampler or schedule that a dropdown of ComfyUI may call ``concord_…``."""
    return name.removeprefix(PREFIX)


def optioned(record: Generation, text: str) -> Generation:
    """Return ``record`` with options such as ``eta=0.7, rho=5``; raises ``BadValue`` for unknown ones."""
    given: dict[str, object] = {}
    for one in filter(None, re.split(r"[,\n]", text)):
        name, sign, value = one.partition("=")
        if one.strip() and not sign:
            raise BadValue(f"the option {one.strip()!r} has no value; write NAME=VALUE, such as eta=0.7")
        if one.strip():
            given[name.strip()] = value.strip()
    if not given:
        return record
    sampler, scheduler = names_of(profile_of(record), record.sampler, record.scheduler)
    return with_options(replace(record, sampler=sampler, scheduler=scheduler), given)


def merged(record: Generation | None, widgets: Generation, *, own_seed: bool) -> Generation:
    """Return what is run: ``record`` where it says something, else ``widgets``.

    ``own_seed``: the record's seed too; else the widget's.  What only a later pass makes of a picture is left
    out: it is recorded when it is done.
    """
    if record is None:
        return widgets
    strength = None if record.hires is not None else record.denoising_strength  # it was of the hires pass
    base = replace(
        record, hires=None, refiner=None, detailer=(), denoising_strength=strength, inpaint=None, source=""
    )
    open_fields = {
        name: getattr(widgets, name)
        for name in ("steps", "sampler", "scheduler", "cfg", "seed", "size", "clip_skip", "rng", "ensd")
        if getattr(base, name) is None and not (name == "scheduler" and base.sampler is not None)
    }
    base = replace(base, **open_fields, concord=_own_settings(base, widgets))
    return base if own_seed else replace(base, seed=widgets.seed)


def _own_settings(record: Generation, widgets: Generation) -> ConcordSettings | None:
    """Return what only Concord records; without a profile, that and the dialect are the widgets'."""
    own, other = record.concord, widgets.concord
    if own is None or own.profile is not None or other is None:
        return own or other
    return replace(own, profile=other.profile, dialect=own.dialect or other.dialect)


def expanded(record: Generation, folder: Path) -> tuple[Generation, list[str]]:
    """Return ``record`` with the variants and wildcards of its prompts chosen by its seed, and what went wrong.

    ``folder``: of the wildcard files.  The templates are kept beside the prompts.
    """
    seed, problems = record.seed or 0, []
    for prompt, template in (("prompt", "template"), ("negative_prompt", "negative_template")):
        found = expand_wildcards(getattr(record, prompt), seed, folder)
        if found.text != found.template:
            record = replace(record, **{prompt: found.text, template: found.template})
        if found.problem:
            problems.append(found.problem)
    return record, problems


def finished_record(record: Generation, model: str | None) -> Generation:
    """Return ``record`` filled in, with the model's name and the version; ``model``: a file's name."""
    record = filled(replace(record, version=f"Concord {VERSION}"))
    if model is None:
        return record
    name = PurePosixPath(model.replace("\\", "/")).name
    stem = name.rpartition(".")[0] if name.endswith((".safetensors", ".ckpt", ".pt", ".gguf")) else name
    same = record.model is not None and record.model.name == stem
    return record if same else replace(record, model=ModelRef(name=stem))


def file_above(prompt: Mapping[str, Any] | None, node: str | None) -> str | None:
    """Return the file of the model that the queued graph ``prompt`` loads above ``node``."""
    return upstream_value(prompt, node, MODEL_FILES)
