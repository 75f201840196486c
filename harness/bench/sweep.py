"""A sweep against single calls of diffusers' own pipeline: pictures a minute, the network's work being the same.

Both draw with the embedded model in one process; they take turns within one run, so that a busy machine slows
both.  Of the sweep everything is counted: reading prompts, batches, files and journal.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ...core.image import Generation
from ..models import materialise
from ..pipeline import DEMO
from ..sweep.conduct import begin, conduct
from ..sweep.plan import Plan, read_axes
from ..sweep.worker import pinned

STEPS = 12
ROUNDS = 3
SEEDS = 8
PROMPTS = ("a red circle", "a blue square", "a green triangle", "a yellow ring", "two black circles")
CFG = 4.0


def run(rounds: int = ROUNDS, size: int = 128, steps: int = STEPS, seeds: int = SEEDS) -> dict[str, float]:
    """Return ``ratio``, the time of a sweep over that of single calls, and pictures a minute; medians of ``rounds``.

    A round is five prompts with ``seeds`` seeds each, ``size`` x ``size``, Euler with ``steps`` steps and CFG 4.
    """
    with tempfile.TemporaryDirectory() as folder, pinned(torch.get_num_threads()):
        theirs = diffusers_pipeline(Path(folder))
        single(theirs, PROMPTS[:1], 1, size, 2)
        ratios, ours_a_minute, theirs_a_minute = [], [], []
        count = len(PROMPTS) * seeds
        for i in range(rounds):
            swept = count * 60 / _swept(Path(folder) / f"sweep-{i}", size, steps, seeds)
            called = count * 60 / single(theirs, PROMPTS, seeds, size, steps)
            ratios.append(called / swept)
            ours_a_minute.append(swept)
            theirs_a_minute.append(called)
    return {
        "ratio": median(ratios),
        "pictures_a_minute": median(ours_a_minute),
        "diffusers_a_minute": median(theirs_a_minute),
    }


def diffusers_pipeline(folder: Path) -> Any:
    """Return diffusers' pipeline of the embedded model, with files in ``folder``, on Euler with Karras' schedule."""
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

    kind: Any = StableDiffusionPipeline
    model = materialise(DEMO, folder / "model", dtype="float32")
    pipeline = kind.from_pretrained(model, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
    return pipeline


def single(pipeline: Any, prompts: Sequence[str], seeds: int, size: int, steps: int) -> float:
    """Return the seconds of one call of ``pipeline`` for each prompt and seed, files written."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for prompt in prompts:
            for seed in range(seeds):
                generator = torch.Generator().manual_seed(seed)
                [image] = pipeline(
                    prompt,
                    num_inference_steps=steps,
                    guidance_scale=CFG,
                    width=size,
                    height=size,
                    generator=generator,
                ).images
                image.save(Path(folder) / f"{prompt}-{seed}.png")
    return time.perf_counter() - started


def _swept(folder: Path, size: int, steps: int, seeds: int) -> float:
    """Return the seconds of the same pictures as a sweep, planning, loading and grids included."""
    started = time.perf_counter()
    base = Generation(
        prompt=PROMPTS[0],
        sampler="euler",
        scheduler="karras",
        steps=steps,
        cfg=CFG,
        seed=0,
        size=(size, size),
    )
    axes = read_axes({"x": f"prompt={','.join(PROMPTS)}"})
    begin(folder, Plan(base=base, axes=axes, seeds=seeds, threads=torch.get_num_threads()))
    report = conduct(folder, quiet=True)
    assert report.made == report.total
    return time.perf_counter() - started
