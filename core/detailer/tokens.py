"""Prompts of a detailer unit: which text each mask gets, in ADetailer's and in Impact Pack's words.

ADetailer (25.3.0, tests/golden/detailer/prompts.jsonl.gz): ``[SEP]`` splits the text, one part a mask, the last
for all that are left; a blank part is the picture's prompt; ``[PROMPT]`` stands for that; a mask whose part is
``[SKIP]`` alone is left out.

Impact Pack: a text that begins with ``[LAB]`` gives each label its text (``[LAB] [ALL] smile [cat] whiskers``),
one that begins with ``[ASC]``, ``[DSC]`` (by position), ``[ASC-SIZE]``, ``[DSC-SIZE]`` (by area) or ``[RND]``
deals its ``[SEP]`` parts out in that order, from the first again when they run out; masks are worked on in that
order.  ``[CONCAT]`` before it keeps the picture's prompt in front.  ``[SEP:7]`` gives the part after it the
seed 7, ``[SEP:R]`` one drawn.  ``[STOP]`` leaves out its mask and all that follow.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

MODES = ("LAB", "ASC-SIZE", "DSC-SIZE", "ASC", "DSC", "RND")
Replacement = tuple[str, str]
Picked = TypeVar("Picked")

_HEAD = re.compile(r"\s*(\[CONCAT\])?\s*(?:\[(" + "|".join(MODES) + r")\])?")
_SEPARATOR = re.compile(r"\s*\[SEP\]\s*")
_SEEDED = re.compile(r"\s*\[SEP(?::(\w+))?\]\s*")
_LABEL = re.compile(r"\[(?!(?:PROMPT|SKIP|STOP)\])([\w. -]+)\]")
_SKIP = re.compile(r"\s*\[SKIP\]\s*")
_STOP = re.compile(r"\s*\[STOP\]\s*")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a prompt may go by: the label and box (x1, y1, x2, y2) of what the mask was made of."""

    label: str = ""
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The texts of a unit and those of its picture; ``replacements``: pairs of text sought and put in its place.

    ``seed``: what ``[RND]`` and ``[SEP:R]`` are drawn from.
    """

    prompt: str = ""
    negative_prompt: str = ""
    main: str = ""
    main_negative: str = ""
    replacements: tuple[Replacement, ...] = ()
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class MaskPrompt:
    """What mask ``index`` gets; ``skipped``: nothing is done to it.  ``seed``: of ``[SEP:7]``, else None."""

    index: int
    prompt: str
    negative_prompt: str
    skipped: bool = False
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Part:
    text: str
    seed: int | None = None


def split_prompt(text: str, main: str, replacements: Sequence[Replacement] = ()) -> list[str]:
    """Return the ``[SEP]`` parts of ``text``, blanks and ``[PROMPT]`` filled by ``main``, words replaced.

    A part is blank when nothing is left of it; blanks at the ends of the whole text stay.
    """
    return [_filled(part, main, replacements) for part in _SEPARATOR.split(text)]


def of_picture(texts: Sequence[Picked], index: int, default: Picked) -> Picked:
    """Return what picture ``index`` of a job has of a list that starts again at its end; else ``default``."""
    return texts[index % len(texts)] if texts else default


def mask_prompts(texts: Texts, targets: Sequence[Target]) -> list[MaskPrompt]:
    """Return the prompts of the masks made of ``targets``, in the order in which they are worked on.

    Skipped ones are in the list too.  Never raises.
    """
    order, parts = _assigned(texts.prompt, texts.main, texts, targets)
    _, negatives = _assigned(texts.negative_prompt, texts.main_negative, texts, targets)
    prompts: list[MaskPrompt] = []
    stopped = False
    for i in order:
        stopped = stopped or bool(_STOP.fullmatch(parts[i].text))
        skipped = stopped or bool(_SKIP.fullmatch(parts[i].text))
        prompts.append(
            MaskPrompt(
                index=i,
                prompt=parts[i].text,
                negative_prompt=negatives[i].text,
                skipped=skipped,
                seed=parts[i].seed,
            )
        )
    return prompts


def _assigned(text: str, main: str, texts: Texts, targets: Sequence[Target]) -> tuple[list[int], list[_Part]]:
    """Return the order of ``targets`` and the part of ``text`` that each gets."""
    head = _HEAD.match(text)
    concat, mode = (head[1], head[2]) if head else (None, None)
    if concat is None and mode is None:
        parts = split_prompt(text, main, texts.replacements)
        return list(range(len(targets))), [
            _Part(text=parts[min(i, len(parts) - 1)]) for i in range(len(targets))
        ]
    body = text[head.end() :] if head else text
    draw = random.Random(texts.seed)
    order = list(range(len(targets)))
    if mode == "LAB":
        found = [_Part(text=_by_label(body, target.label)) for target in targets]
    else:
        items = _seeded_parts(body, draw)
        if mode == "RND":
            draw.shuffle(items)
        elif mode is not None:
            order.sort(key=_key(mode, targets), reverse=mode.startswith("DSC"))
        found = [_Part(text="")] * len(targets)
        for rank, i in enumerate(order):
            found[i] = items[rank % len(items)]
    return order, [replace(part, text=_finished(part.text, main, texts, concat)) for part in found]


def _finished(text: str, main: str, texts: Texts, concat: str | None) -> str:
    """Return ``text`` filled and, after ``[CONCAT]``, behind the picture's prompt in a chunk of its own."""
    done = _filled(text, main, texts.replacements)
    kept = concat and text and not _SKIP.fullmatch(text) and not _STOP.fullmatch(text)
    return f"{main} BREAK {done}" if kept else done


def _filled(text: str, main: str, replacements: Sequence[Replacement]) -> str:
    text = text.replace("[PROMPT]", main) if text else main
    for sought, put in replacements:
        text = text.replace(sought, put)
    return text


def _seeded_parts(body: str, draw: random.Random) -> list[_Part]:
    """Return the parts of ``body``, each with the seed of the ``[SEP:…]`` before it."""
    pieces: list[str | None] = [None, *_SEEDED.split(body.strip())]
    parts: list[_Part] = []
    for sign, text in zip(pieces[::2], pieces[1::2], strict=True):
        seed = draw.getrandbits(50) if sign == "R" else int(sign) if sign and sign.isdecimal() else None
        parts.append(_Part(text=text or "", seed=seed))
    return parts


def _by_label(body: str, label: str) -> str:
    """Return the text of ``[ALL]`` and then of ``[label]``; upper and lower case are one.

    A label that is ``[SKIP]`` or ``[STOP]`` is that, whatever ``[ALL]`` says.
    """
    pieces = _LABEL.split(body)
    pairs = zip(pieces[1::2], pieces[2::2], strict=True)
    items = {name.strip().casefold(): text.strip() for name, text in pairs}
    own = items.get(label.casefold())
    if own and (_SKIP.fullmatch(own) or _STOP.fullmatch(own)):
        return own
    return ", ".join(filter(None, (items.get("all"), own)))


def _key(mode: str, targets: Sequence[Target]) -> Callable[[int], tuple[float, ...]]:
    """Return what targets are sorted by: the area, or the upper left corner, x before y."""
    if mode.endswith("SIZE"):
        return lambda i: (targets[i].area,)
    return lambda i: targets[i].box[:2]
