"""Concord Same Picture: whether a picture that was drawn again is the recorded one, and how far it is."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core.image import Generation
from ..core.profile_choice import borrowed
from ..core.same_picture import report
from .host import io, schema
from .wires import RECORD, pixels_of


class SamePicture(io.ComfyNode):
    """Concord Same Picture."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the schema."""
        return schema(
            node_id="ConcordSamePicture",
            display_name="Concord Same Picture",
            category="Concord/image",
            description="Says whether a picture drawn again is the recorded one, and how far it is.",
            search_aliases=["reproduce", "compare pictures", "difference", "same image", "parity"],
            inputs=[
                io.Image.Input("drawn", tooltip="What was drawn; of a batch the nearest counts."),
                io.Image.Input(
                    "recorded", tooltip="The picture as it was, from Concord Load Image Settings."
                ),
                RECORD.Input(
                    "record",
                    optional=True,
                    tooltip="How it was made: its sampler decides how much two machines may differ.",
                ),
                io.Boolean.Input(
                    "lossy",
                    default=False,
                    tooltip="The recorded picture is a JPEG or another compressed file: it is compared on average.",
                ),
            ],
            outputs=[
                io.Boolean.Output(
                    "same", display_name="same", tooltip="At most 1 level of 255 apart, as a rule."
                ),
                io.Int.Output(
                    "largest",
                    display_name="largest",
                    tooltip="Largest difference in levels; -1: other sizes.",
                ),
                io.Float.Output(
                    "equal", display_name="equal", tooltip="Share of values that are equal, 0 to 1."
                ),
                io.String.Output("report", display_name="report", tooltip="All that in words."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, drawn: Tensor, recorded: Tensor, record: Generation | None = None, lossy: bool = False
    ) -> Any:
        """Compare."""
        own = record or Generation()
        told = report(pixels_of(drawn), pixels_of(recorded)[0], own, lossy=lossy)
        largest, equal = (told.found.most, told.found.equal) if told.found else (-1, 0.0)
        words = "\n".join([told.words, *borrowed(own)])
        return io.NodeOutput(told.same, largest, equal, words, ui={"text": [words]})


NODES: list[type] = [SamePicture]
