"""Concord Refiner: a second model that takes over within a pass of Concord Sampler or Concord Hires."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from ..core.image.keys import SWITCHES
from ..core.image.parts import Refiner
from ..core.image.refiner_plan import AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE
from .host import io, schema
from .passes import Second
from .records import OF_PROFILE, file_above
from .rig import Rig
from .wires import REFINER

READINGS = {
    "noise left (A1111 1.8, Forge)": SWITCHES[0],
    "calls (A1111 1.7)": SWITCHES[1],
    "steps": SWITCHES[2],
}
"""How "switch at" is read, by what the dropdown calls it."""


class RefinerNode(io.ComfyNode):
    """Concord Refiner."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordRefiner",
            display_name="Concord Refiner",
            category="Concord/sampling",
            description="A second model that takes over within the sampler's run, as in the web UIs.",
            search_aliases=["refiner", "sdxl refiner", "switch checkpoint", "second model"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model that takes over; its latents are of the same kind."
                ),
                io.Clip.Input("clip", tooltip="Its own text encoder."),
                io.Float.Input(
                    "switch_at",
                    default=0.8,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="When; 1 is never, 0 at once.",
                ),
                io.Combo.Input(
                    "counted_in",
                    options=[OF_PROFILE, *READINGS],
                    default=OF_PROFILE,
                    tooltip="What the number counts; 'steps' begins the sampler anew there, as two KSamplers do.",
                ),
                io.Float.Input(
                    "aesthetic_score",
                    default=AESTHETIC_SCORE,
                    min=0.0,
                    max=100.0,
                    tooltip="What SDXL's refiner is told of the positive prompt.",
                ),
                io.Float.Input(
                    "negative_aesthetic_score",
                    default=NEGATIVE_AESTHETIC_SCORE,
                    min=0.0,
                    max=100.0,
                    tooltip="What SDXL's refiner is told of the negative prompt.",
                ),
            ],
            outputs=[REFINER.Output("refiner", display_name="refiner")],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        switch_at: float,
        counted_in: str,
        aesthetic_score: float,
        negative_aesthetic_score: float,
    ) -> Any:
        """Pack the refiner."""
        file = file_above(cls.hidden.prompt, cls.hidden.unique_id)
        settings = Refiner(
            model=PurePosixPath(file.replace("\\", "/")).stem if file else "refiner",
            switch_at=switch_at,
            switch_by=READINGS.get(counted_in),
            aesthetic_score=None if aesthetic_score == AESTHETIC_SCORE else aesthetic_score,
            negative_aesthetic_score=None
            if negative_aesthetic_score == NEGATIVE_AESTHETIC_SCORE
            else negative_aesthetic_score,
        )
        return io.NodeOutput(Second(rig=Rig(model=model, clip=clip), settings=settings))


NODES: list[type] = [RefinerNode]
