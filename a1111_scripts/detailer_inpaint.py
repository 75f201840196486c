"""The detailer's crops drawn by the host: those that fit together in one pass of image to image, each as alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..core.detailer import Crop, Run, blur, mask_from_array
from ..core.image.names import sampler_name
from ..core.image.parts import DetailerUnit
from ..core.masked_run import latent_mask
from ..core.prompt import chunk_tokens, clip_tokenizer, extract_networks, parse_schedule, split_and
from ..core.sampling import SAMPLERS
from .detailer_models import checkpoint_setting, sampling_here, vae_setting
from .detailer_scripts import scripts_for
from .host import processing, sd_samplers, sd_samplers_common, shared

CLIP_MODELS = ("is_sd1", "is_sd2", "is_sdxl")
KEPT = ("eta", "s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise", "tiling", "distilled_cfg_scale")
"""Fields of a request that hold for its crops too, where the host has them."""
CARRIED = ("concord_dialect",)
"""What our other scripts have said on the request, which they ask each pass for."""


class CropsPass(processing.StableDiffusionProcessingImg2Img):
    """A request of the host whose pictures are crops, each with a mask of its own.

    What is drawn is handed back as it is: the core lays it on the picture.
    """

    crops: Sequence[Crop] = ()

    def init(self, all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        """Encode the crops and their masks, in place of the one mask that the host has for a batch."""
        del all_prompts, all_subseeds
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        pictures = np.stack([one.image for one in self.crops]).astype(np.float32) / 255
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(shared.device)
        self.init_latent = torch.cat(
            [_encoded(one[None], seed) for one, seed in zip(pixels, all_seeds, strict=True)]
        )
        size = (self.init_latent.shape[3], self.init_latent.shape[2])
        soft = self.crops[0].run.noise_mask
        masks = [latent_mask(_softened(one), size, by_web_ui=True, hard=not soft) for one in self.crops]
        self.nmask = torch.cat(masks).to(self.init_latent).expand_as(self.init_latent)
        self.mask = 1 - self.nmask
        if shared.opts.img2img_color_correction:
            self.color_corrections = [
                processing.setup_color_correction(Image.fromarray(one.image)) for one in self.crops
            ]
        hard = np.stack([one.mask for one in self.crops])[:, None] > 127
        self.image_conditioning = self.img2img_image_conditioning(
            pixels * 2 - 1, self.init_latent, torch.from_numpy(hard.astype(np.float32)), self.mask_round
        )


def _encoded(pixels: Tensor, seed: int) -> Tensor:
    """Return the latent of a crop (1, 3, h, w), 0…1.  The hosts draw it from the VAE's posterior, unseeded."""
    torch.manual_seed(seed % 2**63)
    return sd_samplers_common.images_tensor_to_samples(pixels)


def _softened(crop: Crop) -> NDArray[np.uint8]:
    """Return the mask of a crop, blurred where differential diffusion asks for it."""
    soft = crop.run.noise_mask_feather if crop.run.noise_mask else 0
    return blur(mask_from_array(crop.mask), soft / 2, soft).full() if soft else crop.mask


@dataclass(kw_only=True, eq=False)
class Drawer:
    """Draws the crops of one unit for the request ``p``; an `Inpaint` of the core.

    ``held``: settings that hold in every pass, such as the checkpoint of the second pass.  ``caches``: the host's
    own of conditionings, kept from crop to crop.  ``stopped``: the user has interrupted or skipped.
    """

    p: Any
    unit: DetailerUnit
    held: dict[str, Any] = field(default_factory=dict)
    caches: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([None] * 3, [None] * 3))
    stopped: bool = False

    def __call__(self, crops: Sequence[Crop]) -> list[NDArray[Any]]:
        """Return what is drawn for ``crops`` of equal `batch_key`; not a number where nothing was."""
        drawn: dict[int, NDArray[Any]] = {}
        for places in _groups(crops, alone=self.unit.controlnet_model not in (None, "None")):
            images = self._drawn([crops[i] for i in places])
            drawn.update(zip(places, images, strict=True))
        return [drawn[i] for i in range(len(crops))]

    def _drawn(self, crops: Sequence[Crop]) -> list[NDArray[Any]]:
        """Return what one pass of the host makes of ``crops``."""
        self.stopped = self.stopped or is_stopped()
        images: list[Any] = []
        if not self.stopped:
            request = self._request(crops)
            try:
                with kept_settings(request.override_settings), undisturbed():
                    images = processing.process_images(request).images
            except import_module("modules.devices").NansException:
                images = []
            finally:
                request.close()
            self.stopped = is_stopped()
        if self.stopped or len(images) != len(crops):
            return [np.full(one.image.shape, np.nan, np.float32) for one in crops]
        return [np.asarray(one.convert("RGB")) for one in images]

    def _request(self, crops: Sequence[Crop]) -> CropsPass:
        run, p = crops[0].run, self.p
        request = CropsPass(
            sd_model=shared.sd_model,
            init_images=[Image.fromarray(one.image) for one in crops],
            prompt=[one.run.prompt for one in crops],
            negative_prompt=[one.run.negative_prompt for one in crops],
            styles=[],
            seed=[one.run.seed for one in crops],
            **_variation([one.run for one in crops]),
            **sampling_here(run.sampler, run.scheduler),
            batch_size=len(crops),
            n_iter=1,
            steps=run.steps,
            cfg_scale=run.cfg,
            width=run.size[0],
            height=run.size[1],
            denoising_strength=run.strength,
            initial_noise_multiplier=run.noise_multiplier,
            resize_mode=0,
            inpainting_fill=1,
            inpaint_full_res=False,
            restore_faces=run.restore_face,
            do_not_save_samples=True,
            do_not_save_grid=True,
            override_settings=self._settings(run),
            **{name: getattr(p, name) for name in KEPT if hasattr(p, name)},
        )
        for name in CARRIED:
            if hasattr(p, name):
                setattr(request, name, getattr(p, name))
        request.crops = crops
        request.is_api = getattr(p, "is_api", False)
        request.cached_c, request.cached_uc = self.caches
        scripts_for(request, p, self.unit, noise_mask=run.noise_mask)
        return request

    def _settings(self, run: Run) -> dict[str, Any]:
        clip_skip = {} if run.clip_skip is None else {"CLIP_stop_at_last_layers": run.clip_skip}
        own = {**checkpoint_setting(run.checkpoint), **vae_setting(run.vae), **clip_skip}
        return {
            "multiple_tqdm": False,
            **self.held,
            **own,
        }  # the bar of the whole job counts the job's own steps


