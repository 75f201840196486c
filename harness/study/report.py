"""A study written out: tables in Markdown, charts as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from ...core.sampling import SAMPLERS
from ...core.sigmas import SCHEDULERS
from .advice import ADVICE, PROBLEMS, Figures
from .chart import Chart, draw
from .runs import (
    CLOUD,
    DEMO_PROMPTS,
    DEMO_SAMPLERS,
    DEMO_SCHEDULES,
    DEMO_STEPS,
    REFERENCE,
    STEPS,
    ZSNR_STEPS,
    Result,
)

SHOWN = 20
"""The number of steps of the tables that show every sampler and schedule."""
COMPARED = ("euler", "dpmpp_2m", "ipndm_v", "deis", "heun", "uni_pc")
ON = ("karras", "exponential", "sgm_uniform", "normal", "align_your_steps_sd1", "beta")


def markdown(results: Sequence[Result], floor: float, pictures: Sequence[str] = ()) -> str:
    """Return the study as Markdown; ``floor``: see `floor_of`; ``pictures``: paths of the charts, shown at the top."""
    figures = Figures(results)
    parts = [
        _introduction(floor),
        *(f"![Error against steps]({path})\n" for path in pictures),
        _verdicts(figures),
    ]
    for problem in PROBLEMS:
        rows = [one for one in results if one.problem == problem]
        if rows:
            parts.append(_best(problem, rows, floor))
            parts.append(_matrix(rows))
    return "\n".join(parts)


def charts(results: Sequence[Result]) -> dict[str, Image.Image]:
    """Return the pictures by name."""
    pictures: dict[str, Image.Image] = {}
    for problem, title in PROBLEMS.items():
        rows = [one for one in results if one.problem == problem]
        if not rows:
            continue
        on = [name for name in (*ON, "align_your_steps") if any(one.schedule == name for one in rows)]
        of_samplers = [
            Chart(
                title=f"{SCHEDULERS[name].label}: {title}",
                lines=_lines(rows, [(sampler, name, SAMPLERS[sampler].label) for sampler in COMPARED]),
            )
            for name in on[:2] + on[2:4]
        ]
        of_schedules = [
            Chart(
                title=f"{SAMPLERS[name].label}: {title}",
                lines=_lines(rows, [(name, schedule, SCHEDULERS[schedule].label) for schedule in on]),
            )
            for name in ("dpmpp_2m", "euler")
        ]
        pictures[problem] = draw([*of_schedules, *of_samplers])
    return pictures


def _lines(
    rows: Iterable[Result], wanted: Sequence[tuple[str, str, str]]
) -> dict[str, list[tuple[int, float]]]:
    found = {(one.sampler, one.schedule, one.steps): one.path for one in rows}
    lines: dict[str, list[tuple[int, float]]] = {}
    for sampler, schedule, label in wanted:
        points = [(n, found.get((sampler, schedule, n))) for n in sorted({key[2] for key in found})]
        if kept := [(n, error) for n, error in points if error]:
            lines[label] = kept
    return lines


def _introduction(floor: float) -> str:
    return f"""# Error against steps

Made by `sd-concord study`. Three problems whose answer is known:

- **mixture, Stable Diffusion's sigmas**: 12 Gaussians in 16 dimensions, narrow and wide (deviations 0.03 to 0.5, spread about 1), whose
  denoiser is exact. {len(SAMPLERS)} samplers on {len(SCHEDULERS)} schedules at {", ".join(map(str, STEPS))} steps.
- **mixture, zero terminal SNR**: the same data with the sigmas of v-prediction models, which begin thousands high, at
  {" and ".join(map(str, ZSNR_STEPS))} steps.
- **embedded model**: {len(DEMO_PROMPTS)} prompts, CFG 4, {len(DEMO_SAMPLERS)} samplers on {len(DEMO_SCHEDULES)} schedules at {", ".join(map(str, DEMO_STEPS))} steps, against
  {REFERENCE} steps of Heun on Karras' schedule, which is taken for exact.

**Path error**, of samplers that draw no noise: the root mean square distance from the exact solution of the ODE from the same noise,
over the spread of the data; 0 is exact, above 0.1 one sees another picture. **Cloud error**, of those that draw noise: the sliced
Wasserstein distance of {CLOUD} samples from the truth; true samples have {floor:.3f} themselves, so figures near it are as good as any.

A step is not a call: samplers with two calls a step (Heun, DPM2, DPM++ SDE and others) cost twice as much at the same steps.
"""  # noqa: E501


def _verdicts(figures: Figures) -> str:
    lines = ["## What the cards advise, and what holds", ""]
    lines += [_row(("card", "advice", "verdict", "figures")), _row(("---",) * 4)]
    for advice in ADVICE:
        verdict = advice.verdict(figures)
        lines.append(_row((advice.card, advice.words, f"**{verdict.holds}**", verdict.figures)))
    lines += [
        "",
        "These are figures of small problems with exact answers. They say what a sampler does to the numbers that a "
        "network gives, not what a picture of a large model looks like: a schedule may suit where that network errs, "
        "and a path error says nothing of taste.",
        "",
    ]
    return "\n".join(lines)


def _best(problem: str, rows: Sequence[Result], floor: float) -> str:
    """Return a table of every sampler's best schedule at some numbers of steps."""
    counts = [n for n in (10, 20, 40) if any(one.steps == n for one in rows)]
    lines = [
        f"## {PROBLEMS[problem][0].upper()}{PROBLEMS[problem][1:]}",
        "",
        "The best schedule of each sampler.",
        "",
    ]
    lines += [
        _row(("sampler", "error of", *(f"{n} steps" for n in counts))),
        _row(("---",) * (2 + len(counts))),
    ]
    for name in dict.fromkeys(one.sampler for one in rows):
        own = [one for one in rows if one.sampler == name]
        of = "path" if any(one.path is not None for one in own) else "cloud"
        cells = [_winner([one for one in own if one.steps == n], floor) for n in counts]
        lines.append(_row((SAMPLERS[name].label, of, *cells)))
    return "\n".join([*lines, ""])


def _winner(rows: Sequence[Result], floor: float) -> str:
    errors = sorted((error, one.schedule) for one in rows if (error := _error(one)) is not None)
    if not errors:
        return "–"
    least = errors[0][0]
    if rows[0].path is None and least < 1.1 * floor:
        alike = sum(error < 1.1 * floor for error, _ in errors)
        return f"{least:.3f} ({alike} schedule{'s' * (alike != 1)} as good as true samples)"
    return f"{least:.4f} {SCHEDULERS[errors[0][1]].label}"


def _error(one: Result) -> float | None:
    return one.cloud if one.path is None else one.path


def _matrix(rows: Sequence[Result]) -> str:
    """Return the errors of every sampler (down) on every schedule (across) at ``SHOWN`` steps."""
    at = [one for one in rows if one.steps == SHOWN]
    schedules = list(dict.fromkeys(one.schedule for one in at))
    found = {(one.sampler, one.schedule): _error(one) for one in at}
    lines = ["<details><summary>", f"Every sampler and schedule at {SHOWN} steps", "</summary>", ""]
    lines += [
        _row(("sampler", *(SCHEDULERS[name].label for name in schedules))),
        _row(("---",) * (1 + len(schedules))),
    ]
    for sampler in dict.fromkeys(one.sampler for one in at):
        cells = [_figure(found.get((sampler, name))) for name in schedules]
        lines.append(_row((SAMPLERS[sampler].label, *cells)))
    return "\n".join([*lines, "", "</details>", ""])


def _figure(error: float | None) -> str:
    return "–" if error is None else f"{error:.3f}"


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
