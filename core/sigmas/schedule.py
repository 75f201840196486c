"""What a schedule is: the ``@scheduler`` declaration, the table of them, and ``get_sigmas``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast, get_args, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadType, BadValue
from .model import ModelSigmas
from .registry import Registry, make_options

Floats = NDArray[np.float64]
Rule = Callable[..., Floats]
R = TypeVar("R", bound=Rule)
Convention = Literal["concord", "comfyui", "webui", "reforge"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
"""Whose list of sigmas: this project's, or a host's to the digit."""

MAX_STEPS = 10_000


@dataclass(frozen=True, kw_only=True)
class SchedulerSpec:
    """A schedule and what is known of it.

    ``run(n, model, options)`` gives the n sigmas above 0, falling, float64; ``get_sigmas`` appends the 0.
    ``hosts``: for each host that has the schedule the rule that gives its whole list (None: ``run`` and a 0).
    ``made_for``: the kind of model it was designed for, "any" if it fits each.
    """

    name: str
    label: str
    run: Rule
    source: str
    aliases: tuple[str, ...] = ()
    options: type[Any] | None = None
    hosts: Mapping[str, Rule | None] = field(default_factory=dict[str, "Rule | None"])
    made_for: Literal["any", "sd", "flow"] = "any"


_table: Registry[SchedulerSpec] = Registry("scheduler")
SCHEDULERS: Mapping[str, SchedulerSpec] = _table
"""Every schedule by name (ComfyUI's internal name where it has one); aliases are found, not listed."""


def scheduler(
    *,
    name: str,
    label: str,
    source: str,
    aliases: tuple[str, ...] = (),
    same_in: tuple[Convention, ...] = (),
    made_for: Literal["any", "sd", "flow"] = "any",
) -> Callable[[R], R]:
    """Declare the function below as schedule ``name``; the type of its ``options`` is its option record.

    ``same_in``: hosts whose list is exactly this one with a 0 after it; other hosts' forms follow with
    ``@host_form``.
    """

    def declare(run: R) -> R:
        _table.add(
            SchedulerSpec(
                name=name,
                label=label,
                run=run,
                source=source,
                aliases=aliases,
                options=get_type_hints(run).get("options"),
                hosts=dict.fromkeys(same_in),
                made_for=made_for,
            )
        )
        return run

    return declare


def host_form(name: str, *hosts: Convention) -> Callable[[R], R]:
    """Declare the function below as the whole list that ``hosts`` make of schedule ``name``, end included."""

    def declare(run: R) -> R:
        spec = _table[name]
        _table.add(replace(spec, hosts={**spec.hosts, **dict.fromkeys(hosts, run)}))
        return run

    return declare


def get_sigmas(
    name: str, n: int, model: ModelSigmas, *, convention: Convention = "concord", **options: Any
) -> Tensor:
    """Return the sigmas of ``n`` steps of schedule ``name`` for ``model``, float32 on the CPU.

    ``convention`` "concord": (n+1,), strictly falling, ending in 0.  Any other: that host's list to the
    digit, be it short, repeated or without its 0.  ``options``: see ``SCHEDULERS[name].options``.
    Raises ``BadValue`` for an unknown name, option or convention, n outside 1 … 10000, or a host without it.
    """
    spec = SCHEDULERS[name]
    if isinstance(n, bool) or not isinstance(cast("object", n), int):
        raise BadType(f"steps is {n!r}; pass a whole number of steps")
    if not 1 <= n <= MAX_STEPS:
        raise BadValue(f"steps is {n}; pass 1 to {MAX_STEPS}")
    if convention not in CONVENTIONS:
        raise BadValue(f"unknown convention {convention!r}; known: {', '.join(CONVENTIONS)}")
    filled = make_options(f"scheduler {spec.name!r}", spec.options, options)
    extra = () if filled is None else (filled,)
    if convention == "concord":
        return _finish(spec.run(n, model, *extra))
    if convention not in spec.hosts:
        raise BadValue(
            f"{convention} has no schedule {spec.name!r}; it has {', '.join(names_in(convention))}"
        )
    rule = spec.hosts[convention]
    values = np.append(spec.run(n, model, *extra), 0.0) if rule is None else rule(n, model, *extra)
    return torch.as_tensor(np.asarray(values, np.float32))


def names_in(convention: Convention) -> list[str]:
    """Return the names of the schedules that ``convention`` has."""
    return [name for name, spec in SCHEDULERS.items() if convention == "concord" or convention in spec.hosts]


def _finish(values: Floats) -> Tensor:
    """Return ``values`` (n,) as float32 with a 0 after them, ties broken downwards by the next float."""
    out = np.asarray(values, np.float32)
    for i in np.flatnonzero(np.diff(out) >= 0):
        for k in range(int(i) + 1, len(out)):
            if out[k] < out[k - 1]:
                break
            out[k] = np.nextafter(out[k - 1], np.float32(0))
    return torch.as_tensor(np.append(out, np.float32(0)))
