"""Draw scenes: each shape is a polygon or an ellipse in a box, drawn large and reduced for smooth edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .scenes import BACKGROUNDS, COLOURS, SIZE, SKINS, Item, Scene

Point = tuple[float, float]
Colour = tuple[int, int, int]
Fill = Colour | int

_SCALE = 3  # drawn at three times the size
_OUTLINE = (40, 40, 44)


def draw(scene: Scene, seed: int = 0) -> NDArray[np.uint8]:
    """Return the picture of ``scene`` as uint8 (128, 128, 3).  ``seed`` feeds the "noisy" style alone."""
    image = Image.new("RGB", (SIZE * _SCALE, SIZE * _SCALE), BACKGROUNDS[scene.background])
    pen = ImageDraw.Draw(image)
    for item in scene.items:
        if item.kind == "face":
            _face(pen, item)
        else:
            _shape(pen, item, scene.style)
    small = image.reduce(_SCALE)
    return _styled(small, scene, seed)


def silhouette(kind: str, size: int) -> NDArray[np.bool_]:
    """Return the outline of a shape filling a square of ``size`` pixels, as a mask (size, size)."""
    image = Image.new("L", (size * _SCALE, size * _SCALE), 0)
    half = size * _SCALE / 2
    _fill(ImageDraw.Draw(image), kind, (half, half), half, 255)
    return np.asarray(image.reduce(_SCALE)) > 127


def _shape(pen: ImageDraw.ImageDraw, item: Item, style: str) -> None:
    centre, radius = (item.x * _SCALE, item.y * _SCALE), item.radius * _SCALE
    colour = COLOURS[item.colour]
    if style == "outlined":
        _fill(pen, item.kind, centre, radius, _OUTLINE)
        inner = radius - 2.2 * _SCALE
        _fill(pen, item.kind, centre, inner, colour)
    elif style == "sketch":
        for i in range(3):
            jitter = (centre[0] + (i - 1) * 2.0, centre[1] + (1 - i) * 2.0)
            _fill(pen, item.kind, jitter, radius, colour, outline=_OUTLINE if i == 2 else None)
    else:
        _fill(pen, item.kind, centre, radius, colour)


def _fill(
    pen: ImageDraw.ImageDraw,
    kind: str,
    centre: Point,
    radius: float,
    fill: Fill,
    outline: Colour | None = None,
) -> None:
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == "circle":
        pen.ellipse(box, fill=fill, outline=outline)
    elif kind == "ring":
        width = max(1, round(radius * 0.42))
        pen.ellipse(box, outline=fill, width=width)
    else:
        points = [(x + radius * px, y + radius * py) for px, py in _POLYGONS[kind]()]
        pen.polygon(points, fill=fill, outline=outline)


def _star() -> list[Point]:
    angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
    return [
        (r * math.cos(a), r * math.sin(a) + 0.05)
        for i, a in enumerate(angles)
        for r in (1.0 if i % 2 == 0 else 0.44,)
    ]


def _heart() -> list[Point]:
    turns = [2 * math.pi * i / 60 for i in range(60)]
    return [
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16.0 - 0.1,
        )
        for t in turns
    ]


def _cross() -> list[Point]:
    arm = 0.36
    return [
        (-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
        (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm),
    ]  # fmt: skip


_POLYGONS: dict[str, Callable[[], list[Point]]] = {
    "square": lambda: [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": lambda: [(0, -1), (1, 0.85), (-1, 0.85)],
    "diamond": lambda: [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)],
    "star": _star,
    "heart": _heart,
    "cross": _cross,
}


def _face(pen: ImageDraw.ImageDraw, item: Item) -> None:
    """Hair behind, an oval of skin, brows, eyes, the shadow of a nose, and a mouth by mood."""
    cx, cy, r = item.x * _SCALE, item.y * _SCALE, item.radius * _SCALE
    skin = SKINS[item.skin]
    shade = (int(skin[0] * 0.78), int(skin[1] * 0.78), int(skin[2] * 0.78))
    hair = COLOURS[item.colour]

    def oval(x: float, y: float, w: float, h: float, fill: Fill) -> None:
        pen.ellipse((cx + (x - w) * r, cy + (y - h) * r, cx + (x + w) * r, cy + (y + h) * r), fill=fill)

    oval(0, -0.12, 0.86, 0.88, hair)
    pen.rectangle((cx - 0.86 * r, cy - 0.12 * r, cx + 0.86 * r, cy + 0.42 * r), fill=hair)
    oval(0, 0.16, 0.68, 0.84, skin)
    pen.chord((cx - 0.7 * r, cy - 0.82 * r, cx + 0.7 * r, cy + 0.22 * r), 180, 360, fill=hair)
    for side in (-1, 1):
        oval(side * 0.3, 0.08, 0.21, 0.16, (250, 250, 250))
        oval(side * 0.29, 0.08, 0.12, 0.155, (25, 22, 25))
        pen.line(
            (cx + side * 0.12 * r, cy - 0.17 * r, cx + side * 0.5 * r, cy - 0.2 * r),
            fill=(50, 38, 32),
            width=max(1, round(0.08 * r)),
        )
    pen.polygon(
        [(cx, cy + 0.18 * r), (cx - 0.1 * r, cy + 0.43 * r), (cx + 0.1 * r, cy + 0.43 * r)], fill=shade
    )
    _mouth(pen, item, cx, cy, r)


def _mouth(pen: ImageDraw.ImageDraw, item: Item, cx: float, cy: float, r: float) -> None:
    red, width = (165, 40, 45), max(2, round(0.13 * r))
    if item.mood == "smiling":
        pen.chord((cx - 0.38 * r, cy + 0.34 * r, cx + 0.38 * r, cy + 0.84 * r), 0, 180, fill=red)
    elif item.mood == "sad":
        pen.arc((cx - 0.3 * r, cy + 0.56 * r, cx + 0.3 * r, cy + 0.96 * r), 190, 350, fill=red, width=width)
    else:
        pen.line((cx - 0.26 * r, cy + 0.65 * r, cx + 0.26 * r, cy + 0.65 * r), fill=red, width=width)


def _styled(image: Image.Image, scene: Scene, seed: int) -> NDArray[np.uint8]:
    if scene.style == "pixel art":
        image = image.resize((32, 32), Image.Resampling.BOX).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    elif scene.style == "blurry":
        image = image.filter(ImageFilter.GaussianBlur(2.2))
    pixels = np.asarray(image)
    if scene.style == "shaded":
        return _shaded(pixels)
    if scene.style == "noisy":
        noise = np.random.default_rng(seed).normal(0, 22, (SIZE, SIZE, 1))
        return np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return pixels.copy()


def _shaded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Light from the upper left: from 1.12 down to 0.78."""
    ramp = np.linspace(0, 1, SIZE)
    light = 1.12 - 0.34 * (ramp[:, None] + ramp[None, :]) / 2
    return np.clip(pixels * light[..., None], 0, 255).astype(np.uint8)
