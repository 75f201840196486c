"""The figures of one picture in every program: kept in one_picture.json, shown in docs/one-picture.md."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from one_picture import PROFILES, SHAPES, SMALL_MODELS, TAKES, Cell

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "tests" / "hosts" / "one_picture.json"
PAGE = ROOT / "docs" / "one-picture.md"
MOST, EQUAL = 1, 0.99
"""Levels that a value may differ by, and the share of values that are equal, where two pictures count as one."""
Figure = dict[str, Any]
Figures = dict[tuple[str, str], Figure]
LABELS = {"forge": "Forge f2.0.1", "a1111": "A1111 1.9.4", "comfyui": "ComfyUI 0.3.64"}
FRONTS = {
    "harness": "command line",
    "nodes": "Concord in ComfyUI",
    "in forge": "Concord in Forge",
    "in a1111": "Concord in A1111",
}

BY_FIRST = (
    "a few values of the first picture fall to the other side of a level, by the last digit of a float32, and move "
    "what the detailer draws from it; from the program's own first picture it draws the program's picture"
)
KNOWN: Mapping[tuple[str, str, str], str] = {
    (profile, front, request): BY_FIRST
    for profile, request, fronts in (
        ("forge", "uni_pc, beta, AND, detailer", ("harness", "in forge", "in a1111")),
        ("forge", "heun, beta, LoRA, detailer", ("harness",)),
        ("forge", "dpmpp_2m_sde, normal, empty negative, detailer", ("nodes",)),
        ("a1111", "dpmpp_2m_sde, normal, empty negative, detailer", ("in forge", "in a1111")),
        ("a1111", "euler, normal, BREAK, detailer", ("nodes",)),
        ("a1111", "heun, normal, alternation, detailer", ("nodes",)),
    )
    for front in fronts
}
"""(profile, front, request) → why it cannot agree.  An entry whose picture agrees has to go."""


def reason_for(profile: str, cell: Cell | str, front: str) -> str:
    """Return why a front's picture of a request cannot be the program's own, or nothing."""
    return KNOWN.get((profile, front, str(cell)), "")


def read_figures() -> Figures:
    """Return the figures that were written last."""
    if not FIGURES.is_file():
        return {}
    read = json.loads(FIGURES.read_text(encoding="utf-8"))
    return {(profile, cell): figure for profile, cells in read.items() for cell, figure in cells.items()}


def write_down(found: Figures, cells: Sequence[Cell]) -> None:
    """Add what was measured to the figures and to the page; several test runs at once take turns."""
    import fcntl  # of POSIX alone, as are the hosts' tests

    with (Path(tempfile.gettempdir()) / "concord-one-picture.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_figures(found)
        write_page(read_figures(), cells)


def write_figures(found: Figures) -> None:
    """Add what was measured to the figures, or put it in the place of what was measured before."""
    whole = read_figures()
    for key, figure in found.items():
        whole[key] = whole.get(key, {}) | figure
    nested = {
        profile: {cell: whole[one, cell] for one, cell in sorted(whole) if one == profile}
        for profile in PROFILES
    }
    lines = [
        f'"{profile}": {{\n'
        + ",\n".join(
            f"{json.dumps(cell)}: {json.dumps(figure, sort_keys=True)}" for cell, figure in cells.items()
        )
        + "\n}"
        for profile, cells in nested.items()
    ]
    FIGURES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def page(figures: Figures, cells: Sequence[Cell]) -> str:
    """Return the page that shows the figures."""
    parts = [_HEAD.format(count=len(cells)), "", *_summary(figures, cells)]
    parts += ["", _BETWEEN, "", *_between(figures, cells), "", _WHY_APART, "", _HOW]
    for profile in PROFILES:
        here = [cell for cell in cells if not cell.lacks(profile)]
        parts += ["", f"## As {LABELS[profile]} draws", "", *_reasons(profile, figures, here)]
        if len(here) < len(cells):
            lacks = ", ".join(sorted({cell.lacks(profile) for cell in cells} - {""}))
            parts += ["", f"Left out are {len(cells) - len(here)} requests of what it has not got: {lacks}."]
        for shape in SHAPES:
            alike = [cell for cell in here if cell.shape == shape]
            if alike:
                parts += ["", f"### {LABELS[profile]}: {shape}", "", *_table(profile, figures, alike)]
        parts += ["", *_inner(profile, figures, here)]
    parts += ["", "## Other models", "", _MODELS, "", *_models(figures)]
    return "\n".join(parts).rstrip() + "\n"


def write_page(figures: Figures, cells: Sequence[Cell]) -> None:
    """Write the page."""
    PAGE.write_text(page(figures, cells), encoding="utf-8")


_HEAD = """# One request, one picture

