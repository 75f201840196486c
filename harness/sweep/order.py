"""The order of a sweep: which cells go through the network together, and which batch follows which."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ...core.errors import ConcordError
from ...core.filled import DEFAULT_SAMPLER, profile_of, sampler_called
from ...core.image import ConcordSettings, Generation
from ...core.passes import DEFAULT_FACTOR
from ...core.sampling import SAMPLERS
from .plan import Cell, Plan

MOST_TOGETHER = 16
PIXELS_TOGETHER = 4 * 1024 * 1024
"""How many pixels go through the network together unless it is said."""
EMBEDDED = (128, 128)
"""The size of the embedded model's pictures."""
UNKNOWN = (1024, 1024)
"""The size that is reckoned with where a model's own is not known."""
_TAG = re.compile(r"<[^<>]*>")
_PER_PICTURE = ("cfg_rescale", "guidance_start", "guidance_end", "dialect")
"""Settings of ``concord`` in which the pictures of a batch may differ."""
_TOGETHER = ("steps", "sampler", "scheduler", "sampler_options", "schedule_options", "size", "rng")
"""Fields in which the pictures of a batch are alike."""


class Loaded(NamedTuple):
    """What has to be loaded for a cell: the model, its VAE, and the networks that its prompt names."""

    model: str | None
    vae: str | None
    networks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A unit of work: its number, by which batches are made in order, its cells, and what is loaded for them."""

    number: int
    cells: tuple[int, ...]
    loaded: Loaded


def together_by_default(record: Generation, own: tuple[int, int]) -> int:
    """Return how many pictures such as ``record`` go through the network together by their size: 1 to 16.

    ``own``: the size (width, height) of a picture that names none.
    """
    width, height = record.size or own
    if record.hires is not None:
        factor = record.hires.upscale or DEFAULT_FACTOR
        width, height = (round(side * factor) for side in (width, height))
        width, height = (
            max(pair) for pair in zip((width, height), record.hires.resize or (0, 0), strict=True)
        )
    return max(1, min(MOST_TOGETHER, PIXELS_TOGETHER // (width * height)))


def loaded_for(record: Generation) -> Loaded:
    """Return what has to be loaded for ``record``."""
    model, vae = record.model, record.vae
    return Loaded(model and model.name, vae and vae.name, _tags(record.prompt))


def has_passes(record: Generation) -> bool:
    """Tell whether more than one pass makes the picture, or it tiles: it goes its own way through the pipeline."""
    return record.hires is not None or record.refiner is not None or bool(record.tiling)


def batches_of(
    cells: Sequence[Cell], together: int | None = None, own: tuple[int, int] = UNKNOWN
) -> list[Batch]:
    """Return the batches of those cells that can be made, of at most ``together`` cells each.

    ``together``: None for as many as their size suggests, ``own`` being that of pictures that name none.

    Models come in the order in which cells first name them, within a model its networks, so that each is loaded
    once; the cells of a batch are alike in what the sampler is given.  The same cells give the same batches.
    """
    groups: dict[Hashable, list[Cell]] = {}
    models: dict[Hashable, int] = {}
    networks: dict[Loaded, int] = {}
    ranks: dict[Hashable, tuple[int, int, Loaded]] = {}
    for cell in cells:
        if cell.problem is not None:
            continue
        loaded = loaded_for(cell.record)
        key = (loaded, _alike(cell))
        groups.setdefault(key, []).append(cell)
        model = models.setdefault(loaded[:2], len(models))
        ranks.setdefault(key, (model, networks.setdefault(loaded, len(networks)), loaded))
    batches: list[Batch] = []
    for key in sorted(
        groups, key=lambda key: ranks[key][:2]
    ):  # stable: groups stay in the order of their cells
        limit = together or together_by_default(groups[key][0].record, own)
        for part in _parts(groups[key], limit):
            batches.append(Batch(number=len(batches), cells=part, loaded=ranks[key][2]))
    return batches


def batches_of_plan(plan: Plan, cells: Sequence[Cell]) -> list[Batch]:
    """Return the batches of a whole plan."""
    return batches_of(cells, plan.together, UNKNOWN if plan.setup.model else EMBEDDED)


def _parts(cells: list[Cell], together: int) -> list[tuple[int, ...]]:
    """Return the numbers of ``cells`` in parts of nearly one size; of several passes only seeds that follow."""
    runs = _runs_of_seeds(cells) if has_passes(cells[0].record) else [cells]
    parts: list[tuple[int, ...]] = []
    for run in runs:
        count = -(-len(run) // together)
        edges = [round(i * len(run) / count) for i in range(count + 1)]
        parts += [tuple(cell.number for cell in run[a:b]) for a, b in pairwise(edges)]
    return parts


def _runs_of_seeds(cells: list[Cell]) -> list[list[Cell]]:
    """Return ``cells``, which differ in their seeds alone, in runs of seeds that count up by one."""
    runs: list[list[Cell]] = []
    for cell in sorted(cells, key=lambda cell: (cell.record.seed or 0, cell.number)):
        if runs and (runs[-1][-1].record.seed or 0) + 1 == cell.record.seed:
            runs[-1].append(cell)
        else:
            runs.append([cell])
    return runs


def _alike(cell: Cell) -> Hashable:
    """Return what the cells of one batch have in common."""
    record = cell.record
    if is_single(record):
        return cell.number
    if has_passes(record):
        return replace(record, seed=None)
    own = record.concord
    if own is not None and any(getattr(own, name) is not None for name in _PER_PICTURE):
        own = replace(own, **dict.fromkeys(_PER_PICTURE))
    return *(getattr(record, name) for name in _TOGETHER), own


def is_single(record: Generation) -> bool:
    """Tell whether the picture is made alone: its steps, or its noise, would depend on its neighbours."""
    if _chooses_steps(record.sampler):
        return True
    varied = record.variation is not None and (record.variation.strength or 0) > 0
    return has_passes(record) and (varied or _shares_noise(record.concord, record.sampler))


@lru_cache(maxsize=1024)
def _chooses_steps(sampler: str | None) -> bool:
    """Tell whether ``sampler`` measures errors over the batch, to choose its steps."""
    name = sampler_called(sampler or DEFAULT_SAMPLER)
    return name in SAMPLERS and SAMPLERS[name].nfe is None


@lru_cache(maxsize=1024)
def _shares_noise(own: ConcordSettings | None, sampler: str | None) -> bool:
    """Tell whether the program whose profile is followed draws noise for a batch as a whole."""
    try:
        host = profile_of(Generation(concord=own))
    except ConcordError:  # it is told when the cell's turn comes
        return True
    name = sampler_called(sampler or DEFAULT_SAMPLER)
    return host.noise_layout == "batch" or host.sde_noise == "tree_per_batch" or name in host.global_noise


@lru_cache(maxsize=4096)
def _tags(prompt: str) -> tuple[str, ...]:
    return tuple(_TAG.findall(prompt))
