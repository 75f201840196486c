"""What `tests/hosts/comfy_inside.py` reports from within a real ComfyUI: read once, asked by many tests."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from clip import load_script, tensors
from comfy_host import PACK, PROBE, ROOT, checkout_and_python
from golden import golden_dir
from safetensors.torch import load_file, save_file
from torch import Tensor

SCRIPT = ROOT / "tests" / "hosts" / "comfy_inside.py"
UNET = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
CONDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("a (red:1.4) cat on a [wooden] table", {}),
    ("a (red:1.4) cat", {"emphasis": "No norm"}),
    ("a (red:1.4) cat", {"emphasis": "ComfyUI"}),
    ("a cat BREAK (a dog:0.7), a hat", {}),
    (", ".join(["a very long prompt of many words"] * 14), {}),
    ("a cat", {"clip_skip": 2}),
    ("a (cat:1.3), an (old (house:1.2))", {"dialect": "comfyui", "emphasis": "ComfyUI"}),
    ("a nice cat", {}),
    ("", {"negative": True}),
    ("日本 “猫” café", {}),
)
"""Prompts and settings of Concord Text Encode whose tensors are compared; "nice" is an embedding."""


@dataclass(frozen=True)
class Inside:
    """The report of a run within ComfyUI: ``facts`` and ``tensors`` by name."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor]


def embedding() -> dict[str, Tensor]:
    """Return a textual inversion of two vectors for the miniatures."""
    generator = torch.Generator().manual_seed(4)
    widths = {"clip_l": 64, "clip_g": 128}
    return {name: torch.randn(2, width, generator=generator) * 0.1 for name, width in widths.items()}


def _lora() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"lora_up": (64, 4), "lora_down": (4, 64)}
    return {
        f"{name}.{side}.weight": torch.randn(shape, generator=generator)
        for name in (UNET, TEXT)
        for side, shape in shapes.items()
    }


def golden_cases() -> list[dict[str, Any]]:
    """Return the recorded prompts of A1111 that a conditioning node can be asked for."""
    lines = gzip.decompress((golden_dir("cond") / "a1111.jsonl.gz").read_bytes()).decode("utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    return [case for case in cases if "err" not in case and not case["old"] and case["hires"] is None]


def _write_golden(folder: Path) -> None:
    """Write the recorded prompts, and the encoders and embeddings that belong to them."""
    script = load_script(golden_dir("cond") / "a1111_tiny_clip.py")
    for name in ("l", "g"):
        save_file(tensors(script.weights(name)), folder / f"golden-{name}.safetensors")
    own = folder / "models" / "embeddings"
    for path in (golden_dir("cond") / "a1111_embeddings" / "sdxl").glob("*.safetensors"):
        shutil.copy(
            path, own
        )  # the SD1.5 files hold the same vectors for L, without saying for which encoder
    (folder / "golden.json").write_text(json.dumps(golden_cases()), encoding="utf-8")


@pytest.fixture(scope="session")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """The report, or skip where there is no ComfyUI."""
    pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
    from miniatures import miniature
    from sd_concord.harness.models import export_ldm

    checkout, python = checkout_and_python()
    folder = tmp_path_factory.mktemp("comfy-inside")
    for name in ("loras", "embeddings"):
        (folder / "models" / name).mkdir(parents=True)
    save_file(_lora(), folder / "models" / "loras" / "push.safetensors")
    save_file(embedding(), folder / "models" / "embeddings" / "nice.safetensors")
    for kind in ("sd15", "sdxl"):
        export_ldm(miniature(kind), folder / f"{kind}.safetensors")
    (folder / "conds.json").write_text(json.dumps(CONDS), encoding="utf-8")
    _write_golden(folder)
    (folder / PACK).symlink_to(ROOT, target_is_directory=True)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    argv = [shutil.which(python) or python, str(SCRIPT), str(folder / PACK), str(PROBE), str(folder)]
    done = subprocess.run(argv, cwd=checkout, env=environ, capture_output=True, text=True, check=False)
    report = Path(folder / "report.json")
    if not report.is_file():
        raise RuntimeError(f"ComfyUI ended with status {done.returncode}: {done.stderr[-4000:]}")
    return Inside(
        json.loads(report.read_text(encoding="utf-8")) | {"log": done.stderr},
        load_file(folder / "report.safetensors"),
    )
