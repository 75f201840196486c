"""What an editor shows of a prompt as it is typed: tokens, where chunks end, what is weighted, warnings.

All columns are those of the typed text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from .bpe import token_bytes
from .chunks import LENGTH, Chunk, Names
from .networks import extract_networks, tag_spans
from .origins import Origins
from .places import Place, places_of, without_edits
from .plan import PromptPlan, clock_of
from .reading import read_chunks, read_pieces
from .schedule import ends
from .tokenizer import Tokenizer, clip_tokenizer
from .tree import Group, Span, Tree
from .warnings import PromptWarning
from .weights import BREAK, read_brackets

Choose = Callable[[Group], int]
MOST_TEXTS = 64
MOST_TEXT = 200_000
_LONGEST_LETTER = 16
_FAR = 16  # how far on a letter is looked for that the tokenizer may have changed


@dataclass(frozen=True, kw_only=True)
class ChunkMark:
    """A chunk with its number of tokens, at ``text[start:end]``; ``part``: of which AND part, from 0."""

    start: int
    end: int
    tokens: int
    part: int


@dataclass(frozen=True, kw_only=True)
class WeightMark:
    """``text[start:end]`` is weighted."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What there is to be shown of a prompt.

    ``tokens``: as A1111's counter counts, of the longest text that any AND part becomes; a chunk that is full
    or closed by BREAK counts 75.  ``chunks``: of the longest text of each AND part.  ``texts``: how many
    different texts there are, at most ``MOST_TEXTS`` a part.
    """

    tokens: int
    texts: int
    chunks: tuple[ChunkMark, ...]
    weights: tuple[WeightMark, ...]
    warnings: tuple[PromptWarning, ...]


def marks(plan: PromptPlan) -> Marks:
    """Return what is to be shown of ``plan``; takes time linear in its text, never raises."""
    plain = plan.dialect.syntax == "comfyui" or find_spec("ftfy") is None
    tokenizer = clip_tokenizer("rust" if plain else "a1111")
    names = Names(plan.known.embeddings or {}, tokenizer)
    chunks: list[ChunkMark] = []
    tokens = texts = 0
    for number, place in enumerate(places_of(plan)):
        found = [_read(one, plan, tokenizer, names) for one in _texts(place.tree, plan)]
        longest = max(found, key=lambda one: one.tokens)
        tokens, texts = max(tokens, longest.tokens), texts + len(found)
        chunks += _chunk_marks(longest, place, number, names)
    return Marks(
        tokens=tokens,
        texts=texts,
        chunks=tuple(chunks),
        weights=tuple(_weights(plan)),
        warnings=plan.warnings,
    )


@dataclass(frozen=True)
class _Text:
    """A text that a part becomes, and where its columns lie in the part's source."""

    text: str
    origins: Origins


@dataclass(frozen=True)
class _Read:
    """A text's chunks."""

    one: _Text
    chunks: list[Chunk]

    @property
    def tokens(self) -> int:
        return sum(chunk.counted for chunk in self.chunks)


def _texts(tree: Tree, plan: PromptPlan) -> list[_Text]:
    """Return the different texts that a part becomes, at least one; a bounded number of them."""
    if not tree.groups:
        return [_without_tags(tree.source, Origins(), plan)]
    clock = clock_of(plan.steps, plan.dialect, plan.run)
    found: dict[str, _Text] = {}
    room = MOST_TEXT
    for end in ends(tree, clock)[:MOST_TEXTS]:
        room -= len(tree.source)
        if found and room < 0:
            break

        def choose(group: Group, step: int = end) -> int:
            if group.kind == "alternation":
                return (step - 1) % len(group.options)
            return 0 if step <= clock.last_before(group.when[0]) else 1

        text = tree.render(choose)
        if text not in found:
            cuts = ((start, stop, len(put)) for start, stop, put in _cuts(tree.root, choose))
            found[text] = _without_tags(text, Origins(cuts), plan)
    return list(found.values())


def _cuts(root: Span, choose: Choose) -> Iterator[tuple[int, int, str]]:
    """Yield what choosing options takes out of the source, in order, and what comes there instead."""
    todo: list[Span | tuple[int, int, str]] = [root]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            yield item
            continue
        inner: list[Span | tuple[int, int, str]] = []
        for group in item.holes:
            option = group.options[choose(group)]
            inner += (
                (group.start, option.start, group.before),
                option,
                (option.end, group.end, group.after),
            )
        todo += reversed(inner)