def _variation(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the second seeds of a request, where there are any."""
    found = [one.variation for one in runs]
    if any(one is None or not one.strength for one in found):
        return {"subseed": [0] * len(runs), "subseed_strength": 0}
    return {"subseed": [one.seed or 0 for one in found if one], "subseed_strength": found[0].strength}  # pyright: ignore[reportOptionalMemberAccess]


def _groups(crops: Sequence[Crop], *, alone: bool) -> list[list[int]]:
    """Return the places of the crops that go through the host together; ``alone``: each by itself."""
    groups: dict[Hashable, list[int]] = {}
    for i, one in enumerate(crops):
        groups.setdefault(i if alone or _is_alone(one.run) else _likeness(one.run), []).append(i)
    return list(groups.values())


def _is_alone(run: Run) -> bool:
    """Tell whether the sampler chooses its steps by what it sees, or is one that we do not know."""
    spec = SAMPLERS.get(sampler_name(run.sampler))
    return spec is None or spec.nfe is None


def _likeness(run: Run) -> Hashable:
    """Return what runs have in common that can go together.

    The host has one strength and the networks of the first prompt for a batch, and stretches prompts to equal
    length; in Forge the weights of AND are those of the last.
    """
    if not any(getattr(shared.sd_model, name, False) for name in CLIP_MODELS):
        return run.strength, run.prompt, run.negative_prompt
    text, tags = extract_networks(run.prompt)
    parts = tuple((weight, _lengths(part, run.steps)) for part, weight in split_and(text))
    return run.strength, repr(tags), parts, _lengths(run.negative_prompt, run.steps)


def _lengths(text: str, steps: int) -> Hashable:
    """Return how many chunks a prompt has in the course of a run."""
    tokenizer = clip_tokenizer()
    return tuple((last, len(chunk_tokens(one, tokenizer))) for last, one in parse_schedule(text, steps))


def is_stopped() -> bool:
    """Tell whether the user has interrupted the job or skipped this picture."""
    return bool(shared.state.interrupted or shared.state.skipped)


@contextmanager
def kept_settings(settings: dict[str, Any]) -> Iterator[None]:
    """Let settings that nobody has set stay so.

    The host sets back what was set before a request, and loads the VAE again with it; what was not, it keeps.
    """
    opts = shared.opts
    fresh = [name for name in settings if name not in opts.data and hasattr(opts, name)]
    opts.data.update({name: getattr(opts, name) for name in fresh})
    try:
        yield
    finally:
        for name in fresh:
            opts.data.pop(name, None)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a pass within a request leave the host's progress, random numbers and last infotext as they are."""
    state, history = shared.state, _history()
    before = None if history is None or not history.is_file() else history.read_bytes()
    jobs, stopping = (state.job_count, state.job_no), getattr(state, "stopping_generation", False)
    state.stopping_generation = False  # "after this picture": the detailer is part of it
    try:
        with torch.random.fork_rng(devices=_devices()):
            yield
    finally:
        state.job_count, state.job_no = jobs
        state.stopping_generation = stopping or state.stopping_generation
        if before is not None and history is not None:
            history.write_bytes(before)


def _history() -> Path | None:
    """Return the file in which the host keeps the last infotext, None where it keeps none."""
    if getattr(getattr(shared, "cmd_opts", None), "no_prompt_history", False):
        return None
    return Path(import_module("modules.paths").data_path) / "params.txt"


def _devices() -> list[int]:
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []
