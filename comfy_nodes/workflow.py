"""An infotext → a workflow of ComfyUI's page: loader, Concord Sampler, hires, refiner, detailer, Concord Save Image."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from ..core.errors import BadValue
from ..core.filled import filled, profile_of
from ..core.image import Generation, parse_infotext
from ..core.image.parts import ConcordSettings, Hires
from ..core.options import sampler_options_of, schedule_options_of
from ..core.profiles import PROFILES
from ..core.run import DEFAULT_STRENGTH
from ..core.sampling import SAMPLERS
from ..core.sigmas import SCHEDULERS
from .litegraph import Node, described, litegraph

ENDINGS = (".safetensors", ".ckpt", ".pt", ".gguf")
NOISE = {"CPU": "CPU", "GPU": "graphics card", "NV": "graphics card"}
"""What Concord Sampler's dropdown calls the places where noise is drawn."""
SAME_MODEL = ("", "Use same checkpoint")
SAME_AS = ("Use same", "None")
"""How ADetailer begins what leaves a choice to the picture."""
FIRST, SECOND, COLUMN = 0, 380, 480
"""Columns of the workflow, in pixels: the loaders', the sampler's, and how far apart the next ones are."""
DETAILER = ("ConcordDetectorLoader", "ConcordDetailerUnit", "ConcordDetailer")


@dataclass(frozen=True, kw_only=True)
class Files:
    """What there is to choose from: checkpoints, and detectors where Concord's detailer is there."""

    checkpoints: Sequence[str]
    detectors: Sequence[str] | None = None
    unit_widgets: Collection[str] = ()


def opened(text: str, nodes: Mapping[str, Any], checkpoints: Sequence[str]) -> dict[str, Any]:
    """Return the workflow that makes the picture of an infotext again, and ``notes`` on what it lacks.

    ``nodes``: ComfyUI's node classes by id.  ``checkpoints``: the files there are.  Raises ``BadValue`` for a
    text without settings.
    """
    record = parse_infotext(text)
    if not record.source:
        raise BadValue(
            "the text has no settings such as 'Steps: 20, Sampler: Euler a, …'; open another picture"
        )
    record, notes = named(record)
    files = files_of(nodes, checkpoints)
    graph = graph_of(record, files)
    notes += left_out(record, files)
    workflow, unknown = litegraph(graph, nodes)
    notes += unknown
    if notes:
        _add_note(workflow, "\n\n".join(notes))
    return {"workflow": workflow, "notes": notes}


def files_of(nodes: Mapping[str, Any], checkpoints: Sequence[str]) -> Files:
    """Return what there is to choose from; a front without detectors has no detailer."""
    if any(kind not in nodes for kind in DETAILER):
        return Files(checkpoints=checkpoints)
    loader, unit = (described(nodes[kind]) for kind in DETAILER[:2])
    return Files(
        checkpoints=checkpoints, detectors=loader.choices("detector"), unit_widgets=unit.inputs.keys()
    )


def named(record: Generation) -> tuple[Generation, list[str]]:
    """Return ``record`` with its program's profile and the registries' names, and a note on a name unknown."""
    own = record.concord or ConcordSettings()
    made_by = own.profile or record.host
    record = replace(record, concord=replace(own, profile=made_by if made_by in PROFILES else "a1111"))
    record = replace(record, seed=record.seed or 0)
    try:
        return filled(record), []
    except BadValue as error:
        default = filled(
            replace(record, sampler=None, scheduler=None, sampler_options=None, schedule_options=None)
        )
        note = str(error).partition(";")[0]
        return default, [
            f"The picture has an {note}; {default.sampler}, {default.scheduler} stands in for it."
        ]


def left_out(record: Generation, files: Files) -> list[str]:
    """Return what the picture had and the workflow has not, in words."""
    notes: list[str] = []
    if record.denoising_strength is not None and record.hires is None:
        notes.append(
            f"The picture was made of another one, at strength {record.denoising_strength:g}: load that one, encode "
            "it with VAE Encode and wire it to Concord Sampler's latent."
        )
    models = ", ".join(unit.model or "a detector" for unit in record.detailer)
    if record.detailer and files.detectors is None:
        notes.append(
            f"The picture was detailed with {models}, and Concord Detailer is not there: see ComfyUI's log."
        )
    for unit in record.detailer:
        others = (unit.checkpoint, unit.vae, unit.controlnet_model)
        for one in filter(None, others):
            if not one.startswith(SAME_AS):
                notes.append(f"The detailer's unit {unit.model} had its own {one}, which is left out.")
    if record.face_restoration:
        notes.append(f"Faces were restored with {record.face_restoration}, which is left out.")
    if record.tiling:
        notes.append("The picture tiles, which is left out.")
    return notes


