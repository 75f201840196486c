"""ComfyUI's model as the core's denoiser: prompts looked up by call, AND combined, guidance applied.

ComfyUI's own guider loads the model, applies hooks and other packs' patches, batches and unloads; only what it
is asked at a call, and the sampler that asks, are the core's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..core.prompt import Conditioning
from ..core.run import Guidance
from ..core.sampling.guidance import rescale
from .host import samplers

MARK = "concord"
"""The key under which a conditioning's dict says which of ours it is."""
_POSITIVE, _NEGATIVE = "positive", "negative"


def _never(call: int) -> None:
    del call


def _only(call: int) -> int:
    del call
    return 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One prompt of a pass, as its denoiser calls see it.

    ``conds``: of all pictures, or one for each, which then have parts of the same weights.  ``told``: what SDXL
    is told besides, by ComfyUI's names.  ``hooks``: the host's hooks of a call, None for none; ``state`` tells
    calls with other hooks apart.
    """

    conds: Sequence[Conditioning]
    told: dict[str, Any]
    hooks: Callable[[int], Any] = _never
    state: Callable[[int], int] = _only

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of the AND parts."""
        return tuple(part.weight for part in self.conds[0].parts)

    def key(self, call: int) -> tuple[int, ...]:
        """Return what tells the texts and hooks of ``call`` from those of others."""
        return self.state(call), *(part.row(call) for one in self.conds for part in one.parts)

    def calls(self, more: Sequence[int] = ()) -> list[int]:
        """Return a call of every key; ``more``: the last calls of other states."""
        lasts = {last for one in self.conds for part in one.parts for last in part.lasts} | set(more)
        found: dict[tuple[int, ...], int] = {}
        for call in sorted({0, *lasts, *(last + 1 for last in lasts)}):
            found.setdefault(self.key(call), call)
        return list(found.values())

    def entries(self, more: Sequence[int] = ()) -> list[list[Any]]:
        """Return a CONDITIONING with an entry for every key and part, each marked with them."""
        out: list[list[Any]] = []
        for call in self.calls(more):
            active = [one.for_call(call) for one in self.conds]
            hooks = self.hooks(call)
            for i in range(len(self.weights)):
                told = dict(self.told)
                if active[0].pooled is not None:
                    told["pooled_output"] = torch.stack(
                        [one.pooled[i] for one in active if one.pooled is not None]
                    )
                if hooks is not None:
                    told["hooks"] = hooks
                told[MARK] = (self.key(call), i)
                out.append([torch.stack([one.hidden[i] for one in active]), told])
        return out


class HostDenoiser:
    """What the core's samplers call: ComfyUI's guider in a run that is open.  ``calls`` counts from 0."""

    def __init__(self, guider: Any, extra_args: dict[str, Any]) -> None:
        """Close over the guider and what ComfyUI hands to its samplers."""
        self.calls = 0
        self._guider = guider
        self._options, self._seed = extra_args.get("model_options", {}), extra_args.get("seed")

    @property
    def patcher(self) -> Any:
        """ComfyUI's model of the run, with what is laid on it."""
        return self._guider.model_patcher

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the guided clean latent (B, C, h, w) seen in ``x`` at ``sigma``, a scalar."""
        return self._asked(x, sigma, pair=False)[0]

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latent and that of the negative prompt alone."""
        return self._asked(x, sigma, pair=True)

    def _asked(self, x: Tensor, sigma: Tensor, *, pair: bool) -> tuple[Tensor, Tensor]:
        guider = self._guider
        guider.call, guider.pair = self.calls, pair
        self.calls += 1
        levels = sigma.to(x.device, x.dtype).expand(len(x))
        out = guider(x, levels, model_options=self._options, seed=self._seed)
        return out, out if guider.uncond is None else guider.uncond


Body = Callable[[HostDenoiser, Tensor, Callable[..., None] | None], Tensor]
"""A run: (denoiser, the clean latent as the model has it, ComfyUI's callback) → the latent at its end."""


class Opened:
    """What ComfyUI takes for a sampler: it opens a run, and ``body`` does it."""

    def __init__(self, body: Body) -> None:
        """Take the run."""
        self._body = body

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[..., None] | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Run; the names are ComfyUI's."""
        del sigmas, noise, denoise_mask, disable_pbar
        return self._body(HostDenoiser(model_wrap, extra_args), latent_image, callback)


def guider(model: Any, positive: Side, negative: Side, guidance: Guidance, more: Sequence[int] = ()) -> Any:
    """Return a guider of ComfyUI over MODEL that combines the prompts of a call as the web UIs do.

    ``more``: the last calls of states that only hooks have.
    """
    made = _kind()(model)
    made.sides = {_POSITIVE: positive, _NEGATIVE: negative}
    made.guidance = guidance
    made.set_conds(positive.entries(more), negative.entries(more))
    return made


@cache
def _kind() -> type:
    class Guider(samplers.CFGGuider):
        """ComfyUI's guider with the conditioning of each call."""

        call, pair = 0, False
        uncond: Tensor | None = None

        def predict_noise(
            self,
            x: Tensor,
            timestep: Tensor,
            model_options: dict[str, Any] | None = None,
            seed: int | None = None,
        ) -> Tensor:
            """Return the guided clean latent of this call."""
            scale = self.guidance.scale_at(float(timestep.flatten()[0]))
            weights = self.sides[_POSITIVE].weights
            alone = sum(weights) == 1.0 or self.guidance.skips_negative
            guided = self.pair or scale != 1.0 or not alone
            self.uncond = None
            options = {**(model_options or {}), "sampler_calc_cond_batch_function": self._clean}
            if guided:
                options["disable_cfg1_optimization"] = True
            negative, positive = self._active(_NEGATIVE), self._active(_POSITIVE)
            out = samplers.sampling_function(
                self.inner_model, x, timestep, negative, positive, scale, model_options=options, seed=seed
            )
            amount = self.guidance.rescale
            return rescale(out, self._first, amount) if guided and amount else out

        def _active(self, name: str) -> list[Any]:
            """Return the entries of this call, a part each, as ComfyUI has prepared them."""
            key = self.sides[name].key(self.call)
            return [one for one in self.conds[name] if one[MARK][0] == key]

        def _clean(self, asked: dict[str, Any]) -> list[Tensor]:
            """Return the clean latents of the whole positive and of the negative prompt."""
            positive, negative = asked["conds"]
            lists = [[one] for one in positive] + ([] if negative is None else [negative])
            parts = samplers.calc_cond_batch(
                asked["model"], lists, asked["input"], asked["sigma"], asked["model_options"]
            )
            weights = self.sides[_POSITIVE].weights
            self._first = parts[0]
            if negative is not None:
                self.uncond = parts.pop()
            if weights == (1.0,):
                return [parts[0], torch.zeros_like(parts[0]) if self.uncond is None else self.uncond]
            base = torch.zeros_like(parts[0]) if self.uncond is None else self.uncond
            whole = base.clone()
            for one, weight in zip(parts, weights, strict=True):
                whole += (one - base) * weight
            return [whole, base]

    return Guider
