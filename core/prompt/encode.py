"""A plan → conditioning: each distinct chunk goes through the encoder once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .chunks import LENGTH, Chunk, Names, Vectors
from .conditioning import Conditioning, ConditioningPart
from .dialect import Dialect
from .emphasis import Column, apply_emphasis, check_emphasis, chunks_needed, prepared_weights
from .encoder import TextEncoder
from .networks import NetworkTag
from .plan import Part, PromptPlan, Variant
from .reading import read_chunks
from .rows import EncodedRows

if TYPE_CHECKING:
    from torch import Tensor

ApplyNetworks = Callable[[Sequence[NetworkTag]], None]
MASK = "+"


def encode(
    plan: PromptPlan,
    encoder: TextEncoder | Sequence[TextEncoder],
    *,
    emphasis: str = "Original",
    clip_skip: int = 1,
    zero_empty: bool = False,
    apply_networks: ApplyNetworks | None = None,
) -> Conditioning:
    """Encode ``plan``, each distinct chunk once, in batches.

    ``encoder``: one text encoder, or several whose channels are joined (SDXL: L, then G); the pooled
    output is the last one's, of chunk 0, unweighted.  ``clip_skip``: 1 is the last layer, clamped to
    what each encoder obeys.  ``zero_empty``: a prompt whose every text is exactly ``""`` becomes zeros,
    as SDXL's negative does in A1111.  ``apply_networks``: called with the tags that are to be active in
    the encoder, before it runs for them; without it the encoder is taken as it is.  Raises ``BadValue``
    for an unknown ``emphasis``.

    Source: A1111 1.9.4, Forge f2.0.1, ComfyUI 0.3.64; tests/golden/cond.
    """
    check_emphasis(emphasis)
    encoders = list(encoder) if isinstance(encoder, Sequence) else [encoder]
    states = _States(plan, apply_networks is not None)
    parts = [_PartTexts(part, states) for part in plan.parts]
    layouts = [_layout(parts, one, encoders, plan.dialect, emphasis) for one in encoders]
    stores = [EncodedRows(one, clip_skip) for one in encoders]
    for state, tags in enumerate(states.tags):
        if apply_networks is not None:
            apply_networks(tags)
        for store, layout in zip(stores, layouts, strict=True):
            needed = (
                chunk for columns in layout for column in columns for chunk in chunks_needed(emphasis, column)
            )
            store.add(chunk for chunk in needed if chunk.state == state)
    done = [
        _finished(part, [layout[i] for layout in layouts], stores, emphasis, zero_empty)
        for i, part in enumerate(parts)
    ]
    return Conditioning(parts=tuple(done), embeddings=_used(layouts[0]))


def _used(layout: list[list[Column]]) -> tuple[str, ...]:
    """Return the embeddings that occur, in A1111's order."""
    chunks = (chunk for columns in layout for column in columns for chunk in column.chunks)
    return tuple(dict.fromkeys(name for chunk in chunks for _, name in chunk.embeddings))


class _States:
    """The distinct sets of networks under which texts are encoded, one if they leave the encoder alone."""

    def __init__(self, plan: PromptPlan, scheduled: bool) -> None:
        self.always = plan.networks
        self.scheduled = scheduled
        self.tags: list[Sequence[NetworkTag]] = [] if scheduled else [plan.networks]

    def of(self, tags: Sequence[NetworkTag]) -> int:
        if not self.scheduled:
            return 0
        wanted = (*self.always, *tags)
        if wanted not in self.tags:
            self.tags.append(wanted)
        return self.tags.index(wanted)


class _PartTexts:
    """The distinct texts of one AND part, their number in A1111's batch, and what each segment mixes."""

    def __init__(self, part: Part, states: _States) -> None:
        self.part = part
        self.variants: list[Variant] = []
        self.states: list[int] = []
        self.times: list[int] = []
        self.mixes: list[tuple[tuple[int, float], ...]] = []
        known: dict[tuple[str, int], int] = {}
        for segment in part.segments:
            state = states.of(segment.networks)
            mix: list[tuple[int, float]] = []
            for variant in segment.variants:
                index = known.setdefault((variant.text, state), len(known))
                if index == len(self.variants):
                    self.variants.append(variant)
                    self.states.append(state)
                    self.times.append(0)
                self.times[index] += 1
                mix.append((index, variant.share))
            self.mixes.append(tuple(mix))


def _layout(
    parts: Sequence[_PartTexts],
    encoder: TextEncoder,
    encoders: Sequence[TextEncoder],
    dialect: Dialect,
    emphasis: str,
) -> list[list[Column]]:
    """Return, per AND part, the columns of chunks that ``encoder`` is to encode."""
    names = Names(_shared_names(encoders, dialect), encoder.tokenizer)
    empty = read_chunks([("", 1.0)], dialect, encoder.tokenizer)[0]
    layout: list[list[Column]] = []
    for part in parts:
        texts: list[list[Chunk]] = []
        for variant, state in zip(part.variants, part.states, strict=True):
            pieces = [(variant.text, 1.0)] if emphasis == "None" else variant.pieces
            chunks = prepared_weights(emphasis, read_chunks(pieces, dialect, encoder.tokenizer, names))
            texts.append([replace(_fitted(chunk, encoder, names.counts), state=state) for chunk in chunks])
        layout.append(_columns(texts, part, empty, encoder))
    return layout


