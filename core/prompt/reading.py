"""A text's pieces and chunks by the syntax of its dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .chunks import Chunk, Names, chunk_pieces
from .comfyui import comfy_chunks, comfy_weights
from .dialect import Dialect
from .tokenizer import Tokenizer
from .weights import parse_weights


def read_pieces(text: str, dialect: Dialect) -> list[tuple[str, float]]:
    """Return the weighted pieces of ``text``."""
    if dialect.syntax == "comfyui":
        return comfy_weights(text)
    return parse_weights(text, break_in_brackets=dialect.break_in_brackets)


def read_chunks(
    pieces: Sequence[tuple[str, float]], dialect: Dialect, tokenizer: Tokenizer, names: Names | None = None
) -> list[Chunk]:
    """Return the chunks of weighted ``pieces``, at least one."""
    if dialect.syntax == "comfyui":
        return comfy_chunks(pieces, tokenizer, names or Names({}, tokenizer))
    chunks = chunk_pieces(pieces, tokenizer, names, dialect.comma_backtrack)
    if tokenizer.pad == tokenizer.eos:
        return chunks
    return [_padded_after_eos(chunk, tokenizer) for chunk in chunks]


def _padded_after_eos(chunk: Chunk, tokenizer: Tokenizer) -> Chunk:
    """Put padding after the first EOS, one that is typed in the prompt included, as A1111 does for CLIP-G."""
    end = chunk.ids.index(tokenizer.eos) + 1
    padding = (tokenizer.pad,) * (len(chunk.ids) - end)
    return chunk if chunk.ids[end:] == padding else replace(chunk, ids=chunk.ids[:end] + padding)
