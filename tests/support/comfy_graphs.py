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
UNIT_WIDGETS: dict[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "denoising_strength": 0.5,
    "mask_blur": 4,
    "dilate_erode": 4,
    "padding": 16,
    "inpaint_width": 64,
    "inpaint_height": 64,
    "steps": 0,
    "cfg": 0.0,
    "sampler": "as the picture",
    "scheduler": "as the picture",
    "seed": -1,
    "mask_filter_method": "Area",
    "mask_k": 0,
    "mask_min_ratio": 0.0,
    "mask_max_ratio": 1.0,
    "x_offset": 0,
    "y_offset": 0,
    "mask_merge_invert": "None",
    "sort_order": "None",
    "match_box_size": "Off",
    "dynamic_denoise_power": 0.0,
    "skip_size": 0,
    "guide_size": 0,
    "crop_factor": 0.0,
    "feather": -1,
    "noise_mask": False,
    "noise_mask_feather": 0,
    "cycle": 1,
    "colour_match": 0.0,
    "same_seed": False,
    "faithful": False,
}
DETAILER_WIDGETS: dict[str, Any] = {
    "positive": "a cat",
    "negative": "",
    "profile": "comfyui",
    "seed": 7,
    "steps": 6,
    "cfg": 4.0,
    "sampler": "euler",
    "scheduler": "normal",
    "crops": 8,
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
