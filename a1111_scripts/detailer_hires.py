"""The detailer before the second pass: the enlarged latents become pictures, are detailed, and go on as latents.

The host hands them to its sampler and to no script, on some hosts; so the sampler of the pass, which is an attribute
of the request, is given one in front of it that details first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .detailer_job import Job
from .host import processing, sd_samplers_common, shared

Redraw = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


class DetailingSampler:
    """The host's sampler, before whose first step the latents are detailed."""

    def __init__(self, sampler: Any, detailed: Callable[[Any, Tensor], Tensor]) -> None:
        """Take the sampler and what is done to the latents of a request."""
        self._sampler = sampler
        self._detailed = detailed

    def __getattr__(self, name: str) -> Any:
        """Return what the sampler has."""
        return getattr(self._sampler, name)

    def sample_img2img(self, p: Any, x: Tensor, *args: Any, **given: Any) -> Any:
        """Sample from the latents ``x`` (B, C, h, w) after they were detailed."""
        p.sampler = self._sampler
        return self._sampler.sample_img2img(p, self._detailed(p, x), *args, **given)


def put_before(job: Job) -> None:
    """Let the units of ``job`` work before the second pass, which is about to begin."""
    p = job.p

    def detailed(p: Any, x: Tensor) -> Tensor:
        with second_pass_kept(p):
            return detailed_latents(p, x, redraw)

    def redraw(picture: NDArray[np.uint8], i: int) -> NDArray[np.uint8]:
        return job.redraw(picture, i + p.iteration * p.batch_size, early=True, held=model_of_second_pass(p))

    if job.units(early=True):
        p.sampler = DetailingSampler(p.sampler, detailed)


def detailed_latents(p: Any, x: Tensor, redraw: Redraw) -> Tensor:
    """Return latents (B, C, h, w) after their pictures were redrawn; cells under no changed pixel stay as they are."""
    devices = import_module("modules.devices")
    decoded = processing.decode_latent_batch(p.sd_model, x, target_device=devices.cpu, check_for_nans=True)
    made = []
    for i, (latent, picture) in enumerate(zip(x, decoded, strict=True)):
        levels = (picture.float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy() * np.float32(255)
        before = levels.astype(np.uint8)
        made.append(_laid_on(latent, before, redraw(before, i), int(_of(p.seeds, i))))
    return torch.stack(made)


def _laid_on(latent: Tensor, before: NDArray[np.uint8], after: NDArray[np.uint8], seed: int) -> Tensor:
    """Return ``latent`` (C, h, w) with the cells of what has changed taken from the latent of ``after``."""
    changed = torch.from_numpy((before != after).any(axis=2).astype(np.float32))
    if not changed.any():
        return latent
    pixels = torch.from_numpy(after.astype(np.float32) / 255).permute(2, 0, 1)[None].to(shared.device)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(seed % 2**63)
        drawn = sd_samplers_common.images_tensor_to_samples(pixels)[0].to(latent)
    cells = torch.nn.functional.adaptive_max_pool2d(changed[None], latent.shape[-2:]).to(latent.device) > 0
    return torch.where(cells, drawn, latent)


@contextmanager
def second_pass_kept(p: Any) -> Iterator[None]:
    """Put back what a pass within the request has changed of the model for the second one: networks and patches."""
    objects = getattr(p.sd_model, "forge_objects", None)
    try:
        yield
    finally:
        if not p.disable_extra_networks:
            with import_module("modules.devices").autocast():
                import_module("modules.extra_networks").activate(p, p.hr_extra_network_data)
        if objects is not None:
            p.sd_model.forge_objects = objects
        else:
            import_module("modules.sd_models").apply_token_merging(
                p.sd_model, p.get_token_merging_ratio(for_hr=True)
            )


def model_of_second_pass(p: Any) -> dict[str, Any]:
    """Return the settings under which the host keeps the second pass's model where that has one of its own."""
    info = getattr(p, "hr_checkpoint_info", None)
    held = {} if info is None else {"sd_model_checkpoint": info.name}
    modules = getattr(p, "hr_additional_modules", None)
    if modules and "Use same choices" not in modules:
        held["forge_additional_modules"] = modules
    return held


def _of(values: Any, i: int) -> Any:
    return values[min(i, len(values) - 1)]
