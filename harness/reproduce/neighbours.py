"""The settings that are tried when a picture does not come out as recorded, the usual suspects first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ...core.filled import filled
from ...core.image.generation import Generation
from ...core.image.keys import RESIZE_MODES
from ...core.image.parts import Hires
from ...core.image.upscale import LATENT_UPSCALERS
from ...core.profiles import PROFILES, Profile
from ...core.sampling import SAMPLERS
from ...core.sigmas import SCHEDULERS
from .case import Case, changed, settings
from .changes import Change, Search, listed, walked
from .names_tried import USUAL_SAMPLERS, USUAL_SCHEDULES, now_running, samplers, schedules
from .options_tried import options

PROFILE_ORDER = ("a1111", "forge", "a1111-1.10", "reforge", "forge-classic", "comfyui", "concord")
EMPHASES = ("Original", "No norm", "Ignore", "None", "ComfyUI")
CLIP_SKIPS = (1, 2, 3, 4)
ENSDS = (0, 31337)
BACKTRACKS = (0, 20, 40, 74)
SEEDS_OFF = (1, -1, 2, -2, 3, -3)
STEPS_OFF = (1, -1, 2, -2, 3, -3, 4, -4)
USUAL_STEPS = (20, 25, 28, 30, 35, 40, 50, 15, 10, 8)
LONG = 150
"""Letters from which a prompt may fill more than one chunk."""
_NOISY = ("ancestral", "sde")


def neighbours(case: Case) -> Search:
    """Yield changes of one setting each: first what makes another noise or another text, then numbers."""
    yield from listed(_sizes(case))
    yield from listed(_noise(case))
    yield from listed(_texts(case))
    yield from listed(_seeds(case))
    yield from listed(schedules(case, now_running(case), twins_alone=True))
    yield from listed(_programs(case))
    yield from _numbers(case)
    yield from listed(schedules(case, USUAL_SCHEDULES))
    yield from listed(samplers(case, USUAL_SAMPLERS))
    yield from listed(options(case))
    yield from listed(_pictures(case))
    yield from listed(_vaes(case))
    yield from listed(_models(case))
    yield from listed(_steps(case, USUAL_STEPS))
    yield from listed(schedules(case, [name for name in SCHEDULERS if name not in USUAL_SCHEDULES]))
    yield from listed(samplers(case, [name for name in SAMPLERS if name not in USUAL_SAMPLERS]))


def _sizes(case: Case) -> Iterator[Change]:
    """Yield the size that the picture has, where another one was drawn."""
    height, width = case.pixels.shape[:2]
    if case.drawn_size == (width, height):
        return
    drawn = f"a size that gives {case.drawn_size[0]}x{case.drawn_size[1]}"
    hires = case.record.hires
    if hires is not None:
        own = replace(hires, resize=(width, height), upscale=None)
        yield changed(case, "Hires resize", f"{width}x{height}", drawn, hires=own)
    else:
        yield changed(case, "Size", f"{width}x{height}", drawn, size=(width, height))


def _programs(case: Case) -> Iterator[Change]:
    """Yield the profiles that would draw another picture of this record."""
    record = case.record
    tried = [_habits(case.host, record)]
    says = record.version and f"Version: {record.version}"
    for name in PROFILE_ORDER:
        other = PROFILES[name]
        if _habits(other, record) in tried:
            continue
        tried.append(_habits(other, record))
        own = settings(case, profile=name)
        yield changed(case, "profile", name, says or f"profile {case.host.name}", concord=own)


def _habits(host: Profile, record: Generation) -> Profile:
    """Return what of a profile can show in a picture of ``record``."""
    asks = (record.skip_early_cfg, record.ngms, record.pad_conds, record.schedule_options, record.concord)
    ignores = host.ignores if any(asks[:4]) or (record.concord and record.concord.comma_backtrack) else ()
    return replace(host, name="", label="", verified=True, ignores=ignores)


def _noise(case: Case) -> Iterator[Change]:
    """Yield other sources of noise."""
    record, sampler = case.record, SAMPLERS[case.sampler]
    if case.host.noise_layout == "batch":
        return
    now = filled(record).rng
    for rng in ("CPU", "NV"):
        if rng != {"GPU": "NV"}.get(now or "", now):
            change = changed(case, "RNG", rng, record.rng, rng=rng)
            yield change if record.rng else replace(change, otherwise=_default_noise(case.host, now))
    ddim_noise = bool(record.sampler_options and record.sampler_options.eta_ddim)
    if sampler.kind in _NOISY or ddim_noise:
        for ensd in ENSDS:
            if ensd != (record.ensd or 0):
                yield changed(case, "ENSD", ensd, record.ensd, ensd=ensd or None)
    if case.sampler in case.host.global_noise or (case.masked and case.host.masking == "fresh"):
        for size in (2, 3, 4):
            for i in range(size):
                own = settings(case, batch_size=size, batch_position=i)
                yield changed(case, "place in the batch", f"{i + 1} of {size}", None, concord=own)


def _default_noise(host: Profile, rng: str | None) -> str:
    """Return what is said of noise that was drawn from where the text does not say."""
    return f"names no RNG, so {host.label}'s default, {rng}, was taken"


def _texts(case: Case) -> Iterator[Change]:
    """Yield other readings of the prompts."""
    record = case.record
    now = record.clip_skip or 1
    for skip in CLIP_SKIPS:
        if skip != now:
            yield changed(case, "Clip skip", skip, now if record.clip_skip else None, clip_skip=skip)
    prompts = f"{record.prompt}\n{record.negative_prompt}"
    if "(" in prompts or ("[" in prompts and case.host.dialect != "comfyui"):
        held = record.emphasis or case.host.emphasis
        for emphasis in EMPHASES:
            if emphasis != held:
                yield changed(case, "Emphasis", emphasis, record.emphasis, emphasis=emphasis)
    if case.host.dialect == "comfyui":
        return
    if "[" in prompts:
        old = not record.old_timelines
        yield changed(case, "Old prompt editing timelines", old, record.old_timelines, old_timelines=old)
    if max(len(record.prompt), len(record.negative_prompt)) >= LONG:
        yield from _lengths(case)


def _seeds(case: Case) -> Iterator[Change]:
    """Yield the seeds next to it: of another picture of a batch, or off by one."""
    now = filled(case.record).seed or 0
    for off in SEEDS_OFF:
        if now + off >= 0:
            yield changed(case, "Seed", now + off, case.record.seed, seed=now + off)


def _lengths(case: Case) -> Iterator[Change]:
    """Yield other ways with prompts of more than one chunk."""
    record, ignored = case.record, case.host.ignores
    if "pad_conds" not in ignored:
        pads = not record.pad_conds
        yield changed(case, "Pad conds", pads, record.pad_conds, pad_conds=pads)
        pads = not record.pad_conds_v0
        yield changed(case, "Pad conds v0", pads, record.pad_conds_v0, pad_conds_v0=pads)
    if "comma_backtrack" not in ignored:
        asked = record.concord and record.concord.comma_backtrack
        now = case.host.comma_backtrack if asked is None else asked
        for tokens in BACKTRACKS:
            if tokens != now:
                own = settings(case, comma_backtrack=tokens)
                yield changed(case, "prompt word wrap", f"{tokens} tokens", asked, concord=own)


def _numbers(case: Case) -> Search:
    """Walk along the numbers that the record holds."""
    record, distance = case.record, case.distance
    own = filled(record)

    def put(name: str) -> Any:
        return lambda value: replace(record, **{name: value})

    now = own.steps or 0
    yield from listed(_steps(case, [now + off for off in STEPS_OFF if now + off > 0]))
    yield from walked("CFG scale", own.cfg or 7.0, put("cfg"), distance, steps=(1, 0.5, 0.1), low=1, high=30)
    if record.denoising_strength is not None:
        strength = put("denoising_strength")
        at = record.denoising_strength
        steps = (0.1, 0.05, 0.01)
        yield from walked("Denoising strength", at, strength, distance, steps=steps, low=0, high=1)
    hires = record.hires
    if hires is not None:
        yield from _hires_numbers(case, hires)
    variation = record.variation
    if variation is not None and variation.strength is not None:

        def varied(value: float) -> Generation:
            return replace(record, variation=replace(variation, strength=value))

        label, at, steps = "Variation seed strength", variation.strength, (0.1, 0.05, 0.01)
        yield from walked(label, at, varied, distance, steps=steps, low=0, high=1)


def _steps(case: Case, counts: Iterable[int]) -> Iterator[Change]:
    """Yield other numbers of steps; alternation makes them no slope to walk along."""
    for steps in counts:
        if steps != case.record.steps:
            yield changed(case, "Steps", steps, case.record.steps, steps=steps)


def _hires_numbers(case: Case, hires: Hires) -> Search:
    record = case.record

    def steps_put(value: float) -> Generation:
        return replace(record, hires=replace(hires, steps=int(value)))

    def cfg_put(value: float) -> Generation:
        return replace(record, hires=replace(hires, cfg=value))

    own = filled(record)
    yield from walked(
        "Hires steps", hires.steps or own.steps or 20, steps_put, case.distance, steps=(1,), low=1
    )
    cfg = hires.cfg or own.cfg or 7.0
    yield from walked("Hires CFG Scale", cfg, cfg_put, case.distance, steps=(1, 0.5), low=1, high=30)
    for name in LATENT_UPSCALERS:
        if name != hires.upscaler:
            yield changed(case, "Hires upscaler", name, hires.upscaler, hires=replace(hires, upscaler=name))


def _pictures(case: Case) -> Iterator[Change]:
    """Yield other ways with the picture that image to image begins with."""
    if case.image is None:
        return
    record = case.record
    own = settings(case)
    exact = not own.exact_steps
    if case.host.by_web_ui:
        yield changed(case, "exact steps", exact, own.exact_steps, concord=settings(case, exact_steps=exact))
    height, width = case.image.shape[:2]
    if record.size is not None and (width, height) != record.size:
        for mode in RESIZE_MODES:
            if mode != (own.resize_mode or RESIZE_MODES[0]):
                yield changed(
                    case, "resize mode", mode, own.resize_mode, concord=settings(case, resize_mode=mode)
                )
    if record.inpaint is not None:
        for blur in (0, 4, 8):
            if blur != record.inpaint.mask_blur:
                inpaint = replace(record.inpaint, mask_blur=blur)
                yield changed(case, "Mask blur", blur, record.inpaint.mask_blur, inpaint=inpaint)


def _vaes(case: Case) -> Iterator[Change]:
    """Yield the other VAE files there are."""
    says = case.record.vae.name if case.record.vae else None
    for path in case.vaes:
        yield Change(label="VAE", value=path.stem, before=says, record=case.record, vae=path)


def _models(case: Case) -> Iterator[Change]:
    """Yield the other checkpoints there are."""
    says = case.record.model.name if case.record.model else None
    for path in case.models:
        yield Change(label="Model", value=path.stem, before=says, record=case.record, model=path)
