"""The harness's models as the core's networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..core import guided_run
from ..core.guided_run import SCORES, Given
from ..core.prompt import Conditioning
from ..core.run import Sampling
from .models import Model


class Unet:
    """The UNet of a loaded model as a ``Network``."""

    def __init__(self, model: Model) -> None:
        """Take the model; where it is and its number format are read once."""
        self._unet: Any = model.unet
        self.device, self.dtype = model.device, model.dtype
        self.prediction: Literal["eps", "v"] = model.prediction
        self.is_sdxl = model.family == "sdxl"
        self.takes_score = model.takes_score

    def __call__(self, x: Tensor, timestep: float, given: Given) -> Tensor:
        """Run the network, as ``Network`` says."""
        added = {"text_embeds": given.pooled, "time_ids": given.sizes} if given.pooled is not None else None
        at = torch.tensor(timestep, device=x.device)
        return self._unet(x, at, given.hidden, added_cond_kwargs=added, return_dict=False)[0]


class GuidedDenoiser(guided_run.GuidedDenoiser):
    """A loaded model with its prompts: called with a noisy latent, it returns the clean one it sees."""

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
        empty: Tensor | None = None,
    ) -> None:
        """Close over everything, as the core's ``GuidedDenoiser``."""
        super().__init__(
            Unet(model),
            conds,
            unconds,
            sampling,
            size,
            before_call=before_call,
            scores=scores,
            empty=empty,
        )
