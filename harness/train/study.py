"""What the embedded model makes of prompt syntax: switches, weights, negative prompts and BREAK, in figures.

Each part draws pictures whose answer is known, counts with `recognise`, and returns rows for a table and a few
pictures to look at.  Shares come with their 95 % interval (Wilson 1927); differences of pairs with theirs
(normal approximation over the pairs).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .recognise import colour_share, recognise
from .scenes import COLOURS

Picture = NDArray[np.uint8]
Paint = Callable[..., list[Picture]]
"""``paint(prompt, negative, count=…, seed=…)`` returns ``count`` pictures of the seeds from ``seed`` on."""

SWITCHES = tuple(i / 10 for i in range(11))
WEIGHTS = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
Z = 1.96


@dataclass(frozen=True)
class Part:
    """One part of the study: its title, what it says, a table, and a row of pictures with their captions."""

    title: str
    words: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    pictures: tuple[tuple[str, Picture], ...]


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of the share ``hits / count`` (Wilson 1927, JASA 22).

    >>> [round(bound, 2) for bound in wilson(8, 10)]
    [0.49, 0.94]
    """
    share, square = hits / count, Z * Z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return centre - half, centre + half


def paired(differences: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of ``differences`` and its 95 % interval."""
    values = np.asarray(differences, dtype=float)
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean, mean - half, mean + half


def study(paint: Paint, count: int = 32) -> list[Part]:
    """Return all parts, from ``count`` pictures a point (BREAK: four times as many pairs)."""
    return [
        switch(paint, "[circle:square:{w}]", "a red [circle:square:{w}]", ("kind", "circle"), count),
        switch(paint, "[red:blue:{w}]", "a [red:blue:{w}] circle", ("colour", "red"), count),
        weight(paint, count),
        negative(paint, count),
        breaks(paint, 4 * count),
    ]


def switch(paint: Paint, name: str, prompt: str, wanted: tuple[str, str], count: int) -> Part:
    """Count how often the first of two words shows, against the share of steps at which the second takes over."""
    rows: list[tuple[str, ...]] = []
    pictures: list[tuple[str, Picture]] = []
    attribute, value = wanted
    for at in SWITCHES:
        drawn = paint(prompt.format(w=at), count=count)
        hits = sum(any(getattr(f, attribute) == value for f in recognise(one)) for one in drawn)
        rows.append((f"{at:.1f}", *_share(hits, count)))
        pictures.append((f"{at:.1f}", drawn[0]))
    words = f"How often a {value} is there when `{name}` switches after the share w of the steps."
    return Part(f"Switch: `{name}`", words, ("w", f"{value}", "95 %"), tuple(rows), tuple(pictures))


def weight(paint: Paint, count: int) -> Part:
    """Measure the area of a thing against the weight of its words."""
    rows: list[tuple[str, ...]] = []
    pictures: list[tuple[str, Picture]] = []
    areas: dict[float, NDArray[np.float64]] = {}
    for w in WEIGHTS:
        drawn = paint(f"a red circle and (a blue square:{w})", count=count)
        areas[w] = np.array([colour_share(one, "blue") for one in drawn])
        pictures.append((f"{w:.1f}", drawn[0]))
    for w in WEIGHTS:
        mean, *_ = paired(areas[w])
        change, least, most = paired(areas[w] - areas[1.0]) if w != 1.0 else (0.0, 0.0, 0.0)
        interval = f"{100 * least:+.2f} … {100 * most:+.2f}"
        rows.append((f"{w:.1f}", f"{100 * mean:.2f} %", f"{100 * change:+.2f}", interval if w != 1.0 else ""))
    words = "Share of the picture that is blue in `a red circle and (a blue square:w)`, same seeds at every weight."
    head = ("w", "area", "against 1.0", "95 %")
    return Part("Weight and area", words, head, tuple(rows), tuple(pictures))


def negative(paint: Paint, count: int) -> Part:
    """Count how often what the prompt asks for, or leaves open, shows without and with it as a negative prompt."""
    rows: list[tuple[str, ...]] = []
    pictures: list[tuple[str, Picture]] = []
    for prompt, unwanted, shows in (
        *(
            (f"a {colour} circle", colour, _has_thing(colour))
            for colour in ("red", "yellow", "blue", "green")
        ),
        *(
            ("a red circle", f"{colour} background", _has_ground(colour))
            for colour in ("white", "gray", "teal")
        ),
    ):
        free, kept = paint(prompt, count=count), paint(prompt, unwanted, count=count)
        both = [sum(map(shows, ones)) for ones in (free, kept)]
        rows.append((prompt, unwanted, *_share(both[0], count), *_share(both[1], count)))
        pictures.append((f"not {unwanted}", kept[0]))
    words = "How often it is there without a negative prompt, and with it as one; the positive prompt asks for it, or leaves it open."  # noqa: E501
    head = ("prompt", "negative", "without", "95 %", "with", "95 %")
    return Part("Negative prompt", words, head, tuple(rows), tuple(pictures))


def _has_thing(colour: str) -> Callable[[Picture], bool]:
    return lambda picture: any(found.colour == colour for found in recognise(picture))


def _has_ground(colour: str) -> Callable[[Picture], bool]:
    return lambda picture: colour_share(picture, colour) > 0.5


def breaks(paint: Paint, count: int) -> Part:
    """Compare prompts of two characters in one chunk and in two, same seeds: how often both are right."""
    rng = random.Random("study/breaks")
    right: dict[str, list[float]] = {"and": [], "BREAK": []}
    pictures: list[tuple[str, Picture]] = []
    for i in range(count):
        one, other = rng.sample([colour for colour in COLOURS if colour != "white"], 2)
        for glue, marks in right.items():
            [drawn] = paint(f"a face with {one} hair {glue} a face with {other} hair", count=1, seed=i)
            hair = sorted(f.colour for f in recognise(drawn) if f.kind == "face")
            marks.append(float(hair == sorted((one, other))))
            if i < 5:
                pictures.append((f"{one} {glue} {other}", drawn))
    rows = [(glue, *_share(int(sum(marks)), count)) for glue, marks in right.items()]
    mean, low, high = paired(np.subtract(right["BREAK"], right["and"]).tolist())
    rows.append(("BREAK minus and", f"{mean:+.2f}", f"{low:+.2f} … {high:+.2f}"))
    words = (
        f"`a face with X hair and a face with Y hair` in one chunk, and with BREAK in two; {count} pairs of the "
        "same seed. Right: two faces, each with its hair."
    )
    return Part("BREAK", words, ("joined by", "both right", "95 %"), tuple(rows), tuple(pictures))


def _share(hits: int, count: int) -> tuple[str, str]:
    low, high = wilson(hits, count)
    return f"{hits / count:.2f}", f"{max(low, 0):.2f} … {min(high, 1):.2f}"


def markdown(parts: Iterable[Part]) -> str:
    """Return the tables as Markdown."""
    lines: list[str] = []
    for part in parts:
        lines += [f"## {part.title}", "", part.words, "", _row(part.head), _row(("---",) * len(part.head))]
        lines += [*(_row(row) for row in part.rows), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def sheet(parts: Sequence[Part]) -> Image.Image:
    """Return one picture with a row of pictures for each part, captions below them, RGB."""
    font: Any = ImageFont.load_default(13)
    side = parts[0].pictures[0][1].shape[0]
    columns = max(len(part.pictures) for part in parts)
    step, row = side + 6, side + 46
    image = Image.new("RGB", (columns * step + 6, len(parts) * row), "white")
    pen = ImageDraw.Draw(image)
    for y, part in enumerate(parts):
        pen.text((6, y * row + 4), part.title.replace("`", ""), fill="#222222", font=font)
        for x, (caption, picture) in enumerate(part.pictures):
            image.paste(Image.fromarray(picture), (6 + x * step, y * row + 22))
            pen.text((6 + x * step, y * row + side + 24), caption, fill="#555555", font=font)
    return image
