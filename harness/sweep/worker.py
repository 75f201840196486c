"""What makes the pictures of a sweep: holds a model, takes batches, hands back files in memory."""

from __future__ import annotations

import argparse
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.errors import ConcordError
from ...core.image import Generation, format_infotext
from ...core.image.files import image_bytes
from ...core.recipes import FilesThere, ModelKind, findings_of, fit_to_files
from ...core.run import Sampling
from ..models import load_model
from ..pipeline import DEMO, Picture, Pipeline
from ..recipe_files import files_there, kind_of
from ..stages.detailing import detectors_of
from ..stages.second import find_model
from ..texts import Texts
from .memory import Memory, remembering
from .order import Loaded, has_passes
from .setup import Setup
from .together import JointUnet, TogetherDenoiser

_FOLDERS = ("lora_dir", "embedding_dir", "model_dir", "upscaler_dir", "detector_dir")
TEXTS = 64
"""Pairs of prompts that are kept as they were read."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A batch to be made: ``cells`` with their records, of which only the ``wanted`` ones are handed back.

    The others go through the network too, since a picture's last bit depends on the batch that it is made in.
    """

    number: int
    cells: tuple[tuple[int, Generation], ...]
    wanted: frozenset[int]
    loaded: Loaded


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of a cell: the picture's file with its infotext, or the ``problem`` why there is none."""

    cell: int
    content: bytes = b""
    infotext: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str | None = None


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Let torch use ``threads`` of the processor within the block; sums depend on how they are parted."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Worker:
    """Makes batches with the models that they name, one model at a time."""

    def __init__(self, setup: Setup, threads: int) -> None:
        """Load nothing yet."""
        self._setup, self._threads = setup, threads
        self._held: tuple[Hashable, _Held] | None = None
        self.loads = 0

    def ready(self) -> bool:
        """Tell that it is there."""
        return True

    def make(self, job: Job) -> list[Made]:
        """Return what became of each wanted cell of ``job``; never raises for what is wrong with one."""
        started = time.perf_counter()
        with pinned(self._threads):
            try:
                made = self._hold(job.loaded).make(job)
            except ConcordError as error:
                made = failed(job, str(error))
            except Exception as error:  # whatever a batch dies of, the others are made
                made = failed(job, _reason(error))
        seconds = (time.perf_counter() - started) / max(len(made), 1)
        return [replace(one, seconds=seconds) for one in made]

    def _hold(self, loaded: Loaded) -> _Held:
        key = (loaded.model, loaded.vae)
        if self._held is None or self._held[0] != key:
            self._held = None  # the memory of the old one is free before the new one is loaded
            self._held = key, _Held.load(self._setup, loaded)
            self.loads += 1
        return self._held[1]


def failed(job: Job, problem: str) -> list[Made]:
    """Return that no wanted cell of ``job`` could be made."""
    return [Made(cell=cell, problem=problem) for cell, _ in job.cells if cell in job.wanted]


def _reason(error: Exception) -> str:
    """Return why a batch died, in one line."""
    line = " ".join(str(error).split())[:300]
    if isinstance(error, torch.OutOfMemoryError):
        return f"the card's memory is full ({line}); plan the sweep with a smaller --batch"
    return f"{type(error).__name__}: {line}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ready:
    """A cell that is ready to be drawn."""

    cell: int
    record: Generation
    sampling: Sampling
    texts: Texts
    warnings: tuple[str, ...]

    @property
    def alike(self) -> Hashable:
        """What the cells of one run of the sampler have in common."""
        sampling = self.sampling
        sigmas = tuple(sampling.sigmas.tolist())
        options = tuple(sorted(sampling.options.items()))
        return sampling.sampler.name, options, sigmas, sampling.host, sampling.steps, self.record.size


