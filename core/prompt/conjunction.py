"""``a :1.2 AND b`` → parts and weights, and how the parts' predictions are joined again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import BadValue

if TYPE_CHECKING:
    from torch import Tensor

_AND = re.compile(r"\bAND\b")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")


def split_and(text: str) -> list[tuple[str, float]]:
    """Return the AND parts of ``text`` and their weights, by A1111's rules; never raises.

    ``AND`` counts between word boundaries, inside brackets too.  A number after a colon at the very end
    of a part is its weight, even where there is no AND (``16:9`` weighs 9); white space at a part's end
    is dropped.

    Source: A1111 1.9.4; tests/golden/prompts/multicond.jsonl.gz.
    """
    return [_weighed(part) for part in _AND.split(text)]


def and_spans(text: str) -> list[tuple[int, int]]:
    """Return ``(start, end)`` of each AND part, weights and white space included."""
    edges = [0, *(edge for match in _AND.finditer(text) for edge in match.span()), len(text)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def has_and(text: str) -> bool:
    """Tell whether ``text`` has an ``AND`` between word boundaries."""
    return _AND.search(text) is not None


def _weighed(part: str) -> tuple[str, float]:
    text = part.rstrip()
    start = len(text)
    while start and (text[start - 1].isdecimal() or text[start - 1] in ".+-"):
        start -= 1
    before = text[:start].rstrip()
    if before.endswith(":") and _NUMBER.fullmatch(text, start):
        return before[:-1].rstrip(), float(text[start:])
    return text, 1.0


def combine_denoised(denoised: Tensor, uncond: Tensor, weights: Sequence[float], cfg: float) -> Tensor:
    """Join the denoised predictions of the AND parts of one image: ``uncond + Σ wᵢ · cfg · (denoisedᵢ -
    uncond)``.

    ``denoised``: ``(P, …)``, one row a part; ``uncond``: ``(…)``; any weights, negative ones and a sum
    of 0 included.  Raises ``BadValue`` where the number of weights is not ``P``.

    Source: Liu et al.  2022, Composable Diffusion (arXiv:2206.01714), eq.  11, with weights as A1111
    1.9.4 applies them.
    """
    if len(weights) != len(denoised):
        raise BadValue(f"{len(weights)} weights for {len(denoised)} predictions; give one for each AND part")
    result = uncond.clone()
    for one, weight in zip(denoised, weights, strict=True):
        result += (one - uncond) * (weight * cfg)
    return result
