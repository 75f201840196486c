"""A network with its prompts as a `Denoiser`: prompts looked up by call, guidance applied, as a profile says.

Fronts that call the network themselves say how, as a ``Network``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypedDict, cast

import torch
from torch import Tensor

from .image.refiner_plan import AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE, refiner_sizes
from .prompt import Active, Conditioning, combine_denoised
from .prompt.padding import pad_with_empty, pad_with_last
from .run import Sampling
from .sampling.guidance import rescale, rescaled_cfg

SCORES = (AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE)
"""What SDXL's refiner is told of the positive and of the negative prompt."""
MOST_REPEATS = 4
"""How often a prompt is repeated at most to be as long as another; beyond, the two run apart."""


class Like(TypedDict):
    """Where the network is, and its number format."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What one run of the network is given besides the latent, an entry a row, where and as the network is.

    ``hidden``: (rows, T, D).  ``pooled`` (rows, Dp) and ``sizes`` (rows, 6, or 5 for a refiner): SDXL's alone.
    """

    hidden: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None


class Network(Protocol):
    """A network that predicts noise ("eps") or velocity ("v").

    ``is_sdxl``: it is given a pooled output and sizes.  ``takes_score``: the sizes end with an aesthetic score.
    """

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    @property
    def prediction(self) -> Literal["eps", "v"]: ...  # noqa: D102

    @property
    def is_sdxl(self) -> bool: ...  # noqa: D102

    @property
    def takes_score(self) -> bool: ...  # noqa: D102

    def __call__(self, x: Tensor, timestep: float, given: Given) -> Tensor:
        """Return the prediction (rows, C, h, w) for latents ``x`` of unit variance at ``timestep``."""
        ...


