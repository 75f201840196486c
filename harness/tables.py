"""Tables of all samplers and schedules for the reader, made from the registries.

``python -m sd_concord.harness.tables`` writes them to docs/samplers.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..core.profiles import PROFILES, Profile
from ..core.sampling import SAMPLERS, SamplerSpec
from ..core.sigmas import SCHEDULERS, SchedulerSpec

FILE = Path(__file__).parents[1] / "docs" / "samplers.md"
SAMPLER_HEADS = ("name", "label", "order", "NFE", "kind", "schedule", "options", "source")
SCHEDULE_HEADS = ("name", "label", "options", "lists of hosts", "made for", "source")
PROFILE_HEADS = ("name", "as", "compared", "noise", "SDE noise", "schedules", "timesteps", "prompts")


def document() -> str:
    """Return the text of docs/samplers.md."""
    return f"""# Samplers, schedules and profiles

`--sampler` and `--scheduler` take a name or a label; `*_gpu` names of ComfyUI are found too. This page is made from
the registries by `python -m sd_concord.harness.tables`.

## Samplers

Order: as measured, of convergence on a problem with a known answer; the stochastic ones without their noise. NFE:
denoiser calls of n steps, which is what a picture costs. Schedule: what the sampler takes unless told otherwise.
Options: `--option NAME=VALUE`, with their defaults; a `tail_power` of 1 continues the last slope in the jump to 0.

{table(SAMPLER_HEADS, map(sampler_row, SAMPLERS.values()))}

## Schedules

Lists of hosts: programs whose list of sigmas a profile gives to the digit, where it is not Concord's own.

{table(SCHEDULE_HEADS, map(schedule_row, SCHEDULERS.values()))}

## Profiles

`--profile NAME` draws as that program does. Those that are compared were held to recordings of the program; the
others are read from its code or taken over from a relative, and unverified.

{table(PROFILE_HEADS, map(profile_row, PROFILES.values()))}
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def sampler_row(spec: SamplerSpec) -> list[str]:
    """Return the cells of a sampler, under ``SAMPLER_HEADS``."""
    return [
        _names(spec.name, spec.aliases),
        spec.label,
        f"{spec.order:g}",
        _calls(spec),
        f"{spec.kind}, CFG++" if spec.needs_uncond else spec.kind,
        f"`{spec.scheduler}`",
        _options(spec.options),
        spec.source,
    ]


def schedule_row(spec: SchedulerSpec) -> list[str]:
    """Return the cells of a schedule, under ``SCHEDULE_HEADS``."""
    hosts = ", ".join(sorted(spec.hosts))
    return [
        _names(spec.name, spec.aliases),
        spec.label,
        _options(spec.options),
        hosts,
        spec.made_for,
        spec.source,
    ]


def profile_row(host: Profile) -> list[str]:
    """Return the cells of a profile, under ``PROFILE_HEADS``."""
    layout = {"image": "an image each", "batch": "the batch at once"}[host.noise_layout]
    source = {"cpu": "CPU"}.get(host.noise_source, "NVIDIA card")
    return [
        f"`{host.name}`",
        host.label,
        "yes" if host.verified else "unverified",
        f"{source}, {layout}",
        host.sde_noise.replace("_", " "),
        host.convention,
        host.timesteps,
        host.dialect,
    ]


def _names(name: str, aliases: Sequence[str]) -> str:
    return ", ".join(f"`{one}`" for one in (name, *aliases))


def _calls(spec: SamplerSpec) -> str:
    """Return the denoiser calls of n steps, as a formula where they are one."""
    if spec.nfe is None:
        return "adapts"
    slope = spec.nfe(21) - spec.nfe(20)
    rest = spec.nfe(20) - 20 * slope
    if any(spec.nfe(n) != slope * n + rest for n in (10, 15, 40)):
        return f"{spec.nfe(20)} at 20"
    sign = "+" if rest > 0 else "-"
    return f"{'' if slope == 1 else slope}n{f' {sign} {abs(rest)}' if rest else ''}"


def _options(record: type[Any] | None) -> str:
    return "" if record is None else ", ".join(f"`{one.name}={one.default}`" for one in fields(record))


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
