"""What a weight does to the encoder's output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import unknown
from .chunks import Chunk

if TYPE_CHECKING:
    from torch import Tensor

EMPHASIS = ("None", "Ignore", "Original", "No norm", "ComfyUI", "comfy++", "compel", "down_weight")
_MASKING = ("comfy++", "compel", "down_weight")
Lookup = Callable[[Chunk], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """The chunks at one place of all texts that A1111 encodes together.

    ``chunks``: one a text; ``times``: how often A1111 has the text in its batch; ``empty``: the empty
    chunk; ``mask``: the token that stands for a word taken out.
    """

    chunks: Sequence[Chunk]
    times: Sequence[int]
    empty: Chunk
    mask: int


def check_emphasis(name: str) -> None:
    """Raise ``BadValue`` unless ``name`` is a known emphasis mode."""
    if name not in EMPHASIS:
        raise unknown("emphasis", name, EMPHASIS)


def prepared_weights(name: str, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return the chunks of one text, for ``down_weight`` with weights divided by the largest."""
    if name != "down_weight":
        return list(chunks)
    top = max(weight for chunk in chunks for weight in chunk.weights)
    return [_scaled(chunk, top) for chunk in chunks]


def _scaled(chunk: Chunk, top: float) -> Chunk:
    end = 1 + chunk.length
    inner = tuple(weight / top for weight in chunk.weights[1:end])
    return replace(chunk, weights=(1.0, *inner, *chunk.weights[end:]))


def chunks_needed(name: str, column: Column) -> Iterable[Chunk]:
    """Yield every chunk that must go through the encoder for ``apply_emphasis``."""
    yield from column.chunks
    if name in ("ComfyUI", "compel"):
        yield from (replace(column.empty, state=chunk.state) for chunk in column.chunks)
    if name in _MASKING:
        for chunk in column.chunks:
            yield from (masked for _, masked in _levels(chunk, column.mask))
    if name == "comfy++":
        for chunk in column.chunks:
            yield from (run.masked for run in _raised_runs(chunk, column.mask))


def apply_emphasis(name: str, column: Column, hidden: Lookup) -> Tensor:
    """Return the weighted hidden states ``(texts, 77, D)`` of a column, in the encoder's dtype.

    ``hidden``: looks up the encoder's output ``(77, D)`` for a chunk.

    ``None``, ``Ignore``: no weights.  ``No norm``: each token times its weight; ``Original``: then the
    mean over all rows of A1111's batch, tokens and channels is restored.  ``ComfyUI``: from the empty
    prompt's token towards (or past) the token.  The others lower a weight by mixing in the prompt with
    the words taken out, ``(w₁ - 0) · all + (w₂ - w₁) · without the lowest + …``; they raise one as
    ComfyUI does (``compel``), from the prompt without the words towards the prompt (``comfy++``), or not
    at all, the largest weight being 1 (``down_weight``).  A word is taken out by putting another token
    for each of its own; adjoining words of one raised weight count as one.

    Source: A1111 1.9.4, ComfyUI 0.3.64 (tests/golden/cond); the last three follow the description of
    BlenderNeko/ComfyUI_ADV_CLIP_emb at 63984de.
    """
    import torch  # noqa: PLC0415

    plain = torch.stack([hidden(chunk) for chunk in column.chunks])
    if name in ("None", "Ignore"):
        return plain
    wide = plain.float()
    if name in ("No norm", "Original"):
        weighted = wide * _tensor(wide, [chunk.weights for chunk in column.chunks])
        if name == "Original":
            weighted = weighted * (_mean(wide, column.times) / _mean(weighted, column.times))
        return weighted.to(plain.dtype)
    rows = [_by_reference(name, chunk, column, hidden) for chunk in column.chunks]
    return torch.stack(rows).to(plain.dtype)


def _mean(hidden: Tensor, times: Sequence[int]) -> Tensor:
    """Return the mean over rows, each counted as often as it occurs."""
    per_row = hidden.double().mean(dim=(1, 2))
    return ((per_row * per_row.new_tensor(times)).sum() / sum(times)).to(hidden.dtype)


def _by_reference(name: str, chunk: Chunk, column: Column, hidden: Lookup) -> Tensor:
    """Return one row of a mode that compares with other prompts."""
    if name == "ComfyUI":
        return _from_empty(chunk, column, hidden)
    if name == "compel":
        weights = tuple(max(weight, 1.0) for weight in chunk.weights)
        return _lowered(chunk, column, lambda one: _from_empty(replace(one, weights=weights), column, hidden))
    row = _lowered(chunk, column, lambda one: hidden(one).float())
    if name == "comfy++":
        base = hidden(chunk).float()
        for run in _raised_runs(chunk, column.mask):
            part = slice(run.start, run.end)
            row[part] += (run.weight - 1) * (base - hidden(run.masked).float())[part]
    return row


def _tensor(like: Tensor, weights: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    return like.new_tensor(weights)[..., None]


def _from_empty(chunk: Chunk, column: Column, hidden: Lookup) -> Tensor:
    token, empty = hidden(chunk).float(), hidden(replace(column.empty, state=chunk.state)).float()
    weights = _tensor(token, chunk.weights)
    return token.where(weights == 1, empty + (token - empty) * weights)


def _lowered(chunk: Chunk, column: Column, row: Lookup) -> Tensor:
    """Mix the rows of a chunk and of the chunk with the words of the lowest weights taken out."""
    levels = _levels(chunk, column.mask)
    weights = [0.0, *(weight for weight, _ in levels), 1.0]
    rows = [chunk, *(masked for _, masked in levels)]
    mixed = row(chunk) * 0
    for (low, high), one in zip(pairwise(weights), rows, strict=True):
        mixed = mixed + (high - low) * row(one)
    return mixed


def _levels(chunk: Chunk, mask: int) -> list[tuple[float, Chunk]]:
    """Return each weight below 1, ascending, and the chunk without the tokens of at most that weight."""
    found: list[tuple[float, Chunk]] = []
    for level in sorted({weight for weight in chunk.weights if weight < 1}):
        places = {i for i, weight in enumerate(chunk.weights) if weight <= level}
        found.append((level, _masked(chunk, places, mask)))
    return found


def _masked(chunk: Chunk, places: set[int], mask: int) -> Chunk:
    ids = tuple(mask if i in places else token for i, token in enumerate(chunk.ids))
    embeddings = tuple(entry for entry in chunk.embeddings if entry[0] not in places)
    return replace(chunk, ids=ids, embeddings=embeddings)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Adjoining tokens of one raised weight, and the chunk without them."""

    start: int
    end: int
    weight: float
    masked: Chunk


def _raised_runs(chunk: Chunk, mask: int) -> list[_Run]:
    runs: list[_Run] = []
    start = 0
    for end in range(1, len(chunk.weights) + 1):
        if end < len(chunk.weights) and chunk.weights[end] == chunk.weights[start]:
            continue
        if chunk.weights[start] > 1:
            masked = _masked(chunk, set(range(start, end)), mask)
            runs.append(_Run(start=start, end=end, weight=chunk.weights[start], masked=masked))
        start = end
    return runs
