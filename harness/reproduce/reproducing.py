"""Recorded pictures one after the other: their models found and loaded, drawn, judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core.errors import BadFile, ConcordError
from ...core.image.generation import Generation
from ...core.image.model_ref import ModelRef
from ..pipeline import DEMO, Pipeline
from .blaming import Blame, Others, find_blame
from .drawing import Attempt, attempt_graph, first_attempt
from .finding import Files, Found, with_network_names
from .recorded import Recorded, read_recorded
from .sources import PictureShelf, Source, possible_sources
from .verdict import Verdict

MOST_VAES = MOST_MODELS = 4
_SOURCE_NODES = ("LoadImage ", "LoadImageMask ", "SetLatentNoiseMask ", "which of the ")
"""Of a graph, what its record leaves out and is found here all the same."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are looked for.  ``model``: the checkpoint of all pictures, whatever they record."""

    model: Path | None = None
    models: Sequence[Path] = ()
    loras: Sequence[Path] = ()
    embeddings: Sequence[Path] = ()
    upscalers: Sequence[Path] = ()
    detectors: Sequence[Path] = ()
    images: Sequence[Path] = ()
    masks: Sequence[Path] = ()


@dataclass
class Reproducer:
    """Draws recorded pictures again.

    ``tries``: how many changes of a setting are drawn at most to find the one to blame.  ``load_options``: of
    `load_model`.  The model of the last picture stays loaded.
    """

    places: Places
    profile: str | None = None
    tries: int = 100
    load_options: dict[str, Any] = field(default_factory=dict[str, Any])
    _loaded: tuple[object, Pipeline] | None = None

    def __post_init__(self) -> None:
        """Make the shelves of files."""
        places = self.places
        self._models, self._loras = Files(places.models), Files(places.loras)
        self._embeddings = Files(places.embeddings)

    def judge(self, path: Path) -> Verdict:
        """Return what comes of picture file ``path``; what goes wrong is in the verdict."""
        try:
            recorded = read_recorded(path, self.profile)
        except ConcordError as error:
            return Verdict(file=path, error=str(error))
        notes = list(recorded.notes)
        if recorded.is_playable:  # what the record leaves out of the graph is carried out all the same
            notes = []
        try:
            attempt, pipeline, vae = self._attempt(recorded, notes)
        except ConcordError as error:
            return Verdict(file=path, profile=recorded.profile, error=str(error), notes=tuple(notes))
        notes += pipeline.warnings
        return Verdict(
            file=path,
            profile=recorded.profile,
            attempt=attempt,
            blame=None if attempt.same else self._blame(recorded, attempt, pipeline, vae),
            notes=tuple(dict.fromkeys(notes)),
            where="graph" if recorded.graph else "text",
        )

    def _blame(
        self, recorded: Recorded, attempt: Attempt, pipeline: Pipeline, vae: Path | None
    ) -> Blame | None:
        """Return the setting to blame; that of a graph which is more than its record is not looked for."""
        if not self.tries or (recorded.graph and not self._is_whole(recorded)):
            return None
        if recorded.graph and recorded.wants_picture:
            sources = self._sources(recorded, attempt.record)
            attempt = replace(attempt, source=sources[0] if sources else attempt.source)
        return find_blame(
            pipeline,
            recorded,
            attempt,
            tries=self.tries,
            others=self._others(pipeline, vae),
        )

    def _others(self, pipeline: Pipeline, vae: Path | None) -> Others:
        """Return the VAEs and checkpoints that may have been used instead; no other than a ``--model``."""
        model = Path(pipeline.model.path)
        others = [] if self.places.model is not None else self._checkpoints()
        return Others(
            load=lambda change: self._pipeline(change.model or model, change.vae or vae),
            vaes=[one for one in self._vaes() if one != vae],
            models=[one for one in others if one.resolve() != model.resolve()][:MOST_MODELS],
        )

    @staticmethod
    def _is_whole(recorded: Recorded) -> bool:
        """Tell whether the record of a graph leaves out nothing but where its pictures come from."""
        return all(note.startswith(_SOURCE_NODES) for note in recorded.notes)

    def _attempt(self, recorded: Recorded, notes: list[str]) -> tuple[Attempt, Pipeline, Path | None]:
        """Return the attempt with the settings as they are, on what pipeline and VAE; adds to ``notes``."""
        record, told = with_network_names(recorded.record, self._loras, self._embeddings)
        notes += told
        model = self._checkpoint(record, notes)
        vae = self._vae(record, notes)
        pipeline = self._pipeline(model, vae)
        if recorded.is_playable:
            shelf = PictureShelf(paths=(*self.places.images, *self.places.masks))
            return attempt_graph(pipeline, recorded, shelf), pipeline, vae
        sources = self._sources(recorded, record) if recorded.wants_picture else []
        return first_attempt(pipeline, replace(recorded, record=record), sources), pipeline, vae

    def _sources(self, recorded: Recorded, record: Generation) -> list[Source]:
        masks = self.places.masks if recorded.wants_mask or recorded.graph or self._masks_are_files else ()
        return possible_sources(self.places.images, masks, hash_=record.init_image_hash, graph=recorded.graph)

    @property
    def _masks_are_files(self) -> bool:
        """Tell whether masks were named one by one, so that they are meant whatever a text leaves out."""
        return bool(self.places.masks) and all(path.is_file() for path in self.places.masks)

    def _checkpoint(self, record: Generation, notes: list[str]) -> Path:
        """Return the checkpoint of ``record``; raises ``BadFile`` when it is nowhere."""
        ref = record.model or ModelRef()
        if self.places.model is not None:
            wrong = (
                ref.hash
                and self.places.model.is_file()
                and not self._models.has_hash(self.places.model, ref.hash)
            )
            if wrong:
                notes.append(
                    f"the model: {self.places.model.name} does not have the recorded hash {ref.hash}"
                )
            return self.places.model
        found = self._models.find(ref)
        if found is None and ref.name in (DEMO.name, None):
            return DEMO
        if found is None:
            what = f"{ref.name}{f' [{ref.hash}]' if ref.hash else ''}"
            raise BadFile(
                f"model {what} is not there; name its folder with --model-dir, or a file with --model"
            )
        _note(found, f"the model: {found.path.name}", ref, notes)
        return found.path

    def _vae(self, record: Generation, notes: list[str]) -> Path | None:
        ref = record.vae
        if ref is None or (ref.name is None and ref.hash is None):
            return None
        found = self._models.find(ref)
        if found is None:
            notes.append(f"the VAE {ref.name or ref.hash} is not there; the checkpoint's own is used")
            return None
        _note(found, f"the VAE: {found.path.name}", ref, notes)
        return found.path

    def _vaes(self) -> list[Path]:
        """Return the files that are VAEs by their names."""
        return [path for path in self._models if "vae" in path.stem.lower() and path.is_file()][:MOST_VAES]

    def _checkpoints(self) -> list[Path]:
        """Return the files and folders that may be checkpoints, by their names, and the embedded model."""
        return [*(path for path in self._models if "vae" not in path.stem.lower()), DEMO]

    def _pipeline(self, model: Path, vae: Path | None) -> Pipeline:
        key = (model, vae)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            places = self.places
            pipeline = Pipeline.load(
                model,
                lora_folders=places.loras,
                embedding_folders=places.embeddings,
                model_folders=places.models,
                upscaler_folders=places.upscalers,
                detector_folders=places.detectors,
                vae=vae,
                **self.load_options,
            )
            self._loaded = (key, pipeline)
        return self._loaded[1]


def _note(found: Found, what: str, ref: ModelRef, notes: list[str]) -> None:
    if found.certain is False:
        notes.append(f"{what} does not have the recorded hash {ref.hash}")
