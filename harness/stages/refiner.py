"""The refiner: a second model that takes over within a pass; the core's."""

from __future__ import annotations

from ...core.refined_run import SWITCH_AT, RefinedDenoiser, plan_of, record_of_refiner, scores_of

__all__ = ["SWITCH_AT", "RefinedDenoiser", "plan_of", "record_of_refiner", "scores_of"]
