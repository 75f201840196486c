"""``sample``: check what a front gives, run a sampler over it, hand back the latent."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import BadType, BadValue
from ..sigmas.model import ModelSigmas, floats
from ..sigmas.registry import make_options
from .guard import Guard
from .noise import image_noise
from .spec import SAMPLERS, Denoiser, Noise, OnStep, SamplerSpec


def sample(
    name: str,
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    model: ModelSigmas | None = None,
    noise: Noise | None = None,
    on_step: OnStep | None = None,
    **options: Any,
) -> Tensor:
    """Run sampler ``name`` from ``x`` (B, …) at ``sigmas[0]`` and return the latent at ``sigmas[-1]``.

    ``denoise(x, sigma)`` gives the clean latent; a CFG++ sampler calls ``denoise.with_uncond``.  ``sigmas``:
    (n+1,) falling, the last may be above 0.  ``model``: Stable Diffusion's sigmas unless given.  ``noise``:
    the step noise of samplers that want it; without one image i draws from seed i.  ``on_step(i, sigma, x,
    denoised)`` is called once a step.  ``options``: see ``SAMPLERS[name].options``.  Nothing given is
    changed.  Half-precision latents are worked on in float32; the result has the dtype of ``x``. Raises
    ``BadValue``/``BadType`` for an unknown sampler or option, bad sigmas, or a model that gives NaN.
    """
    spec = SAMPLERS[name]
    known = model or ModelSigmas.sd()
    steps = checked_sigmas(sigmas)
    _check_latent(x)
    _check_fit(spec, denoise, known, steps)
    filled = make_options(f"sampler {spec.name!r}", spec.options, options)
    guard = Guard(denoise, x, steps, on_step)
    available = {
        "noise": StepNoise(noise or image_noise(tuple(x.shape[1:]), range(len(x))), x),
        "model": known,
        "options": filled,
        "on_step": guard.on_step,
    }
    with torch.no_grad():
        work = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        out = spec.run(guard, work, steps, **{key: available[key] for key in spec.takes})
        guard.finish()
        return out.clone() if out is x else out.to(x.dtype)


class StepNoise:
    """A noise source brought to the device and working dtype of the latent, its shape checked."""

    def __init__(self, noise: Noise, like: Tensor) -> None:
        """Wrap ``noise`` for latents such as ``like``."""
        self._noise = noise
        self._shape, self._device = like.shape, like.device
        self._dtype = torch.float64 if like.dtype == torch.float64 else torch.float32

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Return the noise of this step; raises ``BadValue`` when its shape is not the latent's."""
        drawn = self._noise(sigma, sigma_next)
        if drawn.shape != self._shape:
            got, wanted = tuple(drawn.shape), tuple(self._shape)
            raise BadValue(
                f"step noise has shape {got} but the latent is {wanted}; make the source for that shape"
            )
        return drawn.to(self._device, self._dtype)


def checked_sigmas(sigmas: Tensor) -> tuple[float, ...]:
    """Return ``sigmas`` as floats; raises ``BadType``/``BadValue`` when they are no schedule."""
    if not isinstance(sigmas, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadType(f"sigmas is a {type(sigmas).__name__}; pass a 1-D tensor such as get_sigmas returns")
    if sigmas.ndim != 1 or len(sigmas) < 2:
        shape = tuple(sigmas.shape)
        raise BadValue(f"sigmas has shape {shape}; pass one dimension of steps + 1 values, 2 or more")
    values = floats(sigmas)
    for i, value in enumerate(values):
        if not math.isfinite(value) or value < 0:
            raise BadValue(f"sigmas[{i}] is {value}; pass finite values, 0 or above")
        if i and value > values[i - 1]:
            raise BadValue(f"sigmas rise from {values[i - 1]:g} to {value:g} at {i}; pass them falling")
        if value == 0 and i < len(values) - 1:
            raise BadValue(f"sigmas[{i}] is 0 and {len(values) - 1 - i} more follow; only the last may be 0")
    return values


def _check_latent(x: Tensor) -> None:
    """Raise ``BadType``/``BadValue`` when ``x`` is no batch of floating-point latents."""
    if not isinstance(x, Tensor) or not x.is_floating_point():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadType(f"x is {getattr(x, 'dtype', type(x).__name__)}; pass a floating-point latent (B, …)")
    if x.ndim < 2 or x.numel() == 0:
        raise BadValue(f"x has shape {tuple(x.shape)}; pass a latent (B, …) that is not empty")


def _check_fit(spec: SamplerSpec, denoise: Denoiser, model: ModelSigmas, sigmas: tuple[float, ...]) -> None:
    """Raise when the sampler cannot run with this model or denoiser."""
    if spec.needs_uncond and not hasattr(denoise, "with_uncond"):
        raise BadType(
            f"sampler {spec.name!r} wants the unguided prediction too; give the denoiser a with_uncond"
        )
    if model.is_flow and not spec.flow:
        fit = ", ".join(name for name, other in SAMPLERS.items() if other.flow)
        raise BadValue(f"sampler {spec.name!r} does not work on rectified-flow models; these do: {fit}")
    if model.is_flow and sigmas[0] > 1:
        raise BadValue(f"sigmas begin at {sigmas[0]:g} but a flow model's end at 1; make them for this model")
