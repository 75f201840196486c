"""Pictures in a labelled grid, and the difference of two pictures as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..errors import BadFile, BadType, BadValue

Cell = Image.Image | NDArray[np.uint8] | Path | None
"""A picture, uint8 (H, W, 3) or Pillow's; the file of one, which is opened when its turn comes; None for none."""
INK, PAPER, EMPTY = (24, 24, 28), (255, 255, 255), (238, 238, 240)
BAND = 1 << 20
"""Pixels that are compared at a time."""
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, kw_only=True)
class GridStyle:
    """How a grid is laid out, in pixels.

    ``margin``: between cells.  ``letters``: height of the writing, 0 for one that suits the cells.  ``longest``: the
    long side that cells are scaled down to, 0 for their own.
    """

    margin: int = 4
    letters: int = 0
    longest: int = 0

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        for name in ("margin", "letters", "longest"):
            if getattr(self, name) < 0:
                raise BadValue(f"the {name} of a grid is {getattr(self, name)}; pass 0 or more pixels")


def labelled_grid(
    cells: Sequence[Cell],
    x_labels: Sequence[str],
    y_labels: Sequence[str] = ("",),
    z_labels: Sequence[str] = ("",),
    *,
    style: GridStyle | None = None,
) -> Image.Image:
    """Return one picture, RGB, of ``cells`` in columns ``x_labels`` and rows ``y_labels``, their words wrapped.

    ``cells``: row by row, and of more than one of ``z_labels`` grid by grid, which then stand side by side.  All
    get the room of the largest; one that is None stays empty.  Beside the cells that are given as pictures
    there is the grid and one cell in memory, so that cells given as files take none.
    Raises ``BadValue`` for a wrong number of cells, ``BadFile`` for a file that is no picture.
    """
    style = style or GridStyle()
    columns, rows, pages = len(x_labels), len(y_labels), len(z_labels)
    if len(cells) != columns * rows * pages or not cells:
        wanted = f"{pages} times " if pages > 1 else ""
        raise BadValue(
            f"a grid got {len(cells)} cells for {wanted}{rows} rows of {columns}; pass one for each"
        )
    layout = _Layout.of(_room(cells, style.longest), style, (x_labels, y_labels, z_labels))
    grid = Image.new("RGB", layout.size, PAPER)
    pen = ImageDraw.Draw(grid)
    for page, title in enumerate(z_labels):
        layout.write(pen, layout.title_box(page), title)
        for i, label in enumerate(x_labels):
            layout.write(pen, layout.top_box(page, i), label)
        for i, label in enumerate(y_labels):
            layout.write(pen, layout.side_box(page, i), label)
    for k, cell in enumerate(cells):
        page, place = divmod(k, columns * rows)
        row, column = divmod(place, columns)
        x, y = layout.corner(page, column, row)
        if cell is None:
            pen.rectangle((x, y, x + layout.cell[0] - 1, y + layout.cell[1] - 1), fill=EMPTY)
        else:
            _put(grid, cell, (x, y), layout.cell)
    return grid


def _put(grid: Image.Image, cell: Cell, corner: tuple[int, int], room: tuple[int, int]) -> None:
    """Draw ``cell`` in the middle of its room."""
    with _opened(cell) as picture:
        if picture.width > room[0] or picture.height > room[1]:
            shown = picture.convert("RGB")
            shown.thumbnail(room, Image.Resampling.LANCZOS)
        else:
            shown = picture if picture.mode == "RGB" else picture.convert("RGB")
        x, y = (
            start + (full - side) // 2 for start, full, side in zip(corner, room, shown.size, strict=True)
        )
        grid.paste(shown, (x, y))


class _Kept:
    """A picture that was given open and stays so."""

    def __init__(self, picture: Image.Image) -> None:
        self._picture = picture

    def __enter__(self) -> Image.Image:
        return self._picture

    def __exit__(self, *_: object) -> None:
        """Leave the picture as it is."""


def _opened(cell: Cell) -> Image.Image | _Kept:
    """Return the picture of ``cell``, which closes it at its end if it was a file; raises ``BadFile``."""
    if isinstance(cell, Path):
        try:
            return Image.open(cell)
        except OSError as error:
            raise BadFile(f"{cell} is no picture ({error}); leave it out of the grid") from error
    if isinstance(cell, Image.Image):
        return _Kept(cell)
    return _Kept(Image.fromarray(_pixels(cell)))


def _pixels(picture: object) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) as it is, of Pillow's pictures the pixels; raises ``BadType`` for another array."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    array = np.asarray(cast("Any", picture))
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise BadType(f"a picture is {array.dtype} {array.shape}; pass uint8 (H, W, 3)")
    return array


