"""The options of the command line that a generation record keeps, and the record that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ...core.errors import BadValue
from ...core.filled import DEFAULT_PROFILE, DEFAULT_STEPS, filled, profile_of
from ...core.image import ConcordSettings, Generation, ScheduleOptions, Variation
from ...core.options import OF_SAMPLER, OF_SCHEDULE, with_options
from ...core.profiles import PROFILES
from ...core.prompt import DIALECTS, EMPHASIS
from ...core.recipes import PARTS, apply_recipe
from ...core.run import sampling_of
from ...core.seeds import RNG
from ...core.sigmas import ModelSigmas
from .options import size


def add_prompt_settings(group: argparse._ArgumentGroup) -> None:
    """Declare how prompts are read."""
    group.add_argument(
        "--dialect",
        choices=sorted(DIALECTS),
        help="a1111 to the letter, or comfyui; concord mends A1111's traps; default: the profile's",
    )
    group.add_argument(
        "--emphasis", choices=list(EMPHASIS), help="what weights do; default: the profile's (Original)"
    )


def add_sampling_settings(parser: argparse.ArgumentParser) -> None:
    """Declare the sampler, its schedule and guidance, and their options."""
    group = parser.add_argument_group("sampling")
    add = group.add_argument
    add("--profile", default=DEFAULT_PROFILE, metavar="NAME", help=_profiles())
    add(
        "--recipe",
        metavar="NAME",
        help="the settings of a model's card for what is not given here; sd-concord recipes lists them",
    )
    add("--without", action="append", choices=PARTS, default=[], help="leave this part of the recipe out")
    add("--steps", type=int, help=f"sampling steps; default: {DEFAULT_STEPS}")
    add("--sampler", help="name or label, such as euler or 'Euler a'; default: dpmpp_2m")
    add("--scheduler", help="name or label, such as karras; default: the sampler's own")
    add("--cfg", type=float, help="CFG scale; default: 7, 4 for the embedded model, 1 for CFG++ samplers")
    add("--cfg-rescale", type=float, metavar="0…1", help="CFG rescale; default: 0")
    add("--guidance-start", type=float, metavar="0…1", help="share of the run before guidance; default: 0")
    add("--guidance-end", type=float, metavar="0…1", help="share of the run that ends it; default: 1")
    add("--size", type=size, help="512 or 512x768 (width x height); default: the model's own")
    add("--clip-skip", type=int, metavar="N", help="1 reads the last layer; default: 1")
    add("--tiling", action="store_true", help="a picture that tiles: opposite edges fit each other")
    group = parser.add_argument_group("options of samplers and schedules")
    add = group.add_argument
    for name, what in _NUMBERS.items():
        add(f"--{name.replace('_', '-')}", type=float, metavar="X", help=what)
    add(
        "--option",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option of the sampler or the schedule, such as tail_power=1; may be repeated",
    )
    flag = argparse.BooleanOptionalAction
    add("--discard-penultimate", action=flag, help="drop the last sigma above 0; default: the profile's")
    add("--sgm-noise", action=flag, help="A1111's SGM noise multiplier; default: the profile's")
    add("--sigma-multiply", type=float, metavar="X", help="a factor of the sigmas, such as 0.98 for detail")
    add("--sigma-multiply-start", type=float, metavar="0…1", help="share of the sigmas before it; default: 0")
    add(
        "--sigma-multiply-end", type=float, metavar="0…1", help="share of the sigmas that ends it; default: 1"
    )


def add_noise_settings(parser: argparse.ArgumentParser) -> None:
    """Declare seeds and noise."""
    group = parser.add_argument_group("noise")
    add = group.add_argument
    add("--seed", type=int, default=-1, help="a whole number; -1 draws one; default: -1")
    rng = "cpu, or gpu and nv: the numbers of an NVIDIA card, drawn on any machine; default: the profile's"
    add("--rng", type=str.upper, choices=sorted(RNG), metavar="{cpu,gpu,nv}", help=rng)
    add("--ensd", type=int, metavar="N", help="added to the seed for the noise of the steps; default: 0")
    add("--variation-seed", type=int, default=-1, metavar="N", help="of a second noise; -1 draws one")
    add("--variation-strength", type=float, metavar="0…1", help="how far to go to it; default: 0")
    add("--resize-seed-from", type=size, metavar="WxH", help="begin with the noise of a picture of that size")


_NUMBERS = {
    "eta": "noise that ancestral and SDE samplers add, 0 none; default: the sampler's",
    "s_churn": "noise that Euler, Heun and DPM2 add; default: 0",
    "s_tmin": "that noise is added above this sigma; default: 0",
    "s_tmax": "that noise is added below this sigma; default: no bound",
    "s_noise": "a factor of the noise that samplers add; default: 1",
    "sigma_min": "the schedule's last sigma above 0; default: the model's",
    "sigma_max": "the schedule's first sigma; default: the model's",
    "rho": "how strongly the schedule is bent; default: 7 for Karras",
}
assert set(_NUMBERS) == {*OF_SAMPLER, *OF_SCHEDULE}


def _profiles() -> str:
    """Return the help of ``--profile``: what is compared with recordings, and what is not."""
    own = [name for name, host in PROFILES.items() if host.verified and name != DEFAULT_PROFILE]
    unverified = [name for name, host in PROFILES.items() if not host.verified]
    return (
        f"draw as this program does: {DEFAULT_PROFILE} (default), {', '.join(own)}; unverified, as they are "
        f"compared with no recording: {', '.join(unverified)}"
    )


def _pair(text: str) -> tuple[str, str]:
    """Parse ``NAME=VALUE``."""
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise argparse.ArgumentTypeError(f"{text!r} is no option; write NAME=VALUE, such as tail_power=1")
    return name.strip(), value.strip()


def record_of(args: argparse.Namespace, prompt: str, negative: str) -> Generation:
    """Return the record that the options ask for, checked as far as is possible without the model.

    Raises ``BadValue`` or ``BadType`` for what cannot be.
    """
    record = Generation(
        prompt=prompt,
        negative_prompt=negative,
        emphasis=args.emphasis,
        steps=args.steps,
        cfg=args.cfg,
        sampler=args.sampler,
        scheduler=args.scheduler,
        schedule_options=_schedule_options(args),
        seed=args.seed,
        variation=_variation(args),
        seed_resize_from=args.resize_seed_from,
        ensd=args.ensd,
        rng=args.rng,
        size=args.size,
        clip_skip=args.clip_skip,
        tiling=args.tiling or None,
        concord=_own_settings(args),
    )
    if args.recipe:
        record = apply_recipe(args.recipe, record, without=args.without, is_image="image" in args)
    elif args.without:
        raise BadValue("--without is of a recipe; name it with --recipe NAME")
    if args.emphasis == profile_of(record).emphasis:
        record = replace(record, emphasis=None)
    named = filled(record)
    numbers = {name: getattr(args, name) for name in _NUMBERS if getattr(args, name) is not None}
    given: Mapping[str, Any] = {**numbers, **dict(args.option)}
    options = with_options(named, given)
    sampling_of(options, ModelSigmas.sd(), batch=args.batch)
    return replace(options, cfg=record.cfg)


def _schedule_options(args: argparse.Namespace) -> ScheduleOptions | None:
    options = ScheduleOptions(discard_penultimate=args.discard_penultimate, sgm_noise=args.sgm_noise)
    return None if options == ScheduleOptions() else options


def _variation(args: argparse.Namespace) -> Variation | None:
    strength = args.variation_strength
    if strength is not None and not 0 <= strength <= 1:
        raise BadValue(f"--variation-strength is {strength:g}; pass 0 to 1")
    return Variation(seed=args.variation_seed, strength=strength) if strength else None


def _own_settings(args: argparse.Namespace) -> ConcordSettings:
    known = {field.name for field in fields(ConcordSettings)} & set(vars(args)) - {"dialect"}
    own = ConcordSettings(**{name: getattr(args, name) for name in known})
    host = profile_of(Generation(concord=own))
    return own if args.dialect in (None, host.dialect) else replace(own, dialect=args.dialect)
