"""What a gallery shows: axes, and cells with a picture each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ..errors import BadType, BadValue

Value = str | int | float | bool | None
"""What a field of a cell holds; None: the cell has no such field."""


@dataclass(frozen=True, kw_only=True)
class GalleryAxis:
    """What varies: ``name`` for files and code, ``label`` for people, ``values`` as they are shown.

    Raises ``BadType`` or ``BadValue`` for values that are none, and for none at all.
    """

    name: str
    label: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        """Check the fields."""
        if not self.values:
            raise BadValue(f"the axis {self.name!r} has no values; give it one or more, or leave it out")
        _check_values(f"the axis {self.name!r}", self.values)


@dataclass(frozen=True, kw_only=True)
class GalleryCell:
    """A picture, or the place of one.

    ``file``: below the gallery's folder, with forward slashes; None where there is no picture (yet).  ``fields``:
    what can be filtered and sorted by, by its label.  ``infotext``: what A1111 shows.  ``position``: the index of
    its value on each axis, None outside the grid.  ``failed``: why there is no picture.  ``workflow``: ComfyUI's
    JSON of it.  Raises ``BadType`` or ``BadValue`` for a file outside the folder and for values that are none.
    """

    file: str | None
    fields: Mapping[str, Value] = field(default_factory=dict[str, Value])
    infotext: str = ""
    position: tuple[int, ...] | None = None
    failed: str | None = None
    workflow: str | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_values(f"the cell of {self.file or self.position}", self.fields.values())
        if self.file is None:
            return
        path = PurePosixPath(self.file)
        if (
            not self.file
            or path.is_absolute()
            or ".." in path.parts
            or "\\" in self.file
            or self.file[1:2] == ":"
        ):
            raise BadValue(
                f"the picture {self.file!r} is not a path below the gallery's folder; give one such as 'grid/1.png'"
            )


def _check_values(owner: str, values: Iterable[object]) -> None:
    for value in values:
        if value is not None and not isinstance(value, (str, int, float, bool)):
            raise BadType(f"{owner} holds {value!r}; pass text, a number, True, False or None")
