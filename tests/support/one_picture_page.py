"""The figures of one picture in every program: kept in one_picture.json, shown in docs/one-picture.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from one_picture import PROFILES, SMALL_MODELS, TAKES, Cell, pairwise

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

_STAGES = (
    "ComfyUI's second sampler node begins its step noise anew, from the seed and, for SDE samplers, over its own "
    "sigmas; the refiner goes on with the noise of the whole run"
)
_BY_STEPS = (
    "Forge f2.0.1 counts the refiner's switch in steps, the profile in noise; on this schedule the two fall on "
    "different steps"
)
_STEP_NOISE = ("euler_ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde", "lcm")


def _known() -> dict[tuple[str, str, str], str]:
    """Return why pictures cannot agree, by (profile, front, request)."""
    found: dict[tuple[str, str, str], str] = {}
    for cell in pairwise():
        if cell.shape == "refiner" and cell.sampler in _STEP_NOISE:
            found |= {("comfyui", front, str(cell)): _STAGES for front in ("harness", "nodes")}
        if cell.shape == "refiner" and cell.schedule == "beta":
            found |= {("forge", front, str(cell)): _BY_STEPS for front in ("harness", "nodes")}
    return found


KNOWN: Mapping[tuple[str, str, str], str] = _known()
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
    for profile in PROFILES:
        parts += ["", f"## {LABELS[profile]}", "", *_table(profile, figures, cells)]
        parts += ["", *_reasons(profile, figures, cells)]
    parts += ["", "## Other models", "", _MODELS, "", *_models(figures)]
    return "\n".join(parts).rstrip() + "\n"


def write_page(figures: Figures, cells: Sequence[Cell]) -> None:
    """Write the page."""
    PAGE.write_text(page(figures, cells), encoding="utf-8")


_HEAD = """# One request, one picture

{count} requests in which every two of ten samplers, six schedules, ten prompts and six shapes meet, drawn by the real
programs on a CPU in float32 (64x64, 6 steps, CFG 7, the golden checkpoint), and by the fronts under the program's
profile. Each cell is the largest difference in levels of 255 and the share of values that are equal; a picture counts
as the program's own when no value differs by more than 1 level and 99 % are equal. *n/a*: the program has no such
sampler, schedule or shape by itself. *-*: not measured. A request of several pictures has the figures of the worst.

The tables are written by `tests/hosts/test_one_picture.py` with `CONCORD_WRITE=1`; without it the test fails where a
figure has become worse. The columns *from …* are the programs' distances from each other, where both know the request;
web UI syntax is plain words to ComfyUI's own nodes, so it is not compared there. *sigmas* and *noise* (the latent of
the first call) are relative differences of the command line's from those that the program's model was called with;
*cond* is the largest absolute difference of both prompts' tensors, where they have the same length.
"""


def _summary(figures: Figures, cells: Sequence[Cell]) -> list[str]:
    lines = [
        "| program | front | requests | measured | agree | differ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for profile in PROFILES:
        here = [cell for cell in cells if not cell.lacks(profile)]
        for front, label in FRONTS.items():
            found = [figures.get((profile, str(cell)), {}).get(front) for cell in here]
            measured = [one for one in found if one]
            agree = sum(agrees(one) for one in measured)
            lines.append(
                f"| {LABELS[profile]} | {label} | {len(here)} | {len(measured)} | {agree} | {len(measured) - agree} |"
            )
    return lines


def agrees(figure: Figure) -> bool:
    """Tell whether a front's picture counts as the program's own."""
    return figure["most"] <= MOST and figure["equal"] >= EQUAL


def _table(profile: str, figures: Figures, cells: Sequence[Cell]) -> list[str]:
    others = [one for one in PROFILES if one != profile]
    heads = [
        "request",
        *FRONTS.values(),
        "sigmas",
        "noise",
        "cond",
        *(f"from {LABELS[one]}" for one in others),
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for cell in cells:
        lack = cell.lacks(profile)
        if lack:
            lines.append(f"| {cell} | n/a: {lack} |" + " |" * (len(heads) - 2))
            continue
        figure = figures.get((profile, str(cell)), {})
        conds = [figure[name] for name in ("cond", "uncond") if name in figure]
        values = [
            *(_far(figure.get(front)) for front in FRONTS),
            *(_small(figure.get(name)) for name in ("sigmas", "noise")),
            _small(max(conds) if conds else None),
            *(_far(figure.get(f"from {other}")) for other in others),
        ]
        lines.append(f"| {cell} | {' | '.join(values)} |")
    return lines


_MODELS = """The embedded model, and small SDXL models of random weights, one with v-prediction and zero terminal SNR.
The web UIs take only the embedded one; where a program does not take a model, the nodes are compared with the command
line."""


def _models(figures: Figures) -> list[str]:
    lines = [
        "| profile | model | compared with | command line | Concord in ComfyUI |",
        "| --- | --- | --- | --- | --- |",
    ]
    for profile in PROFILES:
        for model in SMALL_MODELS:
            figure = figures.get((profile, model), {})
            taken = model in TAKES[profile]
            values = [_far(figure.get("harness")) if taken else "n/a", _far(figure.get("nodes"))]
            whose = LABELS[profile] if taken else "the command line"
            lines.append(f"| {LABELS[profile]} | {model} | {whose} | {' | '.join(values)} |")
    return lines


def _far(figure: Figure | None) -> str:
    return f"{figure['most']}, {figure['equal']:.2%}" if figure else "-"


def _small(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.0e}"


def _reasons(profile: str, figures: Figures, cells: Sequence[Cell]) -> list[str]:
    """Return why requests that were measured differ, and those that differ and have no reason yet."""
    lines: list[str] = []
    measured = 0
    for cell in cells:
        for front, label in FRONTS.items():
            figure = figures.get((profile, str(cell)), {}).get(front)
            measured += figure is not None
            if figure and not agrees(figure):
                lines.append(f"- {cell} ({label}): {reason_for(profile, cell, front) or 'not explained yet'}")
    if not measured:
        return ["Nothing is measured here yet."]
    return lines or ["Every picture that was measured is the program's own."]
