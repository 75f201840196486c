"""Singlestep exponential integrators with stages inside a step: SEEDS 2 and 3, exponential Heun.

The equations are those of ``exponential``; the slope of the denoised comes from stages at ``r`` of the step
instead of from earlier steps, and the noise of the stages is that of one Brownian path.

Source: Gonzalez et al. 2023 (arXiv:2305.14267), Algs. 1 and 2; Hochbruck and Ostermann 2005 for the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..errors import BadValue
from ..sigmas.model import ModelSigmas
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import away_from_one, combine, phi_2


@dataclass(frozen=True, kw_only=True)
class Sde:
    """``eta``: 0 is the ODE, 1 the SDE; ``s_noise`` scales the noise."""

    eta: float = 1.0
    s_noise: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TwoStage(Sde):
    """``r``: where in the step (in log-SNR, 0 to 1) the second denoiser call lies."""

    r: float = 0.5

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if not 0 < self.r <= 1:
            raise BadValue(f"r is {self.r}; pass above 0, up to 1")


@dataclass(frozen=True, kw_only=True)
class Noisy:
    """``s_noise`` scales the noise."""

    s_noise: float = 1.0


Draws = list[tuple[float, Tensor]]
"""Noise of the stretches of a step: (share of the step at its end, unit-variance noise), in order."""


class Path:
    """One step from ``sigma`` to ``sigma_next`` in the log-SNR of a model, walked in stages."""

    def __init__(self, sigma: float, sigma_next: float, model: ModelSigmas, record: Sde) -> None:
        """Take the step's ends, both above 0, and how noisy it is."""
        self.model, self.record = model, record
        self.sigma = sigma
        self.start = model.log_snr(sigma)
        self.h = model.log_snr(sigma_next) - self.start
        self.k = (1 + record.eta) * self.h

    def sigma_at(self, share: float) -> float:
        """Return sigma at ``share`` of the step."""
        return self.model.sigma_of_log_snr(self.start + share * self.h)

    def whole(self, share: float) -> float:
        """Return the weight of a constant denoised up to ``share``."""
        return -math.expm1(-share * self.k)

    def draw(self, noise: Noise, *stops: tuple[float, float]) -> Draws:
        """Return the noise of the stretches that end at ``stops`` (share, sigma); none without ``eta``."""
        if self.record.eta <= 0 or self.record.s_noise <= 0:
            return []
        begins = [self.sigma, *(sigma for _, sigma in stops)]
        return [(share, noise(begin, sigma)) for begin, (share, sigma) in zip(begins, stops, strict=False)]

    def reach(
        self, x: Tensor, stop: tuple[float, float], terms: list[tuple[float, Tensor]], draws: Draws
    ) -> Tensor:
        """Return the state at ``stop`` (share, sigma): ``x`` carried on, weighted denoised and noise."""
        share, sigma = stop
        alpha, spent = self.model.alpha(sigma), self.record.eta * self.h
        noises: Draws = []
        begin = 0.0
        for end, noise in draws:
            kept = math.exp(-(share - end) * spent) * math.sqrt(-math.expm1(-2 * (end - begin) * spent))
            noises.append((sigma * kept * self.record.s_noise, noise))
            begin = end
        carry = sigma / self.sigma * math.exp(-share * spent)
        return combine(x, carry, *((alpha * weight, term) for weight, term in terms), *noises)


def two_stage_step(
    denoise: Denoise,
    x: Tensor,
    denoised: Tensor,
    ends: Sigmas,
    *,
    model: ModelSigmas,
    noise: Noise,
    record: TwoStage,
    slope: Literal["midpoint", "heun"] = "midpoint",
) -> Tensor:
    """Return ``x`` taken over ``ends`` = (sigma, sigma_next), both above 0, by a two-stage step of order 2.

    ``slope``: "midpoint" weighs the second denoised by ``1 / (2 r)``, "heun" by the exact ``phi_2 / r``.
    """
    if ends[1] == ends[0]:
        return x
    path, end = Path(ends[0], ends[1], model, record), (1.0, ends[1])
    middle = end if record.r == 1 else (record.r, path.sigma_at(record.r))
    draws = path.draw(noise, *((middle,) if middle == end else (middle, end)))
    second = denoise(path.reach(x, middle, [(path.whole(record.r), denoised)], draws[:1]), middle[1])
    whole = path.whole(1.0)
    weight = (phi_2(path.k) if slope == "heun" else whole / 2) / record.r
    return path.reach(x, end, [(whole - weight, denoised), (weight, second)], draws)


