"""A sampler of the core as a function that ComfyUI can call: its model, noise and progress made the core's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..core.errors import BadValue
from ..core.profiles import BROWNIAN
from ..core.sampling import ModelSigmas, Noise, SamplerSpec, sample
from .host import k_diffusion, model_patcher, model_sampling

Callback = Callable[[dict[str, Any]], None]


def model_sigmas(sampling: Any) -> ModelSigmas:
    """Return the sigma table of ComfyUI's ``model_sampling``: eps, v, zero terminal SNR or rectified flow."""
    table = torch.unique(sampling.sigmas.detach().cpu().float())
    if not isinstance(sampling, model_sampling.CONST):
        return ModelSigmas.from_table(table[table > 0])
    shift = float(getattr(sampling, "shift", 1.0))
    if isinstance(sampling, model_sampling.ModelSamplingFlux):
        shift = math.exp(shift)  # Flux keeps the logarithm
    return ModelSigmas.from_table(table[table > 0], "flow", shift)


def sampler_function(spec: SamplerSpec) -> Callable[..., Tensor]:
    """Return ``spec`` in the form of ComfyUI's samplers; ``spec`` is kept on the function."""

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
        del disable  # ComfyUI's own progress goes by the callback
        if len(sigmas) < 2:
            return x
        given = dict(extra_args or {})
        if spec.resizes and given.get("denoise_mask") is not None:
            raise BadValue(
                f"sampler {spec.name!r} asks for latents of other sizes and cannot keep a mask; "
                "take off the noise mask, or use euler_ancestral"
            )
        return sample(
            spec.name,
            HostDenoiser(model, given),
            x,
            sigmas,
            model=model_sigmas(model.inner_model.inner_model.model_sampling),
            noise=host_noise(spec, x, sigmas, given.get("seed"), noise_sampler),
            on_step=_on_step(sigmas, callback),
            **options,
        )

    run.__name__ = run.__qualname__ = f"sample_concord_{spec.name}"
    cast("Any", run).spec = spec
    return run


class HostDenoiser:
    """ComfyUI's guided model as the core's ``PairDenoiser``."""

    def __init__(self, model: Any, given: dict[str, Any]) -> None:
        """Take ComfyUI's ``model`` and the ``extra_args`` of its calls."""
        self._model = model
        self._given = given

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latent seen in ``x`` (B, …) at ``sigma``."""
        return self._model(x, x.new_full((len(x),), float(sigma)), **self._given)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and the one of the negative prompt, which ComfyUI's own hook hands over."""
        seen: list[Tensor] = []

        def look(found: dict[str, Any]) -> Tensor:
            seen.append(found["uncond_denoised"])
            return found["denoised"]

        options = model_patcher.set_model_options_post_cfg_function(
            dict(self._given.get("model_options") or {}), look, disable_cfg1_optimization=True
        )
        given = {**self._given, "model_options": options}
        denoised = self._model(x, x.new_full((len(x),), float(sigma)), **given)
        if not seen:
            raise BadValue(
                "a CFG++ sampler needs the negative prompt's prediction, and this guider gives none; "
                "use CFGGuider, or a sampler without cfg_pp"
            )
        return denoised, seen[-1]


def host_noise(
    spec: SamplerSpec, x: Tensor, sigmas: Tensor, seed: int | None, own: Callable[..., Tensor] | None = None
) -> Noise:
    """Return the step noise that ComfyUI's samplers draw: a Brownian tree where they have one.

    ``x``: the latent (B, …).  ``own``: a source that the caller brings instead.
    """
    source = own
    above = sigmas[sigmas > 0]
    if source is None and spec.name in BROWNIAN and len(above.unique()) > 1:
        source = k_diffusion.BrownianTreeNoiseSampler(x, above.min(), above.max(), seed=seed, cpu=True)
    elif source is None:
        source = k_diffusion.default_noise_sampler(x, seed=seed)

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return cast("Any", source)(sigmas.new_tensor(sigma), sigmas.new_tensor(sigma_next))

    return noise


def _on_step(sigmas: Tensor, callback: Callback | None) -> Any:
    """Return the core's step report that tells ComfyUI, which previews and cancels by it; None for none."""
    if callback is None:
        return None

    def on_step(i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
        at = sigmas.new_tensor(sigma)
        callback({"x": x, "i": i, "sigma": at, "sigma_hat": at, "denoised": denoised})

    return on_step