def graph_of(record: Generation, files: Files) -> list[Node]:
    """Return the nodes of the workflow; ``record`` is filled in."""
    loader = _loader(record.model.name if record.model else None, files.checkpoints, 0)
    nodes = [loader]
    wires = {"model": loader.output("MODEL"), "clip": loader.output("CLIP"), "vae": loader.output("VAE")}
    second = _refiner(record, files, nodes)
    passes = record.refiner.passes if record.refiner else None
    last = sampler = Node("ConcordSampler", (SECOND, 0), (420, 1000), {**wires, **sampler_widgets(record)})
    if second and (passes != "second pass" or not record.hires):
        sampler.inputs["refiner"] = second.output("refiner")
    nodes.append(sampler)
    if record.hires is not None:
        last = _hires(record, record.hires, wires, sampler, files, nodes)
        if second and passes in ("second pass", "both passes"):
            last.inputs["refiner"] = second.output("refiner")
    if record.detailer and files.detectors is not None:
        last = _detailer(record, wires, last, files, nodes)
    saved = {"images": last.output("IMAGE"), "record": last.output("record")}
    nodes.append(Node("ConcordSaveImage", (last.place[0] + COLUMN, 0), (420, 320), saved))
    return nodes


def sampler_widgets(record: Generation) -> dict[str, Any]:
    """Return the values of Concord Sampler's widgets; those that are not there are as by default."""
    width, height = record.size or (512, 512)
    own, variation = record.concord or ConcordSettings(), record.variation
    sgm = record.schedule_options and record.schedule_options.sgm_noise
    values = {
        "positive": record.prompt,
        "negative": record.negative_prompt,
        "profile": own.profile,
        "seed": record.seed,
        "steps": record.steps,
        "cfg": record.cfg,
        "sampler": record.sampler,
        "scheduler": record.scheduler,
        "width": width,
        "height": height,
        "denoise": record.denoising_strength if record.hires is None else None,
        "clip_skip": record.clip_skip,
        "noise": NOISE.get(record.rng or "") if record.rng != _own_noise(record) else None,
        "ensd": record.ensd,
        "sgm_noise": None if sgm is None else ("on" if sgm else "off"),
        "cfg_rescale": own.cfg_rescale,
        "emphasis": record.emphasis,
        "dialect": own.dialect,
        "variation_seed": variation.seed if variation and variation.strength else None,
        "variation": variation.strength if variation and variation.strength else None,
        "options": options_text(record) or None,
    }
    return _given(values)


def _own_noise(record: Generation) -> str | None:
    """Return where the record's profile draws noise."""
    return "CPU" if profile_of(record).noise_source == "cpu" else "NV"


def options_text(record: Generation) -> str:
    """Return the options of sampler and schedule that differ from their defaults, as one writes them."""
    sampler, schedule = SAMPLERS[record.sampler or ""], SCHEDULERS[record.scheduler or ""]
    given = sampler_options_of(record, sampler, strict=False) | schedule_options_of(
        record, schedule, strict=False
    )
    return ", ".join(f"{name}={value}" for name, value in given.items())


def _loader(model: str | None, checkpoints: Sequence[str], y: int) -> Node:
    """Return a checkpoint loader of ``model``, whose file may have another folder and ending; None is any."""
    names = [file for file in checkpoints if model is None or stem(file) == stem(model)]
    name = names[0] if names else f"{model or 'model'}.safetensors"
    return Node("CheckpointLoaderSimple", (FIRST, y), (320, 100), {"ckpt_name": name})


def stem(name: str) -> str:
    """Return the name of a model file without folder and ending, in small letters."""
    file = PurePosixPath(name.replace("\\", "/")).name
    for ending in ENDINGS:
        file = file.removesuffix(ending)
    return file.partition(" [")[0].casefold()


