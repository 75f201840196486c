"""A list of sigmas that somebody wrote down, as a schedule of any number of steps."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..errors import BadValue
from .model import ModelSigmas
from .schedule import Floats, scheduler
from .tables import loglinear


@dataclass(frozen=True, kw_only=True)
class Custom:
    """``sigmas``: falling numbers above 0, parted by blanks, a last 0 or none; "" for the ends of the model."""

    sigmas: str = ""


@scheduler(
    name="custom",
    label="Custom",
    source="the list given, log-linear between its entries as for Align Your Steps",
)
def custom(n: int, model: ModelSigmas, options: Custom) -> Floats:
    """Return n sigmas along the list, which is taken as it is when it has as many above 0.

    Raises ``BadValue`` for a text that is no such list.
    """
    values = read_sigmas(options.sigmas) if options.sigmas.strip() else [model.sigma_max, model.sigma_min]
    if len(values) == n:
        return np.asarray(values, np.float64)
    return loglinear(values, n) if n > 1 else np.asarray(values[:1], np.float64)


def read_sigmas(text: str) -> list[float]:
    """Return the sigmas above 0 of a list written with blanks or commas; a last 0 may be left out.

    Raises ``BadValue`` for what is no number above 0, does not fall, or is empty.
    """
    words = [word for word in re.split(r"[\s,;]+", text.strip("[]() \n\t")) if word]
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise BadValue(f"sigmas are {text!r}; pass falling numbers such as 14.6 4.8 1.3 0.3 0.03") from error
    if values and values[-1] == 0:
        values.pop()
    for one in values:
        if not (math.isfinite(one) and one > 0):
            raise BadValue(f"sigma {one:g} is not a finite number above 0; only the last may be 0")
    for one, after in pairwise(values):
        if after >= one:
            raise BadValue(f"sigmas rise from {one:g} to {after:g}; write them falling")
    if not values:
        raise BadValue(f"sigmas are {text!r}; pass falling numbers such as 14.6 4.8 1.3 0.3 0.03")
    return values
