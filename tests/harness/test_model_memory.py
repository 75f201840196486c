"""Loading never holds a second copy of the weights."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from miniatures import golden_checkpoint, miniature
from sd_concord.harness.models import export_ldm

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
MEASURE = """
import json, sys, sd_concord.harness.models as models
path, warm, *dtypes = sys.argv[1:]
models.load_model(warm)
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
def loaded(dtype):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = kilobytes("VmRSS")
    model = models.load_model(path, dtype=dtype)
    networks = (model.unet, model.vae, *(encoder.module for encoder in model.text_encoders))
    size = sum(p.numel() * p.element_size() for network in networks for p in network.parameters())
    return {"grown": (kilobytes("VmHWM") - before) / 1024, "size": size / 2**20}
print(json.dumps([loaded(dtype) for dtype in dtypes]))
"""


def memory(path: Path, warm: Path, *dtypes: str) -> list[dict[str, float]]:
    """Return in MiB by how much a process grows at most while it loads ``path``, and the size of the weights.

    Writing 5 to clear_refs sets the mark of the highest memory back; ``warm`` is loaded before that.
    """
    command = [sys.executable, "-c", MEASURE, str(path), str(warm), *dtypes]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_loading_takes_the_memory_of_the_weights_once(tmp_path):
    """Cast: the new weights and one old tensor.  Not cast: pages of the file, read when they are used."""
    small = miniature("sd15")
    warm = export_ldm(small, tmp_path / "small.safetensors")
    module: Any = small.text_encoders[0].module
    config = type(module.config).from_dict(
        {**module.config.to_dict(), "num_hidden_layers": 24, "intermediate_size": 24000}
    )
    encoder = dataclasses.replace(small.text_encoders[0], module=type(module)(config))
    large = export_ldm(dataclasses.replace(small, text_encoders=(encoder,)), tmp_path / "large.safetensors")
    kept, cast = memory(large, warm, "float16", "float32")
    assert cast["size"] > 300
    assert cast["grown"] < cast["size"] + 30
    assert kept["grown"] < 30


@pytest.mark.golden
def test_the_golden_checkpoint_takes_the_memory_of_its_weights_once(tmp_path):
    warm = export_ldm(miniature("sd15"), tmp_path / "small.safetensors")
    [cast] = memory(golden_checkpoint(), warm, "float32")
    assert cast["size"] == pytest.approx(887, abs=1)
    assert cast["grown"] < cast["size"] + 30
