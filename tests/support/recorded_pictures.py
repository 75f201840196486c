"""The recorded pictures of A1111, Forge and ComfyUI, drawn again from what their files hold, and how far they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from golden import golden_dir
from PIL import Image
from sd_concord.core.filled import profile_of
from sd_concord.core.image.generation import Generation
from sd_concord.core.image.keys import RESIZE_MODES
from sd_concord.core.image.parts import ConcordSettings, SamplerOptions, ScheduleOptions
from sd_concord.harness import Pipeline
from sd_concord.harness.reproduce.drawing import Attempt, attempt, attempt_graph
from sd_concord.harness.reproduce.recorded import Recorded, read_recorded
from sd_concord.harness.reproduce.sources import PictureShelf, Source

HOSTS = ("forge", "a1111", "comfyui")
_UNI_PC = {
    "uni_pc_variant": ("uni_pc_variant", "bh1"),
    "uni_pc_order": ("uni_pc_order", 3),
    "uni_pc_lower_order_final": ("uni_pc_lower_order_final", True),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One recorded picture: the ``host``, the request's ``id`` and kind, its ``file``, and its place in the request.

    ``request``: what was sent to a web UI with the ``options`` that were not the common ones.
    """

    host: str
    id: str
    kind: str
    file: Path
    place: int = 0
    request: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """How far a picture is: with its file alone, and with the options of the request that the file leaves out.

    ``most`` in levels of 255, ``equal`` the share of equal values.  ``left_out``: those options; without any the
    two are one.
    """

    host: str
    id: str
    kind: str
    file: str
    same: bool
    most: int
    equal: float
    left_out: tuple[str, ...] = ()
    with_options: tuple[bool, int, float] | None = None

    @property
    def same_with_options(self) -> bool:
        """Tell whether it is the same with all that was asked for."""
        return self.same if self.with_options is None else self.with_options[0]


def cases(host: str) -> Iterator[Case]:
    """Yield the recorded pictures of ``host`` that are in the golden folder."""
    folder = golden_dir("pictures") / host
    for entry in _entries(host):
        name, kind = str(entry["id"]), entry.get("group") or entry["kind"]
        for place, file in enumerate(entry["files"]):
            if (folder / file).is_file():
                yield Case(
                    host=host,
                    id=name,
                    kind=kind,
                    file=folder / file,
                    place=place,
                    request=entry.get("request", {}),
                    options=entry.get("options", {}),
                )


def _entries(host: str) -> list[dict[str, Any]]:
    """Return the requests behind the pictures: those of the sample, or of the whole set."""
    root = golden_dir("pictures")
    if (root / "sample.json").is_file():
        return json.loads((root / "sample.json").read_text())[host]
    index = json.loads((root / host / "index.json").read_text())
    return index["pictures" if host == "comfyui" else "entries"]


def measured(case: Case, pipeline: Pipeline) -> Row:
    """Return how far the picture of ``case`` is when it is drawn again."""
    recorded = read_recorded(case.file)
    if case.host == "comfyui":
        found = attempt_graph(
            pipeline, recorded, PictureShelf(paths=[golden_dir("pictures") / "comfyui/input"])
        )
        return _row(case, found)
    source = source_of(case.request)
    first = attempt(pipeline, recorded, recorded.record, source)
    whole, left_out = with_request(recorded, case)
    if not left_out:
        return _row(case, first)
    second = attempt(pipeline, recorded, whole, source)
    far = second.found
    assert far
    return replace(
        _row(case, first), left_out=tuple(left_out), with_options=(second.same, far.most, round(far.equal, 5))
    )


def _row(case: Case, found: Attempt) -> Row:
    far = found.found
    assert far, f"{case.id} was drawn at {found.size}"
    return Row(
        host=case.host,
        id=case.id,
        kind=case.kind,
        file=case.file.name,
        same=found.same,
        most=far.most,
        equal=round(far.equal, 5),
    )


def source_of(request: Mapping[str, Any]) -> Source:
    """Return what a request to a web UI begins with."""
    folder = golden_dir("pictures") / "inputs"
    if "init_images" not in request:
        return Source()

    def pixels(name: str, mode: str) -> Any:
        with Image.open(folder / name) as image:
            return np.asarray(image.convert(mode))

    mask = pixels(request["mask"], "L") if "mask" in request else None
    return Source(image=pixels(request["init_images"][0], "RGB"), mask=mask)


def with_request(recorded: Recorded, case: Case) -> tuple[Generation, list[str]]:
    """Return the record with the options of its request that its text leaves out, and their names."""
    record, left_out = recorded.record, list[str]()
    own = record.concord or ConcordSettings()
    options, request, host = case.options, case.request, profile_of(record)
    if options.get("comma_padding_backtrack") is not None and "comma_backtrack" not in host.ignores:
        own, left_out = (
            replace(own, comma_backtrack=options["comma_padding_backtrack"]),
            [*left_out, "word wrap"],
        )
    if options.get("img2img_fix_steps"):
        own, left_out = replace(own, exact_steps=True), [*left_out, "exact steps"]
    if request.get("resize_mode", 0):
        own, left_out = (
            replace(own, resize_mode=RESIZE_MODES[request["resize_mode"]]),
            [*left_out, "resize mode"],
        )
    draws_for_batch = "mask" in request and host.masking == "fresh"
    draws_for_batch = draws_for_batch or record.sampler in host.global_noise
    batch = request.get("batch_size", 1)
    if batch > 1 and draws_for_batch:
        place = case.place % batch
        own, left_out = (
            replace(own, batch_size=batch, batch_position=place),
            [*left_out, "place in the batch"],
        )
    if options.get("eta_noise_seed_delta") and record.ensd is None:
        record, left_out = replace(record, ensd=options["eta_noise_seed_delta"]), [*left_out, "ENSD"]
    sampler = record.sampler_options or SamplerOptions()
    asked = {
        name: options[key] for key, (name, default) in _UNI_PC.items() if options.get(key, default) != default
    }
    if asked:
        sampler, left_out = replace(sampler, **asked), [*left_out, "UniPC"]
    schedule = record.schedule_options or ScheduleOptions()
    skip = options.get("uni_pc_skip_type", "time_uniform")
    if skip != "time_uniform":
        schedule, left_out = replace(schedule, uni_pc_skip_type=skip), [*left_out, "UniPC skip type"]
    given = {
        "sampler_options": None if sampler == SamplerOptions() else sampler,
        "schedule_options": None if schedule == ScheduleOptions() else schedule,
    }
    return replace(record, concord=own, **given), left_out


def share(rows: Iterable[Row], *, with_options: bool) -> float:
    """Return the share of ``rows`` that are the same."""
    found = [row.same_with_options if with_options else row.same for row in rows]
    return sum(found) / len(found)
