"""The gallery of a grid in a web UI: its pictures in a folder of its own, and the page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..core.errors import BadFile, ConcordError
from ..core.gallery import GalleryAxis, GalleryCell, record_fields, write_gallery
from ..core.gallery.files import put
from ..core.image.infotext import parse_infotext
from .cells import Cell, Given, Missed, drawn
from .host import shared
from .recipes import note
from .request import Setter

NAME = "concord-grid"
PICTURES = "pictures"
MOST_FOLDERS = 100_000
OF_REQUEST = "concord_gallery"
"""The attribute of a request that tells the page of its gallery."""


def drawn_with_gallery(
    title: str, p: Any, plans: Sequence[Sequence[Setter]], axes: Sequence[Given], *, keep: bool
) -> list[Cell | Missed]:
    """Return the cells as the host draws them; where they are to be kept, a gallery is written beside its grids.

    What becomes of the gallery is said of ``p`` under ``title``, and the request is told its page.
    """
    places = product(*(range(len(axis.values)) for axis in reversed(axes)))
    cells: list[Cell | Missed] = []
    wall: Wall | None = None
    try:
        wall = Wall.below(Path(p.outpath_grids or "outputs"), axes) if keep else None
    except ConcordError as error:
        note(p, f"{title}: {error}")
    try:
        for place, cell in zip(places, drawn(p, plans), strict=True):
            cells.append(cell)
            wall = wall and _added(title, p, wall, place[::-1], cell)
    finally:
        if wall is not None:
            _finish(title, p, wall)
    return cells


def _added(title: str, p: Any, wall: Wall, place: Sequence[int], cell: Cell | Missed) -> Wall | None:
    """Give ``cell`` to the gallery and return it; None once it cannot be written, which stops no picture."""
    try:
        wall.add(place, cell)
    except ConcordError as error:
        note(p, f"{title}: {error}; the gallery ends here")
        _finish(title, p, wall)
        return None
    return wall


def _finish(title: str, p: Any, wall: Wall) -> None:
    """Write the gallery's page and say where it is."""
    try:
        page = wall.close()
    except ConcordError as error:
        note(p, f"{title}: {error}")
        return
    setattr(p, OF_REQUEST, str(page))
    note(p, f"{title}: the gallery is {page}")


class Wall:
    """Takes the cells of a grid as they are drawn, writes their pictures at once, and at last the page."""

    def __init__(self, folder: Path, axes: Sequence[Given]) -> None:
        """Show ``axes``, the one that changes fastest first, in ``folder``, which has a folder for pictures."""
        self.folder = folder.resolve()
        self._axes = list(axes)
        self._cells: list[_Placed] = []

    @classmethod
    def below(cls, parent: Path, axes: Sequence[Given]) -> Wall:
        """Return a wall in a new folder below ``parent``; raises ``BadFile``."""
        for number in range(1, MOST_FOLDERS):
            folder = parent / f"{NAME}-{number:05}"
            try:
                (folder / PICTURES).mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                why = error.strerror or error
                raise BadFile(
                    f"cannot make the gallery {folder} ({why}); make room, or switch it off"
                ) from error
            return cls(folder, axes)
        raise BadFile(f"there are too many galleries in {parent}; move some away")

    def add(self, place: Sequence[int], cell: Cell | Missed) -> None:
        """Take the cell at ``place``, an index of the values of each axis; raises ``BadFile`` for a full disk."""
        if isinstance(cell, Missed):
            self._cells.append(_Placed(place, 0, {"file": None, "failed": cell.reason}))
            return
        drawn = zip(cell.pictures, cell.lines("infotexts"), cell.lines("all_seeds"), strict=True)
        for i, (picture, text, seed) in enumerate(drawn):
            file = f"{PICTURES}/{len(self._cells):05}-{seed}.png"
            try:
                put(self.folder / file, _png(picture, text))
            except OSError as error:
                why = error.strerror or error
                raise BadFile(
                    f"cannot write {self.folder / file} ({why}); make room for the gallery"
                ) from error
            fields = record_fields(parse_infotext(text))
            self._cells.append(_Placed(place, i, {"file": file, "fields": fields, "infotext": text}))

    def close(self) -> Path:
        """Write the page and return its path; raises ``BadValue`` where that cannot be."""
        axes = [
            GalleryAxis(
                name=one.axis.name, label=one.axis.label, values=tuple(map(one.axis.write, one.values))
            )
            for one in self._axes
            if one.axis is not None
        ]
        most = 1 + max((one.number for one in self._cells), default=0)
        if most > 1:
            axes.append(GalleryAxis(name="picture", label="Picture", values=tuple(range(1, most + 1))))
        cells = [GalleryCell(position=self._position(one, most), **one.given) for one in self._cells]
        return write_gallery(self.folder, title=self.folder.name, axes=axes, cells=cells)

    def _position(self, one: _Placed, most: int) -> tuple[int, ...]:
        at = [i for i, given in zip(one.place, self._axes, strict=True) if given.axis is not None]
        return (*at, *([one.number] if most > 1 else []))


class _Placed(NamedTuple):
    """A picture ``number`` of the cell at ``place``, as a gallery is given it."""

    place: Sequence[int]
    number: int
    given: dict[str, Any]


def _png(picture: Image.Image, text: str) -> bytes:
    """Return the file of ``picture``, with its infotext where the host's settings want it."""
    info = PngInfo()
    if getattr(shared.opts, "enable_pnginfo", True):
        info.add_text("parameters", text)
    stream = BytesIO()
    picture.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()
