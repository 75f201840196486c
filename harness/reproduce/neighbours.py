"""The settings that are tried when a picture does not come out as recorded, the usual suspects first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from ...core.filled import filled, profile_of, sampler_called, scheduler_called
from ...core.image.generation import Generation
from ...core.image.keys import RESIZE_MODES
from ...core.image.names import sampler_label, scheduler_label
from ...core.image.parts import ConcordSettings, Hires, SamplerOptions, ScheduleOptions
from ...core.image.upscale import LATENT_UPSCALERS
from ...core.profiles import PROFILES, Profile
from ...core.run import ZERO_SNR
from ...core.same_picture import Pixels
from ...core.sampling import SAMPLERS
from ...core.sigmas import SCHEDULERS
from .changes import Change, Search, listed, walked

PROFILE_ORDER = ("a1111", "forge", "a1111-1.10", "reforge", "forge-classic", "comfyui", "concord")
EMPHASES = ("Original", "No norm", "Ignore", "None", "ComfyUI")
CLIP_SKIPS = (1, 2, 3, 4)
ENSDS = (0, 31337)
BACKTRACKS = (0, 20, 40, 74)
STEPS_OFF = (1, -1, 2, -2, 3, -3, 4, -4)
USUAL_STEPS = (20, 25, 28, 30, 35, 40, 50, 15, 10, 8)
USUAL_SCHEDULES = ("karras", "normal", "exponential", "sgm_uniform", "simple", "beta", "align_your_steps")
USUAL_SAMPLERS = (
    *("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"),
    *("dpmpp_2s_ancestral", "heun", "ddim", "ddim_timesteps", "uni_pc", "uni_pc_timesteps", "lcm", "lms"),
)
LONG = 150
"""Letters from which a prompt may fill more than one chunk."""
_NOISY = ("ancestral", "sde")


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What a search knows: the record, the recorded picture, how far the first attempt was, and its source."""

    record: Generation
    pixels: Pixels
    distance: float
    drawn_size: tuple[int, int]
    image: Pixels | None = None
    masked: bool = False
    vaes: Sequence[Path] = ()

    @property
    def host(self) -> Profile:
        """The profile that the record is drawn under."""
        return profile_of(self.record)

    @property
    def sampler(self) -> str:
        """The registry's name of the sampler that runs."""
        return filled(self.record).sampler or ""


def neighbours(case: Case) -> Search:
    """Yield changes of one setting each: first what makes another noise or another text, then numbers."""
    yield from listed(_sizes(case))
    yield from listed(_noise(case))
    yield from listed(_texts(case))
    yield from listed(_programs(case))
    yield from _numbers(case)
    yield from listed(_schedules(case, USUAL_SCHEDULES))
    yield from listed(_samplers(case, USUAL_SAMPLERS))
    yield from listed(_options(case))
    yield from listed(_pictures(case))
    yield from listed(_vaes(case))
    yield from listed(_steps(case, USUAL_STEPS))
    yield from listed(_schedules(case, [name for name in SCHEDULERS if name not in USUAL_SCHEDULES]))
    yield from listed(_samplers(case, [name for name in SAMPLERS if name not in USUAL_SAMPLERS]))


def _changed(case: Case, label: str, value: object, before: object, **new: Any) -> Change:
    record = replace(case.record, **new)
    return Change(
        label=label, value=str(value), before=None if before is None else str(before), record=record
    )


def _own(case: Case, **new: Any) -> ConcordSettings:
    return replace(case.record.concord or ConcordSettings(), **new)


