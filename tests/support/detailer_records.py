"""The records of the golden set ``detailer``, and their masks as arrays."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
from golden import golden_dir
from sd_concord.core.detailer import Mask, mask_from_array


def records(name: str, known: str) -> list[dict[str, Any]]:
    """Return the records of a file, all with ``known`` fields only; fails when there are none."""
    with gzip.open(golden_dir("detailer") / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    assert found, f"{name} is empty"
    strange = set().union(*found) - set(known.split())
    assert not strange, f"{name} has fields that no test reads: {sorted(strange)}"
    return found


def array_of(image: dict[str, Any]) -> np.ndarray:
    """Return a recorded mask, uint8 (height, width)."""
    width, height = image["size"]
    runs = image["rle"]
    return np.repeat(np.array(runs[::2], np.uint8), runs[1::2]).reshape(height, width)


def mask_of(image: dict[str, Any]) -> Mask:
    """Return a recorded mask."""
    return mask_from_array(array_of(image))


def assert_masks(got: list[Mask], recorded: list[dict[str, Any]], name: str) -> None:
    """Fail unless ``got`` are the masks ``recorded``, pixel for pixel."""
    assert len(got) == len(recorded), name
    for mask, image in zip(got, recorded, strict=True):
        np.testing.assert_array_equal(mask.full(), array_of(image), err_msg=name)
