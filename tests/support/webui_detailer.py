"""What the detailer touches of a web UI, added to the fake ones: passes that paint, latents that are pixels."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from sd_concord.core import detailer_fields, masked_run, profiles, prompt
from sd_concord.core.detailer import Detections
from webui_fake import OptionInfo, WebUI

LOADED = (detailer_fields, masked_run, profiles, prompt)
"""What the scripts load of the core, once for all tests: the fixture forgets only what a test itself has loaded."""
GREY = 100
"""The level of the picture before the detailer."""
NEW = 240
"""The level of what a pass draws where its mask is 1; 1 more for each unit of seed, so that seeds are seen."""


_OVERRIDDEN = {"multiple_tqdm": True, "sd_vae": "Automatic", "sd_model_checkpoint": "two.safetensors"}
"""Settings that a pass overrides; nobody has set them."""


class ScriptRunner:
    """The host's list of scripts."""

    def __init__(self) -> None:
        self.scripts: list[Any] = []
        self.alwayson_scripts: list[Any] = []
        self.selectable_scripts: list[Any] = []
        self.callback_map: dict[str, Any] = {}


class Told:
    """A detector that finds what it was told."""

    labels = ("face",)

    def __init__(self, boxes: Sequence[Sequence[float]], name: str = "told") -> None:
        self.boxes, self.name = boxes, name

    def __call__(self, image: Any) -> Detections:
        size = (image.shape[1], image.shape[0])
        return Detections.of(self.boxes, size=size, labels=["face"] * len(self.boxes))


@dataclass
class Bench:
    """A fake host with a detailer: ``passes`` are the requests that it was given, with the settings that held
    and the names of those that the host set back."""

    webui: WebUI
    passes: list[Any] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    activated: list[Any] = field(default_factory=list)
    restored: list[list[str]] = field(default_factory=list)
    draw: Callable[[Any], Any] | None = None

    def script(self, name: str = "ConcordDetailer", *, img2img: bool = False) -> Any:
        """Return one of the detailer's scripts; its values by default are ``values``."""
        classes = {one.__name__: one for one in self.webui.part("detailer_panel").register()}
        script, controls = self.webui.make_ui(classes[name], img2img=img2img)
        script.values = [one.value for one in controls]
        script.args_from, script.args_to = 1, 1 + len(controls)
        script.filename = "concord.py"
        return script

    def request(self, *, img2img: bool = False, batch: int = 1, **given: Any) -> Any:
        """Return a request of the host whose pictures are drawn already."""
        kind = "Img2Img" if img2img else "Txt2Img"
        values: dict[str, Any] = {
            "prompt": "a cat",
            "negative_prompt": "bad",
            "all_prompts": ["a cat"] * batch,
            "all_negative_prompts": ["bad"] * batch,
            "all_seeds": [7 + i for i in range(batch)],
            "all_subseeds": [0] * batch,
            "subseed_strength": 0.0,
            "steps": 6,
            "cfg_scale": 5.0,
            "sampler_name": "Euler a",
            "scheduler": "Karras",
            "width": 64,
            "height": 64,
            "batch_size": batch,
            "iteration": 0,
            "n_iter": 1,
            "extra_generation_params": {},
            "override_settings": {},
            "scripts": None,
            "script_args": (),
            "comments": {},
            "image_mask": None,
            "eta": None,
            "tiling": False,
        }
        p = getattr(self.webui.processing, f"StableDiffusionProcessing{kind}")(**values | given)
        p.comment = lambda text: p.comments.update({text: 1})
        p.save_samples = lambda: False
        return p

    def run(
        self, script: Any, p: Any, args: Sequence[Any], pictures: Sequence[Any] | None = None
    ) -> list[Any]:
        """Return the pictures of ``p`` after ``script``, as arrays, with the hooks called as the host does."""
        args = self.placed(script, args)
        size = (128, 96)
        given = pictures or [Image.new("RGB", size, (GREY, GREY, GREY)) for _ in p.all_prompts]
        script.before_process(p, *args)
        script.process(p, *args)
        script.before_process_batch(p, *args, batch_number=0, prompts=p.all_prompts)
        made = []
        for i, picture in enumerate(given):
            p.batch_index = i
            extra = (i,) if self.webui.shape == "forge" else ()
            pp = self.webui.scripts.PostprocessImageArgs(picture, *extra)
            script.postprocess_image(p, pp, *args)
            made.append(np.asarray(pp.image))
        script.postprocess(p, SimpleNamespace(), *args)
        return made

    def placed(self, script: Any, args: Sequence[Any]) -> tuple[Any, ...]:
        """Return the script's arguments with ``args`` in the first places, as the host's API puts them."""
        return (*args, *script.values[len(args) :])

    def finds(self, monkeypatch: Any, *boxes: Sequence[float]) -> None:
        """Let every detector find ``boxes``."""
        job = self.webui.part("detailer_job")
        monkeypatch.setattr(job, "detector_for", lambda unit: Told(boxes, unit.model or ""))


