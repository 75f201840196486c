"""What a plan comes to, on paper: cells, batches, what is loaded, and how much work it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.filled import DEFAULT_SAMPLER, DEFAULT_STEPS, sampler_called
from ...core.image import Generation
from ...core.sampling import SAMPLERS
from .order import EMBEDDED, UNKNOWN, Batch, batches_of_plan
from .plan import Cell, Plan, cells_of

BYTES_A_PIXEL = 1.7
"""What a picture takes as PNG, about."""
ADAPTIVE_CALLS = 40
"""Denoiser calls of a sampler that chooses its steps, about."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How much a plan is.  ``calls``: of the denoiser, over all pictures.  ``bytes``: of all files, about."""

    cells: int
    impossible: int
    batches: int
    models: int
    networks: int
    prompts: int
    calls: int
    bytes: int

    @property
    def lines(self) -> list[str]:
        """The figures in words."""
        return [
            f"cells     {self.cells:,}"
            + (f", {self.impossible:,} of them impossible" * bool(self.impossible)),
            f"batches   {self.batches:,}",
            f"models    {self.models:,}, each loaded once; {self.networks:,} settings of LoRAs",
            f"prompts   {self.prompts:,} different, each chunk encoded once",
            f"work      {self.calls:,} denoiser calls",
            f"disk      about {self.bytes / 1e6:,.0f} MB",
        ]


def estimate(plan: Plan) -> tuple[Estimate, list[Cell], list[Batch]]:
    """Return what ``plan`` comes to, and its cells and batches."""
    cells = cells_of(plan)
    batches = batches_of_plan(plan, cells)
    own = UNKNOWN if plan.setup.model else EMBEDDED
    made = [cell.record for cell in cells if cell.problem is None]
    known: dict[tuple[str | None, int | None], int] = {}
    calls, pixels = 0, 0
    for record in made:
        key = (record.sampler, record.steps)
        if key not in known:
            known[key] = _calls(*key)
        calls += known[key] + _more_calls(record, known[key])
        width, height = record.size or own
        pixels += width * height
    found = Estimate(
        cells=len(cells),
        impossible=len(cells) - len(made),
        batches=len(batches),
        models=len({one.loaded[:2] for one in batches}),
        networks=len({one.loaded for one in batches if one.loaded.networks}),
        prompts=_distinct(made),
        calls=calls,
        bytes=round(pixels * BYTES_A_PIXEL),
    )
    return found, cells, batches


def _distinct(records: Sequence[Generation]) -> int:
    return len({text for record in records for text in (record.prompt, record.negative_prompt)})


def _calls(sampler: str | None, steps: int | None) -> int:
    """Return the denoiser calls of one picture's first pass."""
    name = sampler_called(sampler or DEFAULT_SAMPLER)
    nfe = SAMPLERS[name].nfe if name in SAMPLERS else None
    count = DEFAULT_STEPS if steps is None else steps
    return nfe(count) if nfe is not None and name in SAMPLERS else ADAPTIVE_CALLS


def _more_calls(record: Generation, first: int) -> int:
    """Return the denoiser calls of the hires pass, which runs the share of its steps that its strength says."""
    if record.hires is None:
        return 0
    share = 0.75 if record.denoising_strength is None else record.denoising_strength
    steps = record.hires.steps or record.steps or DEFAULT_STEPS
    return round(first / (record.steps or DEFAULT_STEPS) * steps * share)
