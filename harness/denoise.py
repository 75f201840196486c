"""A loaded model as the core's `Denoiser`: prompts looked up by call, guidance applied, networks run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

from ..core.image.refiner_plan import AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE, refiner_sizes
from ..core.prompt import Active, Conditioning, combine_denoised
from ..core.run import Sampling
from ..core.sampling.guidance import rescale
from .models import Model

SCORES = (AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE)
"""What SDXL's refiner is told of the positive and of the negative prompt."""
MOST_REPEATS = 4
"""How often a prompt is repeated at most to be as long as another; beyond, the two run apart."""


class Like(TypedDict):
    """Where the network is, and its number format."""

    device: torch.device
    dtype: torch.dtype


class GuidedDenoiser:
    """The network with its prompts: called with a noisy latent, it returns the clean one it sees.

    ``calls`` counts the denoiser calls from 0, by which scheduled prompts are looked up.
    """

    def __init__(
        self,
        model: Model,
        conds: Sequence[Conditioning],
        unconds: Sequence[Conditioning],
        sampling: Sampling,
        size: tuple[int, int],
        *,
        before_call: Callable[[int], None] | None = None,
        scores: tuple[float, float] = SCORES,
    ) -> None:
        """Close over everything.

        ``conds``, ``unconds``: of both prompts, one for all pictures, or one for each, which then have as many
        parts of the same weights, and at every call texts of one length.
        ``sampling``: whose guidance and timesteps.  ``size`` is (width, height) in pixels, which SDXL is
        told; its refiner is told ``scores`` too, of the positive and the negative prompt.  ``before_call`` is
        told of each call.
        """
        self.calls = 0
        self._before_call = before_call
        self._model, self._conds, self._unconds = model, conds, unconds
        self._sampling, self._guidance, self._size = sampling, sampling.guidance, size
        self._scores = scores
        self._like: Like = {
            "device": model.device,
            "dtype": model.dtype,
        }  # the model looks through its weights
        self._weights = [part.weight for part in conds[0].parts]
        self._inputs: dict[tuple[int, ...], list[_Input]] = {}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the guided clean latent (B, 4, h, w) seen in ``x`` at ``sigma``, a scalar."""
        level = float(sigma)
        scale = self._guidance.scale_at(level)
        alone = (
            sum(self._weights) == 1.0 or self._guidance.skips_negative
        )  # the negative cancels, or is left out
        return self._predict(x, level, scale, guided=scale != 1.0 or not alone)[0]

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and that of the negative prompt alone, both (B, 4, h, w)."""
        level = float(sigma)
        return self._predict(x, level, self._guidance.scale_at(level), guided=True)

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
            out = parts if self._weights == [1.0] else self._sum(parts.unflatten(0, (-1, batch)))
            return out, out
        conds, uncond = parts[:-batch].unflatten(0, (-1, batch)), parts[-batch:]
        out = combine_denoised(conds, uncond, self._weights, scale)
        if self._guidance.rescale:
            out = rescale(out, conds[0], self._guidance.rescale)
        return out, uncond

    def _sum(self, conds: Tensor) -> Tensor:
        """Return the parts (P, B, 4, h, w) added up by their weights."""
        return torch.tensordot(torch.tensor(self._weights, device=conds.device, dtype=conds.dtype), conds, 1)

    def _run(self, x: Tensor, sigma: float, given: _Input) -> Tensor:
        """Run the network on ``x`` repeated for each row of ``given`` and return clean latents, float32 at least."""
        model = self._model
        repeated = x.repeat(len(given.hidden) // len(x), 1, 1, 1) if len(given.hidden) != len(x) else x
        scale = 1.0 / (sigma * sigma + 1.0) ** 0.5
        out = model.unet(
            (repeated * scale).to(self._like["dtype"]),
            torch.tensor(self._sampling.timestep(sigma), device=x.device),
            given.hidden,
            added_cond_kwargs=given.added,
            return_dict=False,
        )[0].to(x.dtype)
        if model.prediction == "eps":
            return torch.add(repeated, out, alpha=-sigma)
        return (repeated * scale**2).add_(out, alpha=-sigma * scale)

    def _rows(self, batch: int, guided: bool) -> list[_Input]:
        """Return what the network is given at this call: all parts, then the negative; made once per change."""
        sides = (self._conds, self._unconds) if guided else (self._conds,)
        rows = (part.row(self.calls) for side in sides for one in side for part in one.parts)
        key = (batch, int(guided), *rows)
        if key not in self._inputs:
            active = [_interleaved([one.for_call(self.calls) for one in side]) for side in sides]
            positive = len(active[0].hidden)
            copies = batch // len(self._conds)
            repeats = self._sampling.host.padding == "repeat"
            inputs: list[_Input] = []
            for one in _joined(active, repeats=repeats):
                done = sum(len(given.hidden) for given in inputs) // copies
                inputs.append(self._input(one, copies, positive - done))
            self._inputs = {key: inputs}
        return self._inputs[key]

    def _input(self, active: Active, batch: int, positive: int) -> _Input:
        """Repeat each row for the pictures of the batch and bring it to the network's device and dtype.

        ``positive``: how many of the rows are of the positive prompt, all where it is as many or more.
        """
        like = self._like
        hidden = active.hidden.to(**like).repeat_interleave(batch, 0)
        if self._model.family != "sdxl" or active.pooled is None:
            return _Input(hidden, None)
        ids = torch.tensor([self._ids(i < positive) for i in range(len(active.hidden))], **like)
        return _Input(
            hidden,
            {
                "text_embeds": active.pooled.to(**like).repeat_interleave(batch, 0),
                "time_ids": ids.repeat_interleave(batch, 0),
            },
        )

    def _ids(self, is_positive: bool) -> list[float]:
        """Return the sizes that SDXL is told, or its refiner with the aesthetic score in the last place."""
        width, height = self._size
        if self._model.takes_score:
            return refiner_sizes(self._size, score=self._scores[0 if is_positive else 1])
        return [height, width, 0, 0, height, width]


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


@dataclass(frozen=True)
class _Input:
    """What one run of the network is given besides the latent: hidden (rows, T, D) and SDXL's vectors."""

    hidden: Tensor
    added: dict[str, Tensor] | None


def _joined(active: Sequence[Active], *, repeats: bool) -> list[Active]:
    """Join prompts of one length to one batch; others run apart, as padding would change the picture.

    ``repeats``: bring them to a common length first; attention over a prompt repeated is that over the prompt.
    """
    if repeats:
        active = _repeated(active)
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
    """Return the prompts repeated to their least common length, as they are where that is too long."""
    lengths = [one.hidden.shape[1] for one in active]
    whole = math.lcm(*lengths)
    if whole > MOST_REPEATS * min(lengths):
        return active
    return [
        replace(one, hidden=one.hidden.repeat(1, whole // length, 1))
        for one, length in zip(active, lengths, strict=True)
    ]
