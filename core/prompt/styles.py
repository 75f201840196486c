"""Comments and styles: what happens to a prompt before it is read."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadFile

_COMMENT = re.compile(r"\n?#[^\n]*(?:\n|\Z)")


@dataclass(frozen=True, kw_only=True)
class Style:
    """A named pair of texts to be merged into a prompt and its negative prompt."""

    name: str
    prompt: str = ""
    negative: str = ""


def strip_comments(text: str) -> str:
    """Return ``text`` with every comment, ``#`` to the end of the line, made one line break.

    Source: A1111 1.9.4; tests/golden/prompts/tags.jsonl.gz.
    """
    return _COMMENT.sub("\n", text)


def comment_spans(text: str) -> list[tuple[int, int]]:
    """Return ``(start, end)`` of every comment, the line breaks that go with it included."""
    return [match.span() for match in _COMMENT.finditer(text)]


def apply_styles(text: str, styles: Iterable[str]) -> str:
    """Return ``text`` with the style texts merged in, in order.

    A style with ``{prompt}`` is put round the text; any other is added after a comma, both trimmed; an
    empty one trims the text.

    Source: A1111 1.9.4; tests/golden/prompts/tags.jsonl.gz.
    """
    for style in styles:
        if "{prompt}" in style:
            text = style.replace("{prompt}", text)
        else:
            text = ", ".join(part for part in (text.strip(), style.strip()) if part)
    return text


def read_styles(path: Path) -> list[Style]:
    """Return the styles of a ``styles.csv`` (columns ``name``, ``prompt``, ``negative_prompt``).

    The old column names ``text`` and ``negative_text`` are understood; rows without a name are left out.
    Raises ``BadFile`` for a file that has no ``name`` column or is no text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if "name" not in (reader.fieldnames or ()):
                wanted = "a styles file begins with name,prompt,negative_prompt"
                raise BadFile(f"{path.name} has no column 'name'; {wanted}")
            return [_style(row) for row in reader if row.get("name")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path.name} is not a styles file ({error}); save it as UTF-8 with commas") from error


def _style(row: dict[str, str | None]) -> Style:
    return Style(
        name=row["name"] or "",
        prompt=row.get("prompt") or row.get("text") or "",
        negative=row.get("negative_prompt") or row.get("negative_text") or "",
    )
