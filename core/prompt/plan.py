"""A prompt text → what is active at which denoiser call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import BadValue
from .chunks import Vectors
from .conjunction import has_and, split_and
from .dialect import Dialect, RunShape, dialect_of
from .grammar import parse
from .networks import NetworkTag, extract_networks
from .reading import read_pieces
from .schedule import Clock
from .styles import strip_comments
from .timeline import Mix, timeline
from .tree import Tree
from .warnings import PromptWarning, find_warnings


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One text and its share of a segment, 1 but in a fade."""

    text: str
    share: float = 1.0
    dialect: Dialect = field(repr=False)

    @cached_property
    def pieces(self) -> tuple[tuple[str, float], ...]:
        """The text's pieces and their weights; a break is ``("BREAK", -1.0)``."""
        return tuple(read_pieces(self.text, self.dialect))


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What is active up to and including denoiser call ``last``, calls counted from 0.

    ``networks``: tags that are active because this text is (only where the dialect schedules them).
    """

    last: int
    variants: tuple[Variant, ...]
    networks: tuple[NetworkTag, ...] = ()

    @property
    def text(self) -> str:
        """The text, in a fade the one with the largest share."""
        return max(self.variants, key=lambda variant: variant.share).text

    @property
    def pieces(self) -> tuple[tuple[str, float], ...]:
        """The weighted pieces of ``text``."""
        return max(self.variants, key=lambda variant: variant.share).pieces


@dataclass(frozen=True, kw_only=True)
class Part:
    """One AND part: its weight and its segments, ``last`` ascending.

    Calls past the last end take segment ``past_end``, an index.
    """

    text: str
    weight: float
    segments: tuple[Segment, ...]
    past_end: int
    tree: Tree = field(repr=False, compare=False)

    def segment_at(self, call: int) -> Segment:
        """Return the segment that denoiser call ``call`` (from 0) uses."""
        return next((s for s in self.segments if call <= s.last), self.segments[self.past_end])


@dataclass(frozen=True, kw_only=True)
class Known:
    """Names that a front has; ``None`` where it does not know.

    ``networks``: names of network files.  ``embeddings``: name → vectors, or their number.
    """

    networks: Collection[str] | None = None
    embeddings: Mapping[str, Vectors] | None = None


@dataclass(frozen=True, kw_only=True)
class PromptPlan:
    """A prompt laid out over a run.

    ``networks``: tags that are active all the time.  ``calls``: denoiser calls of the run.
    """

    text: str
    steps: int
    parts: tuple[Part, ...]
    networks: tuple[NetworkTag, ...]
    dialect: Dialect
    run: RunShape
    known: Known = field(repr=False, compare=False)

    def networks_at(self, call: int) -> tuple[NetworkTag, ...]:
        """Return the tags that are active at denoiser call ``call`` (from 0)."""
        scheduled = (tag for part in self.parts for tag in part.segment_at(call).networks)
        return (*self.networks, *scheduled)

    @cached_property
    def warnings(self) -> tuple[PromptWarning, ...]:
        """The traps that the prompt steps into, in the order of the text; looked for when first asked."""
        return find_warnings(self)

    @property
    def calls(self) -> int:
        """Denoiser calls of the run."""
        return self.run.steps_run(self.steps) * self.run.calls_per_step


def plan(
    text: str,
    steps: int,
    *,
    dialect: Dialect | str | None = None,
    run: RunShape | None = None,
    known: Known | None = None,
) -> PromptPlan:
    """Lay ``text`` out over ``steps`` steps (at least 1), those of the first pass.

    ``dialect``: one, or the name of one; A1111's unless given.  ``run``: a plain run unless given.
    ``known``: names against which network tags and embeddings are checked.  No text makes it raise;
    ``steps`` below 1 raises ``BadValue``.
    """
    if steps < 1:
        raise BadValue(f"steps is {steps}; give at least 1")
    dialect, run = dialect_of(dialect or "a1111"), run or RunShape()
    rest, networks = prepared(text, dialect, run)
    split = [(rest, 1.0)] if is_one_part(rest, dialect, run) else split_and(rest)
    parts = tuple(_part(part, weight, steps, dialect, run) for part, weight in split)
    return PromptPlan(
        text=text,
        steps=steps,
        parts=parts,
        networks=tuple(networks),
        dialect=dialect,
        run=run,
        known=known or Known(),
    )


def prepared(text: str, dialect: Dialect, run: RunShape) -> tuple[str, list[NetworkTag]]:
    """Return ``text`` without comments and without the tags that are active all the time, and those tags."""
    if dialect.comments and "#" in text:
        text = strip_comments(text)
    return extract_networks(text) if takes_tags_out(dialect, run) else (text, [])


def takes_tags_out(dialect: Dialect, run: RunShape) -> bool:
    """Tell whether network tags leave the text before anything else reads it."""
    return not (dialect.syntax == "comfyui" or dialect.scheduled_networks or run.negative)


def is_one_part(text: str, dialect: Dialect, run: RunShape) -> bool:
    """Tell whether ``text`` is one AND part of weight 1, whatever it says."""
    return dialect.syntax == "comfyui" or run.negative or (dialect.weight_needs_and and not has_and(text))


def _part(text: str, weight: float, steps: int, dialect: Dialect, run: RunShape) -> Part:
    if dialect.syntax == "comfyui":
        calls = run.steps_run(steps) * run.calls_per_step
        segment = Segment(last=calls - 1, variants=(Variant(text=text, dialect=dialect),))
        return Part(text=text, weight=weight, segments=(segment,), past_end=-1, tree=Tree.literal(text))
    tree = parse(text, dialect.leniency)
    segments = tuple(_segment(mix, dialect, run) for mix in timeline(tree, clock_of(steps, dialect, run)))
    past_end = -1 if dialect.keep_last_text else 0
    return Part(text=text, weight=weight, segments=segments, past_end=past_end, tree=tree)


def clock_of(steps: int, dialect: Dialect, run: RunShape) -> Clock:
    """Return the clock of a run: A1111 counts calls as steps, an exact switch counts the sampler's steps."""
    if dialect.edits_fit_denoise and run.hires_steps is None:
        steps = run.steps_run(steps)
    times = 1 if dialect.exact_switch else run.calls_per_step
    hires = None if run.hires_steps is None else run.hires_steps * times
    return Clock.of(steps * times, hires, dialect.old_timeline)


def _segment(mix: Mix, dialect: Dialect, run: RunShape) -> Segment:
    last = mix.end * run.calls_per_step - 1 if dialect.exact_switch else mix.end
    networks: list[NetworkTag] = []
    variants: list[Variant] = []
    for tagged, share in mix.texts:
        text, tags = (
            extract_networks(tagged) if dialect.scheduled_networks and not run.negative else (tagged, [])
        )
        networks += (replace(tag, share=share) for tag in tags)
        variants.append(Variant(text=text, share=share, dialect=dialect))
    if len(variants) > 1:
        networks = _merged(networks)
    return Segment(last=last, variants=tuple(variants), networks=tuple(networks))


def _merged(tags: list[NetworkTag]) -> list[NetworkTag]:
    """Return the tags of the texts of a fade, the shares of equal ones added up."""
    merged: dict[tuple[object, ...], NetworkTag] = {}
    for tag in tags:
        key = (tag.kind, *tag.positional, *tag.named.items())
        before = merged[key].share if key in merged else 0.0
        merged[key] = replace(tag, share=before + tag.share)
    # shares are differences of one sequence from 0 to 1: all of them together are 1 but for rounding
    return [replace(tag, share=1.0) if tag.share > 1 - 1e-9 else tag for tag in merged.values()]
