"""The world of the embedded model: scenes of coloured shapes and faces, and what one says of them.

A `Scene` is data; `harness.train.draw` makes the picture, `caption` a prompt, `harness.train.score` judges
a picture against it.  Coordinates are pixels of a 128 x 128 picture, x to the right and y down.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Literal

SIZE = 128

SHAPES = ("circle", "square", "triangle", "ring", "star", "heart", "diamond", "cross")
EASY_SHAPES = SHAPES[:4]
COLOURS = {
    "red": (215, 35, 40),
    "orange": (245, 140, 25),
    "yellow": (250, 220, 50),
    "green": (40, 155, 65),
    "blue": (45, 75, 215),
    "purple": (140, 55, 175),
    "black": (18, 18, 22),
    "white": (248, 248, 248),
}
BACKGROUNDS = {
    "white": (248, 248, 248),
    "black": (18, 18, 22),
    "gray": (132, 132, 136),
    "teal": (85, 165, 165),
}
SKINS = ((242, 200, 165), (205, 152, 112), (135, 88, 62))
MOODS = ("", "smiling", "sad")
STYLES = ("", "outlined", "shaded", "pixel art", "sketch", "blurry", "noisy")
PLAIN_STYLES = ("", "outlined", "shaded")
Size = Literal["small", "", "big"]
SIZES: dict[Size, tuple[float, float]] = {"small": (10, 14), "": (16, 23), "big": (26, 34)}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing in a scene: ``kind`` is a shape or "face"; ``colour`` is the shape's or the hair's.

    ``x``, ``y``: centre; ``radius``: half the side of the box that holds it, all in pixels.
    """

    kind: str
    colour: str
    size: Size
    x: float
    y: float
    radius: float
    mood: str = ""
    skin: int = 0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Items on a background in a style, none overlapping."""

    items: tuple[Item, ...]
    background: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How scenes are drawn: which shapes, how many items (chances of 1, 2, 3, …), how often faces and styles."""

    shapes: tuple[str, ...] = SHAPES
    counts: tuple[float, ...] = (0.45, 0.45, 0.10)
    faces: float = 0.15
    styles: float = 0.25


EVEN = Mix()


def random_scene(rng: random.Random, mix: Mix = EVEN) -> Scene:
    """Draw a scene of items with different colours, none overlapping, none cut by the border."""
    count = rng.choices(range(1, len(mix.counts) + 1), mix.counts)[0]
    background = rng.choice(list(BACKGROUNDS))
    colours = rng.sample([colour for colour in COLOURS if colour != background], count)
    style = rng.choice(STYLES[1:]) if rng.random() < mix.styles else ""
    while True:
        items = tuple(_random_item(rng, mix, colour, count) for colour in colours)
        if _apart(items):
            return Scene(items=items, background=background, style=style)


def _random_item(rng: random.Random, mix: Mix, colour: str, count: int) -> Item:
    kind = "face" if rng.random() < mix.faces else rng.choice(mix.shapes)
    sizes: list[Size] = ["small", "", "big"] if count == 1 else ["small", ""]
    size = rng.choices(sizes, (0.25, 0.45, 0.3)[: len(sizes)])[0]
    low, high = SIZES[size]
    if kind == "face" and size == "small":
        low = 6.0
    radius = rng.uniform(low, high)
    return Item(
        kind=kind,
        colour=colour,
        size=size,
        x=rng.uniform(radius + 3, SIZE - radius - 3),
        y=rng.uniform(radius + 3, SIZE - radius - 3),
        radius=radius,
        mood=rng.choice(MOODS) if kind == "face" else "",
        skin=rng.randrange(len(SKINS)) if kind == "face" else 0,
    )


def _apart(items: tuple[Item, ...]) -> bool:
    return all(
        max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius + 4
        for i, a in enumerate(items)
        for b in items[:i]
    )


def mirrored(scene: Scene) -> Scene:
    """Return the scene as seen in a mirror: left and right change places."""
    items = tuple(dataclasses.replace(item, x=SIZE - item.x) for item in scene.items)
    return dataclasses.replace(scene, items=items)
