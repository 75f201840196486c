"""Crops of the detailer redrawn by ComfyUI's models: those that fit run together, each as it would be alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.detailer import Crop, Run, blur, mask_from_array
from ..core.image.generation import Generation
from ..core.image.parts import ConcordSettings, Inpaint
from ..core.masked_run import held_noise, is_hard, latent_mask
from ..core.run import Sampling, sampling_of
from ..core.sampling import Noise
from .passes import Leg, run
from .reading import Texts, read_texts
from .rig import Rig


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ready:
    """A crop with its pass laid out and its prompts encoded; ``place``: among those that were asked for."""

    place: int
    crop: Crop
    record: Generation
    sampling: Sampling
    texts: Texts

    @property
    def group(self) -> object:
        """What crops that run together have in common; samplers that choose their own steps run alone."""
        if self.sampling.sampler.nfe is None:
            return self.place
        plan, both = self.texts.positive, (self.texts.cond, self.texts.uncond)
        calls = range(max(plan.calls, 1))
        shapes = tuple(tuple(side.for_call(call).hidden.shape for side in both) for call in calls)
        networks = tuple(repr(plan.networks_at(call)) for call in calls)
        weights = tuple(part.weight for part in self.texts.cond.parts)
        return tuple(self.sampling.sigmas.tolist()), self.sampling.begin, shapes, networks, weights


def inpaint(rig: Rig, picture: Generation, crops: Sequence[Crop], warnings: list[str]) -> list[NDArray[Any]]:
    """Return what is drawn for ``crops`` of equal `batch_key`, float32 (h, w, 3) in 0 … 1.

    ``picture``: the record of the whole picture.  ``warnings`` takes up what is odd about the prompts.
    """
    ready = [_ready(rig, picture, one, i) for i, one in enumerate(crops)]
    groups: dict[object, list[_Ready]] = {}
    for one in ready:
        groups.setdefault(one.group, []).append(one)
        warnings.extend(line for line in one.texts.warnings if line not in warnings)
    drawn: dict[int, NDArray[Any]] = {}
    for group in groups.values():
        images = rig.decoded(_drawn(rig, group))
        drawn.update(zip((one.place for one in group), images, strict=True))
    return [drawn[i] for i in range(len(crops))]


def _ready(rig: Rig, picture: Generation, crop: Crop, place: int) -> _Ready:
    record = record_of_run(picture, crop.run)
    sampling = sampling_of(record, rig.sigmas, kind="image", family=rig.family)
    texts = read_texts(rig.clip, record, sampling, is_sdxl=rig.is_sdxl)
    return _Ready(place=place, crop=crop, record=record, sampling=sampling, texts=texts)


def record_of_run(picture: Generation, run: Run) -> Generation:
    """Return the record of one run of the detailer: the picture's, with what the run has of its own."""
    own = replace(
        picture.concord or ConcordSettings(), batch_size=None, batch_position=None, resize_mode=None
    )
    return replace(
        picture,
        prompt=run.prompt,
        negative_prompt=run.negative_prompt,
        seed=run.seed,
        variation=run.variation,
        seed_resize_from=None,
        size=run.size,
        denoising_strength=run.strength,
        steps=run.steps,
        cfg=run.cfg,
        sampler=run.sampler,
        scheduler=run.scheduler,
        noise_multiplier=run.noise_multiplier,
        clip_skip=run.clip_skip or picture.clip_skip,
        inpaint=Inpaint(differential=True if run.noise_mask else None),
        hires=None,
        refiner=None,
        detailer=(),
        concord=own,
    )


def _drawn(rig: Rig, group: Sequence[_Ready]) -> Tensor:
    """Return the latents of crops that run together."""
    first = group[0]
    latent = rig.encoded([one.crop.image for one in group])
    shape = (latent.shape[1], latent.shape[2], latent.shape[3])
    noises = [one.sampling.noise(shape) for one in group]
    by_web_ui = first.sampling.host.pasting != "none"
    hard = is_hard(first.record.inpaint or Inpaint())
    masks = [
        latent_mask(_softened(one.crop), (shape[2], shape[1]), by_web_ui=by_web_ui, hard=hard)
        for one in group
    ]
    leg = Leg(
        record=first.record,
        sampling=first.sampling,
        texts=[one.texts for one in group],
        noise=torch.cat([noise for noise, _ in noises]),
        steps=_joined([steps for _, steps in noises]),
        latent=latent,
        mask=torch.cat(masks),
        held=_held(group, [noise for noise, _ in noises]),
    )
    return run(rig, leg)


def _softened(crop: Crop) -> NDArray[Any]:
    """Return the mask of a crop, blurred where differential diffusion asks for it."""
    soft = crop.run.noise_mask_feather if crop.run.noise_mask else 0
    return blur(mask_from_array(crop.mask), soft / 2, soft).full() if soft else crop.mask


def _joined(noises: Sequence[Noise]) -> Noise:
    """Return the step noise of all crops: each from its own source."""

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return torch.cat([one(sigma, sigma_next) for one in noises])

    return noise


def _held(group: Sequence[_Ready], starts: Sequence[Tensor]) -> Callable[[], Tensor] | None:
    """Return the noise that the kept parts have at each call, each crop's its own."""
    each = [held_noise(one.record, one.sampling, start) for one, start in zip(group, starts, strict=True)]
    sources = [one for one in each if one is not None]
    return (lambda: torch.cat([one() for one in sources])) if sources else None
