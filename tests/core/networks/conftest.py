"""A writer of small network files, and tiny UNets of the layouts of SD1.5 and SDXL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

Write = Callable[..., Path]

ATTENTION, PLAIN = "CrossAttn{}Block2D", "{}Block2D"
LAYOUTS: dict[str, dict[str, Any]] = {
    "sd15": {
        "block_out_channels": (8, 16, 16, 16),
        "down_block_types": [ATTENTION.format("Down")] * 3 + [PLAIN.format("Down")],
        "up_block_types": [PLAIN.format("Up")] + [ATTENTION.format("Up")] * 3,
        "cross_attention_dim": 12,
    },
    "sdxl": {
        "block_out_channels": (8, 16, 16),
        "down_block_types": [PLAIN.format("Down")] + [ATTENTION.format("Down")] * 2,
        "up_block_types": [ATTENTION.format("Up")] * 2 + [PLAIN.format("Up")],
        "cross_attention_dim": 20,
        "transformer_layers_per_block": (1, 2, 3),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 2,
        "projection_class_embeddings_input_dim": 18,
    },
    "one layer a block": {
        "block_out_channels": (8, 16),
        "down_block_types": [PLAIN.format("Down"), ATTENTION.format("Down")],
        "up_block_types": [ATTENTION.format("Up"), PLAIN.format("Up")],
        "cross_attention_dim": 12,
        "layers_per_block": 1,
    },
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes tensors as safetensors, or for another suffix with ``torch.save``."""

    def write_file(
        tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None, name: str = "net"
    ) -> Path:
        path = tmp_path / (name if "." in name else f"{name}.safetensors")
        if path.suffix == ".safetensors":
            save_file({key: tensor.clone() for key, tensor in tensors.items()}, path, metadata)
        else:
            torch.save(dict(tensors), path)
        return path

    return write_file


@pytest.fixture(scope="session", params=list(LAYOUTS))
def unet(request: pytest.FixtureRequest) -> nn.Module:
    """Return a UNet of each layout with random weights; a test that changes it puts it back."""
    return tiny_unet(request.param)


@pytest.fixture(scope="session")
def sd15_unet() -> nn.Module:
    """Return the UNet of SD1.5's layout."""
    return tiny_unet("sd15")


def tiny_unet(layout: str) -> nn.Module:
    """Build the UNet; needs diffusers, which the standalone front has."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers lends the UNets")
    torch.manual_seed(0)
    options = {"norm_num_groups": 4, "attention_head_dim": 4, **LAYOUTS[layout]}
    return diffusers.UNet2DConditionModel(sample_size=8, **options).eval()
