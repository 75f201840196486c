"""Follow a ComfyUI graph upwards from a picture: sampler passes, what is between them, their texts and models."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .graph import Graph, Node
from .model_ref import ModelRef
from .names import sampler_name
from .parts import ScheduleOptions

_LONGEST = 1000
_LATENT_SCALES = ("LatentUpscale", "LatentUpscaleBy")
_IMAGE_SCALES = ("ImageScale", "ImageScaleBy", "ImageUpscaleWithModel")
_ENCODERS = ("VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint")
_DECODERS = ("VAEDecode", "VAEDecodeTiled")
_ONWARD = (
    "samples",
    "latent_image",
    "latent",
    "images",
    "image",
    "pixels",
    "input",
    "samples_to",
    "destination",
)
"""Inputs through which the picture comes into a node that is not known."""
_TEXT_ONWARD = ("conditioning", "conditioning_1", "conditioning_to", "positive", "negative", "cond", "base")
_POSITIVE = ("positive", "conditioning", "cond1")
_SCHEDULES = {
    "KarrasScheduler": "karras",
    "ExponentialScheduler": "exponential",
    "PolyexponentialScheduler": "polyexponential",
}
_FACTOR = re.compile(r"(?i)(?<![0-9])([1-9])x|x([1-9])(?![0-9])")


@dataclass(frozen=True, kw_only=True)
class ModelChain:
    """What a pass runs on: the checkpoint's name, LoRA files as ``name:model:clip``, and clip skip."""

    name: str | None = None
    loras: tuple[str, ...] = ()
    clip_skip: int | None = None
    cfg_rescale: float | None = None


NO_MODEL = ModelChain()


@dataclass(frozen=True, kw_only=True)
class Upscale:
    """One enlargement between passes: to ``size``, or by ``factor`` where it is known."""

    where: str
    latent: bool = False
    method: str = ""
    network: str = ""
    size: tuple[int, int] | None = None
    factor: float | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One sampler pass.  ``upscales`` come before it; ``start``, ``end``: steps of its schedule that it runs.

    ``continues``: it takes over the noise that the pass before it left.  ``limits``: of a schedule that has a node
    of its own.
    """

    where: str
    positive: str = ""
    negative: str = ""
    steps: int | None = None
    sampler: str | None = None
    scheduler: str | None = None
    limits: ScheduleOptions | None = None
    cfg: float | None = None
    distilled_cfg: float | None = None
    seed: int | None = None
    strength: float | None = None
    start: int = 0
    end: int | None = None
    continues: bool = False
    from_picture: bool = False
    model: ModelChain = NO_MODEL
    upscales: tuple[Upscale, ...] = ()

    @property
    def ends_early(self) -> bool:
        """Tell whether steps of its schedule are left."""
        return self.end is not None and self.steps is not None and self.end < self.steps


@dataclass(kw_only=True)
class Reading:
    """What was found on the way up: passes in the order they run, and ``read``: the nodes that are told of."""

    stages: list[Stage] = field(default_factory=list[Stage])
    size: tuple[int, int] | None = None
    vae: ModelRef | None = None
    batch: int | None = None
    position: int | None = None
    read: set[str] = field(default_factory=set[str])
    notes: list[str] = field(default_factory=list[str])


def stages_above(graph: Graph, output: Node) -> Reading:
    """Return the sampler passes that make the picture of ``output``."""
    reading = Reading()
    pending: list[Upscale] = []
    found: list[tuple[Node, list[Upscale]]] = []
    node: Node | None = output
    seen: set[str] = set()
    from_picture = False
    while node is not None and node.id not in seen and len(seen) < _LONGEST:
        seen.add(node.id)
        if _is_sampler(node):
            pending = []
            found.append((node, pending))
        elif upscale := _upscale(graph, node, reading.read if found else None):
            pending.insert(0, upscale)
        elif not _read_plain(graph, node, reading):
            from_picture = from_picture or node.kind.startswith("LoadImage")
        node = _onward(graph, node)
    for sampler, upscales in reversed(found):
        first = not reading.stages
        stage = _Sampler(graph, sampler, reading).stage(tuple(upscales), from_picture and first)
        reading.stages.append(stage)
    return reading


def _onward(graph: Graph, node: Node) -> Node | None:
    """Return the node that ``node`` takes its picture or latent from."""
    for name in _ONWARD:
        if link := graph.link(node, name):
            return link.node
    return None


def _is_sampler(node: Node) -> bool:
    return node.kind in ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")


def _stem(name: str) -> str:
    """Return a model's name without folder and ending, as the web UIs write it."""
    path = PurePosixPath(name.replace("\\", "/"))
    return (
        path.stem if path.suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf") else path.name
    )


