"""The embedded model as a plain diffusers folder, run by diffusers' own pipeline."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from host_answers import conditioning
from sd_concord.harness.models import load_model, materialise
from sd_concord.harness.pipeline import DEMO
from sd_concord.harness.train.recognise import recognise

PROMPT = "a red circle on a white background"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Any:
    folder = materialise(DEMO, tmp_path_factory.mktemp("demo"), dtype="float32")
    kind: Any = StableDiffusionPipeline
    pipeline = kind.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, use_karras_sigmas=True
    )
    return pipeline


@torch.no_grad()
def test_the_prompt_is_encoded_as_in_the_harness(pipeline):
    hidden, _ = pipeline.encode_prompt(PROMPT, "cpu", 1, do_classifier_free_guidance=False)
    wanted = conditioning(load_model(DEMO), PROMPT).hidden
    assert (hidden - wanted).abs().max() < 1e-5


def test_a_picture_shows_what_was_asked(pipeline):
    generator = torch.Generator().manual_seed(1)
    [image] = pipeline(PROMPT, num_inference_steps=20, guidance_scale=4.0, generator=generator).images
    assert image.size == (128, 128)
    seen = recognise(np.asarray(image))
    assert [(thing.kind, thing.colour) for thing in seen] == [("circle", "red")]
