"""The schedule doctor: how exact a run can be at best, and what is wrong with it, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..sigmas import SCHEDULERS, Convention, ModelSigmas, get_sigmas
from ..sigmas.model import floats
from .doctor_rules import RULES, Case, Finding, Prediction
from .floor import floor_at, floor_of
from .spec import SAMPLERS
from .uni_pc import END

OWN_ENDS = ("uni_pc", "uni_pc_bh2", "dpm_fast", "dpm_adaptive")
"""Samplers that do not jump to 0 but end above it."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """``floor``: the least error of any sampler on these ``sigmas``, in units of the spread of latents; findings."""

    sigmas: tuple[float, ...]
    floor: float
    findings: tuple[Finding, ...]

    def words(self) -> str:
        """Return it all, one line a finding."""
        return "\n".join([f"error floor {self.floor:.2g}", *(str(finding) for finding in self.findings)])


def diagnose(
    sampler: str,
    scheduler: str,
    steps: int,
    model: ModelSigmas,
    *,
    prediction: Prediction = "eps",
    cfg: float | None = None,
    convention: Convention = "concord",
    **options: Any,
) -> Diagnosis:
    """Return what is to be expected of a run, and what is wrong with it.

    ``prediction``: what the network gives.  ``cfg``: its guidance, if known.  ``options``: of the schedule.
    Raises ``BadValue`` as ``get_sigmas``, and for an unknown sampler.
    """
    sigmas = get_sigmas(scheduler, steps, model, convention=convention, **options)
    case = Case(
        sampler=SAMPLERS[sampler],
        scheduler=SCHEDULERS[scheduler],
        steps=steps,
        model=model,
        sigmas=floats(sigmas),
        convention=convention,
        prediction=prediction,
        cfg=cfg,
    )
    found = tuple(finding for rule in RULES for finding in rule(case))
    floor = floor_of(sigmas, model)
    if case.sampler.name in OWN_ENDS:
        end = END if case.sampler.name.startswith("uni_pc") else case.last
        floor = floor_at(math.exp(-model.log_snr(end)), to_zero=False)
    return Diagnosis(sigmas=case.sigmas, floor=floor, findings=found)
