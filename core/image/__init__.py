"""Pictures and what made them: the generation record, infotext, and files that hold both."""

from typing import TYPE_CHECKING, Any

from .civitai import Resource, civitai_generation, civitai_resources
from .comfyui_graph import GraphReading, read_comfyui_graph
from .fields import infotext_fields
from .files import save_image, save_numbered
from .generation import Generation
from .infotext import format_infotext, parse_infotext
from .model_ref import ModelRef
from .parts import (
    ConcordSettings,
    DetailerUnit,
    Hires,
    Inpaint,
    Networks,
    Refiner,
    SamplerOptions,
    ScheduleOptions,
    Variation,
)
from .reading import read_chunks, read_image_info, read_infotext

if TYPE_CHECKING:
    from .upscalers import load_upscaler

__all__ = [
    "ConcordSettings",
    "DetailerUnit",
    "Generation",
    "GraphReading",
    "Hires",
    "Inpaint",
    "ModelRef",
    "Networks",
    "Refiner",
    "Resource",
    "SamplerOptions",
    "ScheduleOptions",
    "Variation",
    "civitai_generation",
    "civitai_resources",
    "format_infotext",
    "infotext_fields",
    "load_upscaler",
    "parse_infotext",
    "read_chunks",
    "read_comfyui_graph",
    "read_image_info",
    "read_infotext",
    "save_image",
    "save_numbered",
]


def __getattr__(name: str) -> Any:
    """Return what needs torch, which loads slowly, when it is asked for."""
    if name != "load_upscaler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .upscalers import load_upscaler as found  # noqa: PLC0415

    return found
