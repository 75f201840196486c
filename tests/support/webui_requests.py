"""Requests to the fake web UIs, and a ``process_images`` that paints what it was asked for."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

from PIL import Image
from sd_concord.core import run as _run  # noqa: F401 (loaded here, the core is not loaded again with each fake)
from webui_fake import WebUI

TEXT = (
    "{prompt}\nNegative prompt: {negative}\n"
    "Steps: {steps}, Sampler: {sampler}, CFG scale: {cfg}, Seed: {seed}, Size: 16x16"
)


class Drawing:
    """Stands for the host's ``process_images``: keeps the requests, and paints a colour that follows from each."""

    def __init__(self, webui: WebUI) -> None:
        self.webui = webui
        self.requests: list[Any] = []
        self.stop_after: int | None = None
        self.fail_at: set[int] = set()
        webui.processing.process_images = self
        webui.processing.fix_seed = fix_seed
        webui.processing.Processed = processed
        webui.images.save_image = self.save
        webui.opts.data |= {"grid_save": False, "grid_format": "png", "img_max_size_mp": 200}
        webui.opts.data_labels["CLIP_stop_at_last_layers"].infotext = "Clip skip"
        webui.opts.cast_value = lambda name, value: type(webui.opts.data_labels[name].default)(value)
        webui.shared.latent_upscale_modes, webui.shared.sd_upscalers = {"Latent": {}}, []
        self.saved: list[tuple[Image.Image, str, str]] = []

    def __call__(self, p: Any) -> Any:
        self.requests.append(p)
        if len(self.requests) - 1 in self.fail_at:
            raise RuntimeError("out of memory")
        if self.stop_after == len(self.requests):
            self.webui.shared.state.interrupted = True
        count = p.n_iter * p.batch_size
        pictures = [Image.new("RGB", (p.width, p.height), self.colour(p, i)) for i in range(count)]
        texts = [text_of(p, p.seed + i) for i in range(count)]
        first = int(count > 1)
        return processed(
            p,
            [Image.new("RGB", (p.width * 2, p.height)), *pictures] if first else pictures,
            p.seed,
            texts[0],
            index_of_first_image=first,
            infotexts=[texts[0], *texts] if first else texts,
            all_seeds=[p.seed + i for i in range(count)],
        )

    def colour(self, p: Any, i: int = 0) -> tuple[int, int, int]:
        told = [p.prompt, p.steps, p.sampler_name, getattr(p, "scheduler", ""), p.cfg_scale, p.seed + i]
        told += [sorted(p.override_settings.items()), p.script_args]
        red, green, blue = hashlib.sha256(repr(told).encode()).digest()[:3]
        return red, green, blue

    def save(self, image: Image.Image, folder: str, name: str, **more: Any) -> None:
        self.saved.append((image, name, more["info"]))


def text_of(p: Any, seed: int) -> str:
    return TEXT.format(
        prompt=p.prompt,
        negative=p.negative_prompt,
        steps=p.steps,
        sampler=p.sampler_name,
        cfg=p.cfg_scale,
        seed=seed,
    )


def fix_seed(p: Any) -> None:
    p.seed, p.subseed = (1234 if seed == -1 else seed for seed in (p.seed, p.subseed))


def processed(
    p: Any, images: list[Image.Image], seed: int = -1, info: str = "", **more: Any
) -> SimpleNamespace:
    count = max(1, p.n_iter * p.batch_size)
    lists = {"all_prompts": [p.prompt] * count, "all_negative_prompts": [p.negative_prompt] * count}
    lists |= {
        "all_seeds": [seed] * count,
        "all_subseeds": [-1] * count,
        "infotexts": [info],
        "index_of_first_image": 0,
    }
    return SimpleNamespace(images=images, seed=seed, info=info, **{**lists, **more})


def request(webui: WebUI, **given: Any) -> Any:
    """A request of text to image; ``kind="img2img"`` for image to image."""
    image = given.pop("kind", "txt2img") == "img2img"
    values: dict[str, Any] = {
        "prompt": "a cat",
        "negative_prompt": "bad",
        "styles": [],
        "steps": 20,
        "sampler_name": "Euler",
        "cfg_scale": 7.0,
        "seed": 5,
        "subseed": -1,
        "subseed_strength": 0,
        "width": 16,
        "height": 16,
        "batch_size": 1,
        "n_iter": 1,
        "denoising_strength": 0.75 if image else None,
        "eta": None,
        "s_churn": 0.0,
        "override_settings": {},
        "extra_generation_params": {},
        "outpath_grids": "grids",
        "scripts": SimpleNamespace(alwayson_scripts=[]),
        "script_args": (),
    }
    if webui.shape != "classic":
        values["scheduler"] = "Automatic"
    if image:
        values |= {"image_mask": None, "mask_blur": 4}
    else:
        values |= {"enable_hr": False, "hr_scale": 2.0, "hr_second_pass_steps": 0, "hr_sampler_name": None}
    name = "StableDiffusionProcessingImg2Img" if image else "StableDiffusionProcessingTxt2Img"
    return getattr(webui.processing, name)(**(values | given))
