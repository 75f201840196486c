"""Small sweeps with the embedded model, and what they left in their folders."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sd_concord.core.image import Generation
from sd_concord.harness.sweep.conduct import Report, begin, conduct
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


def go_on(folder: str) -> None:
    """Go on with a sweep; a process of its own does only this."""
    torch.set_num_threads(1)
    conduct(Path(folder), quiet=True)
