"""Pictures and what made them: the generation record, infotext, and files that hold both."""

from .fields import infotext_fields
from .files import read_image_info, read_infotext, save_image, save_numbered
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

__all__ = [
    "ConcordSettings",
    "DetailerUnit",
    "Generation",
    "Hires",
    "Inpaint",
    "ModelRef",
    "Networks",
    "Refiner",
    "SamplerOptions",
    "ScheduleOptions",
    "Variation",
    "format_infotext",
    "infotext_fields",
    "parse_infotext",
    "read_image_info",
    "read_infotext",
    "save_image",
    "save_numbered",
]
