"""Prompts as nodes: Text Encode, LoRA Prompt and Explain."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.prompt import DIALECTS, EMPHASIS, Known, RunShape
from ..core.prompt.constant_tags import constant_tags
from ..core.prompt.explain import explain
from ..core.prompt.explain_picture import as_picture
from ..core.prompt.explain_text import as_text
from ..core.run import calls_per_step
from ..core.sampling import SAMPLERS
from .clip import checked_skip, embedding_files, embeddings_in, host_clip
from .host import io, schema, sd, ui
from .loras import lora_stems, loras_of
from .prompts import Prompt
from .schedule import conditioning_of
from .wires import image_of

CATEGORY = "Concord/prompt"
DIALECT_TIP = (
    "a1111 reads the prompt as A1111 does, to the letter; concord mends its traps (LoRAs inside edits come and "
    "go, fades, weighted alternation); comfyui reads weights as CLIP Text Encode does, without edits, AND and BREAK"
)
SIZES = ("width", "height", "crop_w", "crop_h", "target_width", "target_height")


class ConcordTextEncode(io.ComfyNode):
    """CLIP and a prompt to CONDITIONING that obeys the prompt's schedule at every denoiser call."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordTextEncode",
            display_name="Concord Text Encode",
            category=CATEGORY,
            description="Encodes a prompt as A1111 does: weights, BREAK, AND, [a:b:0.5], [a|b], LoRAs in edits, "
            "exact at every step of any sampler, in the stock KSampler.",
            search_aliases=[
                "prompt",
                "a1111",
                "clip text encode",
                "prompt editing",
                "BREAK",
                "AND",
                "weights",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="CLIP of an SD1.5, SD2 or SDXL model"),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=False,
                    tooltip="the prompt: (word:1.2), BREAK, a AND b :0.5, [a:b:0.5], [a|b], <lora:name:0.8>",
                ),
                io.Boolean.Input(
                    "negative",
                    default=False,
                    tooltip="this is the negative prompt: AND and <lora:…> are words there, as in A1111",
                ),
                io.Combo.Input("dialect", options=list(DIALECTS), default="a1111", tooltip=DIALECT_TIP),
                io.Combo.Input(
                    "emphasis",
                    options=list(EMPHASIS),
                    default="Original",
                    tooltip="what a weight does: Original is A1111's, ComfyUI is CLIP Text Encode's",
                ),
                io.Int.Input(
                    "clip_skip",
                    default=0,
                    min=0,
                    max=24,
                    tooltip="1 is the last layer, 2 the one before, as in A1111; 0 is what the CLIP is set to",
                ),
                io.Boolean.Input(
                    "zero_empty_negative",
                    default=True,
                    tooltip="SDXL: an empty negative prompt becomes zeros, as in A1111",
                ),
                *(
                    io.Int.Input(
                        name,
                        default=0,
                        min=0,
                        max=16384,
                        optional=True,
                        tooltip=f"SDXL's {name.replace('_', ' ')} in pixels; 0 is "
                        + ("no crop" if "crop" in name else "the latent's own"),
                    )
                    for name in SIZES
                ),
                io.Int.Input(
                    "total_steps",
                    default=0,
                    min=0,
                    max=10000,
                    optional=True,
                    tooltip="steps of the whole run, where KSampler (Advanced) makes a part of it; 0 is the sampler's",
                ),
                io.Int.Input(
                    "start_step",
                    default=0,
                    min=0,
                    max=10000,
                    optional=True,
                    tooltip="the step of the whole run at which the sampler begins: its start_at_step",
                ),
            ],
            outputs=[io.Conditioning.Output(tooltip="for any sampler; the schedule travels in it")],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        text: str,
        negative: bool,
        dialect: str,
        emphasis: str,
        clip_skip: int,
        zero_empty_negative: bool,
        **more: int,
    ) -> Any:
        """Encode ``text``; ``more`` are SDXL's sizes, and the place in the run."""
        own = host_clip(clip, text, DIALECTS[dialect])
        prompt = Prompt(
            text=text,
            host=own,
            dialect=DIALECTS[dialect],
            negative=negative,
            emphasis=emphasis,
            clip_skip=checked_skip(clip_skip, own),
            zero_empty=zero_empty_negative and negative and len(own.encoders) > 1,
            total_steps=more.pop("total_steps", 0),
            start_step=more.pop("start_step", 0),
        )
        return io.NodeOutput(conditioning_of(prompt, {name: size for name, size in more.items() if size}))


