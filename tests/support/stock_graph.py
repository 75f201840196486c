"""A picture as the stock ComfyUI saves one: a graph, and no infotext."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, PngImagePlugin

STOCK_GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "bad", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 32, "batch_size": 1}},
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
            "seed": 9,
            "steps": 12,
            "cfg": 5,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1.0,
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "a"}},
}
STOCK_INFOTEXT = (
    "a red circle\nNegative prompt: bad\n"
    "Steps: 12, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 9, Size: 64x32"
)
"""How the infotext of that graph begins."""


def save_stock_picture(path: Path) -> Path:
    """Save a gray picture of that graph as PNG, and return its path."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(STOCK_GRAPH))
    Image.new("RGB", (64, 32), "gray").save(path, pnginfo=info)
    return path
