"""A real A1111, Forge or reForge that serves on this machine, with the pack among its extensions."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[2]
PACK = "sd-concord"
PROBE = ROOT / "tests" / "hosts" / "webui_probe.py"
DEMO_MODEL = "demo.safetensors"
GOLDEN_MODEL = "concord-golden-sd15.safetensors"
_FLAGS = {
    "forge": ("--always-cpu", "--all-in-fp32", "--clip-in-fp32", "--attention-pytorch"),
    "a1111": ("--use-cpu", "all", "--opt-sdp-no-mem-attention"),
    "reforge": ("--always-cpu", "--all-in-fp32", "--attention-pytorch"),
}
_ALL_FLAGS = (
    *("--api", "--no-half", "--no-download-sd-model", "--server-name", "127.0.0.1"),
    *("--skip-prepare-environment", "--skip-version-check", "--skip-torch-cuda-test"),
)
_OPTIONS = {
    "sd_model_checkpoint": DEMO_MODEL,
    "live_previews_enable": False,
    "persistent_cond_cache": False,
    "samples_save": False,
    "grid_save": False,
}
_STARTED = "Startup time:"
"""Said when all routes are there.  A request that comes before it can stop A1111 and Forge from adding them."""
_CLIP_L = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A model call: ``x`` (B, 4, h, w), ``sigma`` (B,), ``cond`` and ``uncond`` (rows, tokens, width).

    ``denoised``: what guidance made of it.  ``noise`` (B, 4, h, w): what the request begins with, in the first call.
    """

    x: Tensor
    sigma: Tensor
    denoised: Tensor
    cond: Tensor
    uncond: Tensor | None = None
    noise: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The pictures of a request, uint8 (H, W, 3), as they came (``files``) and with their infotexts."""

    pictures: list[NDArray[np.uint8]]
    files: list[bytes]
    infotexts: list[str]


class WebUIHost:
    """A running server, with UI and API; ``folder`` is its data directory, with ``models`` and so on.

    ``kind`` is "forge", "a1111" or "reforge".
    """

    def __init__(self, kind: str, checkout: Path, python: str, folder: Path) -> None:
        """Start the server and wait until it serves; raises ``RuntimeError`` with its log when it does not."""
        self.kind, self.folder = kind, folder
        self._held = set(_OPTIONS)
        self.models = folder / "models" / "Stable-diffusion"
        self.models.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(_OPTIONS), encoding="utf-8")
        _link_pack(folder / "extensions" / PACK)
        self._add_embedded_model(folder / "extensions" / "concord-probe")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        places = [
            "--data-dir",
            str(folder),
            "--gradio-allowed-path",
            str(checkout),
        ]  # for the page's own scripts
        argv = [python, "launch.py", *places, "--port", port, *_ALL_FLAGS, *_FLAGS[kind]]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                argv, cwd=checkout, env=_environment(), stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_it_serves(300)
        except BaseException:
            self.close()
            raise

    def txt2img(self, **payload: Any) -> Drawn:
        """Draw what ``/sdapi/v1/txt2img`` takes."""
        return self._draw("txt2img", payload)

    def img2img(self, **payload: Any) -> Drawn:
        """Draw what ``/sdapi/v1/img2img`` takes; pictures are given as base64."""
        return self._draw("img2img", payload)

    def calls(self) -> list[Call]:
        """Return the model calls of the last request, in order."""
        with urllib.request.urlopen(self.url + "/concord-probe/calls", timeout=60) as answer:
            flat = safetensors.torch.load(answer.read())
        rows: dict[int, dict[str, Tensor]] = {}
        for name, value in flat.items():
            i, _, what = name.partition("/")
            rows.setdefault(int(i), {})[what] = value
        return [Call(**rows[i]) for i in sorted(rows)]

    def use_model(self, name: str) -> None:
        """Let the requests that follow be drawn by the checkpoint of this file name."""
        self.post("/sdapi/v1/options", {"sd_model_checkpoint": name})

    def add_golden_model(self, checkpoint: Path) -> None:
        """Put the golden pictures' checkpoint into the models folder, under ``GOLDEN_MODEL``, and use it."""
        link = self.models / GOLDEN_MODEL
        if not link.exists():
            link.symlink_to(checkpoint)
            clip = self.folder / "extensions" / "concord-probe" / "clip-l"
            shutil.copytree(clip.with_name("demo") / "tokenizer", clip)
            (clip / "config.json").write_text(json.dumps(_CLIP_L), encoding="utf-8")
            config = checkpoint.with_suffix(".yaml").read_text(encoding="utf-8").rstrip()
            assert config.endswith("FrozenCLIPEmbedder")
            config += f"\n      params: {{version: {json.dumps(str(clip))}}}\n"
            link.with_suffix(".yaml").write_text(config, encoding="utf-8")
            self.post("/sdapi/v1/refresh-checkpoints", {})
        self.use_model(GOLDEN_MODEL)

    def log(self) -> str:
        """Return all that the server has said."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> Any:
        """Return what the server answers to ``path``, read as JSON."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return what the server answers to ``body``; raises ``RuntimeError`` with its words when it refuses."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:2000]
            raise RuntimeError(f"{self.kind} refuses {path}: {said}; its log ends {self._tail()}") from error

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _draw(self, kind: str, payload: dict[str, Any]) -> Drawn:
        self._hold(payload.get("override_settings", {}))
        if self.kind == "forge" and payload.get("enable_hr"):
            payload = {"hr_additional_modules": ["Use same choices"], **payload}
        self.post("/concord-probe/forget", {})
        answer = self.post(f"/sdapi/v1/{kind}", payload)
        files = [base64.b64decode(image) for image in answer["images"]]
        pictures = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
        return Drawn(pictures=pictures, files=files, infotexts=json.loads(answer["info"])["infotexts"])

    def _hold(self, names: Mapping[str, Any]) -> None:
        """Set options to what they are, since a host keeps an overridden option that was never set before."""
        fresh = set(names) - self._held
        if fresh:
            now = self.get("/sdapi/v1/options")
            self.post("/sdapi/v1/options", {name: now[name] for name in fresh if name in now})
            self._held |= fresh

    def _add_embedded_model(self, probe: Path) -> None:
        """Lay out the probe's extension, and the embedded model as one file with what each host needs to know it."""
        from sd_concord.harness.models import export_ldm, load_model, materialise
        from sd_concord.harness.pipeline import DEMO

        (probe / "scripts").mkdir(parents=True)
        shutil.copy(PROBE, probe / "scripts")
        model = load_model(DEMO)
        folder = materialise(model, probe / "demo")
        clip = probe / "clip-demo"
        shutil.copytree(folder / "tokenizer", clip)
        shutil.copy(folder / "text_encoder" / "config.json", clip)
        export_ldm(model, self.models / DEMO_MODEL, clip_folder=str(clip))

    def _wait_until_it_serves(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            if _STARTED in self.log():
                try:
                    self.get("/sdapi/v1/samplers")
                    return
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    pass
            time.sleep(0.3)
        code = self._process.poll()
        what = f"did not serve within {seconds} s" if code is None else f"ended with status {code}"
        raise RuntimeError(f"{self.kind} {what}; its log ends {self._tail()}")

    def _tail(self) -> str:
        return self.log()[-4000:]


def _link_pack(extension: Path) -> None:
    """Link what a user's copy has; without ``.git``, of which a host wants to know the remote."""
    extension.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            (extension / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())


def _environment() -> dict[str, str]:
    environ = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "COMMANDLINE_ARGS"}
    }
    return environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def _started(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUIHost]:
    pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
    variable = f"{kind.upper()}_DIR"
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} is not set; point it at a checkout")
    checkout = Path(named).absolute()
    if not (checkout / "launch.py").is_file():
        pytest.skip(f"{variable} is {named}, which has no launch.py; point it at a checkout")
    python = os.environ.get(f"{kind.upper()}_PYTHON") or sys.executable
    if shutil.which(python) is None:
        pytest.skip(
            f"{kind.upper()}_PYTHON is {python}, which is no program; name the host's own interpreter"
        )
    host = WebUIHost(kind, checkout, python, tmp_path_factory.mktemp(kind))
    yield host
    host.close()


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUIHost]:
    """A Forge of the checkout that ``FORGE_DIR`` names, run by ``FORGE_PYTHON``, or skip."""
    yield from _started("forge", tmp_path_factory)


@pytest.fixture(scope="session")
def a1111(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUIHost]:
    """An A1111 of the checkout that ``A1111_DIR`` names, run by ``A1111_PYTHON``, or skip."""
    yield from _started("a1111", tmp_path_factory)


@pytest.fixture(scope="session")
def reforge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUIHost]:
    """A reForge of the checkout that ``REFORGE_DIR`` names, run by ``REFORGE_PYTHON``, or skip."""
    yield from _started("reforge", tmp_path_factory)


@pytest.fixture(scope="session", params=["forge", "a1111", "reforge"])
def webui(request: pytest.FixtureRequest) -> WebUIHost:
    """Each of the three in turn, where it is there."""
    return request.getfixturevalue(request.param)
