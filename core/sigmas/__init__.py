"""Noise schedules: a model's sigmas, and every way of the field to pick some of them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from .model import ModelSigmas
from .schedule import (
    CONVENTIONS,
    SCHEDULERS,
    Convention,
    SchedulerSpec,
    get_sigmas,
    host_form,
    names_in,
    scheduler,
)

for _module in iter_modules(__path__):
    import_module(f".{_module.name}", __name__)

__all__ = [
    "CONVENTIONS",
    "SCHEDULERS",
    "Convention",
    "ModelSigmas",
    "SchedulerSpec",
    "get_sigmas",
    "host_form",
    "names_in",
    "scheduler",
]
