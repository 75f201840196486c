"""Schedules that were found once and published as lists: Align Your Steps, GITS, OSS.

Those of Stable Diffusion are places in its table, so they are kept as timesteps: on a model with another table
(zero terminal SNR, a fine-tune's) the same timesteps give the sigmas that mean the same there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import BadValue, unknown
from .gits_table import GITS_PICKS, GITS_SIGMAS
from .model import ModelSigmas
from .schedule import Convention, Floats, Rule, host_form, scheduler
from .timesteps import at

AYS_SOURCE = "Sabour et al. 2024, arXiv:2404.14507"
AYS_TIMESTEPS = {
    "sdxl": (999, 845, 730, 587, 443, 310, 193, 116, 53, 13, 0),
    "sd1": (999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0),
}
"""The eleven places of the ten-step schedules."""
AYS_SIGMAS = {
    "sdxl": (
        14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289,
        0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582,
    ),
    "sd1": (
        14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904,
        0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582,
    ),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip
"""The same as sigmas, as ComfyUI has them; Stable Video Diffusion's are not places in a table."""
AYS_ROUNDED = {
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "sd1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
}
"""The same as A1111 and Forge have them: the first publication's, to three digits."""
AYS_GITS = {
    "sdxl": (14.615, 4.734, 2.567, 1.529, 0.987, 0.652, 0.418, 0.268, 0.179, 0.127, 0.029),
    "sd1": (14.615, 4.617, 2.507, 1.236, 0.702, 0.402, 0.240, 0.156, 0.104, 0.094, 0.029),
}
"""Forge's "Align Your Steps GITS"."""
AYS_32 = {
    "sdxl": (
        14.615, 11.149161, 8.505221, 6.4882717, 5.437074, 4.6039863, 3.898547, 3.2740746,
        2.7439654, 2.2996867, 1.9544852, 1.6710871, 1.4287815, 1.2318101, 1.0678965, 0.9257944,
        0.80290884, 0.6966012, 0.60436904, 0.52852553, 0.46773344, 0.41393378, 0.36258185,
        0.31008518, 0.26518926, 0.2232646, 0.17653877, 0.13959192, 0.10587381, 0.05519369,
        0.02877334, 0.015,
    ),
    "sd1": (
        14.615, 11.239513, 8.643631, 6.647294, 5.572509, 4.7164855, 3.9919608, 3.5195608,
        3.1349046, 2.7922878, 2.4877362, 2.2166386, 1.9750835, 1.7793171, 1.6147534, 1.4654095,
        1.314849, 1.166425, 1.0347555, 0.91573745, 0.8074817, 0.7120236, 0.621739, 0.53065205,
        0.4529096, 0.37491456, 0.27461818, 0.2011529, 0.14105873, 0.06682881, 0.03166121, 0.015,
    ),
}  # fmt: skip
"""Forge's "Align Your Steps 32", which is not NVIDIA's; its end lies below the model's ``sigma_min``."""
OSS = {
    "flux": (0.9968, 0.9886, 0.9819, 0.975, 0.966, 0.9471, 0.9158, 0.8287, 0.5512, 0.2808, 0.001),
    "wan": (
        1.0, 0.997, 0.995, 0.993, 0.991, 0.989, 0.987, 0.985, 0.98, 0.975, 0.973, 0.968, 0.96, 0.946, 0.927,
        0.902, 0.864, 0.776, 0.539, 0.208, 0.001,
    ),
    "chroma": (
        0.992, 0.99, 0.988, 0.985, 0.982, 0.978, 0.973, 0.968, 0.961, 0.953, 0.943, 0.931, 0.917, 0.9, 0.881,
        0.858, 0.832, 0.802, 0.769, 0.731, 0.69, 0.646, 0.599, 0.55, 0.501, 0.451, 0.402, 0.355, 0.311, 0.27,
        0.232, 0.199, 0.169, 0.143, 0.12, 0.101, 0.084, 0.07, 0.058, 0.048, 0.001,
    ),
}  # fmt: skip
"""Optimal step schedules of three flow models."""

SD_LAST = 999
SD_FIRST_SIGMA = 14.615


def loglinear(values: Sequence[float], count: int) -> Floats:
    """Return ``count`` numbers, even in place, along falling ``values``, log-linear between them.

    One number alone is the last, as in the published function.
    """
    logs = np.log(np.asarray(values)[::-1])
    places = np.linspace(0, 1, count)
    return np.exp(np.interp(places, np.linspace(0, 1, len(values)), logs))[::-1]


