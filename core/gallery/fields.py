"""A generation record as the fields of a cell."""

from __future__ import annotations

from typing import Any

from ..image.generation import Generation
from ..image.keys import KEYS, UNIT, Key
from .records import Value

LEFT_OUT = (
    "version",
    "user",
    "model.hash",
    "vae.hash",
    "detailer_version",
    "concord.version",
    "init_image_hash",
)
"""What says nothing of how a picture looks."""
PROMPTS = {"Prompt": "prompt", "Negative prompt": "negative_prompt"}


def record_fields(record: Generation) -> dict[str, Value]:
    """Return what ``record`` says by the labels of the infotext: numbers and switches as they are, else as text.

    What is not recorded is not among them.  Fields of the second detailer unit and on end in its number.
    """
    found: dict[str, Value] = {
        label: text for label, name in PROMPTS.items() if (text := getattr(record, name))
    }
    for key in KEYS.values():
        if key.path not in LEFT_OUT and (value := _shown(record, key)) is not None:
            found[key.label] = value
    for number, unit in enumerate(record.detailer, start=1):
        for key in UNIT:
            if (value := _shown(unit, key)) is not None:
                found[key.label if number == 1 else f"{key.label} {number}"] = value
    return found


def _shown(record: object, key: Key) -> Value:
    """Return the value of ``key`` as a field has it; None where it is not recorded."""
    value: Any = record
    for name in key.path.split("."):
        value = getattr(value, name, None)
    if value is None or value in key.silent or isinstance(value, (bool, int, float)):
        return None if value in key.silent else value
    return key.rule.write(value) or None
