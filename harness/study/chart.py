"""Line charts of error against steps on logarithmic axes, several beside each other in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ...core.sigma_plot import COLOURS, GRID, INK, PAPER

PANEL = (470, 330)
LEFT, TOP, GAP, LEGEND = 64, 58, 28, 26
_SCALE = 2
"""Drawn at twice the size and reduced, for smooth lines."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines by name: points (steps, error), errors above 0; ``axes``: what is up, and what is across."""

    title: str
    lines: Mapping[str, Sequence[tuple[int, float]]]
    axes: str = "path error by steps"


def draw(charts: Sequence[Chart], columns: int = 2) -> Image.Image:
    """Return the picture of ``charts`` in rows of ``columns``, RGB."""
    rows = math.ceil(len(charts) / columns)
    legend = max(len(chart.lines) for chart in charts)
    width = columns * (LEFT + PANEL[0] + GAP)
    height = rows * (TOP + PANEL[1] + LEGEND + 18 * math.ceil(legend / 2) + GAP)
    image = Image.new("RGB", (_SCALE * width, _SCALE * height), PAPER)
    pen = ImageDraw.Draw(image)
    for i, chart in enumerate(charts):
        x = i % columns * (LEFT + PANEL[0] + GAP) + LEFT
        y = i // columns * (height // rows) + TOP
        _panel(pen, chart, x, y)
    return image.reduce(_SCALE)


@dataclass(frozen=True)
class _Axes:
    x: int
    y: int
    steps: tuple[float, float]
    errors: tuple[float, float]

    def place(self, steps: float, error: float) -> tuple[float, float]:
        across = _share(steps, *self.steps)
        up = _share(error, *self.errors)
        return _SCALE * (self.x + across * PANEL[0]), _SCALE * (self.y + (1 - up) * PANEL[1])


def _share(value: float, low: float, high: float) -> float:
    return math.log(max(value, low) / low) / math.log(high / low)


def _panel(pen: ImageDraw.ImageDraw, chart: Chart, x: int, y: int) -> None:
    points = [point for line in chart.lines.values() for point in line]
    steps = sorted({count for count, _ in points})
    errors = [error for _, error in points if error > 0]
    low, high = 10 ** math.floor(math.log10(min(errors))), 10 ** math.ceil(math.log10(max(errors)))
    axes = _Axes(x, y, (steps[0], steps[-1]), (low, max(high, 10 * low)))
    font: Any = ImageFont.load_default(13 * _SCALE)
    small: Any = ImageFont.load_default(11 * _SCALE)
    pen.text((_SCALE * x, _SCALE * (y - 44)), chart.title, fill=INK, font=font)
    pen.text((_SCALE * x, _SCALE * (y - 22)), chart.axes, fill=INK, font=small)
    for error in _ticks(*axes.errors):
        a, b = axes.place(steps[0], error), axes.place(steps[-1], error)
        pen.line((a, b), fill=GRID, width=_SCALE)
        pen.text((a[0] - 6 * _SCALE, a[1]), f"{error:g}", fill=INK, font=small, anchor="rm")
    for count in steps:
        a, b = axes.place(count, axes.errors[0]), axes.place(count, axes.errors[1])
        pen.line((a, b), fill=GRID, width=_SCALE)
        pen.text((a[0], a[1] + 4 * _SCALE), str(count), fill=INK, font=small, anchor="mt")
    for i, (name, line) in enumerate(chart.lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        placed = [axes.place(*point) for point in line]
        pen.line(placed, fill=colour, width=2 * _SCALE, joint="curve")
        for px, py in placed:
            pen.ellipse((px - 5, py - 5, px + 5, py + 5), fill=colour)
        at = (_SCALE * (x + i % 2 * PANEL[0] // 2), _SCALE * (y + PANEL[1] + LEGEND + 18 * (i // 2)))
        pen.rectangle((at[0], at[1] + 10, at[0] + 32, at[1] + 16), fill=colour)
        pen.text((at[0] + 42, at[1]), name, fill=INK, font=small)


def _ticks(low: float, high: float) -> list[float]:
    count = round(math.log10(high / low))
    return [low * 10**i for i in range(count + 1)]