def _sizes(case: Case) -> Iterator[Change]:
    """Yield the size that the picture has, where another one was drawn."""
    height, width = case.pixels.shape[:2]
    if case.drawn_size == (width, height):
        return
    drawn = f"a size that gives {case.drawn_size[0]}x{case.drawn_size[1]}"
    hires = case.record.hires
    if hires is not None:
        own = replace(hires, resize=(width, height), upscale=None)
        yield _changed(case, "Hires resize", f"{width}x{height}", drawn, hires=own)
    else:
        yield _changed(case, "Size", f"{width}x{height}", drawn, size=(width, height))


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
        own = _own(case, profile=name)
        yield _changed(case, "profile", name, says or f"profile {case.host.name}", concord=own)


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
            yield _changed(case, "RNG", rng, record.rng or now, rng=rng)
    ddim_noise = bool(record.sampler_options and record.sampler_options.eta_ddim)
    if sampler.kind in _NOISY or ddim_noise:
        for ensd in ENSDS:
            if ensd != (record.ensd or 0):
                yield _changed(case, "ENSD", ensd, record.ensd, ensd=ensd or None)
    if case.sampler in case.host.global_noise or (case.masked and case.host.masking == "fresh"):
        for size in (2, 3, 4):
            for i in range(size):
                own = _own(case, batch_size=size, batch_position=i)
                yield _changed(case, "place in the batch", f"{i + 1} of {size}", None, concord=own)


def _texts(case: Case) -> Iterator[Change]:
    """Yield other readings of the prompts."""
    record = case.record
    now = record.clip_skip or 1
    for skip in CLIP_SKIPS:
        if skip != now:
            yield _changed(case, "Clip skip", skip, now if record.clip_skip else None, clip_skip=skip)
    prompts = f"{record.prompt}\n{record.negative_prompt}"
    if "(" in prompts or ("[" in prompts and case.host.dialect != "comfyui"):
        held = record.emphasis or case.host.emphasis
        for emphasis in EMPHASES:
            if emphasis != held:
                yield _changed(case, "Emphasis", emphasis, record.emphasis, emphasis=emphasis)
    if case.host.dialect == "comfyui":
        return
    if "[" in prompts:
        old = not record.old_timelines
        yield _changed(case, "Old prompt editing timelines", old, record.old_timelines, old_timelines=old)
    if max(len(record.prompt), len(record.negative_prompt)) >= LONG:
        yield from _lengths(case)


def _lengths(case: Case) -> Iterator[Change]:
    """Yield other ways with prompts of more than one chunk."""
    record, ignored = case.record, case.host.ignores
    if "pad_conds" not in ignored:
        pads = not record.pad_conds
        yield _changed(case, "Pad conds", pads, record.pad_conds, pad_conds=pads)
        pads = not record.pad_conds_v0
        yield _changed(case, "Pad conds v0", pads, record.pad_conds_v0, pad_conds_v0=pads)
    if "comma_backtrack" not in ignored:
        asked = record.concord and record.concord.comma_backtrack
        now = case.host.comma_backtrack if asked is None else asked
        for tokens in BACKTRACKS:
            if tokens != now:
                own = _own(case, comma_backtrack=tokens)
                yield _changed(case, "prompt word wrap", f"{tokens} tokens", asked, concord=own)


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
            yield _changed(case, "Steps", steps, case.record.steps, steps=steps)


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
            yield _changed(case, "Hires upscaler", name, hires.upscaler, hires=replace(hires, upscaler=name))


def _schedules(case: Case, names: Iterable[str]) -> Iterator[Change]:
    """Yield those of the schedules that the program has."""
    record, host = case.record, case.host
    spec = SAMPLERS[case.sampler]
    if spec.timesteps and host.by_web_ui:
        return
    now = scheduler_called(filled(record).scheduler or "")
    for name in names:
        has = host.convention == "concord" or host.convention in SCHEDULERS[name].hosts
        if has and name != now and not name.endswith(("_timesteps", "_sd1", "_sdxl")):
            says = record.scheduler and _shown(case, scheduler_label(record.scheduler), record.scheduler)
            shown = _shown(case, scheduler_label(name), name)
            yield _changed(case, "Schedule type", shown, says, scheduler=name)


def _samplers(case: Case, names: Iterable[str]) -> Iterator[Change]:
    """Yield those of the samplers that guide as the one that is named."""
    record, now = case.record, SAMPLERS[case.sampler]
    for name in names:
        if name != now.name and SAMPLERS[name].needs_uncond == now.needs_uncond:
            says = record.sampler and _shown(case, sampler_label(record.sampler), record.sampler)
            shown = _shown(case, sampler_label(name), name)
            yield _changed(case, "Sampler", shown, says, sampler=name, sampler_options=None)


