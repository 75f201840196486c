"""A whole picture of the embedded model: the same prompt, steps and guidance here and in diffusers' own pipeline."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..models import materialise
from ..pipeline import DEMO, Pipeline
from .sampling import ratio, seconds

PROMPT, STEPS, CFG = "a red circle and a blue square on a gray background", 20, 4.0
BATCHES = (1, 4)


def run(rounds: int = 5) -> dict[str, float]:
    """Return seconds of our picture and the ratio to diffusers', one picture (``b1``) and four at once (``b4``)."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = diffusers_pipeline(Path(folder))
        pipeline = Pipeline.load(DEMO)
        for batch in BATCHES:
            times = seconds(ours(pipeline, batch), theirs(peer, batch), rounds=rounds)
            figures |= {f"s_b{batch}": median(times[0]), f"ratio_diffusers_b{batch}": ratio(times)}
    return figures


def diffusers_pipeline(folder: Path) -> Any:
    """Return diffusers' pipeline over the embedded model, written to ``folder``, with DPM++ 2M Karras."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    kind: Any = StableDiffusionPipeline
    pipeline = kind.from_pretrained(materialise(DEMO, folder, dtype="float32"), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, use_karras_sigmas=True
    )
    return pipeline


def ours(pipeline: Pipeline, batch: int) -> Callable[[], object]:
    """Return a run of our pipeline."""
    settings = {"steps": STEPS, "cfg": CFG, "sampler": "dpmpp_2m", "scheduler": "karras", "seed": 1}
    return lambda: pipeline(PROMPT, batch=batch, **settings)


def theirs(pipeline: Any, batch: int) -> Callable[[], object]:
    """Return a run of diffusers' pipeline."""

    def work() -> object:
        generators = [torch.Generator().manual_seed(1 + i) for i in range(batch)]
        return pipeline(
            PROMPT,
            num_inference_steps=STEPS,
            guidance_scale=CFG,
            num_images_per_prompt=batch,
            generator=generators if batch > 1 else generators[0],
        ).images

    return work
