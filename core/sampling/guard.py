"""What stands between a sampler and the front's denoiser: dtype, shape, step count, and an eye for NaN."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from ..errors import BadType, BadValue
from .spec import Denoiser, OnStep, PairDenoiser, Sigmas
from .steps import number


class Guard:
    """Calls the front's denoiser for a sampler, and stops the run when it gives NaN or infinity.

    The sum of each answer is looked at only after the next call is under way, so no step waits for a device.
    """

    def __init__(self, denoise: Denoiser, x: Tensor, sigmas: Sigmas, on_step: OnStep | None) -> None:
        """Guard ``denoise`` for a run over ``sigmas`` of latents with the dtype of ``x``."""
        self._denoise = denoise
        self._dtype = x.dtype
        self._steps = len(sigmas) - 1
        self._on_step = on_step
        self._step = 0
        self._flag: tuple[int, float, Flag] | None = None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return the clean latent seen in ``x`` at ``sigma``, in the dtype of ``x``."""
        denoised = self._denoise(x.to(self._dtype), torch.tensor(sigma, dtype=torch.float64))
        self._watch(denoised, x, sigma)
        return denoised.to(x.dtype)

    def with_uncond(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Return the guided and the unguided clean latent seen in ``x``, in the dtype of ``x``."""
        pair = cast("PairDenoiser", self._denoise)
        denoised, uncond = pair.with_uncond(x.to(self._dtype), torch.tensor(sigma, dtype=torch.float64))
        self._watch(denoised, x, sigma)
        return denoised.to(x.dtype), uncond.to(x.dtype)

    def on_step(self, i: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
        """Tell the front of step ``i``; later NaN is counted to the step after it."""
        self._step = i + 1
        if self._on_step is not None:
            self._on_step(i, sigma, x, denoised)

    def finish(self) -> None:
        """Look at the last answer; raises ``BadValue`` as any call does."""
        if self._flag is not None:
            self._look(self._flag)
            self._flag = None

    def _watch(self, denoised: object, x: Tensor, sigma: float) -> None:
        """Check the shape of this answer and the numbers of the one before."""
        if not isinstance(denoised, Tensor):
            raise BadType(f"the denoiser gave a {type(denoised).__name__}; it must return a tensor")
        if denoised.shape != x.shape:
            got, wanted = tuple(denoised.shape), tuple(x.shape)
            raise BadValue(f"the denoiser gave shape {got} for a latent of {wanted}; it must keep the shape")
        before, self._flag = self._flag, (self._step, sigma, Flag(denoised))
        if before is not None:
            self._look(before)

    def _look(self, flag: tuple[int, float, Flag]) -> None:
        """Raise ``BadValue`` when the flag of an earlier answer is down."""
        step, sigma, answer = flag
        if not answer.is_finite():
            where = f"step {min(step, self._steps - 1) + 1} of {self._steps} (sigma {sigma:.4g})"
            raise BadValue(
                f"the model gave NaN or infinity at {where}; run it in float32, or check the weights"
            )


class Flag:
    """Whether a tensor is finite, readable later without waiting for work that was queued after it."""

    def __init__(self, values: Tensor) -> None:
        """Start the sum of ``values`` in float32 or float64; NaN and infinity do not leave it finite."""
        total = values.sum(dtype=torch.float64 if values.dtype == torch.float64 else torch.float32)
        self._event: torch.cuda.Event | None = None
        if total.is_cuda:
            self._total = torch.empty((), dtype=total.dtype, pin_memory=True)
            self._total.copy_(total, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(total.device))
        else:
            self._total = total

    def is_finite(self) -> bool:
        """Return the answer, waiting for this sum alone."""
        if self._event is not None:
            self._event.synchronize()
        return math.isfinite(number(self._total))