def _shown(case: Case, label: str, name: str) -> str:
    """Return what the program that made the picture calls a thing."""
    return label if case.host.by_web_ui else name


def _options(case: Case) -> Iterator[Change]:
    """Yield other options of samplers and schedules, those that texts often leave out."""
    record = case.record
    spec = SAMPLERS[sampler_called(case.sampler)]
    known = {one.name for one in fields(spec.options)} if spec.options else set[str]()
    held = record.sampler_options or SamplerOptions()
    if "eta" in known:
        name, label = ("eta_ddim", "Eta DDIM") if spec.timesteps else ("eta", "Eta")
        now = getattr(held, name)
        for eta in (0.0, 1.0, 0.5, 0.67):
            if eta != now:
                yield _changed(case, label, eta, now, sampler_options=replace(held, **{name: eta}))
    if "s_noise" in known:
        for scale in (1.0, 1.003, 0.95):
            if scale != held.s_noise:
                yield _changed(
                    case, "Sigma noise", scale, held.s_noise, sampler_options=replace(held, s_noise=scale)
                )
    if spec.name == "uni_pc_timesteps":
        yield from _uni_pc(case, held)
    yield from _tables(case)


def _uni_pc(case: Case, held: SamplerOptions) -> Iterator[Change]:
    now = held.uni_pc_variant or "bh1", held.uni_pc_order or 3
    for variant, order in product(("bh1", "bh2"), (3, 2, 1, 4)):
        if (variant, order) != now:
            new = replace(held, uni_pc_variant=variant, uni_pc_order=order)
            says = f"{now[0]} of order {now[1]}" if held.uni_pc_variant or held.uni_pc_order else None
            yield _changed(case, "UniPC variant", f"{variant} of order {order}", says, sampler_options=new)


def _tables(case: Case) -> Iterator[Change]:
    """Yield the switches of schedules and of the model's table."""
    held = case.record.schedule_options or ScheduleOptions()
    switches = [("discard_penultimate", "Discard penultimate sigma"), ("sgm_noise", "SGM noise multiplier")]
    if "downcast_alphas" not in case.host.ignores:
        switches.append(("downcast_alphas", "Downcast alphas_cumprod"))
    for name, label in switches:
        now = getattr(held, name)
        new = replace(held, **{name: not now})
        yield _changed(case, label, not now, now, schedule_options=new)
    is_zero = held.noise_schedule == ZERO_SNR
    new = replace(held, noise_schedule=None if is_zero else ZERO_SNR)
    yield _changed(
        case,
        "Noise Schedule",
        "Default" if is_zero else ZERO_SNR,
        held.noise_schedule,
        schedule_options=new,
    )


def _pictures(case: Case) -> Iterator[Change]:
    """Yield other ways with the picture that image to image begins with."""
    if case.image is None:
        return
    record = case.record
    own = record.concord or ConcordSettings()
    exact = not own.exact_steps
    if case.host.by_web_ui:
        yield _changed(case, "exact steps", exact, own.exact_steps, concord=_own(case, exact_steps=exact))
    height, width = case.image.shape[:2]
    if record.size is not None and (width, height) != record.size:
        for mode in RESIZE_MODES:
            if mode != (own.resize_mode or RESIZE_MODES[0]):
                yield _changed(
                    case, "resize mode", mode, own.resize_mode, concord=_own(case, resize_mode=mode)
                )
    if record.inpaint is not None:
        for blur in (0, 4, 8):
            if blur != record.inpaint.mask_blur:
                inpaint = replace(record.inpaint, mask_blur=blur)
                yield _changed(case, "Mask blur", blur, record.inpaint.mask_blur, inpaint=inpaint)


def _vaes(case: Case) -> Iterator[Change]:
    """Yield the other VAE files there are."""
    says = case.record.vae.name if case.record.vae else None
    for path in case.vaes:
        yield Change(label="VAE", value=path.stem, before=says, record=case.record, vae=path)
