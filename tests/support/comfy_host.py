"""A real ComfyUI that serves on this machine, with the pack in its ``custom_nodes``, and graphs to queue there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[2]
PACK = "ComfyUI-Concord"
"""The folder that the pack is linked in as; no identifier, as in a real installation."""
PROBE = ROOT / "tests" / "hosts" / "comfy_probe.py"
_FOLDERS = ("custom_nodes", "models/checkpoints", "models/loras", "input", "output", "temp", "user")
_FLAGS = (
    "--cpu",
    "--disable-auto-launch",
    "--disable-api-nodes",
    "--use-pytorch-cross-attention",
    "--fp32-text-enc",
    *("--database-url", "sqlite:///:memory:"),
)


@dataclass(frozen=True)
class Node:
    """A node of a graph; ``node[i]`` is its i-th output, to give to another node."""

    id: str

    def __getitem__(self, i: int) -> list[Any]:
        return [self.id, i]


class Graph(dict[str, Any]):
    """A graph in the form that ComfyUI's ``/prompt`` takes."""

    def add(self, kind: str, **inputs: Any) -> Node:
        """Add a node of class ``kind``."""
        node = Node(str(len(self) + 1))
        self[node.id] = {"class_type": kind, "inputs": inputs}
        return node

    def sample(
        self, loader: Node, positive: str, negative: str = "", *, size: int = 128, **settings: Any
    ) -> Node:
        """Add the stock nodes from a loader of (model, clip, vae) to a saved picture; return the sampler.

        ``settings`` are inputs of ``KSampler``.
        """
        given = {
            "seed": 1,
            "steps": 20,
            "cfg": 4.0,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1.0,
        }
        sampler = self.add(
            "KSampler",
            model=loader[0],
            positive=self.add("CLIPTextEncode", clip=loader[1], text=positive)[0],
            negative=self.add("CLIPTextEncode", clip=loader[1], text=negative)[0],
            latent_image=self.add("EmptyLatentImage", width=size, height=size, batch_size=1)[0],
            **given | settings,
        )
        image = self.add("VAEDecode", samples=sampler[0], vae=loader[2])
        self.add("SaveImage", images=image[0], filename_prefix="test")
        return sampler


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a graph left: ``outputs`` of the nodes by their ids, and saved pictures, uint8 (H, W, 3), in order."""

    outputs: dict[str, dict[str, Any]]
    pictures: list[NDArray[np.uint8]]


class ComfyHost:
    """A running server; ``folder`` is its base directory, with ``models``, ``output`` and so on."""

    def __init__(self, checkout: Path, python: str, folder: Path) -> None:
        """Start the server and wait until it serves; raises ``RuntimeError`` with its log when it does not."""
        self.folder = folder
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
        shutil.copy(PROBE, folder / "custom_nodes")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        argv = [python, "main.py", "--base-directory", str(folder), "--listen", "127.0.0.1"]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environ |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*argv, "--port", self.url.rpartition(":")[2], *_FLAGS],
                cwd=checkout,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_it_serves(300)
        except BaseException:
            self.close()
            raise

    def log(self) -> str:
        """Return all that the server has said."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def object_info(self) -> dict[str, Any]:
        """Return ComfyUI's description of all its nodes."""
        return self.get("/object_info")

    def get(self, path: str) -> Any:
        """Return what the server answers to ``path``, read as JSON."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def queue(self, graph: Graph, timeout: float = 300) -> Finished:
        """Run a graph to its end; raises ``RuntimeError`` with ComfyUI's reason when it is refused or fails."""
        body = json.dumps({"prompt": graph}).encode()
        request = urllib.request.Request(
            self.url + "/prompt", body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                name = json.load(answer)["prompt_id"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"ComfyUI refuses the graph: {error.read().decode()}") from error
        end = time.monotonic() + timeout
        while name not in (history := self.get(f"/history/{name}")):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"the graph did not finish in {timeout} s; the log ends {self._tail()}")
            time.sleep(0.05)
        done = history[name]
        if done["status"]["status_str"] != "success":
            what, said = done["status"]["messages"][-1]
            trace = "".join(said.get("traceback", ()))
            raise RuntimeError(f"{what} in {said.get('node_type')}: {said.get('exception_message')}\n{trace}")
        return Finished(outputs=done["outputs"], pictures=list(self._pictures(done["outputs"])))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return what a node of the probe saved as ``name``."""
        from safetensors.torch import load_file

        return load_file(self.folder / "output" / f"{name}.safetensors")

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pictures(self, outputs: dict[str, dict[str, Any]]) -> Iterator[NDArray[np.uint8]]:
        for node in sorted(outputs, key=int):
            for image in outputs[node].get("images", ()):
                path = self.folder / image["type"] / image["subfolder"] / image["filename"]
                yield np.asarray(Image.open(path).convert("RGB"))

    def _wait_until_it_serves(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        code = self._process.poll()
        what = f"did not serve within {seconds} s" if code is None else f"ended with status {code}"
        raise RuntimeError(f"ComfyUI {what}; its log ends {self._tail()}")

    def _tail(self) -> str:
        return self.log()[-4000:]


def checkout_and_python() -> tuple[Path, str]:
    """Return the checkout that ``COMFYUI_DIR`` names and the interpreter of ``COMFYUI_PYTHON``, or skip."""
    named = os.environ.get("COMFYUI_DIR")
    if not named:
        pytest.skip("COMFYUI_DIR is not set; point it at a checkout of ComfyUI")
    checkout = Path(named).absolute()
    if not (checkout / "main.py").is_file():
        pytest.skip(f"COMFYUI_DIR is {named}, which has no main.py; point it at a checkout of ComfyUI")
    python = os.environ.get("COMFYUI_PYTHON") or sys.executable
    if shutil.which(python) is None:
        pytest.skip(f"COMFYUI_PYTHON is {python}, which is no program; name ComfyUI's own interpreter")
    return checkout, python


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyHost]:
    """A ComfyUI of the checkout that ``COMFYUI_DIR`` names, run by ``COMFYUI_PYTHON``, or skip."""
    checkout, python = checkout_and_python()
    host = ComfyHost(checkout, python, tmp_path_factory.mktemp("comfyui"))
    yield host
    host.close()


@pytest.fixture(scope="session")
def checkpoints(comfy: ComfyHost) -> tuple[str, ...]:
    """Names for ``CheckpointLoaderSimple``: miniatures of SD1.5 and SDXL, and the embedded model as one file."""
    pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
    from miniatures import miniature
    from sd_concord.harness.models import export_ldm, load_model
    from sd_concord.harness.pipeline import DEMO

    folder = comfy.folder / "models" / "checkpoints"
    models = {
        "mini-sd15.safetensors": miniature("sd15"),
        "mini-sdxl.safetensors": miniature("sdxl"),
        "mini-sdxl-v.safetensors": miniature("sdxl", "v", ztsnr=True),
        "demo.safetensors": load_model(DEMO),
    }
    for name, model in models.items():
        export_ldm(model, folder / name)
    return tuple(models)