@dataclass(eq=False)
class _Held:
    """A loaded model with its pipeline, ``unet`` before its network, and the texts that were read last."""

    pipeline: Pipeline
    unet: JointUnet
    memory: Memory
    files: FilesThere
    kind: ModelKind
    texts: OrderedDict[Hashable, tuple[Texts, tuple[str, ...]]] = field(default_factory=OrderedDict)

    @classmethod
    def load(cls, setup: Setup, loaded: Loaded) -> _Held:
        """Return the model of that name, the setup's own unless there is one."""
        memory = Memory()
        folders = {
            name.replace("_dir", "_folders"): tuple(map(Path, getattr(setup, name))) for name in _FOLDERS
        }
        path = setup.path if loaded.model is None else _found(loaded.model, setup)
        vae = setup.vae if loaded.vae is None else _found(loaded.vae, setup)
        model = load_model(
            path,
            device=setup.device,
            dtype=setup.dtype,
            vae=vae,
            prediction=setup.prediction,  # pyright: ignore[reportArgumentType]
            ztsnr=setup.ztsnr,
        )
        pipeline = Pipeline(remembering(model, memory), **folders)
        if setup.detailer_batch is not None:
            pipeline.detailer_batch = setup.detailer_batch
        unet = JointUnet(pipeline.model.unet)
        pipeline.model = replace(pipeline.model, unet=unet)  # pyright: ignore[reportArgumentType]
        options = argparse.Namespace(
            **{name: [Path(one) for one in getattr(setup, name)] for name in _FOLDERS}
        )
        files = files_there(options, pipeline.model)
        return cls(pipeline, unet, memory, files, kind_of(pipeline.model))

    def make(self, job: Job) -> list[Made]:
        """Return what became of each wanted cell."""
        if any(has_passes(record) for _, record in job.cells):
            return self._in_passes(job)
        made: dict[int, Made] = {}
        groups: dict[Hashable, list[_Ready]] = {}
        for cell, record in job.cells:
            try:
                ready = self._ready(cell, record)
            except ConcordError as error:
                made[cell] = Made(cell=cell, problem=str(error))
                continue
            apart = cell if ready.texts.schedules_networks else None
            groups.setdefault((apart, ready.alike), []).append(ready)
        for group in groups.values():
            made |= {one.cell: one for one in self._drawn(group, job.wanted)}
        return [made[cell] for cell, _ in job.cells if cell in job.wanted]

    def _ready(self, cell: int, wanted: Generation) -> _Ready:
        wanted, advice = self._fitted(wanted)
        record = self.pipeline.complete(wanted)
        if record.detailer:
            detectors_of(record, self.pipeline.detector_folders)
        sampling = self.pipeline.sampling(record)
        texts, warnings = self._read(record, sampling)
        said = (*advice, *warnings)
        return _Ready(cell=cell, record=record, sampling=sampling, texts=texts, warnings=said)

    def _fitted(self, wanted: Generation) -> tuple[Generation, list[str]]:
        """Return ``wanted`` with files that are there, and what its recipe has to say of the files and of the rest."""
        record, lines = fit_to_files(wanted, self.files)
        return record, [*lines, *map(str, findings_of(wanted, self.kind))]

    def _read(self, record: Generation, sampling: Sampling) -> tuple[Texts, tuple[str, ...]]:
        """Return the encoded prompts of ``record``, read once for all records that differ in nothing else."""
        key = replace(record, seed=None, cfg=None, variation=None)
        if key not in self.texts:
            texts = self.pipeline.read(record, sampling)
            self.texts[key] = texts, tuple(self.pipeline.warnings)
            while len(self.texts) > TEXTS:
                self.texts.popitem(last=False)
        self.texts.move_to_end(key)
        return self.texts[key]

    def _drawn(self, group: list[_Ready], wanted: frozenset[int]) -> list[Made]:
        """Return the wanted cells of a group that is drawn together, or one by one where that fails."""
        if not any(one.cell in wanted for one in group):
            return []
        try:
            latents = self._latents(group)
        except ConcordError as error:
            if len(group) == 1:
                return [Made(cell=group[0].cell, problem=str(error))]
            return [made for one in group for made in self._drawn([one], wanted)]
        drawn = zip(group, latents.split(1), strict=True)
        return [self._finished(one, latent) for one, latent in drawn if one.cell in wanted]

    @torch.inference_mode()
    def _latents(self, group: Sequence[_Ready]) -> Tensor:
        """Return the clean latents (B, C, h, w) of cells that are alike."""
        pipeline = self.pipeline
        shape = pipeline.latent_shape(group[0].record)
        drawn = [one.sampling.noise(shape) for one in group]
        device = pipeline.model.device
        starts = [one.sampling.start(first.to(device)) for one, (first, _) in zip(group, drawn, strict=True)]
        pipeline.lay_on(group[0].texts)
        denoisers = [
            pipeline.denoiser(one.sampling, one.texts, start)
            for one, start in zip(group, starts, strict=True)
        ]

        def noise(sigma: float, sigma_next: float) -> Tensor:
            return torch.cat([steps(sigma, sigma_next) for _, steps in drawn])

        denoiser = TogetherDenoiser(self.unet, denoisers) if len(group) > 1 else denoisers[0]
        return pipeline.sample(group[0].sampling, denoiser, torch.cat(starts), noise)

    def _finished(self, one: _Ready, latent: Tensor) -> Made:
        pipeline = self.pipeline
        try:
            [image] = pipeline.decode(latent)
            picture = Picture(image, replace(one.record, networks=pipeline.networks(one.texts)))
            warnings = list(one.warnings)
            if one.record.detailer:
                pipeline.warnings = []
                picture = pipeline.detail(picture)
                warnings += pipeline.warnings
            return _made(one.cell, picture, warnings)
        except ConcordError as error:
            return Made(cell=one.cell, problem=str(error))

    def _in_passes(self, job: Job) -> list[Made]:
        """Return cells of several passes, whose seeds count up."""
        [(_, first), *_] = job.cells
        wanted, advice = self._fitted(first)
        pictures = self.pipeline.generate(wanted, batch=len(job.cells))
        said = (*advice, *self.pipeline.warnings)
        return [
            _made(cell, picture, said)
            for (cell, _), picture in zip(job.cells, pictures, strict=True)
            if cell in job.wanted
        ]


def _made(cell: int, picture: Picture, warnings: Sequence[str]) -> Made:
    record = picture.generation
    content = image_bytes(picture.image, ".png", record)
    return Made(cell=cell, content=content, infotext=format_infotext(record), warnings=tuple(warnings))


def _found(name: str, setup: Setup) -> Path:
    """Return the file or folder of a model or VAE that a record names; raises ``BadFile`` where there is none."""
    beside = [setup.path.parent] if setup.model else []
    return DEMO if name == DEMO.name else find_model(name, [*map(Path, setup.model_dir), *beside])
