"""Other options of samplers and schedules that are tried when a picture does not come out as recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import product

from ...core.filled import sampler_called
from ...core.image.parts import SamplerOptions, ScheduleOptions
from ...core.run import ZERO_SNR
from ...core.sampling import SAMPLERS
from .case import Case, changed
from .changes import Change


def options(case: Case) -> Iterator[Change]:
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
                yield changed(case, label, eta, now, sampler_options=replace(held, **{name: eta}))
    if "s_noise" in known:
        for scale in (1.0, 1.003, 0.95):
            if scale != held.s_noise:
                yield changed(
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
            yield changed(case, "UniPC variant", f"{variant} of order {order}", says, sampler_options=new)


def _tables(case: Case) -> Iterator[Change]:
    """Yield the switches of schedules and of the model's table."""
    held = case.record.schedule_options or ScheduleOptions()
    switches = [("discard_penultimate", "Discard penultimate sigma"), ("sgm_noise", "SGM noise multiplier")]
    if "downcast_alphas" not in case.host.ignores:
        switches.append(("downcast_alphas", "Downcast alphas_cumprod"))
    for name, label in switches:
        now = getattr(held, name)
        new = replace(held, **{name: not now})
        yield changed(case, label, not now, now, schedule_options=new)
    is_zero = held.noise_schedule == ZERO_SNR
    new = replace(held, noise_schedule=None if is_zero else ZERO_SNR)
    yield changed(
        case,
        "Noise Schedule",
        "Default" if is_zero else ZERO_SNR,
        held.noise_schedule,
        schedule_options=new,
    )
