"""The words the embedded model knows: which of CLIP's 49,408 tokens have a row of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.prompt import clip_tokenizer
from .captions import BAD, GOOD
from .scenes import BACKGROUNDS, COLOURS, MOODS, SHAPES, SIZES, STYLES

_PLAIN = (
    "a an the and with on in at of to is , . ; : - ! hair face eyes background left right top bottom center above "
    "below next beside between middle side picture image art quality style head person portrait girl boy man woman "
    "cyan pink brown gray grey dark light bright one two three shape shapes object large tiny very"
)


def known_tokens() -> list[int]:
    """Return the ids that have a row, ascending: every word of the captions, BOS and EOS among them."""
    tokenizer = clip_tokenizer()
    phrases = [*SHAPES, *COLOURS, *BACKGROUNDS, *MOODS, *STYLES, *SIZES, *GOOD, *BAD, *_PLAIN.split()]
    ids = {token for phrase in phrases for token in tokenizer.encode(phrase)}
    return sorted(ids | {tokenizer.bos, tokenizer.eos})


def row_of(tokens: list[int], size: int = 49408) -> Tensor:
    """Return int64 (size,): for each token its row; tokens not in ``tokens`` share the last row, ``len(tokens)``."""
    rows = torch.full((size,), len(tokens), dtype=torch.int64)
    rows[torch.tensor(tokens)] = torch.arange(len(tokens))
    return rows