def _without_tags(text: str, origins: Origins, plan: PromptPlan) -> _Text:
    """Take out the network tags that come and go with the text, where the dialect has such."""
    if not plan.dialect.scheduled_networks or plan.run.negative:
        return _Text(text, origins)
    spans = tag_spans(text)
    return _Text(
        extract_networks(text)[0], Origins(((start, end, 0) for start, end in spans), before=origins)
    )


def _read(one: _Text, plan: PromptPlan, tokenizer: Tokenizer, names: Names) -> _Read:
    pieces = read_pieces(one.text, plan.dialect)
    return _Read(one, read_chunks(pieces, plan.dialect, tokenizer, names))


def _chunk_marks(read: _Read, place: Place, number: int, names: Names) -> Iterator[ChunkMark]:
    """Yield where the chunks of a text lie."""
    text = read.one.text
    walk = _Walk(text)
    edges = [0]
    for chunk in read.chunks:
        walk.pass_chunk(chunk, names)
        edges.append(walk.at)
        if chunk.by_break:
            walk.pass_break()
    edges[-1] = len(text)
    for chunk, start, end in zip(read.chunks, edges, edges[1:], strict=False):
        first, last = (read.one.origins.at(column) for column in (start, max(end - 1, start)))
        place_start, place_end = place.span(first, max(last + 1, first))
        yield ChunkMark(
            start=min(place_start, place_end),
            end=place_end if text else place_start,
            tokens=min(chunk.length, LENGTH),
            part=number,
        )


class _Walk:
    """Goes through a text beside its tokens; brackets, numbers and white space between them are passed over."""

    def __init__(self, text: str) -> None:
        self.text = text.lower()
        if len(self.text) != len(text):  # a letter whose small form is two
            self.text = "".join(char.lower()[0] for char in text)
        self.at = 0
        self._raw = b""
        self._table = token_bytes()

    def pass_chunk(self, chunk: Chunk, names: Names) -> None:
        """Go to the end of the last token of ``chunk``."""
        places = {position: name for position, name in chunk.embeddings if position > 0}
        position, end = 1, 1 + chunk.length
        while position < end:
            if (name := places.get(position)) is not None:
                self._pass(name.lower())
                position += max(names.counts[name], 1)
                continue
            token = chunk.ids[position]
            self._raw += self._table[token] if token < len(self._table) else b""
            position += 1
            try:
                letters = self._raw.decode("utf-8")
            except UnicodeDecodeError:  # the rest of the letter is in the next token, maybe of the next chunk
                self._raw = b"" if len(self._raw) > _LONGEST_LETTER else self._raw
                continue
            self._pass(letters.strip())
            self._raw = b""

    def pass_break(self) -> None:
        """Go past the next BREAK."""
        found = self.text.find(BREAK[0].lower(), self.at)
        self.at = self.at if found < 0 else found + len(BREAK[0])

    def _pass(self, letters: str) -> None:
        """Go past ``letters``: as a whole where they stand near, else one by one."""
        found = self.text.find(letters, self.at, self.at + _FAR + len(letters))
        if found >= 0:
            self.at = found + len(letters)
            return
        for letter in letters:
            found = self.text.find(letter, self.at, self.at + _FAR)
            self.at = self.at if found < 0 else found + 1


def _weights(plan: PromptPlan) -> Iterator[WeightMark]:
    """Yield what is weighted, joined where neighbours weigh the same."""
    if plan.dialect.syntax == "comfyui":
        yield from _comfy_weights(plan)
        return
    for place in places_of(plan):
        source = without_edits(place.tree)
        reading = read_brackets(source)
        edges = [*reading.columns[1:], len(source)]
        breaks = set(reading.breaks)
        for i, (text, weight, column) in enumerate(
            zip(reading.texts, reading.weights, reading.columns, strict=True)
        ):
            end = min(column + len(text) + (source[column : column + 1] == "\\"), edges[i])
            begin = column + len(source[column:end]) - len(source[column:end].lstrip())
            end = begin + len(source[begin:end].rstrip())
            if weight != 1 and i not in breaks and begin < end:
                start, stop = place.span(begin, end)
                yield WeightMark(start=start, end=stop, weight=weight)


def _comfy_weights(plan: PromptPlan) -> Iterator[WeightMark]:
    at = 0
    for text, weight in read_pieces(plan.text, plan.dialect):
        found = plan.text.find(text, at)
        if found < 0:
            continue
        at = found + len(text)
        if weight != 1 and text.strip():
            yield WeightMark(start=found, end=at, weight=weight)
