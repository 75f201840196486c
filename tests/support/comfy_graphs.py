"""Graphs of Concord's nodes for the real ComfyUI, with a value for every widget."""

from __future__ import annotations

from typing import Any

import numpy as np
from comfy_host import Graph, Node
from numpy.typing import NDArray
from sd_concord.harness.pipeline import DEMO

PICTURE = "a red circle on a white background"
WIDGETS: dict[str, Any] = {
    "positive": PICTURE,
    "negative": "",
    "profile": "a1111",
    "seed": 1,
    "steps": 8,
    "cfg": 4.0,
    "sampler": "dpmpp_2m",
    "scheduler": "karras",
    "width": 128,
    "height": 128,
    "batch_size": 1,
    "denoise": 0.75,
    "clip_skip": 0,
    "noise": "as the profile",
    "ensd": 0,
    "sgm_noise": "as the profile",
    "cfg_rescale": 0.0,
    "emphasis": "as the profile",
    "dialect": "as the profile",
    "variation_seed": 0,
    "variation": 0.0,
    "options": "",
    "wildcards": False,
    "record_seed": True,
}


def loaded(graph: Graph, name: str = "demo") -> Node:
    """Add a loader of (model, clip, vae): of the embedded model, or of a checkpoint's file."""
    if name == "demo":
        return graph.add("ConcordProbeDemoLoader", folder=str(DEMO))
    return graph.add("CheckpointLoaderSimple", ckpt_name=f"{name}.safetensors")


def sampler(graph: Graph, loader: Any, **given: Any) -> Node:
    """Add Concord Sampler, whose outputs are latents, record, pictures and warnings."""
    return graph.add("ConcordSampler", model=loader[0], clip=loader[1], vae=loader[2], **WIDGETS | given)


def gap(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> int:
    """Return by how many levels two pictures differ at most."""
    return int(np.abs(found.astype(int) - wanted.astype(int)).max())


def mean_gap(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """Return by how many levels two pictures differ on average."""
    return float(np.abs(found.astype(int) - wanted.astype(int)).mean())
