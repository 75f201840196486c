"""What the sampling core adds to a step: latent-sized operations, waits, and time against k-diffusion.

Of k-diffusion only `sampling.py` is taken, loaded by itself: the package wants torchvision.  Where it is not
installed, our own figures come alone.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode

from ...core.sampling import SAMPLERS, sample
from ...core.sigmas import ModelSigmas, get_sigmas
from ...core.sigmas.model import floats

log = logging.getLogger(__name__)

STEPS = 20
ROUNDS = 15
BATCHES = (1, 4)
SIDE = 128
SHARED = (
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_2m",
    "dpmpp_sde",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_heun",
    "dpmpp_3m_sde",
)
"""Samplers that k-diffusion has too."""


def run() -> dict[str, float]:
    """Return the figures: ``ops_*`` of `counted`, ``waits`` in all, ``us_*`` a step, ``ratio_*`` of our time to theirs.

    ``b1``, ``b4``: latents of 1 x 4 x 128 x 128 and 4 x 4 x 128 x 128.  ``waits`` leaves out dpm_adaptive, which
    must.  Times are medians over rounds in which both sides take turns.
    """
    if importlib.util.find_spec("k_diffusion") is None:
        log.warning("no ratios to k-diffusion; `pip install --no-deps k-diffusion trampoline` brings it")
    figures: dict[str, float] = {"waits": 0}
    for name in SAMPLERS:
        figures[f"ops_{name}"], waits = counted(name)
        figures["waits"] += waits if name != "dpm_adaptive" else 0
    theirs = k_diffusion()
    for batch in BATCHES:
        for name in SHARED:
            figures |= sampler_times(theirs, name, batch)
    return figures


# What is run


def problem(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (start, sigmas, what the model always sees) for ``batch`` latents of 128 x 128."""
    shape = (batch, 4, SIDE, SIDE)
    generator = torch.Generator().manual_seed(0)
    sigmas = get_sigmas("karras", STEPS, ModelSigmas.sd())
    noise, picture = (torch.randn(shape, generator=generator) for _ in range(2))
    return noise * float(sigmas[0]), sigmas, picture


class Still:
    """A denoiser that does nothing, with and without guidance; k-diffusion's signature fits too."""

    def __init__(self, picture: Tensor) -> None:
        """Always see ``picture``."""
        self.picture = picture

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the picture."""
        del x, sigma
        return self.picture


class Drawn:
    """Step noise that is drawn once, and costs nothing after."""

    def __init__(self, like: Tensor) -> None:
        """Draw noise like ``like``."""
        self.noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(1))

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return it."""
        del sigma, sigma_next
        return self.noise


def ours(name: str, start: Tensor, sigmas: Tensor, picture: Tensor) -> Callable[[], Tensor]:
    """Return a run of our sampler whose model and noise cost nothing."""
    denoise, noise = Still(picture), Drawn(start)
    return lambda: sample(name, denoise, start, sigmas, noise=noise)


def theirs(
    module: ModuleType, name: str, start: Tensor, sigmas: Tensor, picture: Tensor
) -> Callable[[], Tensor]:
    """Return a run of k-diffusion's sampler whose model and noise cost nothing, unused noise included."""
    denoise, noise = Still(picture), Drawn(start)
    # Its samplers with churn draw noise each step and add none: that is not arithmetic, and not counted.
    undrawn = _module("torch", **{**vars(torch), "randn_like": lambda _: noise.noise})
    more: dict[str, Any] = {"disable": True}
    if SAMPLERS[name].kind != "deterministic":
        more["noise_sampler"] = noise
    if name == "dpmpp_2m_sde_heun":
        more["solver_type"] = "heun"
    function: Any = getattr(module, f"sample_{name.removesuffix('_heun')}")
    places: tuple[Any, ...] = (sigmas,)
    if name in ("dpm_fast", "dpm_adaptive"):
        places = min(sigma for sigma in floats(sigmas) if sigma > 0), float(sigmas[0])
    if name == "dpm_fast":
        more["n"] = len(sigmas) - 1

    def work() -> Tensor:
        vars(module)["torch"] = undrawn
        return function(denoise, start, *places, **more)

    return work


# Operations and waits


