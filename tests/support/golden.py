"""Where golden data lies: the folder named by ``CONCORD_GOLDEN``, else the small copy in ``tests/golden``."""

from __future__ import annotations

import os
from pathlib import Path


def golden_dir(name: str) -> Path:
    """Return the folder of the golden set ``name``; raises when it is not there, so that no test passes on nothing."""
    root = Path(os.environ.get("CONCORD_GOLDEN") or Path(__file__).parents[1] / "golden")
    folder = root / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"golden set {name!r} is not in {root}; point CONCORD_GOLDEN at a folder that has it"
        )
    return folder
