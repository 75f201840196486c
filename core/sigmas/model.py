"""The noise levels a model was trained on, and what follows from them: timesteps, log-SNR, alphas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import BadValue

Kind = Literal["ve", "flow"]

ZSNR_LAST_ALPHA = 4.8973451890853435e-08
"""Squared alpha that stands for the true zero of a zero-terminal-SNR model: sigma stays finite (4518.76)."""


def floats(values: Tensor) -> tuple[float, ...]:
    """Return a 1-D tensor as Python floats, float64 exactly; waits for a device once."""
    return tuple(np.asarray(values.detach().double().cpu(), np.float64).tolist())


@dataclass(frozen=True, eq=False)
class ModelSigmas:
    """The sigma table of a model: what it is asked about, whichever quantity (eps, v, x0) it predicts.

    ``table``: (N,) float32 on the CPU, strictly rising, above 0.  ``kind`` "ve": ``x = x0 + sigma * noise``;
    "flow": ``x = (1 - sigma) * x0 + sigma * noise`` with sigma up to 1.  ``shift``: of the flow.  A position
    in the table is an ``index``, fractional between two entries (log-linear, as in k-diffusion).  ``exact``: (N,)
    float64, the table before it was rounded, where that is known; hosts take logs and alphas of it.
    """

    table: Tensor
    kind: Kind = "ve"
    shift: float = 1.0
    exact: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the table; raises ``BadValue``."""
        table = self.table
        if table.ndim != 1 or len(table) < 2:
            raise BadValue(
                f"sigma table has shape {tuple(table.shape)}; pass one dimension of 2 or more values"
            )
        if (
            not bool(torch.isfinite(table).all())
            or not bool((table > 0).all())
            or not bool((table.diff() > 0).all())
        ):
            raise BadValue(
                "sigma table must be finite, above 0 and strictly rising; sort it and drop the zero"
            )
        if self.kind == "flow" and float(table[-1]) > 1:
            raise BadValue(
                f"sigma table of a flow model ends at {float(table[-1]):g}; it must end at 1 or below"
            )

    @classmethod
    def sd(cls) -> ModelSigmas:
        """Return the 1000 sigmas of Stable Diffusion 1, 2 and XL (0.0292 to 14.61)."""
        return _sd()

    @classmethod
    def zsnr(cls) -> ModelSigmas:
        """Return Stable Diffusion's table with zero terminal SNR (0.0292 to 4518.76).

        Source: Lin et al. 2024 (arXiv:2305.08891), Algorithm 1; the last alpha is ``ZSNR_LAST_ALPHA``.
        """
        return _zsnr()

    @classmethod
    def flow(cls, shift: float = 1.0, *, count: int = 1000) -> ModelSigmas:
        """Return the table of a rectified flow, ``s = shift t / (1 + (shift - 1) t)`` at ``t = 1/count … 1``.

        Source: Esser et al. 2024 (arXiv:2403.03206), eq. 23.  Raises ``BadValue`` for a shift of 0 or less.
        """
        if not (math.isfinite(shift) and shift > 0):
            raise BadValue(f"flow shift is {shift}; pass a number above 0")
        t = torch.arange(1, count + 1, dtype=torch.float64) / count
        return cls((shift * t / (1 + (shift - 1) * t)).float(), "flow", float(shift))

    @classmethod
    def from_table(cls, table: Tensor, kind: Kind = "ve", shift: float = 1.0) -> ModelSigmas:
        """Return the model of a rising ``table`` (N,), such as a host's ``model_sampling.sigmas``.

        Raises ``BadValue`` for a table that is not finite, positive and rising.
        """
        return cls(table.detach().to("cpu", torch.float32).clone(), kind, shift)

    def with_float32_alphas(self) -> ModelSigmas:
        """Return the table as A1111 has it, made from squared alphas in float32: other in the sixth digit."""
        if self.is_flow:
            return self
        squared = self._squared_alphas.float()
        return ModelSigmas(((1 - squared) / squared).sqrt(), self.kind, self.shift)

    def with_half_alphas(self) -> ModelSigmas:
        """Return the table as A1111 made it of squared alphas in half precision ("downcast alphas").

        Source: A1111 1.9.4, before 1.7 of models loaded in half precision.
        """
        if self.is_flow:
            return self
        squared = self._squared_alphas.half()
        return ModelSigmas(((1 - squared) / squared).sqrt().float(), self.kind, self.shift)

    def with_zero_snr(self) -> ModelSigmas:
        """Return the table brought to zero terminal SNR, one that is so already as it is.

        Source: Lin et al. 2024 (arXiv:2305.08891), Algorithm 1; the last alpha is ``ZSNR_LAST_ALPHA``.
        """
        squared = self._squared_alphas
        if self.is_flow or float(squared[-1]) <= 2 * ZSNR_LAST_ALPHA:
            return self
        exact = _to_zero(squared)
        return ModelSigmas(exact.float(), self.kind, self.shift, exact)

    @property
    def _squared_alphas(self) -> Tensor:
        known = self.table.double() if self.exact is None else self.exact
        return 1 / (1 + known**2)

    @cached_property
    def float32_logs(self) -> Tensor:
        """Return the logs of the table as hosts hold them, (N,) float32."""
        return self.table.log() if self.exact is None else self.exact.log().float()

    def float32_at(self, places: Tensor) -> Tensor:
        """Return sigma at fractional ``places`` of the table, float32, to the last bit as hosts compute it."""
        logs, share = self.float32_logs, places.frac()
        return ((1 - share) * logs[places.floor().long()] + share * logs[places.ceil().long()]).exp()

    @property
    def is_flow(self) -> bool:
        """Tell whether the model is a rectified flow."""
        return self.kind == "flow"

    @property
    def sigma_min(self) -> float:
        """Return the smallest sigma of the table."""
        return self.values[0]

    @property
    def sigma_max(self) -> float:
        """Return the largest sigma of the table."""
        return self.values[-1]

    @cached_property
    def values(self) -> tuple[float, ...]:
        """Return the table as Python floats."""
        return floats(self.table)

    @cached_property
    def alphas(self) -> Tensor:
        """Return what multiplies the clean latent at each entry, (N,): ``1 - sigma`` for a flow, else of the
        variance-preserving form."""
        return 1 - self.table if self.is_flow else (1 + self.table.double() ** 2).rsqrt().float()

    @cached_property
    def _logs(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.log(np.asarray(self.values))

    def index(self, sigma: float) -> float:
        """Return the fractional position of ``sigma`` in the table, 0 … N-1, log-linear between entries."""
        return float(np.interp(math.log(max(sigma, 1e-300)), self._logs, np.arange(len(self._logs))))

    def nearest_index(self, sigma: float) -> int:
        """Return the position of the entry nearest to ``sigma`` in log, 0 … N-1.

        In float32 as in the hosts: sigmas of SGM Uniform lie halfway between two, where the last digit decides.
        """
        level = torch.tensor(sigma, dtype=torch.float32).log()
        return int((self.float32_logs - level).abs().argmin())

    def sigma_at(self, index: float) -> float:
        """Return sigma at a fractional position of the table, held at its ends."""
        return float(np.exp(np.interp(index, np.arange(len(self._logs)), self._logs)))

    def timestep(self, sigma: float, *, rounded: bool = False) -> float:
        """Return what the network takes as time at ``sigma``: the index, or 1000 sigma for a flow.

        ``rounded``: to the nearest entry, as networks trained on whole timesteps want it; False: fractional.
        """
        if self.is_flow:
            return 1000.0 * sigma
        return float(self.nearest_index(sigma)) if rounded else self._fraction(sigma)

    def _fraction(self, sigma: float) -> float:
        """Return the fractional index in float32, as k-diffusion computes it, to the last digit."""
        logs, level = self.float32_logs, torch.tensor(sigma, dtype=torch.float32).log()
        low = min(max(int((logs <= level).sum()) - 1, 0), len(logs) - 2)
        share = ((logs[low] - level) / (logs[low] - logs[low + 1])).clamp(0, 1)
        return float((1 - share) * low + share * (low + 1))

    def log_snr(self, sigma: float) -> float:
        """Return half the log signal-to-noise ratio, ``log(alpha / sigma)``; inf at 0, -inf at a flow's 1."""
        if sigma <= 0:
            return math.inf
        if not self.is_flow:
            return -math.log(sigma)
        return math.log1p(-sigma) - math.log(sigma) if sigma < 1 else -math.inf

    def sigma_of_log_snr(self, log_snr: float) -> float:
        """Return the sigma whose half log-SNR is ``log_snr``: the inverse of ``log_snr``."""
        if not self.is_flow:
            return math.exp(-log_snr)
        if log_snr >= 0:
            return math.exp(-log_snr) / (1 + math.exp(-log_snr))
        return 1 / (1 + math.exp(log_snr))

    def alpha(self, sigma: float) -> float:
        """Return what multiplies the clean latent in ``x``: 1, or ``1 - sigma`` for a flow."""
        return 1.0 - sigma if self.is_flow else 1.0

    def percent_to_sigma(self, percent: float) -> float:
        """Return sigma at a share of the run (0 is the start), as ComfyUI counts it; inf at 0, 0 at 1.

        A flow counts in its unshifted time, the others in timesteps.
        """
        if percent <= 0:
            return 1.0 if self.is_flow else math.inf
        if percent >= 1:
            return 0.0
        if self.is_flow:
            t = 1 - percent
            return self.shift * t / (1 + (self.shift - 1) * t)
        return self.sigma_at((1 - percent) * 999.0)


def _alphas_cumprod() -> Tensor:
    """Return the squared alphas (1000,) float64 of Stable Diffusion's scaled-linear betas."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


@lru_cache(maxsize=1)
def _sd() -> ModelSigmas:
    squared = _alphas_cumprod()
    exact = ((1 - squared) / squared).sqrt()
    return ModelSigmas(exact.float(), exact=exact)


@lru_cache(maxsize=1)
def _zsnr() -> ModelSigmas:
    exact = _to_zero(_alphas_cumprod())
    return ModelSigmas(exact.float(), exact=exact)


def _to_zero(squared: Tensor) -> Tensor:
    """Return the sigmas (N,) float64 of squared alphas (N,) float64 stretched to end in zero."""
    alphas = squared.sqrt()
    first, last = alphas[0], alphas[-1]
    squared = ((alphas - last) * first / (first - last)) ** 2
    squared[-1] = ZSNR_LAST_ALPHA
    return ((1 - squared) / squared).sqrt()