def ends_at_zero(values: Sequence[float], n: int) -> Floats:
    """Return ComfyUI's list: n+1 places along ``values``, the last replaced by 0."""
    found = np.asarray(values, np.float64) if len(values) == n + 1 else loglinear(values, n + 1)
    return np.append(found[:-1], 0.0)


def zero_appended(values: Sequence[float], n: int) -> Floats:
    """Return the web UIs' list: n places along ``values`` and a 0."""
    return np.append(np.asarray(values) if len(values) == n else loglinear(values, n), 0.0)


def along(values: Sequence[float], count: int) -> Floats:
    """Return ``count`` numbers, even in place, along ``values``, linear between them; the first if one."""
    return np.interp(np.linspace(0, len(values) - 1, count), np.arange(len(values)), np.asarray(values))


def at_timesteps(model: ModelSigmas, timesteps: Floats) -> Floats:
    """Return sigma at ``timesteps`` of 0 … 999, spread over the model's own table."""
    return at(model, timesteps / SD_LAST * (len(model.values) - 1))


def timesteps_of(sigmas: Sequence[float]) -> list[float]:
    """Return the places of Stable Diffusion's sigmas in its table."""
    return [ModelSigmas.sd().index(sigma) for sigma in sigmas]


def rescaled(values: Sequence[float], model: ModelSigmas, *, digits: bool = True) -> list[float]:
    """Return reForge's form of ``values``: fractions of the model's ``sigma_max``, the last as it is.

    ``digits``: the ratio to the first is cut after three digits.
    """
    ratios = [SD_FIRST_SIGMA / value for value in values]
    if digits:
        ratios = [math.floor(ratio * 1000 + 1e-6) / 1000 for ratio in ratios]
    return [*(model.sigma_max / ratio for ratio in ratios[:-1]), values[-1]]


def declare(
    name: str,
    label: str,
    source: str,
    run: Rule,
    hosts: dict[Convention, Rule],
    aliases: tuple[str, ...] = (),
) -> None:
    """Declare a schedule of ``(n, model)`` and the lists of ``hosts``."""
    scheduler(name=name, label=label, source=source, aliases=aliases, made_for="sd")(run)
    for host, rule in hosts.items():
        host_form(name, host)(rule)


def by_timestep(timesteps: Sequence[float], extra: int) -> Callable[[int, ModelSigmas], Floats]:
    """Return the schedule of n + ``extra`` places along ``timesteps``, of which the first n are used."""

    def run(n: int, model: ModelSigmas) -> Floats:
        """Return sigma at even places along the list of timesteps."""
        return at_timesteps(model, along(timesteps, n + extra)[:n])

    return run


def from_table(values: Sequence[float]) -> Callable[[int, ModelSigmas], Floats]:
    """Return the web UIs' list of a table."""

    def run(n: int, model: ModelSigmas) -> Floats:
        del model
        return zero_appended(values, n)

    return run


def from_ratios(values: Sequence[float], *, digits: bool = True) -> Callable[[int, ModelSigmas], Floats]:
    """Return reForge's list of a table."""

    def run(n: int, model: ModelSigmas) -> Floats:
        return zero_appended(rescaled(values, model, digits=digits), n)

    return run


def cut_at_zero(values: Sequence[float]) -> Callable[[int, ModelSigmas], Floats]:
    """Return ComfyUI's list of a table."""

    def run(n: int, model: ModelSigmas) -> Floats:
        del model
        return ends_at_zero(values, n)

    return run


def declare_align_your_steps(family: str) -> None:
    """Declare the four schedules of ``family`` "sdxl" or "sd1"."""
    suffix, label = ("", "") if family == "sdxl" else ("_sd1", " SD1")
    declare(
        f"align_your_steps{suffix}",
        f"Align Your Steps{label}",
        f"{AYS_SOURCE}, the ten steps of {family}, by timestep",
        by_timestep(AYS_TIMESTEPS[family], 1),
        {
            "comfyui": cut_at_zero(AYS_SIGMAS[family]),
            "webui": from_table(AYS_ROUNDED[family]),
            "reforge": from_ratios(AYS_ROUNDED[family]),
        },
        ("ays", "ays_sdxl") if family == "sdxl" else ("ays_sd1",),
    )
    declare(
        f"ays_11{suffix}",
        f"Align Your Steps 11{label}",
        f"{AYS_SOURCE}, all eleven sigmas of {family} and one step more, by timestep",
        by_timestep(AYS_TIMESTEPS[family], 0),
        {"webui": from_table(AYS_ROUNDED[family]), "reforge": from_ratios(AYS_ROUNDED[family])},
    )
    declare(
        f"ays_32{suffix}",
        f"Align Your Steps 32{label}",
        f"Forge's 32 sigmas for {family}, by timestep",
        by_timestep(timesteps_of(AYS_32[family]), 0),
        {"webui": from_table(AYS_32[family]), "reforge": from_ratios(AYS_32[family], digits=False)},
    )
    declare(
        f"ays_gits{suffix}",
        f"Align Your Steps GITS{label}",
        f"Forge's eleven sigmas for {family}, after Chen et al. 2024, arXiv:2405.11326, by timestep",
        by_timestep(timesteps_of(AYS_GITS[family]), 0),
        {"webui": from_table(AYS_GITS[family]), "reforge": from_ratios(AYS_GITS[family])},
    )


