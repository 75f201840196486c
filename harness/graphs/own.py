"""Nodes of a graph that are this project's own: Concord Sampler, whose widgets are a record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...core.errors import BadValue
from ...core.filled import names_of, profile_of
from ...core.image.generation import Generation
from ...core.image.graph import Node
from ...core.image.parts import ConcordSettings, ScheduleOptions, Variation
from ...core.options import with_options
from ..stages.canvas import Canvas
from ..stages.codec import decode
from ..stages.drawing import Drawing
from .latents import Floats
from .playing import Play, node
from .values import ClipWire, LatentWire, ModelWire

BY_PROFILE = "as the profile"
"""The entry of a dropdown that leaves a choice to the profile."""
NOISE = {"CPU": "CPU", "graphics card": "NV"}
SWITCH = {"on": True, "off": False}
_PREFIX = "concord_"
Drawn = tuple[LatentWire, Generation, list[Floats], str]


@node("ConcordSampler")
def concord_sampler(play: Play, at: Node) -> Drawn:
    """Run the pass that the widgets ask for; a picture's record or a refiner wired to it is not carried out."""
    for name in ("record", "refiner"):
        if play.has(at, name):
            raise BadValue(f"{at.kind} {at.id} takes its {name} from a wire, which is not carried out here")
    model: ModelWire = play.wire(at, "model")
    clip: ClipWire = play.wire(at, "clip")
    if model.loras or clip.loras or play.flag(at, "wildcards"):
        raise BadValue(
            f"{at.kind} {at.id} has LoRAs or wildcards that are not in its text; they are not carried out"
        )
    pipeline = model.pipeline
    latent: LatentWire | None = play.wire(at, "latent") if play.has(at, "latent") else None
    record = record_of(play, at)
    if clip.skip and record.clip_skip is None:
        record = replace(record, clip_skip=clip.skip)
    batch, canvas = play.whole(at, "batch_size", 1), None
    if latent is not None:
        rows, columns = latent.samples.shape[2:]
        record = replace(
            record, size=(columns * 8, rows * 8), denoising_strength=play.number(at, "denoise", 0.75)
        )
        batch = batch if len(latent.samples) == 1 else len(latent.samples)
        canvas = None if latent.mask is None else _canvas(latent)
    drawing = Drawing(pipeline=pipeline, record=pipeline.complete(record), batch=batch)
    start = None if latent is None else latent.samples.expand(batch, -1, -1, -1)
    samples = drawing.draw("text" if latent is None else "image", latent=start, canvas=canvas)
    out = LatentWire(samples=samples)
    return out, record, list(decode(pipeline.model, samples)), "\n\n".join(drawing.warnings)


def _canvas(latent: LatentWire) -> Canvas:
    """Return the canvas that has the mask of a latent."""
    assert latent.mask is not None
    mask = (latent.mask[0].clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    return Canvas(image=np.zeros((*mask.shape, 3), np.uint8), mask=mask)


def record_of(play: Play, at: Node) -> Generation:
    """Return the record of what the widgets say; raises ``BadValue`` that names the setting."""
    sgm = SWITCH.get(play.text(at, "sgm_noise", BY_PROFILE))
    variation = play.number(at, "variation", 0.0)
    emphasis, dialect = (play.text(at, name, BY_PROFILE) for name in ("emphasis", "dialect"))
    record = Generation(
        prompt=play.text(at, "positive", ""),
        negative_prompt=play.text(at, "negative", ""),
        steps=play.whole(at, "steps"),
        sampler=play.text(at, "sampler").removeprefix(_PREFIX),
        scheduler=play.text(at, "scheduler").removeprefix(_PREFIX),
        cfg=play.number(at, "cfg"),
        seed=play.whole(at, "seed"),
        size=(play.whole(at, "width"), play.whole(at, "height")),
        clip_skip=play.whole(at, "clip_skip", 0) or None,
        rng=NOISE.get(play.text(at, "noise", BY_PROFILE)),
        ensd=play.whole(at, "ensd", 0) or None,
        schedule_options=None if sgm is None else ScheduleOptions(sgm_noise=sgm),
        variation=Variation(seed=play.whole(at, "variation_seed", 0), strength=variation)
        if variation
        else None,
        emphasis=None if emphasis == BY_PROFILE else emphasis,
        concord=ConcordSettings(
            profile=play.text(at, "profile"),
            dialect=None if dialect == BY_PROFILE else dialect,
            cfg_rescale=play.number(at, "cfg_rescale", 0.0) or None,
        ),
    )
    return _optioned(record, play.text(at, "options", ""))


def _optioned(record: Generation, text: str) -> Generation:
    """Return ``record`` with options such as ``eta=0.7, rho=5``."""
    pairs = [one.partition("=") for one in text.replace("\n", ",").split(",") if one.strip()]
    if not pairs:
        return record
    sampler, scheduler = names_of(profile_of(record), record.sampler, record.scheduler)
    given = {name.strip(): value.strip() for name, _, value in pairs}
    return with_options(replace(record, sampler=sampler, scheduler=scheduler), given)
