"""Nodes of a graph: checkpoints, networks, and how a model is sampled."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ...core.errors import BadValue
from ...core.image.graph import Node
from ...core.prompt.networks import NetworkTag
from ...core.sigmas import ModelSigmas
from ..pipeline import Pipeline
from .playing import Play, node
from .ranges import DISTILLED, TRAINED
from .values import ClipWire, Lora, ModelWire, Predicts, Times


@node("CheckpointLoaderSimple", "CheckpointLoader")
def load_checkpoint(play: Play, at: Node) -> tuple[ModelWire, ClipWire, Pipeline]:
    """Return model, text encoders and VAE of a checkpoint: of the first one that a graph names the one given."""
    name = play.text(at, "ckpt_name")
    named = (one.inputs.get("ckpt_name") for one in play.graph.nodes.values())
    first = next(one for one in named if isinstance(one, str))
    pipeline = play.pipeline if name == first else play.pipeline.second.get(name.replace("\\", "/"))
    model = pipeline.model
    wire = ModelWire(pipeline=pipeline, sigmas=model.sigmas, predicts=model.prediction)
    return wire, ClipWire(pipeline=pipeline), pipeline


@node("VAELoader")
def load_vae(play: Play, at: Node) -> tuple[Pipeline]:
    """Return the VAE of the pipeline, which is loaded with the one that the graph names."""
    del at
    return (play.pipeline,)


@node("LoraLoader", "LoraLoaderModelOnly")
def load_lora(play: Play, at: Node) -> tuple[ModelWire, ClipWire | None]:
    """Lay a network on the model and the text encoders."""
    name = play.text(at, "lora_name").replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
    model: ModelWire = play.wire(at, "model")
    strength = play.number(at, "strength_model", 1.0)
    model = replace(model, loras=(*model.loras, Lora(name=name, strength=strength)))
    if not play.has(at, "clip"):
        return model, None
    clip: ClipWire = play.wire(at, "clip")
    strength = play.number(at, "strength_clip", 1.0)
    return model, replace(clip, loras=(*clip.loras, Lora(name=name, strength=strength)))


@node("CLIPSetLastLayer")
def set_last_layer(play: Play, at: Node) -> tuple[ClipWire]:
    """Read another layer of the text encoders."""
    clip: ClipWire = play.wire(at, "clip")
    return (replace(clip, skip=-play.whole(at, "stop_at_clip_layer", -1)),)


@node("RescaleCFG")
def rescale_cfg(play: Play, at: Node) -> tuple[ModelWire]:
    """Rescale guidance."""
    return (replace(play.wire(at, "model"), rescale=play.number(at, "multiplier", 0.7)),)


@node("ModelSamplingDiscrete")
def model_sampling_discrete(play: Play, at: Node) -> tuple[ModelWire]:
    """Say what the network predicts, and bring its table to zero terminal SNR."""
    model: ModelWire = play.wire(at, "model")
    kind = play.text(at, "sampling")
    known: dict[str, Predicts] = {"eps": "eps", "v_prediction": "v", "x0": "x0", "lcm": "lcm"}
    if kind not in known:
        raise BadValue(
            f"ModelSamplingDiscrete {at.id}: {kind} is not carried out here; known: {', '.join(known)}"
        )
    table = ModelSigmas.sd().with_zero_snr() if play.flag(at, "zsnr") else ModelSigmas.sd()
    if kind == "lcm":
        table = _thinned(table)
    times: Times = "distilled" if kind == "lcm" else "index"
    return (replace(model, sigmas=table, predicts=known[kind], times=times),)


def _thinned(table: ModelSigmas) -> ModelSigmas:
    """Return every 20th entry of a table, the last included."""
    exact = None if table.exact is None else table.exact[DISTILLED - 1 :: DISTILLED]
    return ModelSigmas(table.table[DISTILLED - 1 :: DISTILLED], exact=exact)


@node("ModelSamplingContinuousEDM")
def model_sampling_edm(play: Play, at: Node) -> tuple[ModelWire]:
    """Let the model be asked of any sigma between two, told to it by its log."""
    model: ModelWire = play.wire(at, "model")
    known: dict[str, Predicts] = {"eps": "eps", "v_prediction": "v"}
    kind = play.text(at, "sampling")
    if kind not in known:
        raise BadValue(
            f"ModelSamplingContinuousEDM {at.id}: {kind} is not carried out here; known: {', '.join(known)}"
        )
    low, high = play.number(at, "sigma_min"), play.number(at, "sigma_max")
    exact = torch.linspace(math.log(low), math.log(high), TRAINED, dtype=torch.float64).exp()
    return (
        replace(model, sigmas=ModelSigmas(exact.float(), exact=exact), predicts=known[kind], times="log"),
    )


def lay_on(pipeline: Pipeline, loras: tuple[Lora, ...]) -> None:
    """Lay networks on the model of ``pipeline``, and no others, each at its strength on every part."""
    pipeline.use_networks([_tag(one) for one in loras])


def _tag(lora: Lora) -> NetworkTag:
    strength = str(lora.strength)
    return NetworkTag(kind="lora", positional=[lora.name, strength, strength], named={})
