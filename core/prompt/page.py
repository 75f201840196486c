"""What a page asks of a prompt as it is typed: a small JSON object in, a JSON object out."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from ..errors import BadType, BadValue, unknown
from ..profiles import profile
from .dialect import DIALECTS, Dialect, RunShape
from .explain import Explanation, explain
from .explain_picture import as_picture
from .marks import marks
from .plan import Known, plan

MOST_TEXT = 65536
"""Characters of a prompt or an infotext."""
MOST_BYTES = 8 * MOST_TEXT
"""Of a body: JSON may write a character in six bytes, one beyond the first plane in twelve."""
MOST_STEPS = 1000
MOST_CALLS_A_STEP = 32
MOST_SHOWN = 2000
"""Chunks and weights in an answer."""
MOST_DRAWN = 2_000_000
"""Characters of a prompt times the calls of a run; beyond it there is no picture of the timeline."""
KEYS = (
    "text",
    "steps",
    "dialect",
    "profile",
    "negative",
    "hires_steps",
    "denoise",
    "calls_per_step",
    "picture",
)
Answer = Mapping[str, Any]


def asked_in(kind: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``; raises ``BadValue`` where there is none.

    ``kind``: the content type; pages of other sites cannot send JSON's.
    """
    if kind.partition(";")[0].strip() != "application/json":
        raise BadValue(f"the request is {kind[:80]!r}; send application/json")
    if len(body) > MOST_BYTES:
        raise BadValue(f"the request has more than {MOST_BYTES} bytes; send a shorter text")
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"the request is no JSON ({str(error)[:80]}); send an object with 'text'") from error
    if not isinstance(asked, dict):
        raise BadValue(f"the request is a JSON {type(asked).__name__}; send an object with 'text'")
    return cast("dict[str, Any]", asked)


def explained(
    asked: Mapping[str, Any],
    known: Callable[[str], Known] | None = None,
    settings: Callable[[Dialect], Dialect] | None = None,
) -> Answer:
    """Return what a page shows of a prompt; columns count UTF-16 units, as JavaScript does.

    ``asked``: ``text``; ``steps`` (20); ``dialect`` or the ``profile`` whose dialect it is (a1111); ``negative``;
    ``hires_steps`` (none), ``denoise`` (1) and ``calls_per_step`` (1) of the run; ``picture`` (false) of the timeline,
    then there is one in ``picture``, a data URL, where the prompt changes over the steps.  ``known``: the names that a
    front has, of a text.  ``settings``: what puts the host's settings into a dialect.  Raises ``BadValue`` or
    ``BadType`` that names what is wrong.
    """
    check_keys(asked, KEYS)
    text = text_of(asked)
    steps = _whole(asked, "steps", 20, MOST_STEPS)
    name = _dialect(asked)
    run = _run(asked)
    picture = _flag(asked, "picture")
    rules = settings(DIALECTS[name]) if settings else DIALECTS[name]
    names = known(text) if known else Known()
    laid = plan(text, steps, dialect=rules, run=replace(run, hires_steps=None), known=names)
    found = marks(laid)
    short = laid.calls * max(len(text), 1) <= MOST_DRAWN
    passes = (
        explain(text, steps, (name, rules), run, names) if short and (picture or run.hires_steps) else None
    )
    column = _utf16(text)
    warnings = found.warnings if passes is None else passes.warnings
    answer: dict[str, Any] = {
        "tokens": found.tokens,
        "texts": found.texts,
        "chunks": [_placed(one, column) for one in found.chunks[:MOST_SHOWN]],
        "weights": [_placed(one, column) for one in found.weights[:MOST_SHOWN]],
        "warnings": [_placed(one, column) for one in warnings],
    }
    if picture:
        answer["picture"] = None if passes is None else _timeline(passes)
    return answer


def check_keys(asked: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise ``BadValue`` for a key that is not ``known``."""
    for name in asked:
        if name not in known:
            raise unknown("key", name[:40], known)


def text_of(asked: Mapping[str, Any]) -> str:
    """Return ``asked["text"]``; raises ``BadType`` where it is none, ``BadValue`` where it is too long."""
    text = asked.get("text")
    if not isinstance(text, str):
        raise BadType(f"text is {str(text)[:40]}; send the text")
    if len(text) > MOST_TEXT:
        raise BadValue(f"the text has {len(text)} characters; send at most {MOST_TEXT}")
    return text


def _run(asked: Mapping[str, Any]) -> RunShape:
    denoise = asked.get("denoise", 1.0)
    if isinstance(denoise, bool) or not isinstance(denoise, (int, float)) or not 0 < denoise <= 1:
        raise BadValue(f"denoise is {str(denoise)[:40]}; send a number above 0 and at most 1")
    hires = asked.get("hires_steps")
    return RunShape(
        negative=_flag(asked, "negative"),
        denoise=float(denoise),
        calls_per_step=_whole(asked, "calls_per_step", 1, MOST_CALLS_A_STEP),
        hires_steps=None if hires is None else _whole(asked, "hires_steps", 1, MOST_STEPS),
    )


def _whole(asked: Mapping[str, Any], name: str, default: int, most: int) -> int:
    number = asked.get(name, default)
    if type(number) is not int or not 1 <= number <= most:
        raise BadValue(f"{name} is {str(number)[:40]}; send a whole number from 1 to {most}")
    return number


def _flag(asked: Mapping[str, Any], name: str) -> bool:
    value = asked.get(name, False)
    if not isinstance(value, bool):
        raise BadType(f"{name} is {str(value)[:40]}; send true or false")
    return value


def _dialect(asked: Mapping[str, Any]) -> str:
    given = {name: asked[name] for name in ("dialect", "profile") if asked.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, str):
            raise BadType(f"{name} is {str(value)[:40]}; send a name")
    if "dialect" in given:
        if given["dialect"] not in DIALECTS:
            raise unknown("dialect", given["dialect"][:40], DIALECTS)
        return given["dialect"]
    return profile(given["profile"][:40]).dialect if "profile" in given else "a1111"


def _timeline(passes: Explanation) -> str | None:
    """Return the timeline as a PNG in a data URL, or None where one text holds all the time."""
    if all(len(part.texts) == 1 for one in passes.passes for part in one.parts):
        return None
    file = io.BytesIO()
    as_picture(passes).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _utf16(text: str) -> Callable[[int], int]:
    """Return what turns a column of ``text`` into one in UTF-16 units."""
    wide = [i for i, char in enumerate(text) if char > "\uffff"]
    return lambda column: column + bisect_left(wide, column)


def _placed(mark: Any, column: Callable[[int], int]) -> dict[str, Any]:
    """Return a mark as JSON, its columns as ``column`` counts them."""
    return dataclasses.asdict(mark) | {"start": column(mark.start), "end": column(mark.end)}
