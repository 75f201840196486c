"""Different pictures through one run of the network: each keeps its own prompts, guidance and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ...core.sampling.spec import PairDenoiser


class Counting(PairDenoiser, Protocol):
    """A denoiser that counts its calls from 0 in ``calls``."""

    calls: int


class JointUnet:
    """A UNet whose calls can be gathered and then made at once; all else is the UNet's own."""

    def __init__(self, unet: Any) -> None:
        """Stand before ``unet``."""
        self.unet = unet
        self._asked: list[tuple[tuple[Any, ...], dict[str, Any]]] | None = None
        self._answers: list[Tensor] | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what the UNet has."""
        return getattr(self.unet, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """Run the UNet; while calls are gathered note the call and return ``x``, afterwards return its answer."""
        if self._asked is not None:
            self._asked.append(((x, *args), kwargs))
            return (x,)
        if self._answers is not None:
            return (self._answers.pop(0),)
        return self.unet(x, *args, **kwargs)

    def joined(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Return what ``calls`` return, the UNet's work of all of them done together.

        Each is made twice: to see what it asks of the UNet, which must not depend on what it answers, and with the
        answers.
        """
        self._asked = []
        try:
            for call in calls:
                call()
            asked, self._asked = self._asked, None
            self._answers = self._answered(asked)
            return [call() for call in calls]
        finally:
            self._asked = self._answers = None

    def _answered(self, asked: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Tensor]:
        """Return the UNet's answers, inputs of one shape run together."""
        groups: dict[object, list[int]] = {}
        for i, (args, kwargs) in enumerate(asked):
            groups.setdefault(_shape(args, kwargs), []).append(i)
        answers: dict[int, Tensor] = {}
        for places in groups.values():
            parts = [asked[i] for i in places]
            args, kwargs = parts[0]
            x, timestep, hidden = args
            if len(parts) > 1:
                x, hidden = (torch.cat([one[0][k] for one in parts]) for k in (0, 2))
                kwargs = {**kwargs, "added_cond_kwargs": _added([one[1] for one in parts])}
            out = self.unet(x, timestep, hidden, **kwargs)[0]
            answers |= dict(zip(places, out.split([len(one[0][0]) for one in parts]), strict=True))
        return [answers[i] for i in range(len(asked))]


def _shape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """Return what inputs have in common that are run together."""
    x, _, hidden = args
    added = kwargs.get("added_cond_kwargs") or {}
    return x.shape[1:], hidden.shape[1:], tuple((name, value.shape[1:]) for name, value in added.items())


def _added(kwargs: Sequence[dict[str, Any]]) -> dict[str, Tensor] | None:
    """Return SDXL's vectors of several inputs in one."""
    every = [one["added_cond_kwargs"] for one in kwargs]
    if every[0] is None:
        return None
    return {name: torch.cat([one[name] for one in every]) for name in every[0]}


class TogetherDenoiser:
    """The denoisers of several pictures as one for the batch of them."""

    def __init__(self, unet: JointUnet, denoisers: Sequence[Counting]) -> None:
        """Take one denoiser a picture, all of them of ``unet``."""
        self._unet, self._denoisers = unet, denoisers

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latents (B, C, h, w) seen in ``x`` at ``sigma``, a scalar."""
        return torch.cat(self._joined(lambda one, part: one(part, sigma), x))

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided clean latents and those of the negative prompts, both (B, C, h, w)."""
        guided, uncond = zip(*self._joined(lambda one, part: one.with_uncond(part, sigma), x), strict=True)
        return torch.cat(guided), torch.cat(uncond)

    def _joined(self, ask: Callable[[Counting, Tensor], Any], x: Tensor) -> list[Any]:
        calls = [one.calls for one in self._denoisers]

        def of(i: int, part: Tensor) -> Callable[[], Any]:
            def call() -> Any:
                self._denoisers[i].calls = calls[i]
                return ask(self._denoisers[i], part)

            return call

        return self._unet.joined([of(i, part) for i, part in enumerate(x.split(1))])
