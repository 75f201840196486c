"""Noise: Brownian motion against torchsde's tree, and Philox, a GPU's noise on the CPU, against torch's own."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from ...core.sampling import brownian, image_noise
from ...core.sigmas import ModelSigmas, get_sigmas
from ...core.sigmas.model import floats
from .sampling import SIDE, STEPS, ratio, seconds

log = logging.getLogger(__name__)

PATHS = 15
"""How many of our Brownian motions are timed against one of torchsde's."""


def run() -> dict[str, float]:
    """Return the figures of `brownian_times` and `philox_times`."""
    if importlib.util.find_spec("torchsde") is None:
        log.warning("no ratio to torchsde; `pip install --no-deps torchsde trampoline` brings it")
    return brownian_times() | philox_times()


def philox_times(rounds: int = 5) -> dict[str, float]:
    """Return milliseconds of an SDXL latent's noise (4, 128, 128) from Philox, and the ratio to torch's own."""
    times = seconds(
        lambda: image_noise((4, SIDE, SIDE), [0], "nv").first(),
        lambda: image_noise((4, SIDE, SIDE), [0], "cpu").first(),
        rounds=rounds,
    )
    return {"ms_philox": 1e3 * median(times[0]), "ratio_philox_to_cpu": ratio(times)}


def brownian_times(rounds: int = 3) -> dict[str, float]:
    """Return microseconds a step of our Brownian noise and, if torchsde is installed, the ratio to its tree."""
    shape = (4, SIDE, SIDE)
    sigmas = get_sigmas("karras", STEPS, ModelSigmas.sd())
    places = [round(sigma, 6) for sigma in floats(sigmas[:-1])]  # as torchsde rounds them
    steps = list(pairwise(places))

    def path() -> None:
        # Many times, so that it takes about as long as a tree and meets the same load.
        for seed in range(PATHS):
            noise = brownian(sigmas, [seed], shape)
            for sigma, sigma_next in steps:
                noise(sigma, sigma_next)

    works: list[Callable[[], object]] = [path]
    if importlib.util.find_spec("torchsde") is not None:
        import torchsde  # pyright: ignore[reportMissingImports]

        def tree() -> None:
            # As k-diffusion's BrownianTreeNoiseSampler makes and asks it.
            motion: Any = torchsde.BrownianTree(places[-1], torch.zeros(1, *shape), places[0], entropy=1)
            for sigma, sigma_next in steps:
                motion(sigma_next, sigma).div_(math.sqrt(sigma - sigma_next))

        works.append(tree)
    times = seconds(*works, rounds=rounds)
    figures = {"us_brownian": 1e6 * median(times[0]) / len(steps) / PATHS}
    if len(works) > 1:
        figures["ratio_brownian"] = ratio(times) / PATHS
    return figures
