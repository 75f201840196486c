"""The whole of a generation: text to image with its hires pass, or image to image and inpainting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ...core.errors import BadValue
from ...core.filled import profile_of
from ...core.image.generation import Generation
from ...core.image.hires import HiresSize, cut_latent
from ...core.image.upscale import LATENT_UPSCALERS, upscale_image, upscale_latent
from ...core.passes import DEFAULT_UPSCALER, size_of_hires
from ...core.run import DEFAULT_STRENGTH
from .canvas import canvas_of, filled_inpaint, picture_hash
from .codec import encode, levels
from .second import check_same_latents

if TYPE_CHECKING:
    from .drawing import Drawing

Pixels = NDArray[np.uint8]


def draw_text(drawing: Drawing) -> list[Pixels]:
    """Return the pictures of text to image, and of the hires pass where there is one."""
    record = drawing.record
    latents = drawing.draw("text")
    if record.hires is None:
        return [levels(image) for image in drawing.decoded(latents)]
    before = drawing.decoded(latents) if _wants_pictures(drawing) else []
    drawing.tell("first pass", [levels(image) for image in before])
    size = size_of_hires(record)
    larger = _enlarged(drawing, latents, [levels(image) for image in before], size)
    out = drawing.draw("hires", latent=larger)
    return [levels(image) for image in drawing.decoded(out)]


def draw_image(drawing: Drawing, image: Pixels, mask: Pixels | None) -> list[Pixels]:
    """Return the pictures of image to image from ``image`` (H, W, 3), painted inside ``mask`` (H, W)."""
    record, pipeline = drawing.record, drawing.pipeline
    host = profile_of(record)
    canvas = canvas_of(record, host, image, mask)
    drawing.tell("input", [canvas.image])
    sampling = pipeline.sampling(record, kind="image", batch=drawing.batch)
    seeds = list(sampling.seeds.each())
    count = drawing.batch if host.posterior == "sample" else 1
    latent = encode(pipeline.model, [canvas.image] * count, host.posterior, seeds)
    latent = latent.expand(drawing.batch, -1, -1, -1) if count == 1 else latent
    latents = drawing.draw("image", latent=_sized(drawing, latent), canvas=canvas)
    drawn = drawing.decoded(latents)
    if canvas.region is not None:
        drawing.tell("painted part", [levels(one) for one in drawn])
    return [canvas.finished(one) for one in drawn]


def _sized(drawing: Drawing, latent: Tensor) -> Tensor:
    """Return ``latent`` at the size of the run, which it has unless it is to be enlarged as a latent."""
    size = drawing.pipeline.latent_shape(drawing.record)[1:]
    return latent if tuple(latent.shape[2:]) == size else interpolate(latent, size=size, mode="bilinear")


def complete_image(record: Generation, image: Pixels, *, masked: bool) -> Generation:
    """Return ``record`` with what image to image needs filled in; raises ``BadValue`` for what cannot be."""
    if record.hires is not None:
        raise BadValue(
            "hires is a second pass of text to image; for a larger picture give image to image a size"
        )
    record = filled_inpaint(record, profile_of(record), masked=masked)
    strength = DEFAULT_STRENGTH if record.denoising_strength is None else record.denoising_strength
    return replace(record, denoising_strength=strength, init_image_hash=picture_hash(image))


def run_size(image: Pixels, stride: int = 8) -> tuple[int, int]:
    """Return the size at which ``image`` is worked on unless one is given: its own, in multiples of ``stride``."""
    height, width = image.shape[:2]
    return tuple(max(stride, round(side / stride) * stride) for side in (width, height))  # type: ignore[return-value]


def _wants_pictures(drawing: Drawing) -> bool:
    """Tell whether the first pass is decoded: for an upscaler of pictures, or for who watches the stages."""
    hires = drawing.record.hires
    return drawing.on_stage is not None or (hires is not None and hires.upscaler not in LATENT_UPSCALERS)


def _enlarged(drawing: Drawing, latents: Tensor, before: list[Pixels], size: HiresSize) -> Tensor:
    """Return the clean latents that the hires pass begins with, and make its model the one that runs."""
    hires = drawing.record.hires
    assert hires
    name = hires.upscaler or DEFAULT_UPSCALER
    first = drawing.pipeline
    second = first.second.get(hires.checkpoint) if hires.checkpoint else first
    latent_way = name in LATENT_UPSCALERS
    if latent_way:
        check_same_latents(first.model, second.model, "hires checkpoint")
        larger = upscale_latent(latents, size.latent, name)
    else:
        upscaler = first.upscaler(name)
        pictures = [upscale_image(image, size.to, upscaler) for image in before]
        drawing.tell("upscaled", pictures)
        host = profile_of(drawing.record)
        seeds = first.sampling(drawing.record, kind="hires", batch=drawing.batch).seeds.each()
        seeds = [seeds[i % len(seeds)] for i in range(len(pictures))]
        larger = encode(second.model, pictures, host.posterior, seeds)
    drawing.pipeline = drawing.decoder = second
    return cut_latent(larger, size.cut)
