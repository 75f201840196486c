"""Where the AND parts of a plan lie in the typed text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .conjunction import and_spans
from .networks import tag_spans
from .origins import Origins
from .plan import is_one_part, prepared, takes_tags_out
from .styles import comment_spans, strip_comments
from .tree import Tree

if TYPE_CHECKING:
    from .plan import PromptPlan


@dataclass(frozen=True)
class Place:
    """One AND part and where its columns lie in the typed text."""

    tree: Tree
    start: int
    origins: Origins

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return where columns of the part's own text lie in the typed one; at least one sign."""
        first = self.origins.at(self.start + start)
        return first, max(self.origins.at(self.start + end - 1) + 1, first + 1)


def places_of(plan: PromptPlan) -> Iterator[Place]:
    """Yield the place of each AND part, in order."""
    text, _ = prepared(plan.text, plan.dialect, plan.run)
    spans = [(0, len(text))] if is_one_part(text, plan.dialect, plan.run) else and_spans(text)
    origins = _origins(plan)
    for part, (start, _) in zip(plan.parts, spans, strict=True):
        yield Place(part.tree, start, origins)


def _origins(plan: PromptPlan) -> Origins:
    """Return where the text that the parts are cut from lies in the typed one."""
    text, comments = plan.text, Origins()
    if plan.dialect.comments:
        comments = Origins((start, end, 1) for start, end in comment_spans(text))
        text = strip_comments(text)
    if not takes_tags_out(plan.dialect, plan.run):
        return comments
    return Origins(((start, end, 0) for start, end in tag_spans(text)), before=comments)


def without_edits(tree: Tree) -> str:
    """Return the text with the brackets, signs and numbers of its groups made spaces, as long as before."""
    signs = list(tree.source)
    for group in tree.groups:
        if group.before:  # a weighted alternation keeps its bracket and its weight
            ends = [(one.end, two.start) for one, two in zip(group.options, group.options[1:], strict=False)]
        else:
            edges = [group.start, *(edge for o in group.options for edge in (o.start, o.end)), group.end]
            ends = list(zip(edges[::2], edges[1::2], strict=True))
        for start, end in ends:
            signs[start:end] = " " * (end - start)
    return "".join(signs)