Can a picture of A1111, Forge or ComfyUI be had anywhere else, the very same one? With Concord it can: every
front of it draws as the program whose profile it is told, in the command line, in ComfyUI's nodes and in the script
*Concord Reproduce* of the web UIs. This page is the measurement. {count} requests in which every two of ten samplers,
six schedules, ten prompts and six shapes meet were drawn by the real programs, with their own nodes and tabs, and by
each of Concord's fronts under the profile of that program.

A picture counts as the program's own when no value differs by more than 1 level of 255 and 99 % are equal: what the
last digit of a float32 sum decides.

## Concord and the programs

Each cell says how many of the pictures that were measured are the program's own."""

_BETWEEN = """## The programs and each other

The same request, typed into two programs, with the same model, seed, sampler, schedule, steps and CFG, and A1111 and
Forge set to draw their noise on the CPU, as ComfyUI does. Prompts in web UI syntax are plain words to ComfyUI's own
nodes and are left out there. The last two columns are the middle of all pictures."""

_WHY_APART = """Why they are apart:

- A1111 tells the model times between two of its 1000 timesteps, Forge and ComfyUI the nearest one.
- A1111 and Forge begin text to image at sigma times the noise, ComfyUI at sqrt(1 + sigma^2) times it.
- A1111 and Forge draw the noise of each picture of a batch, and of each step, from the picture's own seed; ComfyUI
  draws it for the whole batch, and begins again with the same seed for the noise of steps.
- Weighted words: the web UIs scale the tensor back to the mean it had, ComfyUI moves it away from the empty text's.
- Image to image of strength 0.6 over 6 steps is the last 4 steps in the web UIs and the last 6 of 10 in ComfyUI; the
  web UIs take a sample of the VAE's posterior, ComfyUI its mean.
- The web UIs' LCM has a table of 50 timesteps, and A1111's scales as that model was trained; ComfyUI's knows all 1000.
- *UniPC* walks over timesteps in the web UIs and over the schedule's sigmas in ComfyUI; *AYS* and *Beta* of Forge are
  other lists than ComfyUI's. The other schedules are the same in all of them, to five digits.
- Apart in A1111 and Forge too, but in no request here: inpainting, CFG 1 with AND, and prompts whose reading hangs on
  the order in which a hash lists their parts."""

_HOW = """## How to read the tables

The programs run on a CPU in float32, 64x64, 6 steps, CFG 7, with the golden checkpoint. A cell is the largest
difference in levels of 255 and the share of values that are equal; a request of several pictures has the figures of the
worst. *-*: not measured. The web UIs have no detailer of their own; those that count as theirs are *Concord
Detailer*'s.

Below each program's tables, folded, is what its pictures are made from, in the command line and in the program: *noise*
is the largest difference of the start noise before it is scaled, 0 where it is the same bit for bit; *sigmas* the
largest relative difference of the noise levels, of the web UIs' UniPC that of the timesteps as a share of all 1000;
*cond* the largest absolute difference of both prompts' tensors.

`tests/hosts/test_one_picture.py` writes this page with `CONCORD_WRITE=1`; without it the tests fail where a figure has
become worse."""


def _summary(figures: Figures, cells: Sequence[Cell]) -> list[str]:
    lines = [f"| as drawn by | {' | '.join(FRONTS.values())} |", "|" + " --- |" * (1 + len(FRONTS))]
    whole = same = 0
    for profile in PROFILES:
        here = [cell for cell in cells if not cell.lacks(profile)]
        counts: list[str] = []
        for front in FRONTS:
            found = [figures.get((profile, str(cell)), {}).get(front) for cell in here]
            measured = [one for one in found if one]
            agree = sum(agrees(one) for one in measured)
            counts.append(f"{agree} of {len(measured)}" if measured else "-")
            whole, same = whole + len(measured), same + agree
        lines.append(f"| {LABELS[profile]} ({len(here)} requests) | {' | '.join(counts)} |")
    rest = (
        f"; the other {whole - same} are named below, under the program, with the reason"
        if whole > same
        else ""
    )
    return [*lines, "", f"In all {same} of {whole} pictures{rest}."]


