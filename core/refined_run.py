"""The refiner: a second model that takes over within a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from .image.generation import Generation
from .image.keys import REFINED
from .image.parts import Refiner
from .image.refiner_plan import (
    AESTHETIC_SCORE,
    NEGATIVE_AESTHETIC_SCORE,
    RefinerPass,
    RefinerPlan,
    SwitchBy,
    refiner_plan,
    refiner_runs_in,
)
from .profiles import table_of
from .prompt import extract_networks
from .run import Sampling

SWITCH_AT = 0.8
_PASSES: dict[str, RefinerPass] = dict(zip(REFINED, ("second", "first", "both"), strict=True))


def switch_by(refiner: Refiner, sampling: Sampling) -> SwitchBy:
    """Return how "switch at" is read: as recorded, else as the program does whose profile is followed."""
    if refiner.switch_by is not None:
        return refiner.switch_by  # type: ignore[return-value]
    own = sampling.host.refiner_switch
    return "webui_calls" if refiner.by_steps and own == "webui_noise" else own


def plan_of(record: Generation, sampling: Sampling) -> RefinerPlan | None:
    """Return when the refiner of ``record`` takes over in this pass, None for not at all."""
    refiner = record.refiner
    if refiner is None or refiner.model is None:
        return None
    passes = _PASSES[refiner.passes or REFINED[0]]
    hires = record.hires is not None
    if not refiner_runs_in(passes, is_hires_pass=sampling.kind == "hires", has_hires=hires):
        return None
    by, steps = switch_by(refiner, sampling), len(sampling.sigmas) - 1
    at = SWITCH_AT if refiner.switch_at is None else refiner.switch_at
    if steps < 1 or at >= 1:
        return None
    return refiner_plan(
        at,
        sampling.run_steps if by == "webui_calls" and sampling.host.by_web_ui else steps,
        sampling.model,
        by=by,
        calls_per_step=sampling.shape.calls_per_step,
        asked=table_of(sampling.host, sampling.model, sampling.sampler),
    )


def record_of_refiner(record: Generation, sampling: Sampling) -> Generation:
    """Return what the refiner is told of a record of one pass: A1111's has no LoRAs, in the text or in the UNet."""
    if sampling.host.refiner_networks:
        return record
    return replace(record, prompt=extract_networks(record.prompt)[0])


def scores_of(record: Generation) -> tuple[float, float]:
    """Return what SDXL's refiner is told of the positive and of the negative prompt."""
    own = record.refiner or Refiner()
    positive, negative = own.aesthetic_score, own.negative_aesthetic_score
    return (
        AESTHETIC_SCORE if positive is None else positive,
        NEGATIVE_AESTHETIC_SCORE if negative is None else negative,
    )


class CountingDenoiser(Protocol):
    """A denoiser that counts its ``calls`` from 0, by which scheduled prompts are looked up."""

    calls: int

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the guided clean latent seen in ``x``."""
        ...

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return that and what is seen without the prompt."""
        ...


class RefinedDenoiser:
    """A denoiser that hands over to another model within the sampler's run, as the web UIs do."""

    def __init__(
        self, base: CountingDenoiser, refiner: Callable[[], CountingDenoiser], plan: RefinerPlan
    ) -> None:
        """Take the base; ``refiner`` makes the other one, and is called once at most."""
        self._active, self._refiner, self._plan = base, refiner, plan
        self.has_switched = False

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latent that the model of this call sees in ``x``."""
        return self._at(sigma)(x, sigma)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return that and what it sees without the prompt."""
        return self._at(sigma).with_uncond(x, sigma)

    def _at(self, sigma: Tensor) -> CountingDenoiser:
        calls = self._active.calls
        if not self.has_switched and self._plan.is_due(calls, float(sigma)):
            self._active = self._refiner()
            self._active.calls = calls
            self.has_switched = True
        return self._active
