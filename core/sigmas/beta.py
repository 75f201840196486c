"""Schedules from the quantiles of a Beta distribution: dense at both ends of the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadValue
from .model import ModelSigmas
from .schedule import Floats, host_form, scheduler
from .timesteps import at

SOURCE = "Lee et al. 2024, arXiv:2407.12173"


@dataclass(frozen=True, kw_only=True)
class Beta:
    """The two shape parameters, above 0: below 1 both ends of the run are sampled more densely."""

    alpha: float = 0.6
    beta: float = 0.6

    def __post_init__(self) -> None:
        """Check the two; raises ``BadValue``."""
        if not (self.alpha > 0 and self.beta > 0):
            raise BadValue(f"alpha and beta are {self.alpha} and {self.beta}; pass numbers above 0")


@dataclass(frozen=True, kw_only=True)
class Beta57(Beta):
    """As ``Beta``; fewer at the beginning, more at the end."""

    alpha: float = 0.5
    beta: float = 0.7


def quantiles(shares: Floats, options: Beta) -> Floats:
    """Return the quantiles of the distribution at ``shares`` in 0 … 1."""
    from scipy.special import betaincinv  # noqa: PLC0415 - slow  # pyright: ignore

    return np.asarray(betaincinv(options.alpha, options.beta, shares), np.float64)


def by_timestep(n: int, model: ModelSigmas, options: Beta) -> Floats:
    """Return sigma at n fractional timesteps, the first the last of the table."""
    return at(model, quantiles(1 - np.arange(n) / n, options) * (len(model.values) - 1))


def by_whole_timestep(n: int, model: ModelSigmas, options: Beta) -> Floats:
    """Return the hosts' list: rounded timesteps, each once, and a 0; it may be short."""
    from scipy.stats import beta as distribution  # noqa: PLC0415 - slow  # pyright: ignore

    shares = 1 - np.linspace(0, 1, n, endpoint=False)
    found = np.asarray(distribution.ppf(shares, options.alpha, options.beta), np.float64)  # pyright: ignore
    places = np.rint(found * (len(model.values) - 1))
    kept = [int(place) for i, place in enumerate(places) if i == 0 or place != places[i - 1]]
    return np.array([*(model.values[place] for place in kept), 0.0])


@scheduler(name="beta", label="Beta", source=SOURCE)
def beta(n: int, model: ModelSigmas, options: Beta) -> Floats:
    """Return sigma at timesteps by the quantiles of Beta(0.6, 0.6)."""
    return by_timestep(n, model, options)


@host_form("beta", "comfyui", "reforge")
def beta_whole(n: int, model: ModelSigmas, options: Beta) -> Floats:
    """Return the list of ComfyUI and reForge."""
    return by_whole_timestep(n, model, options)


@scheduler(name="beta57", label="Beta57", source=SOURCE + ", with alpha 0.5 and beta 0.7")
def beta57(n: int, model: ModelSigmas, options: Beta57) -> Floats:
    """Return sigma at timesteps by the quantiles of Beta(0.5, 0.7)."""
    return by_timestep(n, model, options)


@host_form("beta57", "comfyui")
def beta57_whole(n: int, model: ModelSigmas, options: Beta57) -> Floats:
    """Return the list of ComfyUI's packs."""
    return by_whole_timestep(n, model, options)


@scheduler(
    name="beta_sigma",
    label="Beta (sigma)",
    source="A1111 1.10 and Forge: the quantiles taken in sigma instead of timesteps, a different schedule",
)
def beta_sigma(n: int, model: ModelSigmas, options: Beta) -> Floats:
    """Return n quantiles between ``sigma_max`` and ``sigma_min``, both included."""
    shares = quantiles(1 - np.arange(n) / max(n - 1, 1), options)
    return model.sigma_min + shares * (model.sigma_max - model.sigma_min)


@host_form("beta_sigma", "webui")
@host_form("beta", "webui")
def beta_webui(n: int, model: ModelSigmas, options: Beta) -> Floats:
    """Return the list that A1111 and Forge call Beta."""
    return np.append(beta_sigma(n, model, options), 0.0)
