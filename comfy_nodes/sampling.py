"""Concord Sampler: a whole pass as A1111, Forge, ComfyUI or Concord itself runs it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.errors import BadValue
from ..core.image.generation import Generation
from ..core.profiles import PROFILES
from ..core.prompt import DIALECTS, EMPHASIS
from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS
from .host import folder_paths, io, schema
from .passes import Drawn, Second, draw
from .records import (
    NOISE,
    OF_PROFILE,
    SWITCH,
    Asked,
    expanded,
    file_above,
    finished_record,
    merged,
    record_of,
)
from .rig import Rig
from .wires import RECORD, REFINER, image_of, is_wired

log = logging.getLogger(__name__)

AUTOMATIC = "automatic"
MAX_SIDE = 16384
MAX_SEED = 2**64 - 1
IMAGE_OUTPUT = 2
NO_VAE = "the IMAGE output needs a VAE; wire the checkpoint's to this node, or decode its LATENT"


def run_inputs() -> list[Any]:
    """Return the inputs that say how a pass is run."""
    return [
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Steps of the sampler."),
        io.Float.Input(
            "cfg",
            default=7.0,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="CFG scale; CFG++ samplers want 0.6 to 2.",
        ),
        io.Combo.Input(
            "sampler", options=list(SAMPLERS), default="dpmpp_2m", tooltip="The sampler; cfg_pp: CFG++."
        ),
        io.Combo.Input(
            "scheduler",
            options=[AUTOMATIC, *SCHEDULERS],
            default=AUTOMATIC,
            tooltip="The schedule; automatic is what the profile's program takes for the sampler.",
        ),
    ]


def option_inputs() -> list[Any]:
    """Return the inputs that few change."""
    return [
        io.Int.Input(
            "clip_skip", default=0, min=0, max=12, tooltip="1 is the last layer; 0: as the CLIP is set."
        ),
        io.Combo.Input(
            "noise",
            options=[OF_PROFILE, *NOISE],
            default=OF_PROFILE,
            tooltip="Whose random numbers are drawn.",
        ),
        io.Int.Input(
            "ensd", default=0, min=-(2**31), max=2**31, tooltip="Eta noise seed delta, 31337 in NAI."
        ),
        io.Combo.Input(
            "sgm_noise",
            options=[OF_PROFILE, *SWITCH],
            default=OF_PROFILE,
            tooltip="SGM noise multiplier: the first noise is scaled as in training.",
        ),
        io.Float.Input(
            "cfg_rescale",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Against burnt pictures at high CFG.",
        ),
        io.Combo.Input(
            "emphasis",
            options=[OF_PROFILE, *EMPHASIS],
            default=OF_PROFILE,
            tooltip="How weights in the prompt are applied.",
        ),
        io.Combo.Input(
            "dialect",
            options=[OF_PROFILE, *DIALECTS],
            default=OF_PROFILE,
            tooltip="How the prompt is read; concord: A1111's syntax with its traps mended.",
        ),
        io.Int.Input("variation_seed", default=0, min=0, max=MAX_SEED, tooltip="Seed that is mixed in."),
        io.Float.Input(
            "variation", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="How much of it, 0 for none."
        ),
        io.String.Input(
            "options",
            default="",
            tooltip="Options of sampler and schedule, such as eta=0.7, s_noise=1.003, rho=5.",
        ),
        io.Boolean.Input(
            "wildcards",
            default=False,
            tooltip="Choose from {a|b} and __name__ (models/wildcards) by the seed, once for the whole batch.",
        ),
    ]


def prompt_inputs() -> list[Any]:
    """Return the inputs of both prompts."""
    return [
        io.String.Input(
            name,
            default="",
            multiline=True,
            dynamic_prompts=False,
            tooltip=f"The {name} prompt, in A1111's syntax: (weights:1.2), BREAK, [from:to:0.5], <lora:name:1>{more}.",
        )
        for name, more in (("positive", ", AND"), ("negative", ""))
    ]


class Sampler(io.ComfyNode):
    """Concord Sampler."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordSampler",
            display_name="Concord Sampler",
            category="Concord/sampling",
            description="Text or image to image as A1111, Forge, ComfyUI or Concord runs it, to the last detail.",
            search_aliases=[
                "a1111 sampler",
                "webui",
                "forge",
                "ksampler",
                "txt2img",
                "img2img",
                "ensd",
                "cfg++",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                *prompt_inputs(),
                io.Combo.Input(
                    "profile",
                    options=list(PROFILES),
                    default="a1111",
                    tooltip="The program that is followed.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Of the first picture; the next ones of a batch have the next seeds, as in the web UIs.",
                ),
                *run_inputs(),
                io.Int.Input(
                    "width", default=512, min=16, max=MAX_SIDE, step=8, tooltip="Pixels; without a latent."
                ),
                io.Int.Input("height", default=512, min=16, max=MAX_SIDE, step=8, tooltip="Pixels."),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="Pictures at once."),
                io.Float.Input(
                    "denoise",
                    default=0.75,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Strength of image to image.",
                ),
                *option_inputs(),
                io.Vae.Input("vae", optional=True, tooltip="Makes the IMAGE output work."),
                io.Latent.Input(
                    "latent", optional=True, tooltip="Image to image begins with it; a noise mask is kept to."
                ),
                RECORD.Input(
                    "record",
                    optional=True,
                    tooltip="Settings of a picture: what they say counts, not the widgets.",
                ),
                io.Boolean.Input(
                    "record_seed", default=True, tooltip="Take the record's seed; else the widget's."
                ),
                REFINER.Input(
                    "refiner", optional=True, tooltip="A second model that takes over in this pass."
                ),
            ],
            outputs=[
                io.Latent.Output("latents", display_name="LATENT"),
                RECORD.Output("made", display_name="record", tooltip="How the pictures were made."),
                io.Image.Output(
                    "images", display_name="IMAGE", tooltip="The pictures, where a VAE is wired."
                ),
                io.String.Output(
                    "warnings", display_name="warnings", tooltip="What is odd about the prompts."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any = None,
        latent: dict[str, Any] | None = None,
        record: Generation | None = None,
        refiner: Second | None = None,
        **widgets: Any,
    ) -> Any:
        """Run the pass."""
        rig = Rig(model=model, clip=clip, vae=vae)
        check_vae(rig, cls.hidden)
        asked = Asked(**widgets)
        wanted = merged(record, record_of(asked), own_seed=asked.record_seed)
        whole = finished_record(wanted, file_above(cls.hidden.prompt, cls.hidden.unique_id))
        problems: list[str] = []
        if asked.wildcards:
            whole, problems = expanded(whole, Path(folder_paths.models_dir) / "wildcards")
        if refiner is not None:
            whole = replace(whole, refiner=refiner.settings)
        if latent is None:
            drawn = draw(rig, whole, "text", batch=asked.batch_size, second=refiner)
        else:
            whole = replace(whole, denoising_strength=strength_of(whole, asked.denoise))
            drawn, whole = from_latent(rig, whole, latent, asked.batch_size, refiner)
        return output_of(rig, whole, drawn, problems)


def strength_of(record: Generation, widget: float) -> float:
    """Return the strength of image to image: the record's, else the widget's."""
    return widget if record.denoising_strength is None else record.denoising_strength


def from_latent(
    rig: Rig, record: Generation, latent: dict[str, Any], batch: int, second: Second | None
) -> tuple[Drawn, Generation]:
    """Return image to image of a LATENT, with its noise mask, and the record with its size.

    One latent serves for a batch.
    """
    samples = samples_of(latent)
    samples = samples.repeat(batch, 1, 1, 1) if len(samples) == 1 else samples
    record = replace(record, size=(samples.shape[3] * 8, samples.shape[2] * 8))
    mask = latent.get("noise_mask")
    drawn = draw(rig, record, "image", batch=len(samples), latent=samples, mask=mask, second=second)
    return drawn, record


def samples_of(latent: dict[str, Any]) -> Tensor:
    """Return the tensor (B, C, h, w) of a LATENT; raises ``BadValue`` for one of video."""
    samples = latent["samples"]
    if samples.ndim != 4:
        raise BadValue(f"the latent is {tuple(samples.shape)}; wire one of pictures, (B, C, h, w)")
    return samples


def check_vae(rig: Rig, hidden: Any) -> None:
    """Raise ``BadValue`` where the IMAGE output is wired on, but no VAE is there to make it."""
    if rig.vae is None and is_wired(hidden.prompt, hidden.unique_id, IMAGE_OUTPUT):
        raise BadValue(NO_VAE)


def blocked(reason: str) -> Any:
    """Return what ComfyUI takes for "no output": a node that uses it, out of its cache, fails with ``reason``."""
    return import_module("comfy_execution.graph_utils").ExecutionBlocker(reason)


def output_of(rig: Rig, record: Generation, drawn: Drawn, problems: Sequence[str] = ()) -> Any:
    """Return the outputs of a pass: latents, record, pictures, warnings."""
    record = replace(record, networks=drawn.networks)
    said = [*problems, *drawn.warnings]
    for line in said:
        log.warning("Concord: %s", line)
    pictures = blocked(NO_VAE) if rig.vae is None else image_of(rig.decoded(drawn.latent))
    words = "\n\n".join(said)
    return io.NodeOutput(
        {"samples": drawn.latent}, record, pictures, words, ui={"text": [words]} if words else None
    )


NODES: list[type] = [Sampler]
