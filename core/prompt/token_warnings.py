"""Traps of chunks: tags cut in two, chunks left almost empty, artists among content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

from .chunks import LENGTH, Chunk, Names
from .reading import read_chunks
from .tokenizer import Tokenizer, clip_tokenizer
from .warnings import MOST_OF_A_KIND, Findings
from .weights import BREAK, read_brackets

if TYPE_CHECKING:
    from .dialect import Dialect
    from .plan import PromptPlan, Variant

ALMOST_EMPTY = 8
_MOST_TEXT = 1_000_000
_ARTIST = re.compile(r"(?:(?:art|artwork|drawn|illustration|painted|painting|style) )?by \w.*")


def token_warnings(plan: PromptPlan, findings: Findings) -> None:
    """Find the traps of chunks, for each text of the run, up to a million characters."""
    plain = plan.dialect.syntax == "comfyui" or find_spec("ftfy") is None
    tokenizer = clip_tokenizer("rust" if plain else "a1111")
    names = Names(plan.known.embeddings or {}, tokenizer)
    finder = _TextFinder(plan.text)
    for variant in _variants(plan):
        chunks = read_chunks(variant.pieces, plan.dialect, tokenizer, names)
        if plan.dialect.syntax == "webui":
            _cut_tags(chunks, tokenizer, finder, findings)
            _almost_empty(chunks, finder, plan.dialect, findings)
        _artists(chunks, tokenizer, finder, findings)


def _variants(plan: PromptPlan) -> Iterator[Variant]:
    seen: set[str] = set()
    room = _MOST_TEXT
    for part in plan.parts:
        for segment in part.segments:
            for variant in segment.variants:
                if variant.text not in seen and (room > 0 or not seen):
                    seen.add(variant.text)
                    room -= len(variant.text)
                    yield variant


class _TextFinder:
    """Finds in the typed text what tokens say."""

    def __init__(self, text: str) -> None:
        self.text = text
        # lower() may change the length of a text; a column is then only near
        self.lower = text.lower()

    def span(self, words: str) -> tuple[int, int]:
        """Return where the words stand, whatever white space is between them, else the whole text."""
        pattern = r"\W*?".join(re.escape(word) for word in words.split())
        match = re.search(pattern, self.lower) if pattern else None
        return match.span() if match else (0, len(self.text))


def _tags(chunk: Chunk, tokenizer: Tokenizer) -> list[list[int]]:
    """Return the ids of a chunk between BOS and padding, parted at commas."""
    comma = tokenizer.encode(",")[0]
    tags: list[list[int]] = [[]]
    for token in chunk.ids[1 : 1 + chunk.length]:
        if token == comma:
            tags.append([])
        else:
            tags[-1].append(token)
    return tags


def _cut_tags(chunks: list[Chunk], tokenizer: Tokenizer, finder: _TextFinder, findings: Findings) -> None:
    looked_for = 0  # finding the place takes time, and places that are not found look alike
    for before, after in pairwise(chunks):
        if before.by_break or before.length < LENGTH or looked_for == MOST_OF_A_KIND:
            continue
        head, tail = _tags(before, tokenizer)[-1], _tags(after, tokenizer)[0]
        if head and tail:
            looked_for += 1
            first, second = tokenizer.decode(head), tokenizer.decode(tail)
            message = f"a tag is cut by the end of a chunk of 75 tokens: {first[-40:]!r} | {second[:40]!r}"
            span = finder.span(f"{first} {second}"[-200:])
            findings.add(
                "tag-cut", span, message, "put BREAK or a comma before it, or shorten what comes first"
            )


def _break_columns(text: str, dialect: Dialect) -> list[int]:
    """Return where BREAK stands and is a break, in a text that has one."""
    reading = read_brackets(text)
    real = [i for i in reading.breaks if dialect.break_in_brackets or reading.weights[i] == BREAK[1]]
    return [reading.columns[i] for i in real or reading.breaks]


def _almost_empty(chunks: list[Chunk], finder: _TextFinder, dialect: Dialect, findings: Findings) -> None:
    if not any(chunk.by_break for chunk in chunks):
        return
    breaks = _break_columns(finder.text, dialect)
    at = 0
    for i, chunk in enumerate(chunks):
        after_break = i > 0 and chunks[i - 1].by_break
        if (chunk.by_break or after_break) and chunk.length < ALMOST_EMPTY:
            column = breaks[min(at if chunk.by_break else at - 1, len(breaks) - 1)]
            span = (column, column + len(BREAK[0]))
            message = f"BREAK leaves a chunk of {chunk.length} tokens of 75, the rest is padding"
            findings.add("break-almost-empty", span, message, "take BREAK away, or say more in each chunk")
        at += chunk.by_break


def _artists(chunks: list[Chunk], tokenizer: Tokenizer, finder: _TextFinder, findings: Findings) -> None:
    looked_for = 0
    for chunk in chunks:
        if looked_for >= MOST_OF_A_KIND:
            return
        tags = [tokenizer.decode(tag) for tag in _tags(chunk, tokenizer)]
        artists = [tag for tag in tags if _ARTIST.fullmatch(tag)]
        if len(artists) < sum(map(bool, tags)):
            looked_for += len(artists)
            for artist in artists[:MOST_OF_A_KIND]:
                message = "an artist shares a chunk with the content and colours every word in it"
                advice = "put artists into a chunk of their own with BREAK"
                findings.add("artist-among-content", finder.span(artist), message, advice)
