"""The least error that a list of sigmas allows, however exact the sampler."""

from __future__ import annotations

import math

from torch import Tensor

from ..sigmas.model import ModelSigmas, floats

FINE, COARSE = (0.2, 0.215), (0.6, 2.0)
"""(share, scale) of two spreads that stand for pictures: around a picture, and between pictures.

Latents have a spread of about 1; the two reproduce the floors measured on three mixtures within a quarter.
"""


def floor_of(sigmas: Tensor, model: ModelSigmas) -> float:
    """Return the root mean square error that a run over ``sigmas`` ends with even if every step were exact.

    A run to 0 ends on the denoised at its last sigma above 0, the mean of all pictures that could be behind
    it; one that ends above 0 leaves its noise.  Latents of unit spread; of one Gaussian of spread c the
    former is ``c (1 - 1 / sqrt(1 + (sigma / c)^2))``, and two of them, ``FINE`` and ``COARSE``, stand for
    pictures.
    """
    values = floats(sigmas)
    to_zero = values[-1] == 0
    return floor_at(math.exp(-model.log_snr(values[-2] if to_zero else values[-1])), to_zero=to_zero)


def floor_at(level: float, *, to_zero: bool) -> float:
    """Return the floor of a run whose last ``level`` = sigma / alpha above 0 is this one."""
    total = 0.0
    for share, scale in (FINE, COARSE):
        stretch = math.sqrt(1 + (level / scale) ** 2)
        total += share * (1 - 1 / stretch if to_zero else stretch - 1)
    return total