def bench(webui: WebUI, folder: Path) -> Bench:
    """Return ``webui`` with what the detailer needs; its models and last infotext lie in ``folder``."""
    made = Bench(webui)
    _add_processing(made)
    webui.scripts.ScriptRunner = ScriptRunner
    webui.paths.models_path, webui.paths.data_path = str(folder / "models"), str(folder)
    webui.devices.NansException = type("NansException", (RuntimeError,), {})
    webui.devices.autocast = contextlib.nullcontext
    webui.shared.cmd_opts = SimpleNamespace(no_prompt_history=False)
    webui.shared.state.stopping_generation, webui.shared.state.job_no = False, 0
    for name, value in {
        "img2img_color_correction": False,
        "initial_noise_multiplier": 1.0,
        **_OVERRIDDEN,
    }.items():
        webui.opts.add_option(name, OptionInfo(value, name))
    webui.sd_samplers.create_sampler = lambda name, model: SimpleNamespace(name=name)
    webui.sd_samplers_common.images_tensor_to_samples = latents_of
    networks = SimpleNamespace(activate=lambda p, data: made.activated.append(data))
    sys.modules["modules.extra_networks"] = webui.modules["modules.extra_networks"] = networks  # type: ignore[assignment]
    (folder / "params.txt").write_text("the last one")
    return made


def latents_of(pixels: torch.Tensor) -> torch.Tensor:
    """Return "latents" (B, 3, h/8, w/8) of pictures 0…1: each cell the mean of its pixels."""
    return torch.nn.functional.avg_pool2d(pixels, 8)


def pictures_of(model: Any, latents: torch.Tensor, **_: Any) -> list[torch.Tensor]:
    """Return the pictures of such latents, -1…1."""
    return list(torch.nn.functional.interpolate(latents, scale_factor=8) * 2 - 1)


def _add_processing(made: Bench) -> None:
    base = made.webui.processing.StableDiffusionProcessingImg2Img

    class Img2Img(base):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.extra_generation_params = given.get("extra_generation_params", {})
            self.mask_round, self.color_corrections, self.closed = True, None, False

        def close(self) -> None:
            self.closed = True

        def img2img_image_conditioning(self, pixels: Any, latent: Any, mask: Any, rounded: bool) -> Any:
            return latent.new_zeros(latent.shape[0], 5, 1, 1)

    def process_images(p: Any) -> Any:
        opts = made.webui.opts
        stored = {name: opts.data[name] for name in p.override_settings if name in opts.data}
        opts.data.update(p.override_settings)  # as the hosts do: what was never set stays
        made.passes.append(p)
        made.settings.append(dict(opts.data))
        (Path(made.webui.paths.data_path) / "params.txt").write_text("of a pass")
        made.webui.shared.state.job_count += 1
        try:
            p.init(p.prompt, p.seed, p.subseed)
            images = made.draw(p) if made.draw else painted(p)
        finally:
            opts.data.update(stored)
            made.restored.append(sorted(stored))
        return SimpleNamespace(images=images)

    def binary(mask: Any, **_: Any) -> Any:
        return mask.convert("L").point(lambda level: 255 if level > 128 else 0)

    made.webui.processing.StableDiffusionProcessingImg2Img = Img2Img
    made.webui.processing.process_images = process_images
    made.webui.processing.create_binary_mask = binary
    made.webui.processing.decode_latent_batch = pictures_of


def painted(p: Any) -> list[Any]:
    """Return what a pass draws: all of each crop in one colour, which tells its seed."""
    size = (p.width, p.height)
    return [Image.new("RGB", size, (NEW + seed % 16,) * 3) for seed in p.seed]
