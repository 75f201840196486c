"""How much memory a grid of files takes: its own pixels, and hardly more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("resource", reason="this system does not say how much memory a program took")
PROGRAM = """
import resource, sys
from pathlib import Path
from sd_concord.core.image.grid import labelled_grid

unit = 1 if sys.platform == "darwin" else 1024
most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
labelled_grid([Path(sys.argv[1])], ["a"])
before = most()
grid = labelled_grid([Path(sys.argv[1])] * 1600, [f"column {i}" for i in range(40)], [f"row {i}" for i in range(40)])
grid.save(sys.argv[2], compress_level=0)
print(grid.width * grid.height, most() - before)
"""


def test_a_grid_of_files_takes_the_memory_of_its_own_pixels(tmp_path: Path) -> None:
    """10,000 pictures of 128 pixels are 13233 x 13214: 0.7 GB, as Pillow has four bytes a pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    given = [sys.executable, "-c", PROGRAM, str(tmp_path / "1.png"), str(tmp_path / "grid.png")]
    told = subprocess.run(given, check=True, capture_output=True, text=True).stdout.split()
    count, taken = map(int, told)
    assert count > 1600 * 128 * 128
    assert taken < 4 * count * 1.1 + 20e6
