"""How long a prompt takes to be read, how many chunks go through the text encoder, and compel's time for the same."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.prompt import Insert, Tokenizer, clip_tokenizer, encode, parse_schedule, parse_weights, plan

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

REPEATS = 50
STEPS = 28
COMPARED = 12
"""Weighted tags of the prompt that compel reads too: one chunk of them."""


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
    return figures | compel_times()


def compel_times(rounds: int = 5) -> dict[str, float]:
    """Return milliseconds to read and encode a weighted prompt with the embedded model, and the ratio to compel's."""
    if importlib.util.find_spec("compel") is None:
        log.warning("no ratio to compel; `pip install --no-deps compel pyparsing` brings it")
        return {}
    from compel import Compel  # pyright: ignore[reportMissingImports]

    from ..models import load_model
    from ..pipeline import DEMO
    from .generate import diffusers_pipeline
    from .sampling import ratio, seconds

    with tempfile.TemporaryDirectory() as folder:
        peer: Any = diffusers_pipeline(Path(folder))
        theirs: Any = Compel(
            tokenizer=peer.tokenizer, text_encoder=peer.text_encoder, truncate_long_prompts=False
        )
        encoders = load_model(DEMO).text_encoders
        ours = ", ".join(f"(tag number {i}:1.{i % 9 + 1})" for i in range(COMPARED))
        same = ", ".join(f"(tag number {i})1.{i % 9 + 1}" for i in range(COMPARED))
        times = seconds(lambda: encode(plan(ours, STEPS), encoders), lambda: theirs(same), rounds=rounds)
    return {"ms_weighted_prompt": 1e3 * sorted(times[0])[rounds // 2], "ratio_compel": ratio(times)}


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