def _room(cells: Sequence[Cell], longest: int) -> tuple[int, int]:
    """Return (width, height) that every cell fits into, once it is scaled down; of files the header is read."""
    sizes: list[tuple[int, int]] = []
    for cell in cells:
        if cell is not None:
            with _opened(cell) as picture:
                sizes.append(picture.size)
    width, height = (max(sides) for sides in zip(*sizes, strict=True)) if sizes else (64, 64)
    scale = min(1.0, longest / max(width, height)) if longest else 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where everything lies, in pixels: ``top`` and ``side`` are the room of the writing above and beside the cells."""

    cell: tuple[int, int]
    counts: tuple[int, int, int]
    margin: int
    title: int
    top: int
    side: int
    gap: int
    font: _Font
    line: int

    @classmethod
    def of(
        cls,
        cell: tuple[int, int],
        style: GridStyle,
        labels: tuple[Sequence[str], Sequence[str], Sequence[str]],
    ) -> _Layout:
        """Return the layout with just as much room for the writing as it needs."""
        x_labels, y_labels, z_labels = labels
        letters = style.letters or max(10, min(64, min(cell) // 16))
        gap = letters // 2
        font, line = ImageFont.load_default(letters), round(letters * 1.3)
        counts = (len(x_labels), len(y_labels), len(z_labels))
        beside = max((font.getlength(label) for label in y_labels), default=0.0)
        side = min(round(beside) + 1 + gap, max(cell[0] * 2 // 3, 6 * letters)) if beside else 0
        page = side + counts[0] * cell[0] + (counts[0] - 1) * style.margin

        def tall(texts: Sequence[str], width: int) -> int:
            lines = max((len(wrapped(text, font, width)) for text in texts), default=0)
            return lines * line + gap if lines else 0

        need = tall(y_labels, side - gap) if side else 0
        cell = (cell[0], max(cell[1], need))
        return cls(
            cell=cell,
            counts=counts,
            margin=style.margin,
            title=tall(z_labels, page),
            top=tall(x_labels, cell[0]),
            side=side,
            gap=gap,
            font=font,
            line=line,
        )

    @property
    def page(self) -> int:
        """Return the width of one of the grids."""
        return self.side + self.counts[0] * self.cell[0] + (self.counts[0] - 1) * self.margin

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height) of the whole."""
        width = self.counts[2] * self.page + (self.counts[2] - 1) * 4 * self.margin
        height = self.title + self.top + self.counts[1] * self.cell[1] + (self.counts[1] - 1) * self.margin
        return width, height

    def corner(self, page: int, column: int, row: int) -> tuple[int, int]:
        """Return the upper left pixel of a cell."""
        x = page * (self.page + 4 * self.margin) + self.side + column * (self.cell[0] + self.margin)
        return x, self.title + self.top + row * (self.cell[1] + self.margin)

    def title_box(self, page: int) -> tuple[int, int, int, int]:
        """Return the box (x1, y1, x2, y2) of a grid's own label."""
        x = page * (self.page + 4 * self.margin)
        return x, 0, x + self.page, self.title

    def top_box(self, page: int, column: int) -> tuple[int, int, int, int]:
        """Return the box of a column's label."""
        x, y = self.corner(page, column, 0)
        return x, y - self.top, x + self.cell[0], y

    def side_box(self, page: int, row: int) -> tuple[int, int, int, int]:
        """Return the box of a row's label."""
        x, y = self.corner(page, 0, row)
        return x - self.side, y, max(x - self.side, x - self.gap), y + self.cell[1]

    def write(self, pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], text: str) -> None:
        """Write ``text`` into the middle of ``box``, in as many lines as it takes."""
        x1, y1, x2, y2 = box
        lines = wrapped(
            text, self.font, x2 - x1 - (self.line // 3 if self.side and x2 - x1 == self.side else 0)
        )
        top = (y1 + y2 - len(lines) * self.line) / 2
        for i, line in enumerate(lines):
            pen.text(
                ((x1 + x2) / 2, top + (i + 0.5) * self.line), line, fill=INK, font=self.font, anchor="mm"
            )


def wrapped(text: str, font: _Font, width: int) -> list[str]:
    """Return ``text`` in lines of at most ``width`` pixels, broken between words, inside one only if it is too long."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if font.getlength(longer) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            *full, line = _pieces(word, font, width)
            lines += full
        if line:
            lines.append(line)
    return lines


def _pieces(word: str, font: _Font, width: int) -> list[str]:
    """Return ``word`` in pieces of at most ``width`` pixels, each of one letter at least."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two pictures differ: ``image`` (H, W, 3), the amplified absolute difference; levels of 255 for the rest.

    ``share``: of the values that differ at all, 0…1.
    """

    image: NDArray[np.uint8]
    largest: int
    mean: float
    share: float

    @property
    def words(self) -> str:
        """Return the difference in words, such as ``largest 3, mean 0.02 of 255``."""
        return f"largest {self.largest}, mean {self.mean:.3g} of 255" if self.largest else "no difference"


def difference(
    first: Image.Image | NDArray[np.uint8], second: Image.Image | NDArray[np.uint8], amplify: float = 8.0
) -> Difference:
    """Return how ``second`` differs from ``first``, of the same size; the picture shows it ``amplify`` times as large.

    Raises ``BadValue`` for pictures of different sizes and an ``amplify`` that is not above 0.
    """
    if not 0 < amplify < float("inf"):
        raise BadValue(f"amplify is {amplify}; pass a number above 0, such as 8")
    one, other = _pixels(first), _pixels(second)
    if one.shape != other.shape:
        sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (one, other)]
        raise BadValue(f"pictures of {sizes[0]} and {sizes[1]} cannot be compared; pass two of the same size")
    shown = np.empty_like(one)
    largest, total, differing = 0, 0, 0
    height = max(1, BAND // max(1, one.shape[1]))
    for y in range(0, one.shape[0], height):
        apart = np.abs(one[y : y + height].astype(np.int16) - other[y : y + height])
        shown[y : y + height] = np.minimum(apart * amplify, 255).astype(np.uint8)
        largest = max(largest, int(apart.max(initial=0)))
        total += int(apart.sum(dtype=np.int64))
        differing += int(np.count_nonzero(apart))
    values = max(1, one.size)
    return Difference(image=shown, largest=largest, mean=total / values, share=differing / values)
