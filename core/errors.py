"""Errors of Concord: one line that says what was got, what is wanted and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConcordError(Exception):
    """Base of every error that Concord raises on purpose; its text is fit for a user."""


class BadValue(ConcordError, ValueError):
    """A value outside what is accepted."""


class BadType(ConcordError, TypeError):
    """A value of the wrong kind."""


class BadFile(BadValue):
    """A file that is damaged, or is not what it was taken for."""


class Missing(ConcordError, ImportError):
    """An optional package that is not installed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> BadValue:
    """Return the error for an unknown ``name`` of a ``kind`` ("sampler"), nearest known names first.

    >>> str(unknown("sampler", "eulr", ["euler", "heun"]))
    "unknown sampler 'eulr'; did you mean euler? Known: euler, heun"
    """
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return BadValue(f"unknown {kind} {name!r}; {hint}Known: {', '.join(names)}")