def _upscale(graph: Graph, node: Node, read: set[str] | None) -> Upscale | None:
    """Return the enlargement that ``node`` is; with ``read`` None it comes after the last pass, and is not told of."""
    if node.kind not in (*_LATENT_SCALES, *_IMAGE_SCALES):
        return None
    network = ""
    if loader := graph.link(node, "upscale_model"):
        network = graph.text(loader.node, "model_name") or loader.node.kind
    width, height = (graph.whole(node, name) for name in ("width", "height"))
    factor = graph.number(node, "scale_by")
    if network and (known := _FACTOR.search(network)):
        factor = float(known[1] or known[2])
    size = (width, height) if width is not None and height is not None and width + height > 0 else None
    if read is not None:
        read.add(node.id)
        if loader:
            read.add(loader.node.id)
    return Upscale(
        where=f"{node.kind} {node.id}",
        latent=node.kind in _LATENT_SCALES,
        method=graph.text(node, "upscale_method") or "",
        network=network,
        size=None if network else size,
        factor=factor if factor is None or factor > 0 else None,
    )


def _read_plain(graph: Graph, node: Node, reading: Reading) -> bool:
    """Take what a node that neither samples nor enlarges says; False when it is not told of."""
    if node.kind in _DECODERS or node.kind in _ENCODERS[:2]:
        _read_vae(graph, node, reading)
    elif node.kind == "LatentFromBatch" and graph.whole(node, "length") == 1:
        reading.position = graph.whole(node, "batch_index")
    elif node.kind == "RepeatLatentBatch":
        reading.batch = graph.whole(node, "amount", 1)
    elif node.kind.startswith("Empty") and "width" in node.inputs:
        width, height = (graph.whole(node, name, 1) for name in ("width", "height"))
        reading.size = (width, height) if width and height else None
        reading.batch = graph.whole(node, "batch_size", 1)
    else:
        return False
    reading.read.add(node.id)
    return True


def _read_vae(graph: Graph, node: Node, reading: Reading) -> None:
    link = graph.link(node, "vae")
    if link and link.node.kind == "VAELoader" and (name := graph.text(link.node, "vae_name")):
        reading.read.add(link.node.id)
        reading.vae = reading.vae or ModelRef(name=_stem(name))


