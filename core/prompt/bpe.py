"""The byte-pair merges of CLIP, and how a word falls into tokens.

``clip_bpe.z`` is a zlib stream of four byte columns of 48,894 rows: low and high byte of the left token,
low and high byte of the right token.  Row r makes token 512 + r out of two earlier tokens.  Tokens 0…255
are the bytes, in the order of GPT-2's byte table, and 256…511 are the same bytes at the end of a word.

Source: Sennrich et al. 2016 (arXiv:1508.07909); the byte table is that of Radford et al. 2019 (GPT-2).
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from heapq import heapify, heappop, heappush
from pathlib import Path

MERGES = 48894
WORD_END = 256
FIRST_MERGE = 512


def byte_order() -> list[int]:
    """Return the bytes in the order of tokens 0…255: those with a printable Latin-1 sign first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [b for b in range(256) if b not in set(printable)]


@lru_cache(maxsize=1)
def token_of_byte() -> list[int]:
    """Return, for each byte value, its token inside a word."""
    table = [0] * 256
    for token, byte in enumerate(byte_order()):
        table[byte] = token
    return table


@lru_cache(maxsize=1)
def merge_pairs() -> tuple[list[int], list[int]]:
    """Return the left and right tokens of all merges, in order of rank."""
    raw = zlib.decompress(Path(__file__).with_name("clip_bpe.z").read_bytes())
    low_left, high_left, low_right, high_right = (raw[i * MERGES : (i + 1) * MERGES] for i in range(4))
    left = [low + (high << 8) for low, high in zip(low_left, high_left, strict=True)]
    right = [low + (high << 8) for low, high in zip(low_right, high_right, strict=True)]
    return left, right


@lru_cache(maxsize=1)
def merge_table() -> dict[int, int]:
    """Return ``left << 16 | right`` -> the token that the pair makes; a lower token merges earlier."""
    left, right = merge_pairs()
    return {a << 16 | b: FIRST_MERGE + rank for rank, (a, b) in enumerate(zip(left, right, strict=True))}


@lru_cache(maxsize=1)
def token_bytes() -> list[bytes]:
    """Return the bytes of every token; the end of a word is a space."""
    plain = [bytes([b]) for b in byte_order()]
    table = plain + [b + b" " for b in plain]
    for a, b in zip(*merge_pairs(), strict=True):
        table.append(table[a] + table[b])
    return table


def split_word(word: bytes) -> list[int]:
    """Return the tokens of one non-empty word, the pair of lowest rank merged first, leftmost first.

    Takes ``n log n`` time for ``n`` bytes.
    """
    byte_tokens, merges = token_of_byte(), merge_table()
    symbols = [byte_tokens[b] for b in word]
    symbols[-1] += WORD_END
    n = len(symbols)
    after = [*range(1, n), -1]
    before = list(range(-1, n - 1))
    heap = [
        (made, i) for i in range(n - 1) if (made := merges.get(symbols[i] << 16 | symbols[i + 1])) is not None
    ]
    heapify(heap)
    while heap:
        made, i = heappop(heap)
        j = after[i]
        if symbols[i] < 0 or j < 0 or merges.get(symbols[i] << 16 | symbols[j]) != made:
            continue
        symbols[i], symbols[j] = made, -1
        after[i] = after[j]
        if after[j] >= 0:
            before[after[j]] = i
        for left in (before[i], i):
            if left >= 0 and after[left] >= 0:
                new = merges.get(symbols[left] << 16 | symbols[after[left]])
                if new is not None:
                    heappush(heap, (new, left))
    return [s for s in symbols if s >= 0]
