"""How long a prompt takes to be read, and how many chunks go through the text encoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...core.prompt import Insert, Tokenizer, clip_tokenizer, encode, parse_schedule, parse_weights, plan

if TYPE_CHECKING:
    from torch import Tensor

REPEATS = 50
STEPS = 28


def tags(count: int, weighted: int = 0, edited: int = 0) -> str:
    """Return a prompt of ``count`` tags, some of them weighted, some edited."""
    plain = [f"tag number {i}" for i in range(count - weighted - edited)]
    heavy = [f"(heavy tag {i}:1.{i % 9 + 1})" for i in range(weighted)]
    edits = [f"[early {i}:late {i}:0.{i % 9 + 1}]" for i in range(edited)]
    return ", ".join([*plain, *heavy, *edits])


PROMPTS = {
    "ms_300_tags_15_weights_10_edits": tags(300, 15, 10),
    "ms_75_weighted_tags": tags(75, weighted=75),
    "ms_20_tags": tags(20),
}
"""Read and scheduled; A1111 needs 182, 2,590 and 4.1 ms for prompts of these shapes."""

ENCODED = {
    "rows_12_segments_4_chunks": (f"a BREAK b BREAK c BREAK [{'|'.join(f'd{i}' for i in range(12))}]", 12),
    "rows_alternation_28_steps_4_chunks": ("a BREAK b BREAK c BREAK [d|e]", 28),
}
"""A1111 encodes 48 and 112 rows."""


class _Counting:
    """A text encoder that counts its rows."""

    def __init__(self) -> None:
        self.tokenizer: Tokenizer = clip_tokenizer()
        self.embeddings: Mapping[str, Tensor] = {}
        self.clip_skips = (1, 12)
        self.rows = 0

    def __call__(
        self,
        ids: Tensor,
        clip_skip: int,  # noqa: ARG002  (what an encoder is given)
        inserts: Sequence[Insert] = (),  # noqa: ARG002
    ) -> tuple[Tensor, None]:
        self.rows += len(ids)
        return ids[..., None].float(), None


def run() -> dict[str, float]:
    """Return CPU milliseconds, the least of some runs, and rows encoded."""
    figures = {name: 1e3 * _least(lambda text=text: read(text)) for name, text in PROMPTS.items()}
    for name, (text, steps) in ENCODED.items():
        encoder = _Counting()
        encode(plan(text, steps), encoder)
        figures[name] = encoder.rows
    return figures


def read(text: str) -> None:
    """Read a prompt as A1111 does before it tokenizes: the schedule, then the weights of its first text."""
    schedule = parse_schedule(text, STEPS)
    parse_weights(schedule[0][1])


def _least(work: Callable[[], None]) -> float:
    times: list[float] = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)
