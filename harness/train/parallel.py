"""Several equal workers on one machine: each draws its own pictures, gradients are averaged every step.

Two processes of one thread each train about twice as fast as one process of two threads: the networks are
too small to share a step between threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def spawn(workers: int, job: Callable[..., Any], *args: Any) -> None:
    """Run ``job(*args)`` in ``workers`` processes that know of each other; with one worker, run it here."""
    if workers == 1:
        job(*args)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        torch.multiprocessing.spawn(_worker, (workers, store, job, args), nprocs=workers)  # pyright: ignore


def _worker(rank: int, workers: int, store: str, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=workers)
    try:
        job(*args)
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return this worker's number, 0 when it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def workers_of() -> int:
    """Return how many workers there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Make each gradient the mean over all workers, in one exchange."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
