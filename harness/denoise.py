"""A loaded model as the core's `Denoiser`: prompts looked up by call, guidance applied, networks run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

from ..core.prompt import Active, Conditioning, combine_denoised
from ..core.sampling.guidance import rescale
from .models import Model


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How predictions are combined: CFG ``scale``, and ``rescale`` (0 … 1) towards the positive's deviation.

    ``rounded``: the network is asked at the nearest of its trained timesteps, as Forge and ComfyUI do, not
    at a fraction between two, as A1111 does.
    """

    scale: float = 7.0
    rescale: float = 0.0
    rounded: bool = True


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
        cond: Conditioning,
        uncond: Conditioning,
        guidance: Guidance,
        size: tuple[int, int],
        *,
        before_call: Callable[[int], None] | None = None,
    ) -> None:
        """Close over everything.

        ``size`` is (width, height) in pixels, which SDXL is told; ``before_call`` is told of each call.
        """
        self.calls = 0
        self._before_call = before_call
        self._model, self._cond, self._uncond = model, cond, uncond
        self._guidance, self._size = guidance, size
        self._like: Like = {
            "device": model.device,
            "dtype": model.dtype,
        }  # the model looks through its weights
        self._guided = guidance.scale != 1.0 or any(part.weight != 1.0 for part in cond.parts)
        self._inputs: dict[tuple[int, ...], list[_Input]] = {}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the guided clean latent (B, 4, h, w) seen in ``x`` at ``sigma``, a scalar."""
        return self._predict(x, sigma, guided=self._guided)[0]

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and that of the negative prompt alone, both (B, 4, h, w)."""
        return self._predict(x, sigma, guided=True)

    def _predict(self, x: Tensor, sigma: Tensor, *, guided: bool) -> tuple[Tensor, Tensor]:
        """Return (guided, uncond) clean latents; both are the positive's when ``guided`` is False."""
        if self._before_call:
            self._before_call(self.calls)
        rows = self._rows(len(x), guided)
        self.calls += 1
        level = float(sigma)
        clean = [self._run(x, level, given) for given in rows]
        parts = torch.cat(clean) if len(clean) > 1 else clean[0]
        if not guided:
            return parts, parts
        batch = len(x)
        conds, uncond = parts[:-batch].unflatten(0, (-1, batch)), parts[-batch:]
        weights = [part.weight for part in self._cond.parts]
        out = combine_denoised(conds, uncond, weights, self._guidance.scale)
        if self._guidance.rescale:
            out = rescale(out, conds[0], self._guidance.rescale)
        return out, uncond

    def _run(self, x: Tensor, sigma: float, given: _Input) -> Tensor:
        """Run the network on ``x`` repeated for each row of ``given`` and return clean latents, float32 at least."""
        model = self._model
        repeated = x.repeat(len(given.hidden) // len(x), 1, 1, 1) if len(given.hidden) != len(x) else x
        scale = 1.0 / (sigma * sigma + 1.0) ** 0.5
        time = model.sigmas.timestep(sigma, rounded=self._guidance.rounded)
        out = model.unet(
            (repeated * scale).to(self._like["dtype"]),
            torch.tensor(time, device=x.device),
            given.hidden,
            added_cond_kwargs=given.added,
            return_dict=False,
        )[0].to(x.dtype)
        if model.prediction == "eps":
            return torch.add(repeated, out, alpha=-sigma)
        return (repeated * scale**2).add_(out, alpha=-sigma * scale)

    def _rows(self, batch: int, guided: bool) -> list[_Input]:
        """Return what the network is given at this call: all parts, then the negative; made once per change."""
        sides = (self._cond, self._uncond) if guided else (self._cond,)
        key = (batch, int(guided), *(part.row(self.calls) for side in sides for part in side.parts))
        if key not in self._inputs:
            active = [side.for_call(self.calls) for side in sides]
            self._inputs = {key: [self._input(one, batch) for one in _joined(active)]}
        return self._inputs[key]

    def _input(self, active: Active, batch: int) -> _Input:
        """Repeat each row for the pictures of the batch and bring it to the network's device and dtype."""
        like = self._like
        hidden = active.hidden.to(**like).repeat_interleave(batch, 0)
        if self._model.family != "sdxl" or active.pooled is None:
            return _Input(hidden, None)
        width, height = self._size
        ids = torch.tensor([[height, width, 0, 0, height, width]], **like).expand(len(hidden), -1)
        return _Input(
            hidden, {"text_embeds": active.pooled.to(**like).repeat_interleave(batch, 0), "time_ids": ids}
        )


@dataclass(frozen=True)
class _Input:
    """What one run of the network is given besides the latent: hidden (rows, T, D) and SDXL's vectors."""

    hidden: Tensor
    added: dict[str, Tensor] | None


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