class GuidedDenoiser:
    """The network with its prompts: called with a noisy latent, it returns the clean one it sees.

    ``calls`` counts the denoiser calls from 0, by which scheduled prompts are looked up.
    """

    def __init__(
        self,
        network: Network,
        conds: Sequence[Conditioning],
        unconds: Sequence[Conditioning],
        sampling: Sampling,
        size: tuple[int, int],
        *,
        before_call: Callable[[int], None] | None = None,
        scores: tuple[float, float] = SCORES,
        empty: Tensor | None = None,
    ) -> None:
        """Close over everything.

        ``conds``, ``unconds``: of both prompts, one for all pictures, or one for each, which then have as many
        parts of the same weights, and at every call texts of one length.
        ``sampling``: whose guidance and timesteps.  ``size`` is (width, height) in pixels, which SDXL is
        told; its refiner is told ``scores`` too, of the positive and the negative prompt.  ``before_call`` is
        told of each call.  ``empty``: the encoded empty prompt (77, D), for a padding of "empty".
        """
        self.calls = 0
        self._empty = empty
        self._before_call = before_call
        self._network, self._conds, self._unconds = network, conds, unconds
        self._sampling, self._guidance, self._size = sampling, sampling.guidance, size
        self._scores = scores
        self._like: Like = {
            "device": network.device,
            "dtype": network.dtype,
        }  # it may look through its weights
        self._weights = [part.weight for part in conds[0].parts]
        self._inputs: dict[tuple[int, ...], list[Given]] = {}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the guided clean latent (B, 4, h, w) seen in ``x`` at ``sigma``, a scalar."""
        level = float(sigma)
        if self._guidance.is_alone(self.calls, level):
            return self._alone(x, level)
        scale = self._guidance.scale_at(level)
        cancels = sum(self._weights) == 1.0 or self._guidance.skips_negative  # the negative has no part in it
        return self._predict(x, level, scale, guided=scale != 1.0 or not cancels)[0]

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and that of the negative prompt alone, both (B, 4, h, w).

        Forge, which leaves the negative out at scale 1, takes zeros for it then.
        """
        level = float(sigma)
        scale = self._guidance.scale_at(level)
        leaves_out = self._guidance.skips_negative and self._sampling.host.by_web_ui
        if leaves_out and (scale == 1.0 or self._guidance.is_alone(self.calls, level)):
            alone = self._alone(x, level)
            return alone, torch.zeros_like(alone)
        return self._predict(x, level, scale, guided=True)

    def _predict(self, x: Tensor, sigma: float, scale: float, *, guided: bool) -> tuple[Tensor, Tensor]:
        """Return (guided, uncond) clean latents; both are the positive's when ``guided`` is False."""
        if self._before_call:
            self._before_call(self.calls)
        rows = self._rows(len(x), guided)
        self.calls += 1
        clean = [self._run(x, sigma, given) for given in rows]
        parts = torch.cat(clean) if len(clean) > 1 else clean[0]
        batch = len(x)
        if not guided:
            out = parts if self._weights == [1.0] else self._sum(_by_part(parts, batch))
            return out, out
        conds, uncond = _by_part(parts[:-batch], batch), parts[-batch:]
        if self._guidance.rescale and self._guidance.in_velocity and len(conds) == 1:
            amount = self._guidance.rescale
            return rescaled_cfg(x, conds[0], uncond, sigma=sigma, scale=scale, amount=amount), uncond
        out = combine_denoised(conds, uncond, self._weights, scale)
        if self._guidance.rescale:
            out = rescale(out, conds[0], self._guidance.rescale)
        return out, uncond

    def _alone(self, x: Tensor, sigma: float) -> Tensor:
        """Return the clean latent of the positive alone: its first part stands in for the negative in A1111."""
        if self._before_call:
            self._before_call(self.calls)
        rows = self._rows(len(x), guided=False)
        self.calls += 1
        parts = _by_part(torch.cat([self._run(x, sigma, given) for given in rows]), len(x))
        if self._guidance.skips_negative:
            return self._sum(parts)
        return combine_denoised(parts, parts[0], self._weights, 1.0)

    def _sum(self, conds: Tensor) -> Tensor:
        """Return the parts (P, B, 4, h, w) added up by their weights."""
        weights = torch.tensor(self._weights, device=conds.device, dtype=conds.dtype)
        return cast("Any", torch).tensordot(weights, conds, 1)

    def _run(self, x: Tensor, sigma: float, given: Given) -> Tensor:
        """Run the network on ``x`` repeated for each row of ``given`` and return clean latents, float32 at least.

        In the very order of the profile's program, so that the last digit is its own.
        """
        repeated = x.repeat(len(given.hidden) // len(x), 1, 1, 1) if len(given.hidden) != len(x) else x
        level = x.new_full((1, 1, 1, 1), sigma)  # on the device, where dividing by a number would multiply
        square = level**2 + 1
        root = square**0.5
        by_inverse = self._sampling.host.input_scale == "inverse"
        scaled = repeated * (1 / root) if by_inverse else repeated / root
        out = self._network(scaled.to(self._like["dtype"]), self._sampling.timestep(sigma), given).to(x.dtype)
        if self._network.prediction == "eps":
            return repeated - out * level
        if by_inverse:
            return repeated * (1 / square) - out * (level / root)
        return repeated / square - out * level / root

    def _rows(self, batch: int, guided: bool) -> list[Given]:
        """Return what the network is given at this call: all parts, then the negative; made once per change."""
        sides = (self._conds, self._unconds) if guided else (self._conds,)
        rows = (part.row(self.calls) for side in sides for one in side for part in one.parts)
        key = (batch, int(guided), *rows)
        if key not in self._inputs:
            active = [_interleaved([one.for_call(self.calls) for one in side]) for side in sides]
            positive = len(active[0].hidden)
            copies = batch // len(self._conds)
            inputs: list[Given] = []
            for one in _joined(self._padded(active)):
                done = sum(len(given.hidden) for given in inputs) // copies
                inputs.append(self._input(one, copies, positive - done))
            self._inputs = {key: inputs}
        return self._inputs[key]

    def _padded(self, active: Sequence[Active]) -> Sequence[Active]:
        """Return the prompts brought to one length in the way of the pass."""
        how = self._sampling.padding
        if how == "repeat":
            return _repeated(active)
        if how == "apart" or len(active) == 1 or active[0].hidden.shape[1] == active[1].hidden.shape[1]:
            return active
        cond, uncond = (one.hidden for one in active)
        if how == "last" or self._empty is None:
            padded = pad_with_last(cond, uncond)
        else:
            padded = pad_with_empty(cond, uncond, self._empty)
        return [replace(one, hidden=hidden) for one, hidden in zip(active, padded, strict=True)]

    def _input(self, active: Active, batch: int, positive: int) -> Given:
        """Repeat each row for the pictures of the batch and bring it to the network's device and dtype.

        ``positive``: how many of the rows are of the positive prompt, all where it is as many or more.
        """
        like = self._like
        hidden = active.hidden.to(**like).repeat_interleave(batch, 0)
        if not self._network.is_sdxl or active.pooled is None:
            return Given(hidden=hidden)
        ids = torch.tensor([self._ids(i < positive) for i in range(len(active.hidden))], **like)
        pooled = active.pooled.to(**like).repeat_interleave(batch, 0)
        return Given(hidden=hidden, pooled=pooled, sizes=ids.repeat_interleave(batch, 0))

    def _ids(self, is_positive: bool) -> list[float]:
        """Return the sizes that SDXL is told, or its refiner with the aesthetic score in the last place."""
        width, height = self._size
        if self._network.takes_score:
            return refiner_sizes(self._size, score=self._scores[0 if is_positive else 1])
        return [height, width, 0, 0, height, width]


def _by_part(rows: Tensor, batch: int) -> Tensor:
    """Return ``rows`` (P * B, C, h, w) as (P, B, C, h, w)."""
    return rows.reshape(-1, batch, *rows.shape[1:])


def _interleaved(side: Sequence[Active]) -> Active:
    """Return the rows of all pictures: their first parts, then their second ones."""
    if len(side) == 1:
        return side[0]
    pooled = [one.pooled for one in side if one.pooled is not None]
    return replace(
        side[0],
        hidden=torch.stack([one.hidden for one in side], 1).flatten(0, 1),
        pooled=torch.stack(pooled, 1).flatten(0, 1) if pooled else None,
    )


def _joined(active: Sequence[Active]) -> list[Active]:
    """Join prompts of one length to one batch; others run apart, as padding would change the picture."""
    if len({one.hidden.shape[1] for one in active}) > 1 or len(active) == 1:
        return list(active)
    pooled = [one.pooled for one in active if one.pooled is not None]
    return [
        replace(
            active[0],
            hidden=torch.cat([one.hidden for one in active]),
            pooled=torch.cat(pooled) if pooled else None,
        )
    ]


def _repeated(active: Sequence[Active]) -> Sequence[Active]:
    """Return the prompts repeated to their least common length, as they are where that is too long.

    Attention over a prompt repeated is that over the prompt.
    """
    lengths = [one.hidden.shape[1] for one in active]
    whole = math.lcm(*lengths)
    if whole > MOST_REPEATS * min(lengths):
        return active
    return [
        replace(one, hidden=one.hidden.repeat(1, whole // length, 1))
        for one, length in zip(active, lengths, strict=True)
    ]
