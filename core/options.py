"""Options of samplers and schedules: where a record keeps each, and what a sampler or schedule takes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, cast

from .errors import BadType, unknown
from .image.generation import Generation
from .image.parts import ConcordSettings, SamplerOptions, ScheduleOptions
from .image.rules import Option, Options, read_option
from .sampling.spec import SAMPLERS, SamplerSpec
from .sigmas import SCHEDULERS, SchedulerSpec

OF_SAMPLER = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise")
"""Options of samplers that A1111 has a key for."""
OF_SCHEDULE = ("sigma_max", "sigma_min", "rho")
"""Options of schedules that A1111 has a key for; 0 is the schedule's own."""
OF_UNI_PC = {
    "variant": "uni_pc_variant",
    "max_order": "uni_pc_order",
    "lower_order_final": "uni_pc_lower_order_final",
}
"""Options of the web UIs' UniPC and the fields that keep them; other samplers do not look at these."""
OF_ONE_SCHEDULE = {
    "beta": {"alpha": "beta_alpha", "beta": "beta_beta"},
    "uni_pc_timesteps": {"skip_type": "uni_pc_skip_type"},
}
"""Options that one schedule alone has a key for, and the fields that keep them."""
Home = Literal["sampler", "schedule"]


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """An option of a sampler or a schedule: its name, its default, and whose it is."""

    name: str
    default: Any
    home: Home


def options_known(sampler: str, scheduler: str) -> dict[str, OptionSpec]:
    """Return the options of a sampler and of a schedule by name; raises ``BadValue`` for unknown names."""
    homes: tuple[tuple[Home, type[Any] | None], ...] = (
        ("sampler", SAMPLERS[sampler].options),
        ("schedule", SCHEDULERS[scheduler].options),
    )
    return {
        name: OptionSpec(name=name, default=default, home=home)
        for home, record in homes
        for name, default in _defaults(record).items()
    }


def _defaults(record: type[Any] | None) -> dict[str, Any]:
    if record is None or not is_dataclass(record):
        return {}
    return {one.name: one.default for one in fields(record)}


def with_options(record: Generation, given: Mapping[str, object]) -> Generation:
    """Return ``record`` with the options ``given`` of its sampler and schedule, each where it belongs.

    ``record`` names both by the registries' names.  Texts are read as what the option's default is.  Raises
    ``BadValue`` for a name that neither knows, ``BadType`` for a value of another kind.
    """
    sampler, scheduler = record.sampler or "", record.scheduler or ""
    known = options_known(sampler, scheduler)
    owner = f"sampler {SAMPLERS[sampler].name!r} with schedule {SCHEDULERS[scheduler].name!r}"
    for name, value in given.items():
        if name not in known:
            raise unknown(f"option of {owner}", name, known or ["none"])
        record = _set(record, known[name], _typed(known[name], value))
    return record


def _typed(option: OptionSpec, given: object) -> Option:
    """Return ``given`` as a value of the kind of the option's default."""
    value = read_option(given) if isinstance(given, str) and not isinstance(option.default, str) else given
    kind = cast("type[object]", type(option.default))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    if fits and isinstance(value, (bool, int, float, str)):
        return value
    wants = {"bool": "True or False", "int": "a whole number", "float": "a number"}.get(kind.__name__, "text")
    raise BadType(f"option {option.name} is {given!r}; pass {wants}, such as {option.default}")


def _set(record: Generation, option: OptionSpec, value: Any) -> Generation:
    name = option.name
    if option.home == "sampler" and name in OF_SAMPLER:
        field = "eta_ddim" if name == "eta" and SAMPLERS[record.sampler or ""].timesteps else name
        of_sampler = replace(record.sampler_options or SamplerOptions(), **{field: value})
        return replace(record, sampler_options=of_sampler)
    if option.home == "schedule" and name in OF_SCHEDULE:
        of_schedule = replace(record.schedule_options or ScheduleOptions(), **{name: value})
        return replace(record, schedule_options=of_schedule)
    own = record.concord or ConcordSettings()
    place = f"{option.home}_options"
    before: Options = getattr(own, place) or ()
    merged = {**dict(before), name: value}
    return replace(record, concord=replace(own, **{place: tuple(merged.items())}))


def sampler_options_of(record: Generation, spec: SamplerSpec, *, strict: bool = True) -> dict[str, Any]:
    """Return the options that ``record`` gives sampler ``spec``; not ``strict``: without those it does not know.

    As in A1111 the timestep samplers have an eta of their own, and an ``s_tmax`` of 0 is no bound.  Raises
    ``BadValue`` for an option that the sampler does not have.
    """
    found: dict[str, Any] = {}
    if (asked := record.sampler_options) is not None:
        values = {name: getattr(asked, name) for name in OF_SAMPLER}
        values["eta"] = asked.eta_ddim if spec.timesteps else asked.eta
        values["s_tmax"] = asked.s_tmax or None
        if spec.name == "uni_pc_timesteps":
            values |= {name: getattr(asked, field) for name, field in OF_UNI_PC.items()}
        found = {name: value for name, value in values.items() if value is not None}
    found |= dict((record.concord and record.concord.sampler_options) or ())
    return _fitting(found, spec.options, f"sampler {spec.name!r}", strict=strict)


def schedule_options_of(record: Generation, spec: SchedulerSpec, *, strict: bool = True) -> dict[str, Any]:
    """Return the options that ``record`` gives schedule ``spec``; not ``strict``: without those it does not know.

    Raises ``BadValue`` for an option that the schedule does not have.
    """
    found: dict[str, Any] = {}
    if (asked := record.schedule_options) is not None:
        values = {name: getattr(asked, name) for name in OF_SCHEDULE}
        found = {name: value for name, value in values.items() if value}
        own = {name: getattr(asked, field) for name, field in OF_ONE_SCHEDULE.get(spec.name, {}).items()}
        found |= {name: value for name, value in own.items() if value is not None}
    found |= dict((record.concord and record.concord.schedule_options) or ())
    return _fitting(found, spec.options, f"scheduler {spec.name!r}", strict=strict)


def _fitting(found: dict[str, Any], record: type[Any] | None, owner: str, *, strict: bool) -> dict[str, Any]:
    known = _defaults(record)
    for name in found.keys() - known.keys():
        if strict:
            raise unknown(f"option of {owner}", name, known or ["none"])
    return {name: value for name, value in found.items() if name in known}
