"""Weighted pieces → chunks of 75 tokens between BOS and EOS, by A1111's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field

from .tokenizer import Tokenizer
from .weights import BREAK, parse_weights

LENGTH = 75
Vectors = int | Sized
Pieces = Sequence[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One row for the text encoder.

    ``ids``, ``weights``: 77 long, BOS and EOS included, longer only where an embedding has more than 75
    vectors.  ``embeddings``: ``(position, name)``, position counted with BOS as 0; the ids there are 0.  A
    position below 1 is that of an embedding begun in the chunk before.  ``length``: tokens before the
    padding.  ``counted``: what the chunk adds to A1111's token counter (75 once it is closed).
    ``by_break``: whether a BREAK closed it.  ``state``: which state of the encoder it is for, where
    scheduled networks change the encoder.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    embeddings: tuple[tuple[int, str], ...] = ()
    length: int = 0
    counted: int = 0
    by_break: bool = False
    state: int = 0


@dataclass
class _Open:
    """The chunk being filled."""

    ids: list[int] = field(default_factory=list[int])
    weights: list[float] = field(default_factory=list[float])
    embeddings: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    last_comma: int = -1

    def closed(self, tokenizer: Tokenizer, counted: int, by_break: bool = False) -> Chunk:
        padding = max(LENGTH - len(self.ids), 0)
        tail = [tokenizer.eos] + [tokenizer.pad] * padding
        return Chunk(
            ids=(tokenizer.bos, *self.ids, *tail),
            weights=(1.0, *self.weights, *[1.0] * len(tail)),
            embeddings=tuple(self.embeddings),
            length=len(self.ids),
            counted=counted,
            by_break=by_break,
        )


class Names:
    """Embedding names as token ids; looked up at every token, the longest first."""

    def __init__(self, embeddings: Mapping[str, Vectors], tokenizer: Tokenizer) -> None:
        """Tokenize the names of ``embeddings`` (name → vectors, or their number)."""
        self.counts = {name: v if isinstance(v, int) else len(v) for name, v in embeddings.items()}
        self._by_first: dict[int, list[tuple[list[int], str]]] = {}
        for name in embeddings:
            ids = tokenizer.encode(name)
            if ids:
                self._by_first.setdefault(ids[0], []).append((ids, name))
        for names in self._by_first.values():
            names.sort(key=lambda entry: len(entry[0]), reverse=True)

    def at(self, tokens: list[int], position: int) -> tuple[str, int] | None:
        """Return the name that begins at ``position`` and how many tokens it takes."""
        for ids, name in self._by_first.get(tokens[position], ()):
            if tokens[position : position + len(ids)] == ids:
                return name, len(ids)
        return None


class _Chunker:
    """Fills chunks token by token."""

    def __init__(self, tokenizer: Tokenizer, names: Names, comma_backtrack: int) -> None:
        self.tokenizer = tokenizer
        self.names = names
        self.backtrack = comma_backtrack
        self.comma = tokenizer.encode(",")
        self.chunks: list[Chunk] = []
        self.open = _Open()

    def close(self, counted: int = LENGTH, by_break: bool = False) -> None:
        self.chunks.append(self.open.closed(self.tokenizer, counted, by_break))
        self.open = _Open()

    def add_piece(self, text: str, weight: float) -> None:
        tokens = self.tokenizer.encode(text)
        position = 0
        while position < len(tokens):
            self._make_room(tokens[position])
            found = self.names.at(tokens, position)
            if found is None:
                self.open.ids.append(tokens[position])
                self.open.weights.append(weight)
                position += 1
            else:
                self._add_embedding(found[0], weight)
                position += found[1]

    def _make_room(self, token: int) -> None:
        """Note a comma; at the end of a chunk move what follows its last comma on to the next."""
        chunk = self.open
        full = len(chunk.ids) == LENGTH
        if [token] == self.comma:
            chunk.last_comma = len(chunk.ids)
        elif full and self.backtrack and chunk.last_comma >= 0:
            keep = chunk.last_comma + 1
            if LENGTH - chunk.last_comma <= self.backtrack:
                ids, weights = chunk.ids[keep:], chunk.weights[keep:]
                del chunk.ids[keep:], chunk.weights[keep:]
                self.close()
                self.open.ids, self.open.weights = ids, weights
        if len(self.open.ids) == LENGTH:
            self.close()

    def _add_embedding(self, name: str, weight: float) -> None:
        count = self.names.counts[name]
        if len(self.open.ids) + count > LENGTH:
            self.close()
        self.open.embeddings.append((len(self.open.ids) + 1, name))
        self.open.ids += [0] * count
        self.open.weights += [weight] * count


def chunk_pieces(
    pieces: Pieces, tokenizer: Tokenizer, embeddings: Names | None = None, comma_backtrack: int = 20
) -> list[Chunk]:
    """Return the chunks of weighted ``pieces``; a piece equal to ``BREAK`` closes the chunk, empty or not."""
    chunker = _Chunker(tokenizer, embeddings or Names({}, tokenizer), comma_backtrack)
    for piece in pieces:
        if piece == BREAK:
            chunker.close(by_break=True)
        else:
            chunker.add_piece(*piece)
    if chunker.open.ids or not chunker.chunks:
        chunker.close(len(chunker.open.ids))
    return chunker.chunks


def chunk_tokens(
    text: str,
    tokenizer: Tokenizer,
    embeddings: Mapping[str, Vectors] | None = None,
    comma_backtrack: int = 20,
    emphasis: str = "Original",
) -> list[Chunk]:
    """Return the chunks of one text, at least one.

    ``embeddings``: name → vectors ``(v, D)`` or their number.  ``comma_backtrack``: how many tokens
    behind the last comma may move to the next chunk, 0 for none.  With ``emphasis="None"`` brackets are
    text.  Never raises.

    Source: A1111 1.9.4; tests/golden/prompts/chunks.jsonl.gz.
    """
    names = Names(embeddings or {}, tokenizer)
    return chunk_pieces(parse_weights(text, emphasis), tokenizer, names, comma_backtrack)
