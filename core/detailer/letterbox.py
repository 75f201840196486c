"""Fit a picture into a detector's input and take boxes and masks back to the picture, to a fraction of a pixel.

A point at x of the picture lies at ``x * scale_x + left`` of the input: that is where pixels land when a
picture is resized from corner to corner, so going back is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

GREY = 114


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """Where a picture lies in an input: ``size`` (width, height) of the picture, all else in the input's pixels.

    ``inner`` (width, height): what the picture was resized to.  ``left``, ``top``: the border before it.
    ``outer`` (width, height): the whole input.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    left: int
    top: int
    outer: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """How much larger the picture is in the input, along x and along y."""
        return self.inner[0] / self.size[0], self.inner[1] / self.size[1]

    def image(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return ``pixels`` (H, W, 3) as the input (1, 3, h, w) in 0…1, a gray border round it.

        The picture is resized linearly between the nearest pixels, as YOLO networks are trained.
        """
        x = torch.tensor(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
        if self.inner != self.size:
            x = functional.interpolate(x, size=self.inner[::-1], mode="bilinear", align_corners=False).round()
        right = self.outer[0] - self.inner[0] - self.left
        bottom = self.outer[1] - self.inner[1] - self.top
        return functional.pad(x, (self.left, right, self.top, bottom), value=GREY) / 255

    def boxes(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return boxes (n, 4) of the input as boxes of the picture, cut at its border."""
        scale_x, scale_y = self.scale
        start = np.array([self.left, self.top, self.left, self.top], np.float64)
        back = (boxes.astype(np.float64) - start) / (scale_x, scale_y, scale_x, scale_y)
        width, height = self.size
        return np.clip(back, 0, [width, height, width, height]).astype(np.float32)

    def mask(self, logits: Tensor, box: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return the mask (H, W) of what is above zero in ``logits`` (h', w') and within ``box`` of the picture.

        ``logits`` cover the whole input, at any resolution.  Each pixel of the picture asks for the value at
        its own centre, so nothing is resized twice.  Pixels whose centres the box holds are kept.
        """
        width, height = self.size
        mask = np.zeros((height, width), np.bool_)
        x1, y1, x2, y2 = (math.ceil(edge - 0.5) for edge in box.tolist())
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if x1 >= x2 or y1 >= y2:
            return mask
        across = ((torch.arange(x1, x2) + 0.5) * self.scale[0] + self.left) / self.outer[0] * 2 - 1
        down = ((torch.arange(y1, y2) + 0.5) * self.scale[1] + self.top) / self.outer[1] * 2 - 1
        grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None]
        found = functional.grid_sample(logits[None, None], grid, padding_mode="border", align_corners=False)
        mask[y1:y2, x1:x2] = (found[0, 0] > 0).numpy()
        return mask


def letterbox(size: tuple[int, int], largest: int, stride: int) -> Letterbox:
    """Return how a picture of ``size`` (width, height) lies in an input whose longer side is ``largest``.

    The input is as small as it can be in multiples of ``stride``, with the picture in its middle, which is
    how ultralytics predicts.
    """
    largest = math.ceil(largest / stride) * stride
    inner = _inner(size, (largest, largest))
    outer = (math.ceil(inner[0] / stride) * stride, math.ceil(inner[1] / stride) * stride)
    return _placed(size, inner, outer)


def letterbox_into(size: tuple[int, int], outer: tuple[int, int]) -> Letterbox:
    """Return how a picture of ``size`` (width, height) lies in the middle of an input of the size ``outer``."""
    return _placed(size, _inner(size, outer), outer)


def _inner(size: tuple[int, int], outer: tuple[int, int]) -> tuple[int, int]:
    ratio = min(outer[0] / size[0], outer[1] / size[1])
    return max(1, min(outer[0], round(size[0] * ratio))), max(1, min(outer[1], round(size[1] * ratio)))


def _placed(size: tuple[int, int], inner: tuple[int, int], outer: tuple[int, int]) -> Letterbox:
    left, top = ((outer[axis] - inner[axis]) // 2 for axis in (0, 1))
    return Letterbox(size=size, inner=inner, left=left, top=top, outer=outer)
