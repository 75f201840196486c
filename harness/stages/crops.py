"""Several crops of one size inpainted together, each with its own prompt, seed, strength and mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import BadValue
from ...core.image.generation import Generation
from ...core.image.masked_content import fill_masked, masked_latent
from ...core.image.parts import Inpaint
from ...core.passes import noisy_start
from ...core.run import Sampling
from ...core.sampling import Noise
from ..denoise import GuidedDenoiser
from .canvas import check_mask, check_picture, content_of
from .codec import Floats, decode, encode
from .masking import Kept, MaskedDenoiser, finished, held_noise, is_hard, latent_mask

if TYPE_CHECKING:
    from ..pipeline import Pipeline, Watch
    from ..texts import Texts

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """One part of a picture to be painted: ``image`` uint8 (H, W, 3), ``mask`` uint8 (H, W), 255 painted.

    What is None is as in the record.
    """

    image: Pixels
    mask: Pixels
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    strength: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ready:
    """A crop with its pass laid out."""

    record: Generation
    sampling: Sampling
    texts: Texts

    @property
    def group(self) -> tuple[object, ...]:
        """What crops that run together have in common."""
        calls = range(max(self.texts.positive.calls, 1))
        both = (self.texts.cond, self.texts.uncond)
        shapes = tuple(tuple(side.for_call(call).hidden.shape for side in both) for call in calls)
        networks = tuple(repr(self.texts.positive.networks_at(call)) for call in calls)
        weights = tuple(part.weight for part in self.texts.cond.parts)
        return tuple(self.sampling.sigmas.tolist()), self.sampling.begin, shapes, networks, weights


def inpaint_crops(
    pipeline: Pipeline,
    crops: Sequence[Crop],
    record: Generation,
    *,
    batch: int = 8,
    watch: Watch | None = None,
) -> list[Floats]:
    """Return what is drawn for each of ``crops``, float32 (H, W, 3) in 0 … 1, before it is laid on the picture.

    All are of one size, in multiples of the VAE's stride.  ``record``: the settings of all; its mask blur is
    not applied, as the masks have theirs already.  Those that begin at the same step with the same networks go
    through the model together, at most ``batch`` at a time; each is the one that it is alone, to the accuracy
    of floats.  Samplers that choose their own steps are run one by one.  ``pipeline.warnings`` holds what was
    said of all prompts.  Raises ``BadValue`` for crops that cannot be.
    """
    if batch < 1:
        raise BadValue(f"batch is {batch}; pass 1 or more")
    _check(crops)
    warnings: list[str] = []
    drawn: dict[int, Floats] = {}
    for together in _groups([_ready(pipeline, one, record, warnings) for one in crops], batch):
        chosen = [crops[i] for i, _ in together]
        for (i, _), image in zip(
            together, _run(pipeline, chosen, [one for _, one in together], watch), strict=True
        ):
            drawn[i] = image
    pipeline.warnings = warnings
    return [drawn[i] for i in range(len(crops))]


def _check(crops: Sequence[Crop]) -> None:
    for one in crops:
        check_mask(one.mask, check_picture(one.image, "a crop"))
    sizes = {one.image.shape[:2] for one in crops}
    if len(sizes) > 1:
        raise BadValue(f"crops are of sizes {sorted(sizes)} (H, W); pass those of one size at a time")


def _ready(pipeline: Pipeline, one: Crop, record: Generation, warnings: list[str]) -> _Ready:
    """Return ``one`` with its record completed, its pass laid out and its prompts encoded."""
    height, width = one.image.shape[:2]
    own = replace(
        record,
        prompt=record.prompt if one.prompt is None else one.prompt,
        negative_prompt=record.negative_prompt if one.negative_prompt is None else one.negative_prompt,
        seed=record.seed if one.seed is None else one.seed,
        denoising_strength=record.denoising_strength if one.strength is None else one.strength,
        size=(width, height),
        hires=None,
        refiner=None,
    )
    complete = pipeline.complete(own, init_image=one.image, masked=True)
    sampling = pipeline.sampling(complete, kind="image")
    texts = pipeline.read(complete, sampling)
    warnings.extend(line for line in pipeline.warnings if line not in warnings)
    return _Ready(record=complete, sampling=sampling, texts=texts)


def _groups(crops: Sequence[_Ready], batch: int) -> list[list[tuple[int, _Ready]]]:
    """Return the crops with their places, those together that can run together."""
    groups: dict[object, list[tuple[int, _Ready]]] = {}
    for i, one in enumerate(crops):
        alone = one.sampling.sampler.nfe is None
        groups.setdefault(i if alone else one.group, []).append((i, one))
    return [
        group[first : first + batch] for group in groups.values() for first in range(0, len(group), batch)
    ]


def _run(pipeline: Pipeline, crops: list[Crop], ready: list[_Ready], watch: Watch | None) -> list[Floats]:
    """Return the drawn pictures of crops that run together."""
    model, first = pipeline.model, ready[0]
    sampling = first.sampling
    settings = first.record.inpaint or Inpaint()
    pipeline.lay_on(first.texts)
    images = [_filled(one, settings) for one in crops]
    seeds = [one.record.seed or 0 for one in ready]
    latent = encode(model, images, sampling.host.posterior, seeds)
    shape = (latent.shape[1], latent.shape[2], latent.shape[3])
    noises = [one.sampling.noise(shape) for one in ready]
    start_noise = torch.cat([noise for noise, _ in noises]).to(model.device)
    size = (shape[2], shape[1])
    by_web_ui = sampling.host.pasting != "none"
    masks = [latent_mask(one.mask, size, by_web_ui=by_web_ui, hard=is_hard(settings)) for one in crops]
    mask = torch.cat(masks).to(model.device)
    kept = Kept(
        latent=masked_latent(latent, mask, content_of(settings), start_noise),
        mask=mask,
        noise=_held(ready, start_noise),
        settings=settings,
    )
    start = noisy_start(first.record, sampling, start_noise, kept.latent)
    stride = model.vae_stride
    inner = GuidedDenoiser(
        model,
        [one.texts.cond for one in ready],
        [one.texts.uncond for one in ready],
        sampling,
        (shape[2] * stride, shape[1] * stride),
        before_call=pipeline.network_changes(first.texts),
        empty=first.texts.empty,
    )
    steps = _joined([noise for _, noise in noises])
    with torch.inference_mode():
        denoiser = MaskedDenoiser(inner, kept, sampling)
        out = pipeline.sample(sampling, denoiser, start, steps, watch=watch)
    return list(decode(model, finished(out, kept, sampling)))


def _filled(one: Crop, settings: Inpaint) -> Pixels:
    return one.image if content_of(settings) == "original" else fill_masked(one.image, one.mask)


def _joined(noises: Sequence[Noise]) -> Noise:
    """Return the step noise of all crops: each from its own source."""

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return torch.cat([one(sigma, sigma_next) for one in noises])

    return noise


def _held(ready: Sequence[_Ready], start: Tensor) -> Callable[[], Tensor] | None:
    """Return the noise that the kept parts have at each call, each crop's its own."""
    each = [held_noise(one.record, one.sampling, start[i : i + 1]) for i, one in enumerate(ready)]
    sources = [one for one in each if one is not None]
    return (lambda: torch.cat([one() for one in sources])) if sources else None
