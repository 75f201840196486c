"""File names from patterns: %date%, %seed%, %model% and so on, filled in from a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from ..errors import BadValue, unknown
from .generation import Generation

LONGEST = 120
"""Letters of a part of a path at most."""
_MARK = re.compile(r"%([a-z_]+)(?::([^%]*))?%")
_BAD = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')
_DATE = (("yyyy", "%Y"), ("yy", "%y"), ("MM", "%m"), ("dd", "%d"), ("hh", "%H"), ("mm", "%M"), ("ss", "%S"))
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")

_VALUES: Mapping[str, Callable[[Generation], object]] = MappingProxyType(
    {
        "seed": lambda record: record.seed,
        "steps": lambda record: record.steps,
        "cfg": lambda record: None if record.cfg is None else f"{record.cfg:g}",
        "sampler": lambda record: record.sampler,
        "scheduler": lambda record: record.scheduler,
        "model": lambda record: record.model and record.model.name,
        "width": lambda record: record.size and record.size[0],
        "height": lambda record: record.size and record.size[1],
        "prompt": lambda record: record.prompt[:60].strip(),
    }
)
MARKS = ("date", *_VALUES, "batch_num", "counter")
"""The words that stand between percent signs."""


def fill_pattern(pattern: str, record: Generation, *, now: datetime, place: int = 0) -> str:
    """Return ``pattern`` with its marks filled in, as a path with forward slashes and without an ending.

    ``now``: what %date% and %date:yyyy-MM-dd% say.  ``place``: of the picture in its batch, %batch_num%.  A
    value that the record lacks is left out.  %counter% stays: see `free_path`.  Values never make folders;
    slashes of the pattern do.  Raises ``BadValue`` for unknown marks and for paths that lead outside.
    """

    def value(match: re.Match[str]) -> str:
        name, how = match[1], match[2]
        if name == "date":
            return _clean(_dated(how or "yyyy-MM-dd", now))
        if name == "batch_num":
            return str(place)
        if name == "counter":
            return match[0]
        if name not in _VALUES:
            raise unknown("mark of a file name", name, MARKS)
        found = _VALUES[name](record)
        return "" if found is None else _clean(str(found))

    parts = _MARK.sub(value, pattern.replace("\\", "/")).split("/")
    if pattern.startswith(("/", "\\")) or re.match("[A-Za-z]:", pattern) or ".." in parts:
        raise BadValue(f"the file name {pattern!r} leads outside the output folder; leave out '..' and roots")
    cleaned = [_part(part) for part in parts if part.strip()]
    return "/".join(cleaned) or "picture"


def free_path(folder: Path, name: str, ending: str) -> Path:
    """Return the path of ``name`` in ``folder`` with the next free number for %counter%, or after the name.

    Numbers have five digits and go on after the highest there is.
    """
    if "%counter%" not in name:
        name += "_%counter%"
    whole = folder / f"{name}{ending}"
    before, _, after = whole.name.partition("%counter%")
    fits = re.compile(re.escape(before) + r"(\d{5,})" + re.escape(after.removesuffix(ending)) + r"\.[a-z]+")
    taken = [0]
    if whole.parent.is_dir():
        taken += [int(match[1]) for path in whole.parent.iterdir() if (match := fits.fullmatch(path.name))]
    return whole.with_name(whole.name.replace("%counter%", f"{max(taken) + 1:05}"))


def _dated(how: str, now: datetime) -> str:
    for word, code in _DATE:
        how = how.replace(word, now.strftime(code))
    return how


def _clean(text: str) -> str:
    """Return ``text`` without what a file's name may not hold, and without marks of its own."""
    return _BAD.sub("_", text).replace("%", "_")


def _part(text: str) -> str:
    text = _BAD.sub("_", text).strip(" .")[:LONGEST].strip(" .")
    return f"_{text}" if _RESERVED.match(text) else text or "_"
