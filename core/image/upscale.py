"""Enlarge latents and pictures to a size, as the web UIs' hires pass does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadType, BadValue, unknown

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]
"""A picture, uint8 (H, W, 3)."""

_MOST_CALLS = 3
_GRID = 8


@dataclass(frozen=True, kw_only=True)
class LatentUpscaler:
    """A way to enlarge latents: ``mode`` and ``antialias`` of torch's ``interpolate``."""

    name: str
    mode: str
    antialias: bool = False


def _latent(name: str, mode: str, antialias: bool = False) -> tuple[str, LatentUpscaler]:
    return name, LatentUpscaler(name=name, mode=mode, antialias=antialias)


LATENT_UPSCALERS: Mapping[str, LatentUpscaler] = MappingProxyType(
    dict(
        (
            _latent("Latent", "bilinear"),
            _latent("Latent (antialiased)", "bilinear", antialias=True),
            _latent("Latent (bicubic)", "bicubic"),
            _latent("Latent (bicubic antialiased)", "bicubic", antialias=True),
            _latent("Latent (nearest)", "nearest"),
            _latent("Latent (nearest-exact)", "nearest-exact"),
        )
    )
)
"""Every latent upscaler, by the web UIs' name."""


def upscale_latent(latent: Tensor, size: tuple[int, int], name: str = "Latent") -> Tensor:
    """Return ``latent`` (B, C, h, w), any dtype, enlarged to ``size`` (columns, rows) in latent cells.

    Raises ``BadValue`` for an unknown name and for sizes below 1.
    """
    from torch.nn.functional import interpolate  # noqa: PLC0415

    if name not in LATENT_UPSCALERS:
        raise unknown("latent upscaler", name, LATENT_UPSCALERS)
    if min(size) < 1:
        raise BadValue(f"the latent's new size is {size[0]}x{size[1]}; pass sides of 1 or more")
    how = LATENT_UPSCALERS[name]
    return interpolate(latent, size=(size[1], size[0]), mode=how.mode, antialias=how.antialias)


class Upscaler(Protocol):
    """Something that enlarges pictures."""

    @property
    def name(self) -> str:
        """Return the name that the record of a picture keeps."""
        ...

    def __call__(self, image: Pixels, factor: float) -> Pixels:
        """Enlarge ``image`` once; ``factor`` is what is wanted, a network has its own."""
        ...


@dataclass(frozen=True, kw_only=True)
class Resampler:
    """An upscaler that is one of Pillow's filters."""

    name: str
    filter: Image.Resampling

    def __call__(self, image: Pixels, factor: float) -> Pixels:
        """Enlarge ``image`` (H, W, 3) by ``factor``, sides cut to whole pixels."""
        height, width = image.shape[:2]
        return _resized(image, (int(width * factor), int(height * factor)), self.filter)


RESAMPLERS: Mapping[str, Resampler] = MappingProxyType(
    {
        name: Resampler(name=name, filter=filter)
        for name, filter in (
            ("None", Image.Resampling.LANCZOS),
            ("Lanczos", Image.Resampling.LANCZOS),
            ("Nearest", Image.Resampling.NEAREST),
        )
    }
)
"""The upscalers that need no file, by the web UIs' name."""


def upscale_image(image: Pixels, size: tuple[int, int], upscaler: Upscaler | None = None) -> Pixels:
    """Return ``image``, uint8 (H, W, 3), at ``size`` (width, height); the proportions follow ``size``.

    By the web UIs' rule: the upscaler is called until both sides are long enough, at most three times and
    only while it makes the picture larger; Lanczos then brings the sides to multiples of 8, and to ``size``
    where those are none.  A picture that is large enough, or None: Lanczos alone.
    Raises ``BadType`` or ``BadValue`` for a picture of another kind and sizes below 1.

    Source: A1111 1.9.4 and Forge f2.0.1; tests/golden/pictures.
    """
    width, height = size
    if width < 1 or height < 1:
        raise BadValue(f"size is {width}x{height}; pass sides of 1 or more")
    out = _checked(image)
    factor = max(width / out.shape[1], height / out.shape[0])
    if upscaler is not None and upscaler.name != "None" and factor > 1:
        out = _enlarged(out, factor, upscaler)
    return _resized(out, size, Image.Resampling.LANCZOS)


def _enlarged(image: Pixels, factor: float, upscaler: Upscaler) -> Pixels:
    height, width = (int(side * factor // _GRID * _GRID) for side in image.shape[:2])
    out = image
    for _ in range(_MOST_CALLS):
        if out.shape[1] >= width and out.shape[0] >= height:
            break
        before = out.shape
        out = upscaler(out, factor)
        if out.shape == before:
            break
    return _resized(out, (max(width, _GRID), max(height, _GRID)), Image.Resampling.LANCZOS)


def _resized(image: Pixels, size: tuple[int, int], filter: Image.Resampling) -> Pixels:
    if (image.shape[1], image.shape[0]) == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, filter))


def _checked(image: Any) -> Pixels:
    if not isinstance(image, np.ndarray):
        raise BadType(f"image is {type(image).__name__}; pass a uint8 array (H, W, 3)")
    pixels = cast("NDArray[Any]", image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise BadValue(f"image is {pixels.dtype} {pixels.shape}; pass uint8 (H, W, 3)")
    return np.ascontiguousarray(pixels)
