"""SIGMAS as nodes: every schedule with its options, factors and tails, a sampler with options, and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ..core.options_text import options_in_words, read_options_text
from ..core.sampling import SAMPLERS
from ..core.sampling.guidance import multiply_sigmas
from ..core.sigma_plot import curve_of, draw
from ..core.sigmas import CONVENTIONS, SCHEDULERS, ModelSigmas
from ..core.sigmas.plan import run_sigmas, tail_of
from .denoiser import model_sigmas, sampler_function
from .host import io, samplers, schema, ui
from .wires import image_of

CATEGORY = "Concord/sigmas"
PLOTTED = ("sigmas", "sigmas_b", "sigmas_c", "sigmas_d")


def options_tip(table: Any) -> str:
    """Return what the options of all entries of a registry are."""
    known = ((name, options_in_words(spec.options)) for name, spec in table.items())
    return "; ".join(f"{name}: {words}" for name, words in known if words)


def options_input(table: Any) -> Any:
    """Return the text box for the options of one entry of a registry."""
    tip = f"options as name=value, parted by commas; nothing for the defaults. {options_tip(table)}"
    return io.String.Input("options", default="", dynamic_prompts=False, tooltip=tip)


class ConcordScheduler(io.ComfyNode):
    """Any schedule with all its options, for the model's own noise levels."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordScheduler",
            display_name="Concord Scheduler",
            category=CATEGORY,
            description="The sigmas of any schedule, with its options, for SamplerCustom and its like.",
            search_aliases=["scheduler", "sigmas", "ays", "align your steps", "karras", "beta", "gits"],
            inputs=[
                io.Model.Input("model", tooltip="whose noise levels the schedule is made for"),
                io.Combo.Input(
                    "scheduler", options=list(SCHEDULERS), default="karras", tooltip="the schedule"
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="steps of the run"),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="strength of image to image: the last steps of a longer schedule, as in KSampler",
                ),
                options_input(SCHEDULERS),
                io.Boolean.Input(
                    "discard_penultimate",
                    default=False,
                    tooltip="lay one step more out and drop the last sigma above 0, as hosts do for DPM2 and UniPC",
                ),
                io.Combo.Input(
                    "convention",
                    options=list(CONVENTIONS),
                    default="concord",
                    tooltip="whose list to the digit: Concord's, ComfyUI's, that of A1111 and Forge, or reForge's",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="noise levels, falling, the last one 0")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        scheduler: str,
        steps: int,
        denoise: float,
        options: str,
        discard_penultimate: bool,
        convention: Any,
    ) -> Any:
        """Lay the schedule out."""
        given = read_options_text(options, SCHEDULERS[scheduler].options, f"scheduler {scheduler!r}")
        sigmas = run_sigmas(
            scheduler,
            steps,
            model_sigmas(model.get_model_object("model_sampling")),
            denoise=denoise,
            discard_penultimate=discard_penultimate,
            convention=convention,
            **given,
        )
        return io.NodeOutput(sigmas)


class ConcordSamplerOptions(io.ComfyNode):
    """A sampler with its options, for SamplerCustom and its like."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordSamplerOptions",
            display_name="Concord Sampler Options",
            category=CATEGORY,
            description="Any of Concord's samplers as SAMPLER, with its options: eta, s_noise, tail_power and so on.",
            search_aliases=["eta", "s_noise", "s_churn", "tail_power", "ksampler select", "sampler options"],
            inputs=[
                io.Combo.Input("sampler", options=list(SAMPLERS), default="dpmpp_2m", tooltip="the sampler"),
                options_input(SAMPLERS),
            ],
            outputs=[io.Sampler.Output(tooltip="for SamplerCustom")],
        )

    @classmethod
    def execute(cls, sampler: str, options: str) -> Any:
        """Return the sampler with its options."""
        spec = SAMPLERS[sampler]
        given = read_options_text(options, spec.options, f"sampler {sampler!r}")
        return io.NodeOutput(samplers.KSAMPLER(sampler_function(spec), given))


class ConcordSigmaMultiply(io.ComfyNode):
    """A stretch of the sigmas times a factor."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordSigmaMultiply",
            display_name="Concord Sigma Multiply",
            category=CATEGORY,
            description="Multiplies sigmas. A factor just below 1 leaves a little noise that the model turns into "
            "detail, one above 1 smooths.",
            search_aliases=["sigma multiply", "detail", "multiply sigmas", "add detail"],
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="noise levels of a run"),
                io.Float.Input(
                    "factor", default=0.98, min=0.5, max=1.5, step=0.005, tooltip="1 changes nothing"
                ),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=1.0, step=0.01, tooltip="from this share of the list"
                ),
                io.Float.Input(
                    "end", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="up to this share of the list"
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="the noise levels, multiplied")],
        )

    @classmethod
    def execute(cls, sigmas: Tensor, factor: float, start: float, end: float) -> Any:
        """Multiply."""
        return io.NodeOutput(multiply_sigmas(sigmas, factor, start, end))


class ConcordTail(io.ComfyNode):
    """The end of a schedule: strength met by fewer steps."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordTail",
            display_name="Concord Tail",
            category=CATEGORY,
            description="Keeps the last steps of a schedule for image to image, as ComfyUI's table nodes (Align Your "
            "Steps, GITS) do: strength 0.5 is half of the steps.",
            search_aliases=["denoise", "image to image", "split sigmas", "tail"],
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="noise levels of a whole run"),
                io.Float.Input(
                    "denoise",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="share of the steps to be kept",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="the last steps, which end in 0")],
        )

    @classmethod
    def execute(cls, sigmas: Tensor, denoise: float) -> Any:
        """Cut."""
        return io.NodeOutput(tail_of(sigmas, denoise))


class ConcordPlotSigmas(io.ComfyNode):
    """Schedules side by side, as a picture."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return schema(
            node_id="ConcordPlotSigmas",
            display_name="Concord Plot Sigmas",
            category=CATEGORY,
            description="Draws up to four schedules over the run: sigma, and half log-SNR; below them the least error "
            "that any sampler can make on them.",
            search_aliases=["plot", "graph", "preview sigmas", "compare schedulers"],
            is_output_node=True,
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="noise levels of a run"),
                *(
                    io.Sigmas.Input(name, optional=True, tooltip="another schedule, to be compared")
                    for name in PLOTTED[1:]
                ),
                io.Model.Input(
                    "model", optional=True, tooltip="whose log-SNR is drawn; Stable Diffusion's without one"
                ),
            ],
            outputs=[io.Image.Output(tooltip="the picture")],
        )

    @classmethod
    def execute(cls, model: Any = None, **given: Tensor | None) -> Any:
        """Draw what is given of ``PLOTTED``."""
        known = ModelSigmas.sd() if model is None else model_sigmas(model.get_model_object("model_sampling"))
        found = {name: sigmas for name in PLOTTED if (sigmas := given.get(name)) is not None}
        image = image_of([np.asarray(draw([curve_of(name, s, known) for name, s in found.items()], known))])
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


NODES: list[type] = [
    ConcordScheduler,
    ConcordSamplerOptions,
    ConcordSigmaMultiply,
    ConcordTail,
    ConcordPlotSigmas,
]
