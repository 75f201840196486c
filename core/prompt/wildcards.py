"""``__name__`` and ``{a|b}`` in a template → a prompt, through the library ``dynamicprompts``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SYNTAX = re.compile(r"[{}]|__")
_LEFT_OVER = re.compile(r"__([^\s_](?:[^\s]*?[^\s_])?)__")


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """A template, the prompt made of it, and what went wrong; then ``text`` is as far as it came."""

    template: str
    text: str
    problem: str | None = None


def expand_wildcards(template: str, seed: int, folder: Path | None = None) -> Expansion:
    """Choose from the variants and wildcards of ``template``; the same ``seed`` gives the same prompt.

    ``folder``: where the wildcard files lie (``.txt``, ``.yaml``, ``.json``).  Never raises on any template:
    one that cannot be read, or that needs the library where it is not installed, is the prompt as it
    stands, with a ``problem``.
    """
    if not _SYNTAX.search(template):
        return Expansion(template=template, text=template)
    try:
        text = _generated(template, seed, folder)
    except ImportError:
        problem = "dynamicprompts is not installed: {…} and __…__ stay as typed; pip install dynamicprompts"
        return Expansion(template=template, text=template, problem=problem)
    except Exception as error:  # typed text must not raise, and the library names no error of its own
        problem = f"the template cannot be read ({type(error).__name__}: {error}); check its braces"
        return Expansion(template=template, text=template, problem=problem)
    missing = sorted(set(_LEFT_OVER.findall(text)))
    problem = f"no wildcard file for {', '.join(missing)}; look in the wildcard folder" if missing else None
    return Expansion(template=template, text=text, problem=problem)


def _generated(template: str, seed: int, folder: Path | None) -> str:
    from dynamicprompts.generators import (  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
        RandomPromptGenerator,
    )
    from dynamicprompts.wildcards import (  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
        WildcardManager,
    )

    generator: Any = RandomPromptGenerator(WildcardManager(folder))
    return str(generator.generate(template, 1, seeds=[seed])[0])
