"""Styles and wildcards: from what is typed to the prompts of each picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.errors import BadFile, unknown
from ..core.image import Generation
from ..core.prompt import apply_styles, read_styles
from ..core.prompt.wildcards import expand_wildcards
from ..core.seeds import batch_of


def styled(prompt: str, negative: str, names: Sequence[str], file: Path | None) -> tuple[str, str]:
    """Return both prompts with the styles called ``names`` of a ``styles.csv`` merged in, as the web UI does.

    Raises ``BadFile`` without a file and ``BadValue`` for a name that is not in it.
    """
    if not names:
        return prompt, negative
    if file is None or not file.is_file():
        raise BadFile(f"--style {names[0]!r} needs a styles file; name one that exists with --styles-file")
    known = {style.name: style for style in read_styles(file)}
    for name in names:
        if name not in known:
            raise unknown("style", name, known)
    chosen = [known[name] for name in names]
    return (
        apply_styles(prompt, [style.prompt for style in chosen]),
        apply_styles(negative, [style.negative for style in chosen]),
    )


def batches(
    record: Generation, batch: int, count: int, wildcards: bool, folder: Path | None = None
) -> Iterator[tuple[Generation, int, str | None]]:
    """Yield what is to be made: a record, how many pictures at once, and what is wrong with its template.

    Seeds count up over all.  With ``wildcards``, ``{a|b}`` and, from ``folder``, ``__name__`` are another
    prompt for each seed, so such pictures are made one by one; the record keeps the template.
    """
    assert record.seed is not None
    first, problem = _expanded(record, folder) if wildcards else (record, None)
    if first == record:
        for i in range(count):
            yield batch_of(record, i, batch), batch, problem
        return
    for i in range(batch * count):
        one, problem = _expanded(batch_of(record, i, 1), folder)
        yield one, 1, problem


def _expanded(record: Generation, folder: Path | None) -> tuple[Generation, str | None]:
    assert record.seed is not None
    prompt = expand_wildcards(record.prompt, record.seed, folder)
    negative = expand_wildcards(record.negative_prompt, record.seed, folder)
    problem = prompt.problem or negative.problem
    if prompt.text != prompt.template:
        record = replace(record, prompt=prompt.text, template=prompt.template)
    if negative.text != negative.template:
        record = replace(record, negative_prompt=negative.text, negative_template=negative.template)
    return record, problem