class Count(TorchDispatchMode):
    """Counts operations that read or make a tensor of ``size`` elements or more, and reads of tensors as numbers."""

    def __init__(self, size: int) -> None:
        """Count from ``size`` elements on."""
        super().__init__()
        self.size, self.operations, self.waits, self._apart = size, 0, 0, False

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Leave what is done within out of the count."""
        self._apart = True
        try:
            yield
        finally:
            self._apart = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func`` and count it."""
        del types
        out = func(*args, **(kwargs or {}))
        if not self._apart:
            # By this operator every item, float, comparison in an if and tolist waits for a device.
            self.waits += "_local_scalar_dense" in str(func)
            large = any(isinstance(value, Tensor) and value.numel() >= self.size for value in (out, *args))
            self.operations += large and not func.is_view
        return out


class Counting:
    """A denoiser whose own work is left out of ``count``, which notes the operations between its calls."""

    def __init__(self, count: Count, picture: Tensor) -> None:
        """See ``picture``, in the size asked for and in a tensor of its own, as a model gives it."""
        self.count, self.picture = count, picture
        self.between: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the picture; the operations until the next call are those of this one."""
        del sigma
        self.mark()
        with self.count.apart():
            return interpolate(self.picture, size=x.shape[2:]).clone()

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the picture and a darker one."""
        denoised = self(x, sigma)
        with self.count.apart():
            return denoised, denoised * 0.5

    def mark(self) -> None:
        """Note the operations since the last mark."""
        self.between.append(self.count.operations)
        self.count.operations = 0


def counted(name: str) -> tuple[int, int]:
    """Return the most latent-sized operations from one model call to the next, and the waits of the whole run.

    The check for NaN is among them, and step noise as far as it is scaled and added, not its drawing.
    """
    start, sigmas, picture = problem(1)
    noise = Drawn(start)
    with Count(start.numel()) as count:
        denoise = Counting(count, picture)
        sample(name, denoise, start, sigmas, noise=noise)
        denoise.mark()
    return max(denoise.between), count.waits


# Times


def seconds(*works: Callable[[], object], rounds: int = ROUNDS) -> list[list[float]]:
    """Return the seconds of each of ``works`` by round, on one thread; in each round they begin in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: list[list[float]] = [[] for _ in works]
    try:
        for work in works:
            work()
        for i in range(rounds):
            for j in range(len(works)):
                k = (i + j) % len(works)
                began = time.perf_counter()
                works[k]()
                found[k].append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return found


def ratio(times: Sequence[Sequence[float]]) -> float:
    """Return the median over the rounds of the first work's time to the second's, so that both met the same load."""
    return median(mine / other for mine, other in zip(times[0], times[1], strict=True))


def sampler_times(module: ModuleType | None, name: str, batch: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Return our microseconds a step and, given k-diffusion's ``module``, the ratio to its sampler's time."""
    given = problem(batch)
    works = [ours(name, *given)]
    if module is not None:
        works.append(theirs(module, name, *given))
    times = seconds(*works, rounds=rounds)
    figures = {f"us_{name}_b{batch}": 1e6 * median(times[0]) / STEPS}
    if module is not None:
        figures[f"ratio_{name}_b{batch}"] = ratio(times)
    return figures


def k_diffusion() -> ModuleType | None:
    """Return k-diffusion's sampling module, loaded alone, or None where it is not installed."""
    package = importlib.util.find_spec("k_diffusion")
    if package is None or not package.submodule_search_locations:
        return None
    name = "concord_bench_k_diffusion"
    path = Path(package.submodule_search_locations[0], "sampling.py")
    spec = importlib.util.spec_from_file_location(f"{name}.sampling", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    utils = {"append_dims": lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]}
    absent = [other for other in ("torchdiffeq", "torchsde") if importlib.util.find_spec(other) is None]
    stand_ins = {
        name: _module(name, __path__=[]),
        f"{name}.utils": _module(f"{name}.utils", **utils),
        **{other: _module(other, odeint=None) for other in absent},
    }
    sys.modules.update(stand_ins)
    try:
        spec.loader.exec_module(module)
    finally:
        for key in stand_ins:
            del sys.modules[key]
    return module


def _module(name: str, **contents: Any) -> ModuleType:
    """Return a module ``name`` with ``contents``."""
    module = ModuleType(name)
    vars(module).update(contents)
    return module
