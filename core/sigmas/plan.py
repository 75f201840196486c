"""The sigmas of one run: how each host turns steps and denoising strength into a list.

All take a finished schedule through ``get_sigmas`` and cut it; an empty list means that nothing is to be done.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import BadValue
from .model import ModelSigmas
from .schedule import MAX_STEPS, Convention, get_sigmas

StepRule = Literal["ksampler", "basic", "webui", "webui_exact"]
"""How strength below 1 is met.

"ksampler" (ComfyUI, Concord): ``int(steps / denoise)`` steps are laid out and the last ``steps`` taken; a strength
above 0.9999 counts as 1, and a strength of 1 takes all that was laid out, however long.  "basic" (BasicScheduler):
the same without those two.  "webui": ``steps`` are laid out and the last
``int(strength * steps) + 1`` taken.  "webui_exact" ("do exactly the number of steps"): ``int(steps / strength)`` are
laid out and the last ``steps`` taken.
"""
WEBUI_MOST = 0.999
"""The strength at which the web UIs stop counting."""


def run_sigmas(
    name: str,
    steps: int,
    model: ModelSigmas,
    *,
    denoise: float = 1.0,
    rule: StepRule = "ksampler",
    discard_penultimate: bool = False,
    convention: Convention = "concord",
    **options: Any,
) -> Tensor:
    """Return the sigmas of a run of ``steps`` steps at strength ``denoise`` (0 … 1), float32 on the CPU.

    ``discard_penultimate``: the schedule is asked for one step more and its last sigma above 0 removed.  For the
    web UIs' rules a strength of 1 is still image to image; text to image passes ``rule="ksampler"``.
    Raises ``BadValue`` for a strength outside 0 … 1, and as ``get_sigmas``.
    """
    if not 0 <= denoise <= 1:
        raise BadValue(f"denoise is {denoise}; pass 0 to 1")

    def laid_out(count: int) -> Tensor:
        count = min(count, MAX_STEPS - discard_penultimate)
        sigmas = get_sigmas(name, count + discard_penultimate, model, convention=convention, **options)
        return drop_penultimate(sigmas) if discard_penultimate else sigmas

    if rule in ("webui", "webui_exact"):
        return _webui(laid_out, steps, denoise, exact=rule == "webui_exact")
    if denoise <= 0:
        return torch.empty(0)
    if rule == "ksampler" and denoise > 0.9999:
        return laid_out(steps)
    return laid_out(int(steps / denoise))[-(steps + 1) :]


def _webui(laid_out: Any, steps: int, denoise: float, *, exact: bool) -> Tensor:
    """Return the web UIs' image-to-image list."""
    strength = min(denoise, WEBUI_MOST)
    if exact:
        count = int(steps / strength) if strength > 0 else 0
        begin = steps - 1
    else:
        count, begin = steps, int(strength * steps)
    return laid_out(count)[count - begin - 1 :] if count > 0 else torch.empty(0)


def drop_penultimate(sigmas: Tensor) -> Tensor:
    """Return ``sigmas`` without the last one above 0."""
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def tail_of(sigmas: Tensor, denoise: float) -> Tensor:
    """Return the last ``round(steps * denoise)`` steps of ``sigmas``, their end set to 0.

    This is how ComfyUI's table nodes (AlignYourSteps, GITS, OSS) meet a strength: by fewer steps.
    """
    if denoise <= 0:
        return sigmas[:0]
    kept = round((len(sigmas) - 1) * denoise)
    out = sigmas[-(kept + 1) :].clone()
    out[-1] = 0.0
    return out


def sd_turbo_sigmas(steps: int, model: ModelSigmas, denoise: float = 1.0) -> Tensor:
    """Return SDTurboScheduler's list: of ten timesteps, ``steps`` from the place that ``denoise`` leaves."""
    skipped = 10 - int(10 * denoise)
    whole = get_sigmas("turbo", 10, model, convention="comfyui")[:-1]
    return torch.cat([whole[skipped : skipped + steps], torch.zeros(1)])


def split(sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return the sigmas up to ``step`` and those from it on; both have the one between."""
    return sigmas[: step + 1], sigmas[step:]


def split_by_strength(sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
    """Return the sigmas before and within the last ``round(steps * denoise)`` steps."""
    kept = round(max(len(sigmas) - 1, 0) * denoise)
    return (sigmas[:-kept] if kept else sigmas), sigmas[-(kept + 1) :]


def extend(
    sigmas: Tensor, parts: int, *, above: float = 0.0, below: float = -1.0, spacing: str = "linear"
) -> Tensor:
    """Return ``sigmas`` with each step from a sigma of ``above`` … ``below`` cut into ``parts`` steps.

    ``below`` under 0: no bound.  ``spacing``: "linear", "cosine" (dense at the end) or "sine" (at the beginning).
    Raises ``BadValue`` for an unknown spacing or fewer than one part.
    """
    x = torch.linspace(0, 1, parts + 1)[1:-1]
    spaced = {"linear": x, "cosine": (x * torch.pi / 2).sin(), "sine": 1 - (x * torch.pi / 2).cos()}
    if spacing not in spaced or parts < 1:
        raise BadValue(f"spacing {spacing!r} in {parts} parts; pass {', '.join(spaced)} and 1 part or more")
    upper = float("inf") if below < 0 else below
    pieces: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        pieces.append(sigma[None])
        if above <= float(sigma) <= upper:
            pieces.append(sigma + (sigma_next - sigma) * spaced[spacing])
    return torch.cat([*pieces, sigmas[-1:]])