def two_stage_run(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    record: TwoStage,
    slope: Literal["midpoint", "heun"],
    *,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take two-stage steps over ``sigmas`` and jump to a last 0."""
    sigmas = away_from_one(sigmas, model)
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        if sigmas[i + 1] == 0:
            x = denoised
        else:
            x = two_stage_step(
                denoise, x, denoised, sigmas[i : i + 2], model=model, noise=noise, record=record, slope=slope
            )
    return x


@sampler(
    name="seeds_2",
    label="SEEDS 2",
    order=2,
    nfe=lambda n: 2 * n - 1,
    kind="sde",
    second_order=True,
    source="Gonzalez et al. 2023, arXiv:2305.14267, Alg. 1",
)
def sample_seeds_2(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: TwoStage,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take the denoised at ``r`` of each step as its slope's second point."""
    return two_stage_run(denoise, x, sigmas, options, "midpoint", model=model, noise=noise, on_step=on_step)


@sampler(
    name="exp_heun_2_x0",
    label="Exp Heun 2 x0",
    order=2,
    nfe=lambda n: 2 * n - 1,
    second_order=True,
    source="Hochbruck and Ostermann 2005, exponential Heun; SEEDS 2 with r 1, eta 0 and the exact slope",
)
def sample_exp_heun_2_x0(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, model: ModelSigmas, noise: Noise, on_step: OnStep
) -> Tensor:
    """Take the denoised at the end of an exponential Euler step as the slope's second point."""
    record = TwoStage(r=1.0, eta=0.0)
    return two_stage_run(denoise, x, sigmas, record, "heun", model=model, noise=noise, on_step=on_step)


@sampler(
    name="exp_heun_2_x0_sde",
    label="Exp Heun 2 x0 SDE",
    order=2,
    nfe=lambda n: 2 * n - 1,
    kind="sde",
    second_order=True,
    source="as exp_heun_2_x0, with the noise of arXiv:2305.14267",
)
def sample_exp_heun_2_x0_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Sde,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take exponential Heun's steps with noise."""
    record = TwoStage(r=1.0, eta=options.eta, s_noise=options.s_noise)
    return two_stage_run(denoise, x, sigmas, record, "heun", model=model, noise=noise, on_step=on_step)


@sampler(
    name="seeds_3",
    label="SEEDS 3",
    order=3,
    nfe=lambda n: 3 * n - 2,
    kind="sde",
    second_order=True,
    source="Gonzalez et al. 2023, arXiv:2305.14267, Alg. 2",
)
def sample_seeds_3(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sigmas,
    *,
    options: Sde,
    model: ModelSigmas,
    noise: Noise,
    on_step: OnStep,
) -> Tensor:
    """Take the denoised at one and two thirds of each step."""
    sigmas = away_from_one(sigmas, model)
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        on_step(i, sigmas[i], x, denoised)
        if sigmas[i + 1] == 0:
            x = denoised
        elif sigmas[i + 1] < sigmas[i]:
            path = Path(sigmas[i], sigmas[i + 1], model, options)
            x = _three_stages(denoise, x, denoised, path, noise, sigmas[i + 1])
    return x


def _three_stages(
    denoise: Denoise, x: Tensor, denoised: Tensor, path: Path, noise: Noise, sigma_next: float
) -> Tensor:
    """Return ``x`` at the end of ``path`` by the third-order stages."""
    one, two, end = (1 / 3, path.sigma_at(1 / 3)), (2 / 3, path.sigma_at(2 / 3)), (1.0, sigma_next)
    draws = path.draw(noise, one, two, end)
    second = denoise(path.reach(x, one, [(path.whole(1 / 3), denoised)], draws[:1]), one[1])
    bend = phi_2(2 / 3 * path.k) * 2
    terms = [(path.whole(2 / 3) - bend, denoised), (bend, second)]
    third = denoise(path.reach(x, two, terms, draws[:2]), two[1])
    bend = phi_2(path.k) * 3 / 2
    return path.reach(x, end, [(path.whole(1.0) - bend, denoised), (bend, third)], draws)
