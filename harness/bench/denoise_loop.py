"""How much of the denoise loop is not the network: prompts, guidance, sampler, noise and progress."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from ..pipeline import Pipeline

STEPS = 20
REPEATS = 5


class _Timed:
    """The UNet with the seconds spent in it counted; all else is the UNet's own."""

    def __init__(self, unet: Any) -> None:
        self.unet, self.seconds = unet, 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            out = self.unet(*args, **kwargs)
            if self.unet.device.type == "cuda":
                torch.cuda.synchronize()
            return out
        finally:
            self.seconds += time.perf_counter() - started

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unet, name)


def run(pipeline: Pipeline | None = None) -> dict[str, float]:
    """Return ``outside_unet``, the least share seen in some runs of the embedded model at 128 x 128."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {"outside_unet": outside_unet(pipeline or Pipeline.load())}
    finally:
        torch.set_num_threads(threads)


def outside_unet(source: Pipeline, size: tuple[int, int] | None = None) -> float:
    """Return the least share seen in some runs of ``source`` at ``size`` (width, height), its own unless given."""
    unet = _Timed(source.model.unet)
    timed = Pipeline(source.model)
    timed.model = dataclasses.replace(source.model, unet=unet)  # pyright: ignore[reportArgumentType]
    return min([_share(timed, unet, size) for _ in range(REPEATS + 1)][1:])


def _share(pipeline: Pipeline, unet: _Timed, size: tuple[int, int] | None) -> float:
    """Return the share of the time between the first and the last step that was not spent in ``unet``."""
    marks: list[tuple[float, float]] = []

    def watch(*_: object) -> None:
        marks.append((time.perf_counter(), unet.seconds))

    pipeline("a red circle and a blue square", steps=STEPS, seed=1, size=size, watch=watch)
    (start, before), (end, after) = marks[0], marks[-1]
    return 1 - (after - before) / (end - start)