def _columns(texts: list[list[Chunk]], part: _PartTexts, empty: Chunk, encoder: TextEncoder) -> list[Column]:
    """Put the chunks of texts side by side, texts with fewer chunks filled up with empty ones."""
    mask = encoder.tokenizer.encode(MASK)[0]
    blanks = [replace(empty, state=state) for state in part.states]
    return [
        Column(
            chunks=[
                chunks[i] if i < len(chunks) else blank for chunks, blank in zip(texts, blanks, strict=True)
            ],
            times=part.times,
            empty=empty,
            mask=mask,
        )
        for i in range(max(map(len, texts)))
    ]


def _shared_names(encoders: Sequence[TextEncoder], dialect: Dialect) -> Mapping[str, Vectors]:
    """Return the embeddings a prompt may name: those of every encoder, in ComfyUI those of any."""
    merged: dict[str, Vectors] = {}
    for encoder in encoders:
        merged.update(encoder.embeddings)
    if dialect.syntax == "comfyui":
        return merged
    return {name: v for name, v in merged.items() if all(name in one.embeddings for one in encoders)}


def _fitted(chunk: Chunk, encoder: TextEncoder, counts: Mapping[str, int]) -> Chunk:
    """Cut a chunk to 77, and drop the places of embeddings that the encoder has no vectors for."""
    if len(chunk.ids) > LENGTH + 2:
        ids = (*chunk.ids[: LENGTH + 1], encoder.tokenizer.eos)
        chunk = replace(chunk, ids=ids, weights=(*chunk.weights[: LENGTH + 1], 1.0), length=LENGTH)
    if all(name in encoder.embeddings for _, name in chunk.embeddings):
        return chunk
    return _without_missing(chunk, encoder, counts)


def _without_missing(chunk: Chunk, encoder: TextEncoder, counts: Mapping[str, int]) -> Chunk:
    """Move forward what follows a dropped place; the weights stay where they are, as in ComfyUI."""
    dropped: set[int] = set()
    kept: list[tuple[int, str]] = []
    for position, name in chunk.embeddings:
        if name in encoder.embeddings:
            kept.append((position - len(dropped), name))
        else:
            dropped.update(range(max(position, 1), min(position + counts[name], LENGTH + 1)))
    ids = [token for i, token in enumerate(chunk.ids) if i not in dropped]
    ids += [encoder.tokenizer.pad] * len(dropped)
    return replace(chunk, ids=tuple(ids), embeddings=tuple(kept))


def _finished(
    texts: _PartTexts, layouts: list[list[Column]], stores: list[EncodedRows], emphasis: str, zero_empty: bool
) -> ConditioningPart:
    """Weigh one AND part's rows, join encoders and mix fades."""
    import torch  # noqa: PLC0415

    joined: list[Tensor] = []
    for columns, store in zip(layouts, stores, strict=True):
        weighted = [apply_emphasis(emphasis, column, store.hidden) for column in columns]
        joined.append(torch.cat(weighted, dim=1))
    hidden = torch.cat(joined, dim=-1)
    pooled = _pooled(layouts[-1][0], stores[-1])
    if zero_empty and not any(variant.text for variant in texts.variants):
        hidden = torch.zeros_like(hidden)
        pooled = None if pooled is None else torch.zeros_like(pooled)
    mixes = list(dict.fromkeys(texts.mixes))
    return ConditioningPart(
        weight=texts.part.weight,
        hidden=_mixed(hidden, mixes),
        pooled=None if pooled is None else _mixed(pooled, mixes),
        lasts=tuple(segment.last for segment in texts.part.segments),
        rows=tuple(mixes.index(mix) for mix in texts.mixes),
        past_end=texts.part.past_end,
    )


def _pooled(column: Column, store: EncodedRows) -> Tensor | None:
    import torch  # noqa: PLC0415

    rows = [row for chunk in column.chunks if (row := store.pooled(chunk)) is not None]
    return torch.stack(rows) if rows else None


def _mixed(rows: Tensor, mixes: Sequence[tuple[tuple[int, float], ...]]) -> Tensor:
    """Return one row per mix; a mix of one row is that row, bit for bit."""
    import torch  # noqa: PLC0415

    done: list[Tensor] = []
    for mix in mixes:
        first, _ = mix[0]
        done.append(rows[first] if len(mix) == 1 else _sum(rows, mix))
    return torch.stack(done)


def _sum(rows: Tensor, mix: Sequence[tuple[int, float]]) -> Tensor:
    """Return the weighted sum of the rows that ``mix`` names, in their dtype."""
    total = rows[mix[0][0]].float() * mix[0][1]
    for index, share in mix[1:]:
        total = total + rows[index].float() * share
    return total.to(rows.dtype)
