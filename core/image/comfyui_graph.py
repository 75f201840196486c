"""From a ComfyUI graph of stock nodes to the generation record, and what of the graph that leaves out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from ..errors import BadValue
from .generation import Generation
from .graph import Graph, Node, parse_graph
from .graph_stages import Stage, Upscale, stages_above
from .model_ref import ModelRef
from .parts import ConcordSettings, Hires, Networks, Refiner

LEFT_OUT = "Concord left out"
"""The key under which the record keeps what it leaves out."""
LORAS = "Concord LoRAs"
"""The key for LoRA files and their strengths: ``name:model:clip``."""

_PICTURES = re.compile("(?i)save.*image|image.*save|previewimage")
_LATENT_NAMES = {
    "nearest-exact": "Latent (nearest-exact)",
    "bilinear": "Latent",
    "bicubic": "Latent (bicubic)",
}
_IMAGE_NAMES = {"lanczos": "Lanczos", "nearest-exact": "Nearest"}


@dataclass(frozen=True, kw_only=True)
class GraphReading:
    """What a graph says of its picture, and ``left_out``: nodes and settings that the record has no place for."""

    generation: Generation
    left_out: tuple[str, ...]


def read_comfyui_graph(graph: str | Mapping[str, Any]) -> GraphReading:
    """Return the record of the picture that ``graph`` makes: the ``prompt`` chunk, or the table it stands for.

    Of several pictures the one that most samplers made counts.  Read are the stock nodes of text to image, image
    to image, two-stage and hires graphs; every other node that the picture depends on is named in
    ``left_out`` with its id.  Raises ``BadValue`` for what is no graph, or one without a sampler.

    Source: ComfyUI 0.3.64's nodes; tests/golden/pictures/comfyui.
    """
    nodes = parse_graph(graph)
    output = _output(nodes)
    reading = stages_above(nodes, output)
    if not reading.stages:
        kinds = ", ".join(sorted({node.kind for node in nodes.nodes.values()})[:8])
        raise BadValue(f"the graph has no sampler that is known; it holds {kinds}")
    notes = list(reading.notes)
    generation = _assembled(reading.stages, notes)
    generation = replace(generation, size=reading.size, vae=reading.vae)
    own = ConcordSettings(
        profile="comfyui",
        cfg_rescale=reading.stages[0].model.cfg_rescale,
        batch_size=reading.batch if (reading.batch or 1) > 1 else None,
        batch_position=reading.position,
    )
    if (reading.batch or 1) > 1 and reading.position is None:
        notes.append(f"which of the {reading.batch} pictures of the batch this is")
    above = nodes.above(output)
    unread = [
        f"{node.kind} {node.id}" for node in above.values() if node.id not in reading.read | {output.id}
    ]
    others = [f"{node.kind} {node.id}" for node in _pictures(nodes) if node.id not in above]
    left_out = (*notes, *sorted(unread), *others)
    extras = [(LEFT_OUT, "; ".join(left_out).replace("\n", " "))] if left_out else []
    loras = ", ".join(reading.stages[0].model.loras)
    extras += [(LORAS, loras)] if loras else []
    generation = replace(generation, concord=own, version="ComfyUI", extras=tuple(extras))
    return GraphReading(generation=generation, left_out=left_out)


def _pictures(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes.values() if _PICTURES.search(node.kind)]


def _output(graph: Graph) -> Node:
    """Return the node whose picture is meant: of those that save one, the one that most samplers made."""
    used = {link.node.id for node in graph.nodes.values() for _, link in graph.links(node)}
    saving = _pictures(graph)
    ends = [node for node in graph.nodes.values() if node.id not in used]
    candidates = saving or ends or list(graph.nodes.values())

    def samplers(node: Node) -> tuple[int, bool]:
        above = graph.above(node).values()
        return sum("Sampler" in one.kind for one in above), node.kind.startswith("Save")

    return max(candidates, key=samplers)


def _assembled(stages: list[Stage], notes: list[str]) -> Generation:
    """Return the record of sampler passes in the order they run."""
    first, rest = stages[0], list(stages[1:])
    generation = Generation(
        prompt=first.positive,
        negative_prompt=first.negative,
        steps=first.steps,
        sampler=first.sampler,
        scheduler=first.scheduler,
        schedule_options=first.limits,
        cfg=first.cfg,
        distilled_cfg=first.distilled_cfg,
        seed=first.seed,
        clip_skip=first.model.clip_skip,
        model=_model(first.model.name),
        networks=Networks(loras=tuple(ModelRef(name=lora.split(":")[0]) for lora in first.model.loras)),
        denoising_strength=first.strength if first.from_picture else None,
    )
    if not first.from_picture and first.strength not in (None, 1):
        notes.append(f"{first.where}: denoise {first.strength:g} of an empty latent")
    if rest and rest[0].continues and not rest[0].upscales:
        generation = replace(generation, refiner=_refiner(first, rest[0], notes))
        rest.pop(0)
    elif first.ends_early:
        notes.append(f"{first.where}: ends at step {first.end}")
    if rest and not rest[0].continues:
        second = rest.pop(0)
        generation = replace(
            generation, hires=_hires(first, second, notes), denoising_strength=second.strength
        )
    for stage in rest:
        notes.append(f"{stage.where}: a further pass of {stage.steps} steps")
    return generation


def _model(name: str | None) -> ModelRef | None:
    return None if name is None else ModelRef(name=name)


def _refiner(first: Stage, second: Stage, notes: list[str]) -> Refiner:
    _note_changes(first, second, notes, ("positive", "negative", "cfg", "sampler", "scheduler", "limits"))
    share = second.start / second.steps if second.steps else 0.0
    return Refiner(model=second.model.name, switch_at=min(share, 1.0), by_steps=True)


def _hires(first: Stage, second: Stage, notes: list[str]) -> Hires:
    name, upscale, resize = _target(second, notes)
    _note_changes(first, second, notes, ("seed",) if second.limits is None else ("seed", "limits"))

    def other(field: str) -> Any:
        value = getattr(second, field)
        return value if value != getattr(first, field) else None

    return Hires(
        upscale=upscale,
        resize=resize,
        upscaler=name,
        steps=second.steps,
        sampler=other("sampler"),
        scheduler=other("scheduler"),
        cfg=other("cfg"),
        prompt=other("positive"),
        negative_prompt=other("negative"),
        checkpoint=second.model.name if second.model.name != first.model.name else None,
    )


def _note_changes(first: Stage, second: Stage, notes: list[str], fields: tuple[str, ...]) -> None:
    for field in fields:
        value = getattr(second, field)
        if value != getattr(first, field):
            notes.append(f"{second.where}: {field} {value!r} of its own")


def _target(stage: Stage, notes: list[str]) -> tuple[str | None, float | None, tuple[int, int] | None]:
    """Return (upscaler, factor, size) of what stands between a pass and the one before it."""
    if not stage.upscales:
        return "None", 1.0, None
    name: str | None = None
    factor: float | None = 1.0
    size: tuple[int, int] | None = None
    for upscale in stage.upscales:  # in the order they run
        name = _upscaler_name(upscale) if name is None or upscale.network else name
        if upscale.size is not None:
            size = upscale.size
        elif upscale.factor is None:
            notes.append(f"{upscale.where}: the factor is the network's own")
            factor = None
        elif size is not None:
            size = (int(size[0] * upscale.factor), int(size[1] * upscale.factor))
        elif factor is not None:
            factor *= upscale.factor
    return name, factor if size is None else None, size


def _upscaler_name(upscale: Upscale) -> str:
    if upscale.network:
        return PurePosixPath(upscale.network.replace("\\", "/")).stem
    if upscale.latent:
        return _LATENT_NAMES.get(upscale.method, f"Latent ({upscale.method})")
    return _IMAGE_NAMES.get(upscale.method, upscale.method or "Lanczos")
