"""What a sampler is: the protocols it meets, the ``@sampler`` declaration, and the table of samplers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, get_type_hints

from torch import Tensor

from ..errors import BadValue
from ..sigmas.registry import Registry

Sigmas = Sequence[float]
Kind = Literal["deterministic", "ancestral", "sde"]
Host = Literal["comfyui", "webui"]


class Denoiser(Protocol):
    """What a front gives: the model with its conditions and guidance closed over."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latent seen in ``x`` (B, …) at ``sigma``, a 0-dimensional float64 on the CPU."""
        ...


class PairDenoiser(Denoiser, Protocol):
    """A ``Denoiser`` that can also tell what it saw without the prompt, for CFG++."""

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and the one of the negative prompt alone."""
        ...


class Noise(Protocol):
    """A source of step noise; a ``NoiseStream`` is one."""

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return unit-variance noise shaped like ``x`` for the step from ``sigma`` to ``sigma_next``."""
        ...


class OnStep(Protocol):
    """What is told of each step, once, after its first denoiser call; it may raise to stop the run."""

    def __call__(self, i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
        """Take step ``i`` that begins with ``x`` at ``sigma``; the tensors are to be read only."""
        ...


class Denoise(Protocol):
    """What a sampler calls: the front's ``Denoiser``, checked, in the working dtype, at a Python float."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return the clean latent seen in ``x``."""
        ...

    def with_uncond(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and the unguided one; only samplers that need it may ask."""
        ...


Run = Callable[..., Tensor]
R = TypeVar("R", bound=Run)
PASSED = frozenset({"noise", "model", "options", "on_step"})
"""What a sampler may ask for by naming it as a keyword-only parameter."""


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """A sampler and what is known of it; fronts, tests and the README loop over these.

    ``order``: of convergence as measured, on smooth problems.  ``nfe(n)``: denoiser calls of n steps that end in 0,
    None for an adaptive one.  ``second_order``: A1111 counts two calls a step.  ``discards_penultimate``: hosts
    that ask for one step more and drop the last sigma above 0.  ``flow``: fit for rectified flow.  ``resizes``:
    calls the denoiser with latents of other sizes.  ``timesteps``: the web UIs run it on variance-preserving
    latents: it begins with noise times ``sqrt(1 + sigma^2)`` there, and its end is divided by that.
    ``scheduler``: the schedule it goes with.  ``takes``: which of ``PASSED`` its function wants.
    """

    name: str
    label: str
    run: Run
    order: float
    nfe: Callable[[int], int] | None
    kind: Kind
    source: str
    aliases: tuple[str, ...] = ()
    needs_uncond: bool = False
    second_order: bool = False
    discards_penultimate: tuple[Host, ...] = ()
    scheduler: str = "karras"
    options: type[Any] | None = None
    flow: bool = True
    resizes: bool = False
    timesteps: bool = False
    takes: frozenset[str] = frozenset()


_table: Registry[SamplerSpec] = Registry("sampler")
SAMPLERS: Mapping[str, SamplerSpec] = _table
"""Every sampler by name (ComfyUI's internal name where it has one); aliases are found, not listed."""


def each_step(n: int) -> int:
    """Return the denoiser calls of a sampler that makes one a step."""
    return n


def sampler(
    *,
    name: str,
    label: str,
    order: float,
    source: str,
    nfe: Callable[[int], int] | None = each_step,
    kind: Kind = "deterministic",
    **more: Any,
) -> Callable[[R], R]:
    """Declare the function below as sampler ``name``; ``more``: the other fields of ``SamplerSpec``.

    The function is ``(denoise, x, sigmas, *, …)`` with any of ``PASSED`` as keyword-only parameters; the
    type of ``options`` is its option record.  ``x`` is never to be changed in place.
    """

    def declare(run: R) -> R:
        asked = {
            key: parameter
            for key, parameter in inspect.signature(run).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        if not PASSED.issuperset(asked):
            raise BadValue(
                f"sampler {name!r} asks for {sorted(set(asked) - PASSED)}; known: {sorted(PASSED)}"
            )
        record = get_type_hints(run)["options"] if "options" in asked else None
        _table.add(
            SamplerSpec(
                name=name,
                label=label,
                run=run,
                order=order,
                nfe=nfe,
                kind=kind,
                source=source,
                options=record,
                takes=frozenset(asked),
                **more,
            )
        )
        return run

    return declare
