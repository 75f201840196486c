"""``<lora:name:0.8>`` tags in a prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import BadValue

_TAG = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True, kw_only=True)
class NetworkTag:
    """One tag, its arguments as written.

    ``kind``: ``lora``; ``positional``: the name, then numbers; ``named``: ``te=0.5``; ``share``: how
    much of it is active, below 1 only inside a fade.
    """

    kind: str
    positional: list[str] = field(default_factory=list[str])
    named: dict[str, str] = field(default_factory=dict[str, str])
    share: float = 1.0


def tag_spans(text: str) -> list[tuple[int, int]]:
    """Return ``(start, end)`` of every network tag."""
    return [match.span() for match in _TAG.finditer(text, 0, text.rfind(">") + 1)]


def extract_networks(text: str) -> tuple[str, list[NetworkTag]]:
    """Return ``text`` without its network tags, and the tags in order; never raises.

    Every ``<word:…>`` is a tag, whatever the word, and leaves nothing behind.  Arguments are parted by
    colons; one with exactly one ``=`` is named, others are positional.

    Source: A1111 1.9.4; tests/golden/prompts/tags.jsonl.gz.
    """
    tags: list[NetworkTag] = []
    kept: list[str] = []
    at = 0
    # no tag ends after the last ">": without the bound, each "<a:" would look through the rest of the text
    for match in _TAG.finditer(text, 0, text.rfind(">") + 1):
        kept.append(text[at : match.start()])
        at = match.end()
        tags.append(_tag(match.group(1), match.group(2)))
    kept.append(text[at:])
    return "".join(kept), tags


def _tag(kind: str, arguments: str) -> NetworkTag:
    tag = NetworkTag(kind=kind)
    for argument in arguments.split(":"):
        parts = argument.split("=")
        if len(parts) == 2:
            tag.named[parts[0]] = parts[1]
        else:
            tag.positional.append(argument)
    return tag


def strengths_of(tag: NetworkTag) -> tuple[float, float]:
    """Return the strengths ``(text encoder, UNet)`` of ``<lora:name:te:unet>`` with ``te=`` and ``unet=``.

    One number is both, none is 1, as in A1111.  Raises ``BadValue`` where a weight is no number.
    """
    numbers = tag.positional[1:]
    try:
        te = float(tag.named.get("te", numbers[0] if numbers else 1.0))
        return te, float(tag.named.get("unet", numbers[1] if len(numbers) > 1 else te))
    except ValueError as error:
        name = tag.positional[0] if tag.positional else ""
        raise BadValue(
            f"network {name!r}: a weight is no number in {numbers or tag.named}; write <lora:name:0.8>"
        ) from error
