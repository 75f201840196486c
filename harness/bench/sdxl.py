"""On a GPU: seconds of an SDXL-shaped picture with random weights, here and in diffusers' own pipeline.

12 steps of DPM++ 2M on Align Your Steps and 28 on Karras' schedule, 1024 x 1024, CFG 5, float16; pictures a minute in a
row of cells; and the share of the time that is not the UNet's.  Weights do not matter for the time, so random ones do.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ...core.prompt import clip_tokenizer
from ..models import Betas, ClipEncoder, Model, materialise
from ..pipeline import Pipeline
from .denoise_loop import outside_unet

log = logging.getLogger(__name__)

PROMPT = "a red circle and a blue square on a gray background"
SIDE, CFG, CELLS = 1024, 5.0, 4
RUNS: Mapping[str, tuple[int, str]] = {"ays_12": (12, "align_your_steps"), "karras_28": (28, "karras")}
UNET: dict[str, Any] = {
    "sample_size": SIDE // 8,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.13025,
    "sample_size": SIDE,
}
TEXTS: tuple[dict[str, Any], ...] = (
    {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "hidden_act": "gelu",
        "projection_dim": 1280,
    },
)


def run() -> dict[str, float]:
    """Return the figures of `measured` on the GPU, none where there is none."""
    if not torch.cuda.is_available():
        log.warning("no GPU here: no figures of SDXL-shaped pictures")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        return measured(random_sdxl(), Path(folder), device="cuda", dtype="float16")


def measured(
    model: Model, folder: Path, *, device: str, dtype: str, side: int = SIDE, rounds: int = 3
) -> dict[str, float]:
    """Return seconds a picture, ratios to diffusers, pictures a minute, and the share outside the UNet."""
    materialise(model, folder, dtype=dtype)
    peer = diffusers_pipeline(folder, device, dtype)
    pipeline = Pipeline.load(folder, device=device, dtype=dtype)
    figures: dict[str, float] = {}
    for name, (steps, schedule) in RUNS.items():
        works = ours(pipeline, steps, schedule, side), theirs(peer, steps, side, device)
        times = [[seconds(work, device) for work in works] for _ in range(rounds + 1)][1:]
        figures[f"s_{name}"] = median(mine for mine, _ in times)
        figures[f"ratio_diffusers_{name}"] = median(mine / other for mine, other in times)
    together = seconds(ours(pipeline, 12, "align_your_steps", side, batch=CELLS), device)
    figures["pictures_a_minute_ays_12"] = 60 * CELLS / together
    figures["outside_unet"] = outside_unet(pipeline, size=(side, side))
    return figures


def random_sdxl() -> Model:
    """Return a model of SDXL's shapes whose weights are random, on the CPU."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(
            name="random-sdxl",
            path=Path(),
            files=(),
            family="sdxl",
            prediction="eps",
            ztsnr=False,
            betas=Betas(),
            scale_factor=0.13025,
            shift_factor=0.0,
            size=(SIDE, SIDE),
            unet=random_unet(),
            vae=AutoencoderKL(**VAE),
            text_encoders=tuple(_encoder(i) for i in range(len(TEXTS))),
        )


def random_unet() -> Any:
    """Return a UNet of SDXL's shapes."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(**UNET)


def _encoder(i: int) -> ClipEncoder:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.pad}
    kind = (CLIPTextModel, CLIPTextModelWithProjection)[i]
    return ClipEncoder(
        name=("clip_l", "clip_g")[i],
        module=kind(CLIPTextConfig(**ids, **TEXTS[i])).eval(),
        tokenizer=clip_tokenizer(pad=0 if i else None),
        clip_skips=(2, TEXTS[i]["num_hidden_layers"]),
        final_norm=False,
        pools=bool(i),
    )


def diffusers_pipeline(folder: Path, device: str, dtype: str) -> Any:
    """Return diffusers' pipeline over the model in ``folder``, with DPM++ 2M Karras."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    kind: Any = StableDiffusionXLPipeline
    pipeline = kind.from_pretrained(folder, local_files_only=True, torch_dtype=getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, use_karras_sigmas=True
    )
    return pipeline.to(device)


def ours(pipeline: Pipeline, steps: int, schedule: str, side: int, batch: int = 1) -> Callable[[], object]:
    """Return a run of our pipeline."""
    settings = {
        "steps": steps,
        "cfg": CFG,
        "sampler": "dpmpp_2m",
        "scheduler": schedule,
        "size": (side, side),
    }
    return lambda: pipeline(PROMPT, batch=batch, seed=1, **settings)


def theirs(pipeline: Any, steps: int, side: int, device: str) -> Callable[[], object]:
    """Return a run of diffusers' pipeline."""
    settings = {"num_inference_steps": steps, "guidance_scale": CFG, "height": side, "width": side}
    return lambda: pipeline(PROMPT, generator=torch.Generator(device).manual_seed(1), **settings).images


def seconds(work: Callable[[], object], device: str) -> float:
    """Return the seconds of ``work`` until the device is done."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started
