"""Network tags that are active all the time, parted from those that come and go with an edit."""

from __future__ import annotations

from .dialect import Dialect
from .networks import NetworkTag, extract_networks, tag_spans
from .plan import plan
from .styles import strip_comments


def constant_tags(text: str, dialect: Dialect) -> tuple[str, list[NetworkTag]]:
    """Return ``text`` without the tags that stand outside every edit, and those tags; never raises.

    A dialect that does not schedule networks has all tags active all the time.  Comments are taken out.
    """
    if dialect.comments and "#" in text:
        text = strip_comments(text)
    if not dialect.scheduled_networks:
        return extract_networks(text)
    spans = tag_spans(text)
    numbered, at = "", 0
    for i, (start, end) in enumerate(spans):
        numbered += f"{text[at:start]}<tag:{i}>"
        at = end
    constant: set[int] = set()
    for part in plan(numbered + text[at:], 1, dialect=dialect).parts:
        source = part.tree.source
        for start, end in tag_spans(source):
            if not any(group.start <= start < group.end for group in part.tree.groups):
                constant.add(int(source[start:end].strip("<>").partition(":")[2]))
    kept, at = "", 0
    for i in sorted(constant):
        kept += text[at : spans[i][0]]
        at = spans[i][1]
    tags = [tag for i in sorted(constant) for tag in extract_networks(text[slice(*spans[i])])[1]]
    return kept + text[at:], tags