def _between(figures: Figures, cells: Sequence[Cell]) -> list[str]:
    """Return the table of how far the programs are from each other."""
    lines = [
        "| programs | requests | the same picture | largest difference | equal values |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one, other in itertools.combinations(PROFILES, 2):
        found = [figures.get((one, str(cell)), {}).get(f"from {other}") for cell in cells]
        known = [figure for figure in found if figure]
        if not known:
            continue
        middle = f"{median(figure['most'] for figure in known):.0f} | {median(figure['equal'] for figure in known):.1%}"
        same = sum(agrees(figure) for figure in known)
        lines.append(f"| {LABELS[one]}, {LABELS[other]} | {len(known)} | {same} | {middle} |")
    return lines


def agrees(figure: Figure) -> bool:
    """Tell whether a front's picture counts as the program's own."""
    return figure["most"] <= MOST and figure["equal"] >= EQUAL


def _table(profile: str, figures: Figures, cells: Sequence[Cell]) -> list[str]:
    """Return the table of requests of one shape."""
    lines = [f"| request | {' | '.join(FRONTS.values())} |", "|" + " --- |" * (1 + len(FRONTS))]
    for cell in cells:
        figure = figures.get((profile, str(cell)), {})
        values = [_far(figure.get(front)) for front in FRONTS]
        lines.append(f"| {_name(cell)} | {' | '.join(values)} |")
    return lines


def _inner(profile: str, figures: Figures, cells: Sequence[Cell]) -> list[str]:
    """Return the folded table of what pictures are made from, and of the distances from the other programs."""
    others = [one for one in PROFILES if one != profile]
    heads = ["request", "noise", "sigmas", "cond", *(f"from {LABELS[one]}" for one in others)]
    title = (
        f"What the pictures of {LABELS[profile]} are made from, and how far the other programs are from them"
    )
    lines = ["<details>", f"<summary>{title}</summary>", ""]
    lines += [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for cell in cells:
        figure = figures.get((profile, str(cell)), {})
        conds = [figure[name] for name in ("cond", "uncond") if name in figure]
        values = [
            _small(figure.get("noise")),
            _small(figure.get("sigmas", figure.get("timesteps"))),
            _small(max(conds) if conds else None),
            *(_far(figure.get(f"from {other}")) for other in others),
        ]
        lines.append(f"| {_name(cell)}, {cell.shape} | {' | '.join(values)} |")
    return [*lines, "", "</details>"]


def _name(cell: Cell) -> str:
    return f"{cell.sampler}, {cell.schedule}, {cell.prompt}"


_MODELS = """The embedded model, and small SDXL models of random weights, one with v-prediction and zero terminal SNR.
The web UIs take only the embedded one. Where a program does not take a model, the nodes are compared with the command
line; the core's own tests compare what it makes of SDXL's prompts, noise and sigmas with recordings of the programs."""


def _models(figures: Figures) -> list[str]:
    heads = ["profile", "model", "compared with", *FRONTS.values()]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for profile in PROFILES:
        for model in SMALL_MODELS:
            figure = figures.get((profile, model), {})
            taken = model in TAKES[profile]
            values = [_far(figure.get(front)) for front in FRONTS]
            if not taken:
                values[0] = "n/a"
            if model != "demo":
                values[2:] = ["n/a", "n/a"]
            whose = LABELS[profile] if taken else "the command line"
            lines.append(f"| {LABELS[profile]} | {model} | {whose} | {' | '.join(values)} |")
    return lines


def _far(figure: Figure | None) -> str:
    return f"{figure['most']}, {figure['equal']:.2%}" if figure else "-"


def _small(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.0e}"


def _reasons(profile: str, figures: Figures, cells: Sequence[Cell]) -> list[str]:
    """Return why requests that were measured differ, and those that differ and have no reason yet."""
    by_reason: dict[str, dict[str, list[str]]] = {}
    measured = 0
    for cell in cells:
        for front, label in FRONTS.items():
            figure = figures.get((profile, str(cell)), {}).get(front)
            measured += figure is not None
            if figure and not agrees(figure):
                why = reason_for(profile, cell, front) or "not explained yet"
                by_reason.setdefault(why, {}).setdefault(str(cell), []).append(label)
    if not measured:
        return ["Nothing is measured here yet."]
    if not by_reason:
        return ["Every picture that was measured is the program's own."]
    lines: list[str] = []
    for why, requests in by_reason.items():
        lines += [f"- {why}:", *(f"  - {name} ({', '.join(fronts)})" for name, fronts in requests.items())]
    return lines
