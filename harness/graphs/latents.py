"""Nodes of a graph: pictures, masks and latents."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from ...core.errors import BadValue
from ...core.image.graph import Node
from ...core.image.upscale import Upscaler
from ..pipeline import Pipeline
from ..stages.codec import decode, encode, levels
from .bislerp import bislerp
from .playing import Play, node
from .values import LatentWire

Floats = NDArray[np.float32]
CELL = 8


@node("SaveImage", "PreviewImage")
def save_image(play: Play, at: Node) -> tuple[list[NDArray[np.uint8]]]:
    """Return the pictures in 256 levels, cut as ComfyUI does."""
    return ([levels(image.clip(0, 1)) for image in play.wire(at, "images")],)


@node("LoadImage")
def load_image(play: Play, at: Node) -> tuple[list[Floats], Tensor]:
    """Return a picture, and its transparency as a mask."""
    name = play.text(at, "image")
    image = play.images(name, "")
    mask = play.images(name, "alpha")
    return [_floats(image)], _as_mask(mask)


@node("LoadImageMask")
def load_mask(play: Play, at: Node) -> tuple[Tensor]:
    """Return one channel of a picture as a mask."""
    return (_as_mask(play.images(play.text(at, "image"), play.text(at, "channel", "alpha"))),)


def _as_mask(mask: NDArray[np.uint8]) -> Tensor:
    return torch.tensor(_floats(mask))[None]


@node("ImageScale")
def scale_image(play: Play, at: Node) -> tuple[list[Floats]]:
    """Bring pictures to a size; a side of 0 follows from the other."""
    images: list[Floats] = play.wire(at, "image")
    rows, columns = images[0].shape[:2]
    height, width = play.whole(at, "height", 0), play.whole(at, "width", 0)
    if height == 0 and width == 0:
        return (images,)
    size = height or max(1, round(rows * width / columns)), width or max(1, round(columns * height / rows))
    method, crop = play.text(at, "upscale_method"), play.text(at, "crop", "disabled")
    return ([_scaled_image(image, size, method, crop) for image in images],)


@node("ImageScaleBy")
def scale_image_by(play: Play, at: Node) -> tuple[list[Floats]]:
    """Scale pictures by a factor."""
    images: list[Floats] = play.wire(at, "image")
    factor = play.number(at, "scale_by")
    size = tuple(round(side * factor) for side in images[0].shape[:2])
    method = play.text(at, "upscale_method")
    return ([_scaled_image(image, (size[0], size[1]), method, "disabled") for image in images],)


def _scaled_image(image: Floats, size: tuple[int, int], method: str, crop: str) -> Floats:
    whole = _cropped(torch.tensor(image).permute(2, 0, 1)[None], size, crop)
    if method != "lanczos":
        return _scaled(whole, size, method)[0].permute(1, 2, 0).numpy()
    pixels = (whole[0].permute(1, 2, 0).numpy() * 255).clip(0, 255).astype(np.uint8)
    out = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return _floats(np.asarray(out))


def _floats(pixels: NDArray[np.uint8]) -> Floats:
    return (pixels.astype(np.float32) / np.float32(255)).astype(np.float32)


def _scaled(samples: Tensor, size: tuple[int, int], method: str) -> Tensor:
    if method == "bislerp":
        return bislerp(samples, size)
    known = ("nearest-exact", "bilinear", "area", "bicubic")
    if method not in known:
        raise BadValue(
            f"upscale method {method!r} is not carried out here; known: bislerp, {', '.join(known)}"
        )
    return interpolate(samples, size=size, mode=method)


def _cropped(samples: Tensor, size: tuple[int, int], crop: str) -> Tensor:
    """Return the middle of (B, C, h, w) with the proportions of ``size``, all of it unless ``crop`` is "center"."""
    if crop != "center":
        return samples
    height, width = samples.shape[2:]
    old, new = width / height, size[1] / size[0]
    left = round((width - width * (new / old)) / 2) if old > new else 0
    top = round((height - height * (old / new)) / 2) if old < new else 0
    return samples[..., top : height - top, left : width - left]


@node("UpscaleModelLoader")
def load_upscaler(play: Play, at: Node) -> tuple[Upscaler]:
    """Return a network that enlarges."""
    name = play.text(at, "model_name").replace("\\", "/").rpartition("/")[2]
    return (play.pipeline.upscaler(name.rpartition(".")[0] or name),)


@node("ImageUpscaleWithModel")
def upscale_with_network(play: Play, at: Node) -> tuple[list[Floats]]:
    """Enlarge pictures with a network."""
    network: Any = play.wire(at, "upscale_model")
    images: list[Floats] = play.wire(at, "image")
    inputs = (torch.tensor(image).permute(2, 0, 1)[None] for image in images)
    return ([network.enlarge(one)[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy() for one in inputs],)


@node("VAEDecode")
def vae_decode(play: Play, at: Node) -> tuple[list[Floats]]:
    """Decode latents."""
    pipeline: Pipeline = play.wire(at, "vae")
    latent: LatentWire = play.wire(at, "samples")
    return (list(decode(pipeline.model, latent.samples)),)


@node("VAEEncode")
def vae_encode(play: Play, at: Node) -> tuple[LatentWire]:
    """Encode pictures, to the mean."""
    pipeline: Pipeline = play.wire(at, "vae")
    images: list[Floats] = play.wire(at, "pixels")
    return (LatentWire(samples=encode(pipeline.model, [_whole_cells(image) for image in images])),)


def _whole_cells(image: Floats) -> Floats:
    """Return the middle of a picture whose sides are multiples of a cell."""
    height, width = image.shape[:2]
    top, left = height % CELL // 2, width % CELL // 2
    return image[top : top + height // CELL * CELL, left : left + width // CELL * CELL]


@node("VAEEncodeForInpaint")
def vae_encode_for_inpaint(play: Play, at: Node) -> tuple[LatentWire]:
    """Encode a picture that is grey where it is painted, and widen the mask."""
    pipeline: Pipeline = play.wire(at, "vae")
    images: list[Floats] = play.wire(at, "pixels")
    mask: Tensor = play.wire(at, "mask")
    height, width = images[0].shape[:2]
    wide = interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), size=(height, width), mode="bilinear").round()
    kept = 1.0 - wide[:, 0, ..., None].numpy()
    grey = [
        (image - np.float32(0.5)) * kept[i % len(kept)] + np.float32(0.5) for i, image in enumerate(images)
    ]
    grown = _grown(wide, play.whole(at, "grow_mask_by", 6))[..., :height, :width]
    samples = encode(pipeline.model, [_whole_cells(image) for image in grey])
    return (LatentWire(samples=samples, mask=grown.round()[:, 0]),)


def _grown(mask: Tensor, by: int) -> Tensor:
    """Return ``mask`` (1, 1, H, W) of 0 and 1 widened by a square of ``by`` pixels."""
    if by == 0:
        return mask
    square = torch.ones(1, 1, by, by)
    return conv2d(mask, square, padding=math.ceil((by - 1) / 2)).clamp(0, 1)


@node("EmptyLatentImage")
def empty_latent(play: Play, at: Node) -> tuple[LatentWire]:
    """Return zeros."""
    channels = play.pipeline.model.latent_channels
    rows, columns = play.whole(at, "height") // CELL, play.whole(at, "width") // CELL
    return (LatentWire(samples=torch.zeros(play.whole(at, "batch_size", 1), channels, rows, columns)),)


@node("SetLatentNoiseMask")
def set_noise_mask(play: Play, at: Node) -> tuple[LatentWire]:
    """Paint inside a mask alone."""
    mask: Tensor = play.wire(at, "mask")
    return (replace(play.wire(at, "samples"), mask=mask.reshape(-1, *mask.shape[-2:])),)


@node("LatentFromBatch")
def latent_from_batch(play: Play, at: Node) -> tuple[LatentWire]:
    """Take some of a batch, which keep their places in it."""
    latent: LatentWire = play.wire(at, "samples")
    first = min(len(latent.samples) - 1, play.whole(at, "batch_index"))
    count = min(len(latent.samples) - first, play.whole(at, "length", 1))
    places = latent.indices or tuple(range(len(latent.samples)))
    return (
        replace(
            latent,
            samples=latent.samples[first : first + count].clone(),
            indices=places[first : first + count],
        ),
    )


@node("RepeatLatentBatch")
def repeat_latent(play: Play, at: Node) -> tuple[LatentWire]:
    """Repeat a batch."""
    latent: LatentWire = play.wire(at, "samples")
    amount = play.whole(at, "amount")
    indices = latent.indices
    if indices is not None:
        span = max(indices) - min(indices) + 1
        indices = tuple(place + i * span for i in range(amount) for place in indices)
    return (replace(latent, samples=latent.samples.repeat(amount, 1, 1, 1), indices=indices),)


@node("LatentUpscale")
def upscale_latent(play: Play, at: Node) -> tuple[LatentWire]:
    """Bring latents to a size in pixels."""
    latent: LatentWire = play.wire(at, "samples")
    rows, columns = latent.samples.shape[2:]
    height, width = play.whole(at, "height", 0), play.whole(at, "width", 0)
    if height == 0 and width == 0:
        return (latent,)
    height = height or max(64, round(rows * CELL * width / (columns * CELL)))
    width = width or max(64, round(columns * CELL * height / (rows * CELL)))
    size = max(64, height) // CELL, max(64, width) // CELL
    samples = _cropped(latent.samples, size, play.text(at, "crop", "disabled"))
    return (replace(latent, samples=_scaled(samples, size, play.text(at, "upscale_method"))),)


@node("LatentUpscaleBy")
def upscale_latent_by(play: Play, at: Node) -> tuple[LatentWire]:
    """Scale latents by a factor."""
    latent: LatentWire = play.wire(at, "samples")
    factor = play.number(at, "scale_by")
    size = tuple(round(side * factor) for side in latent.samples.shape[2:])
    method = play.text(at, "upscale_method")
    return (replace(latent, samples=_scaled(latent.samples, (size[0], size[1]), method)),)
