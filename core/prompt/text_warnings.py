"""Traps of the text as a whole: signs, AND, network tags, embeddings, comments."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .conjunction import has_and, split_and
from .grammar import Leniency, parse
from .warnings import Findings

if TYPE_CHECKING:
    from .plan import PromptPlan

_FULL_WIDTH = re.compile(r"[（）［］：]")
_ASCII = str.maketrans("（）［］：", "()[]:")
_WORD = re.compile(r"\b(?:AND|BREAK)\b")
_TOUCHING = re.compile(
    r"(?<=[^\W\d_])(?:AND|BREAK)(?![A-Za-z0-9_])|(?<![A-Za-z0-9_])(?:AND|BREAK)(?=[^\W\d_])"
)
_COMMENT = re.compile(r"(?<=[^\s])[^\S\n]*#[^\n]*")
_TAG = re.compile(r"<(\w+):([^>]+)>")
_EMBEDDING = re.compile(r"(?:(?<=[\s,(\[])|\A)embedding:([^\s,:()\[\]]+)")
_NAMES_COMPARED = 5000
TAG_KINDS = ("lora", "lyco", "hypernet")


def text_warnings(plan: PromptPlan, findings: Findings) -> None:
    """Find the traps that need no more than the text."""
    _full_width(plan, findings)
    _embeddings(plan, findings)
    if plan.dialect.syntax == "comfyui":
        _webui_words(plan, findings)
        return
    _touching_keywords(plan, findings)
    _comments(plan, findings)
    _conjunctions(plan, findings)
    _tags(plan, findings)


def _full_width(plan: PromptPlan, findings: Findings) -> None:
    for match in _FULL_WIDTH.finditer(plan.text):
        sign = match.group()
        message = f"{sign} is plain text and gives no weight"
        findings.add("full-width-bracket", match.span(), message, f"write {sign.translate(_ASCII)}")


def _webui_words(plan: PromptPlan, findings: Findings) -> None:
    advice = "use the a1111 or the concord dialect"
    for match in _WORD.finditer(plan.text):
        message = f"{match.group()} is an ordinary word in ComfyUI's syntax"
        findings.add("not-in-comfyui", match.span(), message, advice)
    for group in parse(plan.text).groups:
        message = "prompt editing is plain text in ComfyUI's syntax"
        findings.add("not-in-comfyui", (group.start, group.end), message, advice)


def _touching_keywords(plan: PromptPlan, findings: Findings) -> None:
    text = plan.text
    for match in _TOUCHING.finditer(text):
        start, end = match.span()
        if not (text[max(start - 1, 0) : start] + text[end : end + 1]).isascii():
            message = f"{match.group()} touches a letter and is read as part of the word"
            findings.add("keyword-not-apart", (start, end), message, f"put spaces round {match.group()}")


def _comments(plan: PromptPlan, findings: Findings) -> None:
    for match in _COMMENT.finditer(plan.text) if plan.dialect.comments else ():
        message = "# begins a comment: the rest of the line is left out"
        findings.add("comment", match.span(), message, "take the # away if it is part of the prompt")


def _conjunctions(plan: PromptPlan, findings: Findings) -> None:
    if plan.run.negative:
        for match in re.finditer(r"\bAND\b", plan.text):
            message = "AND is an ordinary word in a negative prompt"
            findings.add("and-in-negative", match.span(), message, "use commas")
    elif not has_and(plan.text) and not plan.dialect.weight_needs_and:
        ((kept, weight),) = split_and(plan.text)
        span = (len(kept), len(plan.text.rstrip()))
        if span[0] < span[1]:
            message = f"a number at the very end is an AND weight: the guidance is multiplied by {weight:g}"
            findings.add("trailing-weight", span, message, "end the prompt with a comma")


def _tags(plan: PromptPlan, findings: Findings) -> None:
    text = plan.text
    matches = list(_TAG.finditer(text, 0, text.rfind(">") + 1))
    if not matches:
        return
    groups = _outermost((g.start, g.end) for g in parse(text, Leniency(forgiving=True, tags=True)).groups)
    starts = [start for start, _ in groups]
    for match in matches:
        i = bisect_right(starts, match.start()) - 1
        _tag(plan, match, i >= 0 and match.start() < groups[i][1], findings)


def _outermost(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


def _tag(plan: PromptPlan, match: re.Match[str], in_edit: bool, findings: Findings) -> None:
    kind, name = match.group(1), match.group(2).split(":")[0]
    known = plan.known.networks
    if plan.run.negative:
        message = "a network tag in a negative prompt is read as words"
        findings.add("network-in-negative", match.span(), message, "put it into the positive prompt")
    elif kind not in TAG_KINDS:
        message = f"<{kind}:…> is no kind of network that is known; it is taken out of the prompt"
        findings.add("unknown-tag", match.span(), message, f"known are {', '.join(TAG_KINDS)}")
    elif known is not None and name not in known and not findings.full("unknown-network"):
        message = f"no network file is called {name!r}"
        findings.add("unknown-network", match.span(), message, _nearest(name, known))
    if in_edit and not plan.dialect.scheduled_networks and not plan.run.negative:
        message = "a network tag inside an edit is active all the time"
        findings.add("network-in-edit", match.span(), message, "the concord dialect schedules it")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known)[:_NAMES_COMPARED], n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else "check the name and the folder"


def _embeddings(plan: PromptPlan, findings: Findings) -> None:
    known = plan.known.embeddings
    for match in _EMBEDDING.finditer(plan.text):
        name = match.group(1)
        if plan.dialect.syntax == "webui":
            message = "embedding: is ComfyUI's way; here it is read as a word"
            findings.add("embedding-prefix", match.span(), message, f"write {name}")
        if known is not None and name not in known and not findings.full("unknown-embedding"):
            message = f"no embedding is called {name!r}"
            findings.add("unknown-embedding", match.span(), message, _nearest(name, known))
    for name, vectors in (known or {}).items():
        count = vectors if isinstance(vectors, int) else len(vectors)
        at = plan.text.lower().find(name.lower()) if count > 75 else -1
        if at >= 0:
            message = f"the embedding has {count} vectors; what does not fit into a chunk of 75 is cut off"
            findings.add("embedding-too-long", (at, at + len(name)), message, "use one of at most 75 vectors")