class ConcordLoraPrompt(io.ComfyNode):
    """The constant LoRA tags of a prompt on MODEL and CLIP; the scheduled ones stay in the text."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordLoraPrompt",
            display_name="Concord LoRA Prompt",
            category=CATEGORY,
            description="Applies the <lora:name:weight> tags of a prompt to MODEL and CLIP and takes them out of the "
            "text. In the concord dialect tags inside [edits] stay for Concord Text Encode, which applies them at "
            "their steps.",
            search_aliases=["lora", "lora tag", "lora loader", "a1111 lora", "lyco"],
            inputs=[
                io.Model.Input("model", tooltip="the model that LoRAs are applied to"),
                io.Clip.Input("clip", tooltip="the text encoder that LoRAs are applied to"),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=False,
                    tooltip="the prompt, with <lora:name:0.8>, <lora:name:te:unet> or <lora:name:te=0.5:unet=0.8>",
                ),
                io.Combo.Input("dialect", options=list(DIALECTS), default="a1111", tooltip=DIALECT_TIP),
            ],
            outputs=[
                io.Model.Output(tooltip="the model with the constant LoRAs"),
                io.Clip.Output(tooltip="the text encoder with the constant LoRAs"),
                io.String.Output(
                    display_name="text", tooltip="the prompt without the tags that were applied"
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, clip: Any, text: str, dialect: str) -> Any:
        """Apply the constant tags of ``text``."""
        rest, tags = constant_tags(text, DIALECTS[dialect])
        for lora in loras_of(tags):
            model, clip = sd.load_lora_for_models(model, clip, lora.weights(), lora.unet, lora.te)
        return io.NodeOutput(model, clip, rest)


class ConcordExplain(io.ComfyNode):
    """What a prompt means, as text and as a picture of its timeline."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordExplain",
            display_name="Concord Explain",
            category=CATEGORY,
            description="Shows what a prompt means: its chunks of 75 tokens with weights, which text is active at "
            "which step, and what the prompt doctor warns of.",
            search_aliases=["token count", "prompt doctor", "timeline", "chunks", "debug prompt"],
            is_output_node=True,
            inputs=[
                io.String.Input(
                    "text", multiline=True, dynamic_prompts=False, tooltip="the prompt to be explained"
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="steps of the first pass"),
                io.Combo.Input("dialect", options=list(DIALECTS), default="a1111", tooltip=DIALECT_TIP),
                io.Combo.Input(
                    "sampler",
                    options=list(SAMPLERS),
                    default="dpmpp_2m",
                    tooltip="the sampler: some call the model twice a step, and prompts count calls",
                ),
                io.Boolean.Input("negative", default=False, tooltip="this is the negative prompt"),
                io.Int.Input(
                    "hires_steps",
                    default=0,
                    min=0,
                    max=10000,
                    optional=True,
                    tooltip="steps of a hires pass to be shown too; 0 for none",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="timeline", tooltip="calls across, texts down"),
                io.String.Output(display_name="explanation", tooltip="the same in words, with the warnings"),
            ],
        )

    @classmethod
    def execute(
        cls, text: str, steps: int, dialect: str, sampler: str, negative: bool, hires_steps: int = 0
    ) -> Any:
        """Explain ``text``."""
        rules = DIALECTS[dialect]
        calls = calls_per_step(SAMPLERS[sampler], rules)
        shape = RunShape(hires_steps=hires_steps or None, calls_per_step=calls, negative=negative)
        counts = {name: one.n for name, one in embeddings_in(text).items()}
        known = Known(networks=lora_stems(), embeddings=dict.fromkeys(embedding_files(), 1) | counts)
        explanation = explain(text, steps, (dialect, rules), shape, known)
        images, words = image_of([np.asarray(as_picture(explanation))]), as_text(explanation)
        preview = ui.PreviewImage(images, cls=cls).as_dict()
        return io.NodeOutput(images, words, ui={**preview, "text": (words,)})


NODES: list[type] = [ConcordTextEncode, ConcordLoraPrompt, ConcordExplain]
