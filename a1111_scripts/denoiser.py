"""A sampler of the core as a function that a web UI can call: its model, noise and progress made the core's."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any, cast

import torch
from torch import Tensor

from ..core.errors import BadValue
from ..core.options_text import option_defaults
from ..core.profiles import BROWNIAN, profile, sampler_of
from ..core.sampling import ModelSigmas, Noise, SamplerSpec, sample
from .unguided import with_unguided

CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise")
"""Options that the host has a setting for and gives to samplers that its table names."""
PANEL_OPTIONS = "concord_sampler_options"
"""The attribute of a request that holds what the sigma panel gives to samplers of ours: a function of the spec."""
Callback = Callable[[dict[str, Any]], None]


def model_sigmas(wrap: Any) -> ModelSigmas:
    """Return the sigma table of the host's wrapped model: eps, v, zero terminal SNR or rectified flow.

    A table that ends at 1 is that of a flow; the others go to 14 and more.
    """
    table = torch.unique(wrap.sigmas.detach().cpu().float())
    if float(table[-1]) > 1:
        return ModelSigmas.from_table(table[table > 0])
    predictor = getattr(wrap, "predictor", wrap)
    shift = getattr(predictor, "shift", None)
    if shift is None:
        shift = math.exp(getattr(predictor, "mu", 0.0) or 0.0)  # Flux keeps the logarithm
    return ModelSigmas.from_table(table[table > 0], "flow", float(shift))


def takes_eta(spec: SamplerSpec, host: str) -> bool:
    """Tell whether the host's eta, 1 unless set otherwise, is meant for ``spec``.

    It is for ancestral samplers, for the timestep samplers, which have a setting of their own, and where the host's
    sampler of that name takes it.  To others it would add noise that they do not have.
    """
    known = option_defaults(spec.options)
    _, habits = sampler_of(profile(host), spec.name)
    return "eta" in known and (spec.timesteps or known["eta"] == 1 or "eta" in habits)


def sampler_function(spec: SamplerSpec, host: str) -> Callable[..., Tensor]:
    """Return ``spec`` in the form of the web UIs' samplers; ``host``: the profile of the UI.

    The host reads from the signature what to pass.
    """
    passed = [name for name in CHURN if name in option_defaults(spec.options)]
    passed += ["eta"] * takes_eta(spec, host)
    _, habits = sampler_of(profile(host), spec.name)

    def run(
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callback | None = None,
        disable: bool | None = None,
        noise_sampler: Any = None,
        **options: Any,
    ) -> Tensor:
        del disable  # the host's own bar goes by the callback
        if len(sigmas) < 2:
            return x
        _check(spec, model)
        # No copy: the host puts a refiner's conditions into this very dictionary.
        given = {} if extra_args is None else extra_args
        more = getattr(model.p, PANEL_OPTIONS, None)
        return sample(
            spec.name,
            HostDenoiser(model, given),
            x,
            sigmas,
            model=model_sigmas(model.inner_model),
            noise=host_noise(model.p, sigmas, noise_sampler),
            on_step=_on_step(sigmas, callback),
            **{**habits, **options, **(more(spec) if more else {})},
        )

    run.__name__ = run.__qualname__ = f"sample_concord_{spec.name}"
    mine = cast("Any", run)
    mine.spec, mine.passed = spec, passed
    named = ["model", "x", "sigmas", "extra_args", "callback", "disable"]
    named += ["noise_sampler"] * (spec.name in BROWNIAN) + passed
    mine.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in named])
    return run


class HostDenoiser:
    """The host's guided model as the core's ``PairDenoiser``."""

    def __init__(self, model: Any, given: dict[str, Any]) -> None:
        """Take the host's ``CFGDenoiser`` and the keyword arguments of its calls."""
        self._model = model
        self._given = given

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latent seen in ``x`` (B, …) at ``sigma``."""
        self._hold_step()
        return self._model(x, x.new_full((len(x),), float(sigma)), **self._given)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and the one of the negative prompt."""
        self._hold_step()
        return with_unguided(self._model, x, x.new_full((len(x),), float(sigma)), self._given)

    def _hold_step(self) -> None:
        """Keep the host's count of calls within what it has planned: beyond that it takes the first prompt."""
        total = self._model.total_steps
        if total is not None and self._model.step > total:
            self._model.step = total


def host_noise(p: Any, sigmas: Tensor, own: Callable[..., Tensor] | None) -> Noise:
    """Return the step noise of the request ``p``, each image from its own seed.

    ``own``: the Brownian trees that the host makes for samplers which want them; else the draws that follow the
    start noise.
    """

    def noise(sigma: float, sigma_next: float) -> Tensor:
        if own is None:
            return p.rng.next()
        return own(sigmas.new_tensor(sigma), sigmas.new_tensor(sigma_next))

    return noise


def _check(spec: SamplerSpec, model: Any) -> None:
    """Raise ``BadValue`` for a sampler that cannot do what the request asks."""
    if spec.resizes and model.mask is not None:
        raise BadValue(
            f"sampler {spec.label!r} asks for latents of other sizes and cannot keep a mask; take Euler a to inpaint"
        )


def _on_step(sigmas: Tensor, callback: Callback | None) -> Any:
    """Return the core's step report that tells the host, which counts and stops by it; None for none."""
    if callback is None:
        return None

    def on_step(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
        at = sigmas.new_tensor(sigma)
        callback({"x": x, "i": i, "sigma": at, "sigma_hat": at, "denoised": denoised})

    return on_step
