"""A picture of schedules side by side: sigma and half log-SNR over the steps, and words below."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .errors import BadValue
from .sampling.floor import floor_of
from .sigmas import ModelSigmas
from .sigmas.model import floats

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
INK, GRID, PAPER = "#222222", "#dddddd", "#ffffff"
PANEL = (520, 400)
MARGIN = 56
LINE = 18
WIDTH = 2 * (PANEL[0] + MARGIN) + MARGIN
LETTERS = 150
"""Letters of the words below in a line."""


@dataclass(frozen=True)
class Curve:
    """A schedule to be drawn: its name, its sigmas, and what is said of it."""

    label: str
    sigmas: tuple[float, ...]
    words: str


@dataclass(frozen=True)
class Panel:
    """One pair of axes: where it lies, what it shows of a sigma, and the range of its values."""

    left: int
    title: str
    of: Callable[[float], float]
    ticks: tuple[float, ...]

    def place(self, share: float, value: float) -> tuple[float, float]:
        """Return the pixel of ``value`` at ``share`` (0 … 1) of the run."""
        span = self.ticks[-1] - self.ticks[0]
        return self.left + share * PANEL[0], MARGIN + (1 - (value - self.ticks[0]) / span) * PANEL[1]

    def points(self, curve: Curve) -> list[tuple[float, float]]:
        """Return the pixels of a curve, where its values are finite."""
        steps = len(curve.sigmas) - 1
        values = [(i / steps, self.of(sigma)) for i, sigma in enumerate(curve.sigmas)]
        return [self.place(share, value) for share, value in values if math.isfinite(value)]


def curve_of(name: str, sigmas: Tensor, model: ModelSigmas) -> Curve:
    """Return a schedule as it is drawn; raises ``BadValue`` for fewer than two noise levels."""
    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise BadValue(f"{name} has shape {tuple(sigmas.shape)}; wire the sigmas of one step or more")
    values = floats(sigmas)
    words = f"{len(values) - 1} steps from {values[0]:.4g} to {values[-2]:.4g}, then {values[-1]:.4g}"
    if bool((sigmas.diff() < 0).all()):
        words += f"; error floor {floor_of(sigmas.float().cpu(), model):.2g}"
    return Curve(name, values, words)


def draw(curves: Sequence[Curve], model: ModelSigmas) -> Image.Image:
    """Return the picture of ``curves`` on ``model``, RGB."""
    font = ImageFont.load_default(13)
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(curves))]
    lines = [
        (colour, line) for curve, colour in zip(curves, colours, strict=True) for line in _wrapped(curve)
    ]
    image = Image.new("RGB", (WIDTH, PANEL[1] + 2 * MARGIN + LINE * (len(lines) + 1)), PAPER)
    pen = ImageDraw.Draw(image)
    for i, (title, of) in enumerate((("sigma", float), ("half log-SNR", model.log_snr))):
        values = [of(sigma) for curve in curves for sigma in curve.sigmas]
        ticks = ticks_over([value for value in values if math.isfinite(value)])
        panel = Panel(MARGIN + i * (PANEL[0] + MARGIN), title, of, ticks)
        _axes(pen, panel, font)
        for curve, colour in zip(curves, colours, strict=True):
            _line(pen, panel.points(curve), colour)
    for row, (colour, line) in enumerate(lines):
        pen.text((MARGIN, PANEL[1] + 2 * MARGIN + row * LINE), line, fill=colour, font=font)
    return image


def ticks_over(values: Sequence[float]) -> tuple[float, ...]:
    """Return round numbers, a dozen at most, that enclose ``values``; 0 and 1 for none."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    rough = max(high - low, 1e-6) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return tuple(step * k for k in range(first, last + 1))


def _wrapped(curve: Curve) -> list[str]:
    """Return the words of a curve in lines, its name first."""
    return textwrap.wrap(
        f"{curve.label}: {'; '.join(curve.words.splitlines())}", LETTERS, subsequent_indent="    "
    )


def _axes(pen: ImageDraw.ImageDraw, panel: Panel, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> None:
    """Draw the frame of ``panel``, a line and a number at each of its ticks."""
    pen.text((panel.left, MARGIN - 2 * LINE), f"{panel.title} over the run", fill=INK, font=font)
    for value in panel.ticks:
        x, y = panel.place(0, value)
        pen.line((x, y, x + PANEL[0], y), fill=GRID)
        pen.text((x - 6, y), f"{value:.4g}", fill=INK, font=font, anchor="rm")
    pen.rectangle((panel.left, MARGIN, panel.left + PANEL[0], MARGIN + PANEL[1]), outline=INK)


def _line(pen: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: str) -> None:
    """Draw a curve and its points."""
    if len(points) > 1:
        pen.line(list(points), fill=colour, width=2)
    for x, y in points:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
