"""A prompt → what is shown of it: AND parts, texts with their chunks, what is active at each call, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from .chunks import Chunk, Names
from .dialect import Dialect, RunShape
from .networks import NetworkTag
from .plan import Known, PromptPlan, plan
from .reading import read_chunks
from .tokenizer import Tokenizer, clip_tokenizer
from .warnings import PromptWarning


@dataclass(frozen=True, kw_only=True)
class ChunkView:
    """A chunk: its number of tokens of 75, and its words by weight; an embedding is ``<name>``."""

    tokens: int
    pieces: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class TextView:
    """One distinct text of an AND part, and the networks that are active with it."""

    name: str
    text: str
    chunks: tuple[ChunkView, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PartView:
    """One AND part; ``calls``: for each model call the ``(index of text, share)`` that are active."""

    text: str
    weight: float
    texts: tuple[TextView, ...]
    calls: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True, kw_only=True)
class PassView:
    """One pass of the run: ``name`` is "first pass" or "hires pass"."""

    name: str
    steps: int
    calls: int
    parts: tuple[PartView, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a prompt means; ``networks`` are active all the time."""

    prompt: str
    dialect: str
    passes: tuple[PassView, ...]
    networks: tuple[str, ...]
    warnings: tuple[PromptWarning, ...]
    template: str | None = None
    problem: str | None = None


def explain(
    text: str, steps: int, dialect: tuple[str, Dialect], run: RunShape, known: Known | None = None
) -> Explanation:
    """Explain ``text``; ``dialect`` is its name and itself; ``run`` with hires steps gives both passes.

    ``known``: names of networks and embeddings that a front has.
    """
    name, rules = dialect
    first = plan(text, steps, dialect=rules, run=replace(run, hires_steps=None), known=known)
    passes = [_pass("first pass", first)]
    warnings = list(first.warnings)
    if run.hires_steps is not None:
        second = plan(text, steps, dialect=rules, run=run, known=known)
        passes.append(_pass("hires pass", second))
        warnings = list(_of_both(warnings, second.warnings))
    return Explanation(
        prompt=text,
        dialect=name,
        passes=tuple(passes),
        networks=tuple(map(tag_text, first.networks)),
        warnings=tuple(warnings),
    )


def _of_both(first: Sequence[PromptWarning], second: Sequence[PromptWarning]) -> Iterator[PromptWarning]:
    """Yield the warnings of two passes; an edit that never switches in one of them only is none."""
    never = {w.span for w in second if w.code == "never-switches"}
    yield from (w for w in first if w.code != "never-switches" or w.span in never)
    known = {(w.code, w.span) for w in first}
    yield from (w for w in second if w.code != "never-switches" and (w.code, w.span) not in known)


def _pass(name: str, laid: PromptPlan) -> PassView:
    tokenizer = clip_tokenizer("rust" if laid.dialect.syntax == "comfyui" else "a1111")
    parts = tuple(_part(laid, i, tokenizer) for i in range(len(laid.parts)))
    return PassView(name=name, steps=laid.run.steps_run(laid.steps), calls=laid.calls, parts=parts)


def _part(laid: PromptPlan, index: int, tokenizer: Tokenizer) -> PartView:
    part = laid.parts[index]
    names = Names(laid.known.embeddings or {}, tokenizer)
    known: dict[tuple[str, tuple[str, ...]], int] = {}
    texts: list[TextView] = []
    calls: list[tuple[tuple[int, float], ...]] = []
    for call in range(laid.calls):
        segment = part.segment_at(call)
        networks = tuple(map(tag_text, segment.networks))
        active: list[tuple[int, float]] = []
        for variant in segment.variants:
            number = known.setdefault((variant.text, networks), len(known))
            if number == len(texts):
                chunks = read_chunks(variant.pieces, laid.dialect, tokenizer, names)
                views = tuple(_chunk(chunk, tokenizer, names) for chunk in chunks)
                name = text_name(number)
                texts.append(TextView(name=name, text=variant.text, chunks=views, networks=networks))
            active.append((number, variant.share))
        calls.append(tuple(active))
    return PartView(text=part.text, weight=part.weight, texts=tuple(texts), calls=tuple(calls))


def _chunk(chunk: Chunk, tokenizer: Tokenizer, names: Names) -> ChunkView:
    end = 1 + chunk.length
    places: dict[int, str] = {}
    for position, name in chunk.embeddings:
        first, last = max(position, 1), min(position + names.counts[name], end)
        places.update(dict.fromkeys(range(first, last), f"<{name}>"))
    keys = [(chunk.weights[i], places.get(i, "")) for i in range(1, end)]
    pieces = (
        (name or tokenizer.decode(token for _, token in run), weight)
        for (weight, name), run in groupby(zip(keys, chunk.ids[1:end], strict=True), key=lambda pair: pair[0])
    )
    return ChunkView(tokens=chunk.length, pieces=tuple(pieces))


def text_name(index: int) -> str:
    """Return the letter, or letters, by which a text is called: A … Z, AA, AB, …"""
    name = ""
    while index >= 0:
        name = chr(ord("A") + index % 26) + name
        index = index // 26 - 1
    return name


def tag_text(tag: NetworkTag) -> str:
    """Return a network tag in words: ``lora add_detail 0.8``."""
    named = [f"{key}={value}" for key, value in tag.named.items()]
    share = [f"at {tag.share:.0%}"] if tag.share < 1 else []
    return " ".join([tag.kind, *tag.positional, *named, *share])


def spans(calls: Sequence[tuple[tuple[int, float], ...]], text: int) -> list[tuple[int, int, float]]:
    """Return ``(first call, last call, share)`` of each stretch in which a text is active."""
    shares = [dict(active).get(text, 0.0) for active in calls]
    found: list[tuple[int, int, float]] = []
    start = 0
    for share, run in groupby(shares):
        end = start + len(list(run))
        if share:
            found.append((start, end - 1, share))
        start = end
    return found
