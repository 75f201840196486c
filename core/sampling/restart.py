"""Restart sampling: Heun's method that goes back up in noise and down again near the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ..errors import BadValue
from .heun import heun_correction
from .spec import Denoise, Noise, OnStep, Sigmas, sampler
from .steps import towards

RHO = 7
"""Power of the Karras schedule that the restarts, and the run around them, follow."""
FEW, MANY = 20, 36
"""Steps from which a run restarts once, and twice."""


@dataclass(frozen=True, kw_only=True)
class Restart:
    """From which sigma to go back up to which; ``s_noise`` scales the noise of the way up."""

    restart_min: float = 0.1
    restart_max: float = 2.0
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        if not 0 < self.restart_min < self.restart_max:
            raise BadValue(
                f"restart_min and restart_max are {self.restart_min} and {self.restart_max}; "
                "pass the first above 0 and below the second"
            )


def karras(n: int, first: float, last: float) -> list[float]:
    """Return ``n`` sigmas of the Karras schedule from ``first`` to ``last`` and a 0."""
    start, end = first ** (1 / RHO), last ** (1 / RHO)
    return [*((start + k / max(n - 1, 1) * (end - start)) ** RHO for k in range(n)), 0.0]


def restarted(sigmas: Sigmas, options: Restart) -> list[tuple[float, float]]:
    """Return the steps (from, to) of a run given ``sigmas``; the calls come to about those of Heun's method.

    Below ``FEW`` steps nothing restarts.  Otherwise the run is laid out anew on Karras' schedule with fewer
    steps, and the saved ones go into one or, from ``MANY`` on, two restarts.
    """
    n = len(sigmas) - 1
    if n < FEW or sigmas[-1] > 0:
        return list(pairwise(sigmas))
    times = 2 if n >= MANY else 1
    inner = n // 4 if n >= MANY else 9
    outer = karras(n - inner * times, sigmas[0], sigmas[-2])
    low = min(range(len(outer)), key=lambda i: abs(outer[i] - options.restart_min))
    high = min(range(len(outer)), key=lambda i: abs(outer[i] - options.restart_max))
    steps: list[tuple[float, float]] = []
    for i, step in enumerate(pairwise(outer)):
        steps.append(step)
        if i + 1 == low and high < low:
            again = karras(inner + 1, outer[high], outer[low])[:-1]
            steps += list(pairwise(again)) * times
    return steps


@sampler(
    name="restart",
    label="Restart",
    order=2,
    nfe=lambda n: 2 * len(restarted((*karras(n, 14.6146, 0.0292)[:-1], 0.0), Restart())) - 1,
    kind="ancestral",
    second_order=True,
    source="Xu et al. 2023, arXiv:2306.14878, with the web UIs' choice of restarts",
)
def sample_restart(
    denoise: Denoise, x: Tensor, sigmas: Sigmas, *, options: Restart, noise: Noise, on_step: OnStep
) -> Tensor:
    """Take Heun steps; where a step begins above the last sigma, add the noise between."""
    steps = restarted(sigmas, options)
    at = steps[0][0]
    for i, (sigma, sigma_next) in enumerate(steps):
        if sigma > at:
            x = x.add(noise(at, sigma), alpha=options.s_noise * math.sqrt(sigma**2 - at**2))
        denoised = denoise(x, sigma)
        on_step(i, sigma, x, denoised)
        ahead = towards(denoised, x, sigma_next / sigma)
        if sigma_next > 0:
            x = heun_correction(x, ahead, denoised, denoise(ahead, sigma_next), sigma, sigma_next)
        else:
            x = ahead
        at = sigma_next
    return x