class _Sampler:
    """One sampler node, and what hangs on it."""

    def __init__(self, graph: Graph, node: Node, reading: Reading) -> None:
        self.graph, self.node, self.reading = graph, node, reading
        self.clip_skip: int | None = None
        self.distilled: float | None = None
        reading.read.add(node.id)

    def stage(self, upscales: tuple[Upscale, ...], from_picture: bool) -> Stage:
        """Return the pass."""
        guider = self._part("guider") or self.node
        schedule = self._schedule()
        choice = self._part("sampler", told=False) or self.node
        noise = self._part("noise", told=False) or self.node
        positive = self._prompt(guider, *_POSITIVE)
        negative = self._prompt(guider, "negative")
        steps = self.graph.whole(schedule, "steps", 1)
        start = self.graph.whole(self.node, "start_at_step") or 0
        end = self.graph.whole(self.node, "end_at_step")
        return Stage(
            where=f"{self.node.kind} {self.node.id}",
            positive=positive,
            negative=negative,
            steps=steps,
            sampler=self._sampler(choice),
            scheduler=self._scheduler(schedule),
            limits=self._limits(schedule),
            cfg=self.graph.number(guider, "cfg"),
            seed=self._seed(noise),
            strength=self._strength(schedule, start, steps),
            start=start,
            end=end,
            continues=start > 0 and self.node.inputs.get("add_noise") == "disable",
            from_picture=from_picture,
            model=self._model(guider if "model" in guider.inputs else schedule),
            upscales=upscales,
            distilled_cfg=self.distilled,
        )

    def _part(self, name: str, *, told: bool = True) -> Node | None:
        """Return the node that gives a custom sampler its ``name``."""
        link = self.graph.link(self.node, name)
        if link is None:
            return None
        if told and link.node.kind in ("CFGGuider", "BasicGuider"):
            self.reading.read.add(link.node.id)
        return link.node

    def _schedule(self) -> Node:
        """Return the node that lays the sigmas out, below those that change them; the sampler itself for KSampler."""
        node, seen = self._part("sigmas", told=False) or self.node, {self.node.id}
        while node.id not in seen and (link := self.graph.link(node, "sigmas")):
            seen.add(node.id)
            node = link.node
        return node

    def _told(self, node: Node, name: str) -> str | None:
        text = self.graph.text(node, name) or None
        if text and node.kind in ("KSamplerSelect", "BasicScheduler"):
            self.reading.read.add(node.id)
        return text

    def _sampler(self, node: Node) -> str | None:
        """Return the registry's name of the sampler; that a ``_gpu`` form draws its noise on the card is noted."""
        name = self._told(node, "sampler_name")
        own = name and sampler_name(name)
        if own != name:
            self.reading.notes.append(f"{node.kind} {node.id}: {name} in the form of {own}")
        return own

    def _scheduler(self, node: Node) -> str | None:
        if node.kind in _SCHEDULES:
            self.reading.read.add(node.id)
            return _SCHEDULES[node.kind]
        return self._told(node, "scheduler")

    def _limits(self, node: Node) -> ScheduleOptions | None:
        """Return the ends of a schedule that has a node of its own, and its rho where it has one."""
        if node.kind not in _SCHEDULES:
            return None
        low, high, rho = (
            value if value is not None and value > 0 else None
            for value in (self.graph.number(node, name) for name in ("sigma_min", "sigma_max", "rho"))
        )
        return ScheduleOptions(sigma_min=low, sigma_max=high, rho=rho)

    def _seed(self, node: Node) -> int | None:
        if node.kind == "RandomNoise":
            self.reading.read.add(node.id)
        return next(
            (seed for name in ("seed", "noise_seed") if (seed := self.graph.whole(node, name)) is not None),
            None,
        )

    def _strength(self, schedule: Node, start: int, steps: int | None) -> float | None:
        denoise = self.graph.number(schedule, "denoise")
        if denoise is None and start and steps:
            denoise = max(1 - start / steps, 0.0)
        return denoise if denoise is None or 0 <= denoise <= 1 else None

    def _prompt(self, node: Node, *names: str) -> str:
        """Return the text at the end of a chain of conditionings, which begins at the first of ``names`` there is."""
        seen: set[str] = set()
        link = next((found for name in names if (found := self.graph.link(node, name))), None)
        while link and link.node.id not in seen:
            one, slot = link.node, link.slot
            seen.add(one.id)
            for key in ("text", "text_g", "t5xxl", "prompt"):
                if key in one.inputs and (text := self.graph.text(one, key)) is not None:
                    self._read_encoder(one, text)
                    return text
            if one.kind == "ConditioningZeroOut":
                return ""
            if one.kind == "FluxGuidance":
                self.distilled = self.graph.number(one, "guidance")
                self.reading.read.add(one.id)
            both = ("negative",) if slot == 1 and "negative" in one.inputs else _TEXT_ONWARD
            link = next((found for key in both if (found := self.graph.link(one, key))), None)
        return ""

    def _read_encoder(self, node: Node, text: str) -> None:
        self.reading.read.add(node.id)
        held = self.graph.link(node, "text")
        if held:
            self.reading.read.add(held.node.id)
        other = self.graph.text(node, "text_l")
        if other is not None and other != text:
            self.reading.notes.append(f"{node.kind} {node.id}: another text for CLIP-L")
        self._follow_clip(node)

    def _follow_clip(self, node: Node) -> None:
        for one in self._chain(node, "clip"):
            if one.kind == "CLIPSetLastLayer":
                last = self.graph.number(one, "stop_at_clip_layer")
                if last is not None and -24 <= last <= -1 and last == int(last):
                    self.clip_skip = self.clip_skip or int(-last)
                    self.reading.read.add(one.id)

    def _model(self, node: Node) -> ModelChain:
        """Return the chain of the model, LoRA files in the order they are laid on."""
        name: str | None = None
        rescale: float | None = None
        loras: list[str] = []
        for one in self._chain(node, "model"):
            if one.kind == "RescaleCFG":
                rescale = self.graph.number(one, "multiplier")
                self.reading.read.add(one.id)
            if one.kind in ("LoraLoader", "LoraLoaderModelOnly"):
                loras.insert(0, self._lora(one))
                self.reading.read.add(one.id)
            file = self.graph.text(one, "ckpt_name") or self.graph.text(one, "unet_name")
            if file:
                name = _stem(file)
                self.reading.read.add(one.id)
        if rescale is not None and not 0 <= rescale <= 1:
            rescale = None
        return ModelChain(name=name, loras=tuple(loras), clip_skip=self.clip_skip, cfg_rescale=rescale)

    def _lora(self, node: Node) -> str:
        file = self.graph.text(node, "lora_name") or node.kind
        strengths = [self.graph.number(node, f"strength_{part}") for part in ("model", "clip")]
        shown = [f"{strength:g}" for strength in strengths if strength is not None]
        return ":".join([_stem(file).replace(":", "_").replace(",", "_"), *shown])

    def _chain(self, node: Node, name: str) -> list[Node]:
        """Return the nodes that input ``name`` comes through, the nearest first."""
        found: list[Node] = []
        link = self.graph.link(node, name)
        while link and link.node not in found:
            found.append(link.node)
            link = self.graph.link(link.node, name)
        return found
