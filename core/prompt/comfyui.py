"""ComfyUI's reading of a prompt: weights, and chunks that keep a short weighted segment together.

``(x)`` multiplies by 1.1 and ``(x:1.3)`` replaces the weight outside; square brackets, BREAK and AND are
words; an embedding is ``embedding:name`` at the start of a word.

Source: ComfyUI 0.3.64; tests/golden/cond/comfyui.json.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .chunks import LENGTH, Chunk, Names
from .tokenizer import Tokenizer

SHORT = 8  # segments of fewer tokens are not cut
PREFIX = "embedding:"
_CLOSE, _OPEN = "\0\1", "\0\2"
_EMBEDDING = re.compile(rf"[ \n]{PREFIX}")
_BRACKET_OR_COLON = re.compile(r"[():]")


def comfy_weights(text: str) -> list[tuple[str, float]]:
    """Return the segments of ``text`` and their weights; never raises.

    The weight of a bracket is what ``float`` makes of the text after its last colon.  Unclosed brackets
    are text.
    """
    escaped = text.replace("\\)", _CLOSE).replace("\\(", _OPEN)
    segments = _Brackets(escaped).segments()
    return [(_unescaped(escaped[start:end]), weight) for start, end, weight in segments] or [("", 1.0)]


def _unescaped(text: str) -> str:
    return text.replace(_CLOSE, ")").replace(_OPEN, "(")


@dataclass(frozen=True)
class _Item:
    """``text[start:end]`` in a bracket of ``weight``; a group is still to be opened."""

    start: int
    end: int
    weight: float
    group: bool


class _Brackets:
    """Nested round brackets of a text, read in linear time at any depth."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: list[int] = []
        self.index: dict[int, int] = {}
        self.match: dict[int, int] = {}
        self.before: dict[int, tuple[int, int]] = {}  # column → the last colon and the last bracket before it
        opened: list[int] = []
        colon = -1
        for found in _BRACKET_OR_COLON.finditer(text):
            at = found.start()
            if found.group() == ":":
                colon = at
                continue
            self.before[at] = colon, self.columns[-1] if self.columns else -1
            self.index[at] = len(self.columns)
            self.columns.append(at)
            if found.group() == "(":
                opened.append(at)
            elif opened:
                self.match[opened.pop()] = at

    def segments(self) -> Iterator[tuple[int, int, float]]:
        """Yield ``(start, end, weight)`` of all segments in order."""
        todo = self._items(0, len(self.text), 1.0)[::-1]
        while todo:
            item = todo.pop()
            if item.group:
                todo += reversed(self._items(*self._inside(item)))
            else:
                yield item.start, item.end, item.weight

    def _items(self, start: int, end: int, weight: float) -> list[_Item]:
        """Return the text and the outermost groups of ``text[start:end]``, empty text left out.

        A bracket that closes nothing makes text of the opening bracket after it.
        """
        items: list[_Item] = []
        level = 0
        i = bisect_left(self.columns, start)
        while i < len(self.columns) and (at := self.columns[i]) < end:
            if self.text[at] == "(" and level == 0:
                items.append(_Item(start, at, weight, group=False))
                close = self.match.get(at, end)
                start = min(close + 1, end)
                group = close < end or (self.text[end - 1] == ")" and end - at > 1)
                items.append(_Item(at, start, weight, group))
                i = bisect_left(self.columns, start)
                continue
            level += 1 if self.text[at] == "(" else -1
            i += 1
        items.append(_Item(start, end, weight, group=False))
        return [item for item in items if item.start < item.end]

    def _inside(self, group: _Item) -> tuple[int, int, float]:
        """Return the range inside a bracket and its weight."""
        start, end = group.start + 1, group.end - 1
        colon, bracket = self.before[end]
        if colon > start and bracket < colon:
            try:
                return start, colon, float(self.text[colon + 1 : end])
            except ValueError:
                pass
        return start, end, group.weight * 1.1


@dataclass
class _Chunker:
    """Fills chunks group by group."""

    tokenizer: Tokenizer
    chunks: list[Chunk] = field(default_factory=list[Chunk])
    ids: list[int] = field(default_factory=list[int])
    weights: list[float] = field(default_factory=list[float])
    embeddings: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def add(self, ids: list[int], weight: float, embedding: str | None = None) -> None:
        """Add a group of tokens, or the vectors of an embedding; only a long one is cut."""
        long = len(ids) >= SHORT
        done = 0
        while len(ids) - done > (room := LENGTH - len(self.ids)):
            if long:
                self._extend(ids, done, done + room, weight, embedding)
                done += room
            self.close()
        self._extend(ids, done, len(ids), weight, embedding)

    def _extend(self, ids: list[int], start: int, end: int, weight: float, embedding: str | None) -> None:
        if embedding is not None and start < end:
            self.embeddings.append((len(self.ids) + 1 - start, embedding))
        self.ids += ids[start:end]
        self.weights += [weight] * (end - start)

    def close(self) -> None:
        tail = [self.tokenizer.eos] + [self.tokenizer.pad] * (LENGTH - len(self.ids))
        chunk = Chunk(
            ids=(self.tokenizer.bos, *self.ids, *tail),
            weights=(1.0, *self.weights, *[1.0] * len(tail)),
            embeddings=tuple(self.embeddings),
            length=len(self.ids),
            counted=len(self.ids),
        )
        self.chunks.append(chunk)
        self.ids, self.weights, self.embeddings = [], [], []


def comfy_chunks(segments: Sequence[tuple[str, float]], tokenizer: Tokenizer, names: Names) -> list[Chunk]:
    """Return the chunks of weighted ``segments``, at least one; a missing embedding is left out."""
    chunker = _Chunker(tokenizer)
    for text, weight in segments:
        first, *rest = _EMBEDDING.split(text)
        words = [first] if first else []
        for word in [*words, *(PREFIX + word for word in rest)]:
            plain = word
            if word.startswith(PREFIX):
                name, plain = find_embedding(word[len(PREFIX) :], names)
                if name is not None:
                    chunker.add([0] * names.counts[name], weight, name)
                if not plain:
                    continue
            chunker.add(tokenizer.encode(plain), weight)
    chunker.close()
    return chunker.chunks


def find_embedding(text: str, names: Names) -> tuple[str | None, str]:
    """Return the embedding that ``text`` names, or ``None``, and the text left over.

    A name ends at white space; commas round it are taken off if only that makes it known.
    """
    name, *left = text.strip("\n").split(maxsplit=1) or [""]
    leftover = " ".join(left[0].split()) if left else ""
    if name in names.counts:
        return name, leftover
    stripped = name.strip(",")
    if len(stripped) < len(name):
        return stripped if stripped in names.counts else None, f"{name[len(stripped) :]} {leftover}"
    return None, leftover