declare_align_your_steps("sdxl")
declare_align_your_steps("sd1")


@scheduler(
    name="align_your_steps_svd",
    label="Align Your Steps SVD",
    source=AYS_SOURCE + ", the ten steps of Stable Video Diffusion, between the model's own ends",
    aliases=("ays_svd",),
)
def align_your_steps_svd(n: int, model: ModelSigmas) -> Floats:
    """Return the list with log sigma stretched to the model's ends."""
    logs = np.log(loglinear(AYS_SIGMAS["svd"], n + 1)[:-1])
    high, low = math.log(AYS_SIGMAS["svd"][0]), math.log(AYS_SIGMAS["svd"][-1])
    first, last = math.log(model.sigma_max), math.log(model.sigma_min)
    return np.exp(last + (logs - low) / (high - low) * (first - last))


@host_form("align_your_steps_svd", "comfyui")
def align_your_steps_svd_comfyui(n: int, model: ModelSigmas) -> Floats:
    """Return ComfyUI's list, whatever the model."""
    del model
    return ends_at_zero(AYS_SIGMAS["svd"], n)


@dataclass(frozen=True, kw_only=True)
class Gits:
    """``coeff``: 0.8 (more early) to 1.5 (more late) in steps of 0.05."""

    coeff: float = 1.2

    def __post_init__(self) -> None:
        """Check it; raises ``BadValue``."""
        if round(self.coeff, 2) not in GITS_PICKS:
            raise BadValue(f"coeff is {self.coeff}; pass 0.8 to 1.5 in steps of 0.05")


def gits_picks(n: int, coeff: float) -> list[int]:
    """Return the n+1 places of ``n`` steps; those of 20 steps where there is no list."""
    lists = GITS_PICKS[round(coeff, 2)].split("\n")[1:-1]
    line = lists[n - 2] if 2 <= n <= 20 else lists[-1]
    return [0, *(int(word) for word in line.split()), 100]


@scheduler(
    name="gits",
    label="GITS",
    source="Chen et al. 2024, arXiv:2405.11326, by timestep",
    made_for="sd",
)
def gits(n: int, model: ModelSigmas, options: Gits) -> Floats:
    """Return sigma at the timesteps picked for n steps, or along those for 20."""
    timesteps = [SD_LAST * (1 - pick / 100) for pick in gits_picks(n, options.coeff)]
    return at_timesteps(model, along(timesteps, n + 1)[:n])


@host_form("gits", "comfyui")
def gits_comfyui(n: int, model: ModelSigmas, options: Gits) -> Floats:
    """Return ComfyUI's list, whatever the model; one step is the end of the list for 20."""
    del model
    values = [GITS_SIGMAS[pick] for pick in gits_picks(n, options.coeff)]
    return np.array([values[-2], 0.0]) if n == 1 else ends_at_zero(values, n)


@dataclass(frozen=True, kw_only=True)
class Oss:
    """``family``: the model that the steps were found for, "flux", "wan" or "chroma"."""

    family: str = "flux"

    def __post_init__(self) -> None:
        """Check it; raises ``BadValue``."""
        if self.family not in OSS:
            raise unknown("family of OSS", self.family, OSS)


@scheduler(
    name="oss",
    label="OSS",
    source="Pei et al. 2025, arXiv:2503.21774, as shares of sigma_max",
    made_for="flow",
)
def oss(n: int, model: ModelSigmas, options: Oss) -> Floats:
    """Return the steps found for ``family``."""
    return model.sigma_max * ends_at_zero(OSS[options.family], n)[:-1]


@host_form("oss", "comfyui")
def oss_comfyui(n: int, model: ModelSigmas, options: Oss) -> Floats:
    """Return ComfyUI's list, whatever the model."""
    del model
    return ends_at_zero(OSS[options.family], n)
