"""Which rules a prompt is read by, and the shape of the run it is laid out over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..errors import BadValue, unknown
from .grammar import Leniency

Syntax = Literal["webui", "comfyui"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The rules by which a prompt is read: A1111's, with a switch for each trap that is mended.

    ``forgiving_brackets``: a stray ``|``, a lone backslash, an emoticon or one bad bracket is text and
    leaves the other edits alone (A1111: the whole prompt, or every open bracket, is literal).
    ``weighted_alternation``: ``(a|b:1.2)`` alternates at weight 1.2 (literal, and all edits are off).
    ``break_in_brackets``: BREAK inside a weighted bracket starts a chunk (the word is encoded with a
    negative weight).  ``weight_needs_and``: ``:9`` at the end of a prompt without AND is text (the
    guidance is multiplied by 9).  ``exact_switch``: ``[a:b:5]`` shows a for five steps, whatever the
    sampler calls the model (six calls), and ``[a|b]`` changes with every step (a, a, b, a, …).
    ``keep_last_text``: calls past the end keep the last text (they fall back to the first).
    ``edits_fit_denoise``: in img2img a fraction counts over the steps that run (over all, so late edits
    never come).  ``scheduled_networks``: ``<lora:…>`` inside an edit is active with it (always).
    ``fades``: ``[a:b:0.2-0.6]`` goes from a to b gradually (literal).

    Settings of the host: ``comma_backtrack``, tokens behind the last comma that may move to the next
    chunk; ``old_timeline``, A1111's old reading of the numbers; ``comments``, whether ``#`` begins a
    comment.  ``syntax``: brackets, weights and chunks of the web UIs or of ComfyUI, which has no edits,
    AND or BREAK.
    """

    syntax: Syntax = "webui"
    forgiving_brackets: bool = False
    weighted_alternation: bool = False
    break_in_brackets: bool = False
    weight_needs_and: bool = False
    exact_switch: bool = False
    keep_last_text: bool = False
    edits_fit_denoise: bool = False
    scheduled_networks: bool = False
    fades: bool = False
    comma_backtrack: int = 20
    old_timeline: bool = False
    comments: bool = True

    def __post_init__(self) -> None:
        """Raise ``BadValue`` for a comma look-back outside 0…74."""
        if not 0 <= self.comma_backtrack <= 74:
            raise BadValue(
                f"comma_backtrack is {self.comma_backtrack}; give a number of tokens from 0 (off) to 74"
            )

    @classmethod
    def a1111(cls) -> Dialect:
        """Return A1111's rules, to the letter."""
        return cls()

    @classmethod
    def concord(cls) -> Dialect:
        """Return A1111's syntax with every trap mended."""
        return cls(
            forgiving_brackets=True,
            weighted_alternation=True,
            break_in_brackets=True,
            weight_needs_and=True,
            exact_switch=True,
            keep_last_text=True,
            edits_fit_denoise=True,
            scheduled_networks=True,
            fades=True,
        )

    @classmethod
    def comfyui(cls) -> Dialect:
        """Return ComfyUI's rules: a number replaces the weight outside it, square brackets are text."""
        return cls(syntax="comfyui", comments=False)

    @property
    def leniency(self) -> Leniency:
        """How far the grammar goes beyond A1111's."""
        return Leniency(
            forgiving=self.forgiving_brackets,
            fades=self.fades,
            weighted_alternation=self.weighted_alternation,
            tags=self.scheduled_networks,
        )


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {"a1111": Dialect.a1111(), "concord": Dialect.concord(), "comfyui": Dialect.comfyui()}
)


def dialect_of(dialect: Dialect | str) -> Dialect:
    """Return the dialect of a name, or the dialect itself; raises ``BadValue`` for an unknown name."""
    if isinstance(dialect, Dialect):
        return dialect
    if dialect not in DIALECTS:
        raise unknown("dialect", dialect, DIALECTS)
    return DIALECTS[dialect]


@dataclass(frozen=True, kw_only=True)
class RunShape:
    """The run that a prompt is laid out over.

    ``hires_steps``: given for the hires pass, whose steps they are.  ``denoise``: strength of img2img,
    in (0, 1].  ``calls_per_step``: denoiser calls of one step, 2 for samplers of second order.
    ``negative``: whether the prompt is the negative one, where AND and network tags are text.
    """

    hires_steps: int | None = None
    denoise: float = 1.0
    calls_per_step: int = 1
    negative: bool = False

    def __post_init__(self) -> None:
        """Raise ``BadValue`` for a number that no run can have."""
        if self.hires_steps is not None and self.hires_steps < 1:
            raise BadValue(f"hires_steps is {self.hires_steps}; give at least 1, or None for the first pass")
        if not 0 < self.denoise <= 1:
            raise BadValue(f"denoise is {self.denoise}; give a strength above 0 and at most 1")
        if self.calls_per_step < 1:
            raise BadValue(f"calls_per_step is {self.calls_per_step}; give at least 1")

    def steps_run(self, steps: int) -> int:
        """Return how many of ``steps`` steps run: all, in img2img as many as A1111 runs at this strength."""
        if self.hires_steps is not None:
            return self.hires_steps
        return steps if self.denoise >= 1 else int(min(self.denoise, 0.999) * steps) + 1
