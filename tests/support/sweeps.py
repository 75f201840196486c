"""Small sweeps with the embedded model, and what they left in their folders."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from atexit import register
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import torch
from sd_concord.core.image import Generation
from sd_concord.harness.sweep.conduct import Report, begin, conduct
from sd_concord.harness.sweep.engine import here
from sd_concord.harness.sweep.plan import Plan, read_axes

BASE = Generation(
    prompt="a red circle", steps=3, sampler="euler", scheduler="karras", cfg=4.0, seed=7, size=(64, 64)
)


def planned(
    x: str | None = None, y: str | None = None, z: str | None = None, *, base: Generation = BASE, **more: Any
) -> Plan:
    """Return a plan over the embedded model."""
    return Plan(base=base, axes=read_axes({"x": x, "y": y, "z": z}), **more)


def swept(folder: Path, plan: Plan, **options: Any) -> Report:
    """Run a whole sweep."""
    begin(folder, plan)
    return conduct(folder, quiet=True, **options)


def pictures(folder: Path) -> dict[str, str]:
    """Return the hash of every picture by its name."""
    found = sorted((folder / "pictures").iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def journal(folder: Path, asked: str) -> list[tuple[Any, ...]]:
    """Return what the journal answers to SQL."""
    connection = sqlite3.connect(folder / "sweep.sqlite")
    try:
        return connection.execute(asked).fetchall()
    finally:
        connection.close()


def record(**fields: Any) -> Generation:
    """Return the base record with other fields."""
    return replace(BASE, **fields)


def two_hundred() -> Plan:
    """Return a plan of 200 small cells."""
    prompts = "a red circle,a blue square,a green ring,a (yellow:1.2) triangle,two circles"
    axes = (f"prompt={prompts}", "sampler=euler_ancestral,dpmpp_2m", "steps=2,3")
    return planned(*axes, seeds=10, together=8, threads=1)


@cache
def undisturbed() -> Path:
    """Return the folder of that sweep, run once for all tests that compare with it."""
    folder = Path(mkdtemp(prefix="concord-sweep-"))
    register(rmtree, folder, ignore_errors=True)
    swept(folder, two_hundred())
    return folder


def go_on(folder: str, batches: int) -> None:
    """Go on with a sweep for so many batches, then wait; a process of its own does only this, until it is killed."""

    def some(*given: Any) -> Iterator[Any]:
        yield from islice(here(*given), batches)
        time.sleep(3600)

    torch.set_num_threads(1)
    conduct(Path(folder), some, quiet=True)
