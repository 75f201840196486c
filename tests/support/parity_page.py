"""docs/parity.md, written section by section by the tests that measure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from recorded_pictures import HOSTS, Row, share

FILE = Path(__file__).parents[2] / "docs" / "parity.md"
HEAD = """# One prompt, one picture

What the profiles are worth, measured: how near the pictures drawn here are to those of the programs that they follow.
Each section is written by the test that measures it. A picture counts as drawn again when no value differs by more than
1 of 255 levels (2 for samplers that draw noise at every step and call the model twice for it) and 99 % are equal.
"""
LABELS = {"forge": "Forge f2.0.1", "a1111": "A1111 1.9.4", "comfyui": "ComfyUI 0.3.64"}


def section(text: str, name: str, body: str) -> str:
    """Return the page ``text`` with the section ``name`` replaced, or added at the end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    whole = f"{begin}\n{body.strip()}\n{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: whole, text)
    return f"{text.rstrip()}\n\n{whole}\n"


def write_section(name: str, body: str, file: Path = FILE) -> None:
    """Write the section ``name`` of the page, and leave the others as they are."""
    text = file.read_text(encoding="utf-8") if file.is_file() else HEAD
    file.write_text(section(text, name, body), encoding="utf-8")


def recorded_section(rows: Sequence[Row], reasons: Mapping[tuple[str, str], str]) -> str:
    """Return the section on the recorded pictures; ``reasons``: why a picture of (host, id) cannot agree."""
    lines = [
        "## Recorded pictures, drawn again without the program",
        "",
        "Recorded from the real programs on a CPU in float32, and drawn again by `sd-concord reproduce` from what the",
        "files hold: the web UIs' text with the source pictures of image to image, ComfyUI's graph carried out node by",
        "node, batches whole. *Text alone*: nothing else is known. *With options*: the settings of the request that",
        "the text does not keep are given too.",
        "",
        "| program | pictures | text or graph alone | with options |",
        "| --- | --- | --- | --- |",
    ]
    for host in HOSTS:
        own = [row for row in rows if row.host == host]
        alone, whole = (share(own, with_options=flag) for flag in (False, True))
        lines.append(f"| {LABELS[host]} | {len(own)} | {alone:.1%} | {whole:.1%} |")
    lines += ["", "By kind of request; levels and equal values are the worst of the kind, with options.", ""]
    lines += [
        "| program | kind | pictures | alone | with options | levels | equal |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (host, kind), own in _by_kind(rows).items():
        alone, whole = (
            sum(flags) for flags in zip(*((r.same, r.same_with_options) for r in own), strict=True)
        )
        far = [(row.most, row.equal) if row.with_options is None else row.with_options[1:] for row in own]
        most, equal = max(m for m, _ in far), min(e for _, e in far)
        lines.append(f"| {LABELS[host]} | {kind} | {len(own)} | {alone} | {whole} | {most} | {equal:.2%} |")
    return "\n".join([*lines, "", *_left_out(rows), "", *_differing(rows, reasons)])


def _by_kind(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (HOSTS.index(row.host), row.id.zfill(8))):
        found[row.host, row.kind].append(row)
    return found


def _left_out(rows: Sequence[Row]) -> list[str]:
    """Return what texts leave out, and of which pictures."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for name in row.left_out:
            found[name].append(f"{LABELS[row.host]} `{row.file}`{'' if row.same else ' (differs without)'}")
    lines = ["What the web UIs' texts leave out:", ""]
    return [*lines, *(f"- {name}: {', '.join(sorted(files))}" for name, files in sorted(found.items()))]


def _differing(rows: Sequence[Row], reasons: Mapping[tuple[str, str], str]) -> list[str]:
    """Return the pictures that differ even with all options, each with its reason."""
    bad = [row for row in rows if not row.same_with_options]
    if not bad:
        return ["Every picture is drawn again once the options are given."]
    lines = ["| program | picture | levels | equal | why |", "| --- | --- | --- | --- | --- |"]
    for row in bad:
        most, equal = (row.most, row.equal) if row.with_options is None else row.with_options[1:]
        why = reasons.get((row.host, row.id), "")
        lines.append(f"| {LABELS[row.host]} | `{row.file}` | {most} | {equal:.2%} | {why} |")
    return lines
