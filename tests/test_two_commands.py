"""The two commands of the README, for real and timed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIRST, SECOND = 300.0, 10.0
"""Seconds to the first picture and to the second on two idle cores of today."""
IMPORTS = "import diffusers, torch, transformers; from diffusers import AutoencoderKL, UNet2DConditionModel"


def demo(folder: Path, environ: dict[str, str]) -> float:
    """Run the demo command of ``folder`` and return the seconds that it took."""
    python = getattr(sys, "_base_executable", sys.executable)
    started = time.monotonic()
    done = subprocess.run(
        [python, "install.py", "demo"], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert str(folder / "demo.png") in done.stdout
    return time.monotonic() - started


def busy() -> float:
    """Return the CPU seconds of all finished children: unlike the clock, other programs do not lengthen them."""
    spent = os.times()
    return spent.children_user + spent.children_system


def test_a_second_picture_takes_seconds() -> None:
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip("not run by `python install.py test`: there is no .venv to draw a second picture in")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    before = busy()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    imports = busy() - before
    demo(ROOT, os.environ | nowhere)
    assert (
        busy() - before - imports <= 4 * imports + 1
    )  # slow and busy machines import as slowly as they draw


def test_a_fresh_clone_draws_its_first_picture_in_minutes(tmp_path: Path) -> None:
    if not os.environ.get("CONCORD_FRESH"):
        pytest.skip("CONCORD_FRESH is not set: this downloads torch")
    if not shutil.which("git"):
        pytest.skip("git is not there to clone with")
    clone, home = tmp_path / "a clone", tmp_path / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environ = {"HOME": str(home), "PATH": os.defpath}
    assert demo(clone, environ) < FIRST
    assert demo(clone, environ) < SECOND
