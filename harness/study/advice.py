"""What model cards advise, each held against the figures of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .runs import Result

MATTERS = 0.05
"""Differences below this share of an error are called none."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a piece of advice ``holds``, and the figures that say so."""

    holds: str
    figures: str


class Unmeasured(LookupError):
    """A study lacks the figure that was asked for."""


@dataclass(frozen=True)
class Figures:
    """The errors of a study, looked up by what made them."""

    results: Sequence[Result]

    def of(self, problem: str, sampler: str, schedule: str, steps: int) -> float:
        """Return the error of a run: of its path where it follows one, else of its cloud; raises ``Unmeasured``."""
        for one in self.results:
            if (one.problem, one.sampler, one.schedule, one.steps) == (problem, sampler, schedule, steps):
                error = one.cloud if one.path is None else one.path
                if error is not None:
                    return error
        raise Unmeasured(f"{sampler} on {schedule} at {steps} steps of {problem}")

    def ranked(self, problem: str, sampler: str, steps: int) -> list[tuple[float, str]]:
        """Return (error, schedule) of every schedule with ``sampler``, the best first; raises ``Unmeasured``."""
        key = (problem, sampler, steps)
        names = {one.schedule for one in self.results if (one.problem, one.sampler, one.steps) == key}
        if not names:
            raise Unmeasured(f"{sampler} at {steps} steps of {problem}")
        return sorted((self.of(problem, sampler, name, steps), name) for name in names)

    def rank(self, problem: str, sampler: str, schedule: str, steps: int) -> str:
        """Return the place of ``schedule`` among all, as "3 of 35"."""
        names = [name for _, name in self.ranked(problem, sampler, steps)]
        return f"{names.index(schedule) + 1} of {len(names)}"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A line of a card, and what judges it."""

    card: str
    words: str
    judge: Callable[[Figures], Verdict]

    def verdict(self, figures: Figures) -> Verdict:
        """Return what the figures say, that they say nothing where they lack one."""
        try:
            return self.judge(figures)
        except Unmeasured as lacking:
            return Verdict(holds="not measured", figures=f"there is no figure of {lacking}")


def _ipndm_v(f: Figures) -> Verdict:
    karras, best = f.of("sd", "ipndm_v", "karras", 40), f.ranked("sd", "ipndm_v", 40)[0]
    more, twin = f.of("sd", "ipndm_v", "karras", 60), f.of("sd", "dpmpp_2m", "karras", 40)
    good = karras <= best[0] * 1.5 or f.rank("sd", "ipndm_v", "karras", 40).split()[0] in {
        "1",
        "2",
        "3",
        "4",
        "5",
    }
    gains = more < karras * (1 - MATTERS)
    return Verdict(
        holds=("the schedule holds" if good else "the schedule does not hold")
        + ("; more than 40 steps still gain" if gains else "; more than 40 steps gain nothing"),
        figures=(
            f"Karras at 40: {karras:.4f} ({f.rank('sd', 'ipndm_v', 'karras', 40)} schedules; best {best[1]} "
            f"{best[0]:.4f}); Exponential {f.of('sd', 'ipndm_v', 'exponential', 40):.4f}; Karras at 60: {more:.4f}; "
            f"DPM++ 2M Karras at 40: {twin:.4f}"
        ),
    )


def _deis(f: Figures) -> Verdict:
    sgm, karras = f.of("sd", "deis", "sgm_uniform", 40), f.of("sd", "deis", "karras", 40)
    return Verdict(
        holds="holds" if sgm <= karras * (1 + MATTERS) else "does not hold: Karras is nearer",
        figures=f"SGM Uniform at 40: {sgm:.4f}, at 60: {f.of('sd', 'deis', 'sgm_uniform', 60):.4f}; Karras at 40: "
        f"{karras:.4f}; SGM Uniform is {f.rank('sd', 'deis', 'sgm_uniform', 40)} schedules",
    )


def _ays(f: Figures) -> Verdict:
    parts: list[str] = []
    better = False
    for problem, schedule in (("sd", "align_your_steps_sd1"), ("demo", "align_your_steps")):
        ays, karras = (f.of(problem, "dpmpp_2m", name, 10) for name in (schedule, "karras"))
        more = f.of(problem, "dpmpp_2m", "karras", 20)
        better |= ays < karras * (1 - MATTERS)
        parts.append(f"{PROBLEMS[problem]}: AYS at 10 {ays:.4f}, Karras at 10 {karras:.4f}, at 20 {more:.4f}")
    as_good = all(
        f.of(p, "dpmpp_2m", s, 10) <= f.of(p, "dpmpp_2m", "karras", 20) * (1 + MATTERS)
        for p, s in (("sd", "align_your_steps_sd1"), ("demo", "align_your_steps"))
    )
    words = "AYS at 10 beats Karras at 10 somewhere" if better else "AYS at 10 is no better than Karras at 10"
    return Verdict(
        holds=words
        + (", and is as good as twice the steps" if as_good else ", and is not as good as twice the steps"),
        figures="; ".join(parts),
    )


def _enough(f: Figures) -> Verdict:
    at = {steps: f.of("sd", "dpmpp_2m", "karras", steps) for steps in (10, 20, 40, 60)}
    return Verdict(
        holds="holds" if at[40] < 0.1 * at[10] else "does not hold",
        figures="DPM++ 2M Karras: " + ", ".join(f"{error:.4f} at {steps}" for steps, error in at.items()),
    )


def _extra(f: Figures) -> Verdict:
    sde = {steps: f.of("sd", "dpmpp_3m_sde", "exponential", steps) for steps in (20, 40, 60)}
    two = f.of("sd", "dpmpp_2m_sde", "exponential", 60)
    gains = sde[60] < sde[40] * (1 - MATTERS)
    return Verdict(
        holds="holds: 60 steps still gain" if gains else "does not hold: after 40 steps nothing is gained",
        figures="DPM++ 3M SDE Exponential, distance of the cloud: "
        + ", ".join(f"{error:.3f} at {steps}" for steps, error in sde.items())
        + f"; DPM++ 2M SDE at 60: {two:.3f}",
    )


def _no_karras(f: Figures) -> Verdict:
    karras, normal = (f.of("zsnr", "euler", name, 20) for name in ("karras", "normal"))
    return Verdict(
        holds="holds" if normal < karras * (1 - MATTERS) else "does not hold",
        figures=f"zero terminal SNR, Euler at 20: Karras {karras:.3f}, Normal {normal:.3f}, SGM Uniform "
        f"{f.of('zsnr', 'euler', 'sgm_uniform', 20):.3f}, "
        f"AYS SD1 {f.of('zsnr', 'euler', 'align_your_steps_sd1', 20):.3f}",
    )


def _v_list(f: Figures) -> Verdict:
    rows = [(name, f.of("zsnr", name, "sgm_uniform", 40), f.of("zsnr", name, "karras", 40)) for name in
            ("dpmpp_2m", "deis", "ipndm_v")]  # fmt: skip
    holds = all(sgm < karras * (1 - MATTERS) for _, sgm, karras in rows)
    return Verdict(
        holds="holds" if holds else "holds in part",
        figures="; ".join(f"{name} SGM Uniform {sgm:.3f}, Karras {karras:.3f}" for name, sgm, karras in rows),
    )


def _lcm(f: Figures) -> Verdict:
    lcm, euler = f.of("sd", "lcm", "sgm_uniform", 10), f.of("sd", "euler_ancestral", "sgm_uniform", 10)
    return Verdict(
        holds="untested: it speaks of a distilled model, and no such model is here",
        figures=f"on exact denoisers, which are not distilled, LCM at 10 steps is at {lcm:.3f}, Euler a at {euler:.3f}",
    )


PROBLEMS: Mapping[str, str] = {
    "sd": "mixture, Stable Diffusion's sigmas",
    "zsnr": "mixture, zero terminal SNR",
    "demo": "embedded model",
}
ADVICE = (
    Advice(card="IPNDM_V", words="40 steps, Karras or Exponential, never more", judge=_ipndm_v),
    Advice(card="DEIS", words="SGM Uniform, 40 to 60 steps", judge=_deis),
    Advice(card="AYS draft", words="10 to 12 steps of DPM++ 2M on Align Your Steps are enough", judge=_ays),
    Advice(card="Juggernaut XL v9, Illustrious", words="DPM++ 2M Karras, about 30 steps", judge=_enough),
    Advice(card="extra quality", words="DPM++ 3M SDE Exponential, 60 steps", judge=_extra),
    Advice(card="NoobAI v-pred", words="Euler, no Karras", judge=_no_karras),
    Advice(card="RouWei v-pred", words="DPM++ 2M, DEIS, IPNDM_V with SGM Uniform", judge=_v_list),
    Advice(card="LCM", words="5 steps, SGM Uniform, CFG 1 to 1.5, with the LCM LoRA", judge=_lcm),
)