def _refiner(record: Generation, files: Files, nodes: list[Node]) -> Node | None:
    """Add the refiner, where there is one, and return it."""
    wanted = record.refiner
    if wanted is None or not wanted.model:
        return None
    loader = _loader(wanted.model, files.checkpoints, 160)
    given = {
        "switch_at": wanted.switch_at,
        "aesthetic_score": wanted.aesthetic_score,
        "negative_aesthetic_score": wanted.negative_aesthetic_score,
    }
    inputs = _given(given)
    inputs |= {"model": loader.output("MODEL"), "clip": loader.output("CLIP")}
    nodes += [loader, Node("ConcordRefiner", (FIRST, 320), (320, 160), inputs)]
    return nodes[-1]


def _hires(
    record: Generation,
    hires: Hires,
    wires: dict[str, Any],
    first: Node,
    files: Files,
    nodes: list[Node],
) -> Node:
    """Add the hires pass and return it."""
    if (hires.checkpoint or "") not in SAME_MODEL:
        loader = _loader(hires.checkpoint, files.checkpoints, 540)
        nodes.append(loader)
        wires = wires | {"model": loader.output("MODEL"), "clip": loader.output("CLIP")}
    again = filled(
        Generation(
            sampler=hires.sampler or record.sampler, scheduler=hires.scheduler, seed=0, concord=record.concord
        )
    )
    width, height = hires.resize or (0, 0)
    strength = DEFAULT_STRENGTH if record.denoising_strength is None else record.denoising_strength
    given = {
        "upscaler": hires.upscaler,
        "upscale": hires.upscale,
        "width": width,
        "height": height,
        "steps": hires.steps,
        "denoise": strength,
        "sampler": again.sampler if hires.sampler else None,
        "scheduler": again.scheduler if hires.scheduler else None,
        "cfg": hires.cfg,
        "positive": hires.prompt,
        "negative": hires.negative_prompt,
    }
    inputs = wires | {"latent": first.output("LATENT"), "record": first.output("record")}
    inputs |= _given(given)
    node = Node("ConcordHires", (SECOND + COLUMN, 0), (420, 760), inputs)
    nodes.append(node)
    return node


def _detailer(record: Generation, wires: dict[str, Any], last: Node, files: Files, nodes: list[Node]) -> Node:
    """Add the detailer with its units and return it."""
    x, y, before = last.place[0] + COLUMN, 0, None
    for unit in record.detailer:
        known = [name for name in files.detectors or () if stem(name) == stem(unit.model or "")]
        given = {"detector": known[0] if known else unit.model, "confidence": unit.confidence}
        given["classes"] = unit.model_classes
        detector = Node(DETAILER[0], (x, y), (420, 130), _given(given))
        values = {name: getattr(unit, name) for name in files.unit_widgets if hasattr(unit, name)}
        for name in ("sampler", "scheduler"):
            if str(values.get(name)).startswith(SAME_AS):
                values.pop(name, None)
        inputs = _given({name: value for name, value in values.items() if name not in wires})
        inputs["detector"] = detector.output("detector")
        if before is not None:
            inputs["before"] = before.output("units")
        before = Node(DETAILER[1], (x, y + 180), (420, 1120), inputs)
        nodes += [detector, before]
        y += 1360
    assert before is not None
    inputs = wires | {
        "images": last.output("IMAGE"),
        "record": last.output("record"),
        "units": before.output("units"),
    }
    nodes.append(Node(DETAILER[2], (x + COLUMN, 0), (420, 760), inputs))
    return nodes[-1]


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are there."""
    return {name: value for name, value in values.items() if value is not None}


def _add_note(workflow: dict[str, Any], text: str) -> None:
    """Add a note that the page shows beside the nodes."""
    number = workflow["last_node_id"] = workflow["last_node_id"] + 1
    below = max(node["pos"][1] + node["size"][1] for node in workflow["nodes"] if node["pos"][0] == FIRST)
    workflow["nodes"].append(
        {
            "id": number,
            "type": "Note",
            "pos": [FIRST, below + 80],
            "size": [320, 220],
            "inputs": [],
            "outputs": [],
            "properties": {"text": ""},
            "widgets_values": [text],
            "mode": 0,
            "flags": {},
            "order": number,
            "title": "Notes on this workflow",
        }
    )
