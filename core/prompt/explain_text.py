"""An explanation as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from .explain import Explanation, PartView, TextView, spans
from .warnings import draw_warning

WIDTH = 100
_SHADES = " ░▒▓█"


def as_text(explanation: Explanation) -> str:
    """Return the explanation as text for a terminal."""
    return "\n".join(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    if explanation.template is not None:
        yield f"template: {explanation.template}"
    yield f"prompt: {explanation.prompt}"
    yield f"dialect: {explanation.dialect}"
    yield f"networks, all the time: {', '.join(explanation.networks) or 'none'}"
    for one in explanation.passes:
        yield f"\n{one.name}: {one.steps} steps, {one.calls} model calls"
        for number, part in enumerate(one.parts, start=1):
            if len(one.parts) > 1 or part.weight != 1:
                yield f"  part {number} of {len(one.parts)}, weight {part.weight:g}: {part.text}"
            yield from (f"  {line}" for line in _part(part))
    if explanation.problem is not None:
        yield f"\n{explanation.problem}"
    if explanation.warnings:
        yield f"\n{len(explanation.warnings)} warning{'s' * (len(explanation.warnings) != 1)}"
    for warning in explanation.warnings:
        yield draw_warning(explanation.prompt, warning, WIDTH)


def _part(part: PartView) -> Iterator[str]:
    width = max(len(text.name) for text in part.texts)
    for i, text in enumerate(part.texts):
        yield f"{text.name:>{width}} |{_bar(part, i)}| {_when(part, i)}"
    for text in part.texts:
        yield from _text(text)


def _bar(part: PartView, index: int) -> str:
    """Return one sign a call, darker with the share."""
    shares = [dict(active).get(index, 0.0) for active in part.calls]
    signs = [_SHADES[min(4, -int(-share * 4 // 1))] for share in shares]
    return "".join(signs)


def _when(part: PartView, index: int) -> str:
    words = [
        (f"call {first}" if first == last else f"calls {first}-{last}")
        + (f" at {share:.0%}" if share < 1 else "")
        for first, last, share in spans(part.calls, index)
    ]
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")


def _text(text: TextView) -> Iterator[str]:
    networks = f"  networks: {', '.join(text.networks)}" if text.networks else ""
    yield f"{text.name}: {text.text}{networks}"
    for number, chunk in enumerate(text.chunks, start=1):
        words = " ".join(
            piece if weight == 1 else f"({piece}:{weight:.4g})" for piece, weight in chunk.pieces
        )
        yield f"   chunk {number}: {chunk.tokens} of 75 tokens  {words}"
