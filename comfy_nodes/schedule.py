"""A prompt's schedule, carried by CONDITIONING alone and obeyed at every denoiser call of any sampler.

Each entry holds the first text's conditioning, a ``Mark`` that knows the whole prompt, and a hook through which
ComfyUI calls the three wrappers below.  When a sampler starts, the prompt is laid out over its real steps and
each entry becomes one for each text of the run; at each call those that are not its turn are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from ..core.errors import BadValue
from ..core.prompt import Conditioning, Dialect
from ..core.run import calls_per_step
from ..core.sampling import SAMPLERS
from .host import hooks, model_patcher, patcher_extension
from .prompts import LIKELY_STEPS, Prompt, row_of
from .turns import Run, Turn

KEY = "concord"
"""Under which a conditioning's dictionary holds its ``Mark``, and during a run its ``Turn``."""
Entries = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mark:
    """What a conditioning's dictionary says of its prompt: the AND part it is, and the tensor it was made with."""

    prompt: Prompt
    part: int
    hidden: Tensor


def conditioning_of(prompt: Prompt, more: dict[str, Any] | None = None) -> list[list[Any]]:
    """Return ComfyUI's CONDITIONING, one entry an AND part; ``more`` goes into each one's dictionary."""
    if prompt.changes:
        prompt.encode_ahead()
    first = prompt.encoded(prompt.plan(LIKELY_STEPS[-1]))
    entries: list[list[Any]] = []
    for i, part in enumerate(first.parts):
        hidden, pooled = row_of(part, part.row(0))
        values = prompt.host.clip.add_hooks_to_dict({"pooled_output": pooled, **(more or {})})
        if prompt.is_marked:
            values[KEY] = Mark(prompt=prompt, part=i, hidden=hidden)
            values["hooks"] = hooks.HookGroup.combine_all_hooks([values.get("hooks"), GROUP])
        entries.append([hidden, values])
    return entries


def calls_of(sampler: Any, dialect: Dialect) -> int:
    """Return by how many denoiser calls a step ``dialect`` counts for one of ComfyUI's samplers; 1 if it is unknown."""
    run = getattr(sampler, "sampler_function", None)
    spec = getattr(run, "spec", None)
    name = getattr(run, "__name__", "").removeprefix("sample_").removesuffix("_function")
    return 1 if spec is None and name not in SAMPLERS else calls_per_step(spec or SAMPLERS[name], dialect)


def outer_sample(
    executor: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, *more: Any, **named: Any
) -> Any:
    """Lay every marked entry of a guider out over the run that begins; ComfyUI's OUTER_SAMPLE wrapper."""
    guider = executor.class_obj
    before = guider.model_patcher.hook_patches
    guider.model_patcher.hook_patches = model_patcher.create_hook_patches_clone(before)
    try:
        guider.conds = laid_out(guider, sampler, len(sigmas) - 1)
        return executor(noise, latent, sampler, sigmas, *more, **named)
    finally:
        guider.model_patcher.hook_patches = before


def laid_out(guider: Any, sampler: Any, steps: int) -> dict[str, Entries]:
    """Return the conditionings of ``guider`` with an entry for each text of the run, and without our hook.

    Raises ``BadValue`` for entries that were altered in a way that a schedule cannot follow.
    """
    prompts = {
        mark.prompt: None
        for entries in guider.conds.values()
        for entry in entries
        if isinstance(mark := entry.get(KEY), Mark)
    }
    plans = {prompt: prompt.plan(steps, calls_of(sampler, prompt.dialect)) for prompt in prompts}
    done = {prompt: prompt.encoded(laid) for prompt, laid in plans.items()}
    run = Run(plans=plans, patcher=guider.model_patcher, options=guider.model_options)
    for call in range(max((laid.calls for laid in plans.values()), default=0)):
        run.hooks_at(call, None)  # files are read, and their faults come to light, before the model runs
    groups = {
        frozenset(own.hooks): own
        for entries in guider.conds.values()
        for entry in entries
        if (own := entry.get("hooks")) is not None
    }
    return {
        kind: [_without_ours(new, groups) for entry in entries for new in _unfolded(entry, run, done)]
        for kind, entries in guider.conds.items()
    }


def _unfolded(entry: dict[str, Any], run: Run, done: dict[Prompt, Conditioning]) -> Iterable[dict[str, Any]]:
    """Yield the entries that an entry becomes: itself, or one for each text of its AND part."""
    mark = entry.get(KEY)
    if not isinstance(mark, Mark):
        yield entry
        return
    added = added_after(entry["cross_attn"], mark.hidden)
    if added is None:
        yield {key: value for key, value in entry.items() if key != KEY}
        return
    part = done[mark.prompt].parts[mark.part]
    for row in range(len(part.hidden)):
        turn = Turn(run=run, prompt=mark.prompt, part=part, row=row)
        hidden, pooled = row_of(part, row)
        texts = {"cross_attn": torch.cat([hidden, added.to(hidden)], dim=1), "pooled_output": pooled}
        yield {**entry, **texts, KEY: turn, "uuid": uuid4()}


def added_after(given: Tensor, made: Tensor) -> Tensor | None:
    """Return what ``Conditioning (Concat)`` has put behind the tensor that was made; None where all was set to 0.

    Raises ``BadValue`` where it was altered in another way.
    """
    length = made.shape[1]
    if given is made or (given.shape[2] == made.shape[2] and torch.equal(given[:, :length], made)):
        return given[:, length:]
    if not given.any():
        return None
    raise BadValue(
        "a scheduled conditioning was averaged or altered after Concord Text Encode, which leaves no schedule; "
        "put all of it into one text, as in 'a AND b :0.5'"
    )


def _without_ours(entry: dict[str, Any], groups: dict[frozenset[Any], Any]) -> dict[str, Any]:
    """Take our hook off an entry; entries left with equal hooks share a group, and so go through in one batch."""
    hooked = entry.pop("hooks", None)
    if hooked is None:
        return entry
    rest = [hook for hook in hooked.hooks if hook != HOOK]
    if len(rest) < len(hooked.hooks) and (key := frozenset(rest)) not in groups:
        groups[key] = hooks.HookGroup()
        for hook in rest:
            groups[key].add(hook)
    return {**entry, "hooks": groups.get(frozenset(rest), hooked)} if rest else entry


def predict_noise(
    executor: Any,
    x: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any] | None = None,
    *more: Any,
    **named: Any,
) -> Any:
    """Leave a guider the entries that are active at this denoiser call; ComfyUI's PREDICT_NOISE wrapper."""
    guider, options = executor.class_obj, model_options or {}
    whole: dict[str, Entries] = guider.conds
    run = next(
        (turn.run for entries in whole.values() for entry in entries if (turn := turn_of(entry))), None
    )
    if run is None:
        return executor(x, timestep, options, *more, **named)
    call, run.call = run.call, run.call + 1
    guider.conds = {kind: active_at(entries, call, run) for kind, entries in whole.items()}
    if sum(weights_of(guider.conds.get("positive", ())) or (1.0,)) != 1:
        options = {**options, "disable_cfg1_optimization": True}
    try:
        return executor(x, timestep, options, *more, **named)
    finally:
        guider.conds = whole


def turn_of(entry: dict[str, Any]) -> Turn | None:
    """Return the turn of an entry of a run, None for one that is not Concord's."""
    turn = entry.get(KEY)
    return turn if isinstance(turn, Turn) else None


def active_at(entries: Entries, call: int, run: Run) -> Entries:
    """Return the entries that are active at a denoiser call, with the LoRAs of that call."""
    found: Entries = []
    for entry in entries:
        if (turn := turn_of(entry)) is None or turn.is_at(call):
            group = run.hooks_at(call, own := entry.get("hooks"))
            found.append(entry if group is own else {**entry, "hooks": group})
    return found


def weights_of(entries: Iterable[dict[str, Any]]) -> tuple[float, ...]:
    """Return the weights of the AND parts among active entries; none where AND and weights have no part in it.

    Raises ``BadValue`` where they stand beside other conditionings, whose shares ComfyUI would average.
    """
    turns = [turn_of(entry) for entry in entries]
    weights = tuple(turn.part.weight for turn in turns if turn is not None)
    prompts = {turn.prompt for turn in turns if turn is not None}
    if all(weight == 1 for weight in weights) and len(weights) == len(prompts):
        return ()
    if len(prompts) > 1 or len(weights) < len(turns):
        raise BadValue(
            "AND cannot be joined with other conditionings by Conditioning (Combine), which averages them; "
            "write all of them into one text, parted by AND"
        )
    return weights


def calc_cond_batch(
    executor: Any,
    model: Any,
    conds: list[Entries | None],
    x: Tensor,
    timestep: Tensor,
    options: dict[str, Any],
) -> list[Tensor]:
    """Join the predictions of AND parts as A1111 does; ComfyUI's CALC_COND_BATCH wrapper.

    Each becomes ``uncond + sum(weight * (part - uncond))``, which the guider then scales; the second of ``conds``
    is the negative, or what stands in its place in guiders with three.
    """
    weights = [() if i == 1 else weights_of(entries or ()) for i, entries in enumerate(conds)]
    if not any(weights):
        return executor(model, conds, x, timestep, options)
    flat: list[Entries | None] = []
    places: list[slice] = []
    for entries, each in zip(conds, weights, strict=True):
        parts = [[entry] for entry in entries or ()] if each else [entries]
        places.append(slice(len(flat), len(flat) + len(parts)))
        flat += parts
    out = executor(model, flat, x, timestep, options)
    uncond = out[places[1].start] if len(conds) > 1 and conds[1] is not None else None
    return [
        joined(out[place], each, uncond) if each else out[place.start]
        for place, each in zip(places, weights, strict=True)
    ]


def joined(denoised: Sequence[Tensor], weights: Sequence[float], uncond: Tensor | None) -> Tensor:
    """Return AND parts' predictions (B, …) as one, around ``uncond``; without one they are averaged by weight."""
    if uncond is None:
        total = sum(weights) or 1.0
        return torch.stack(
            [one * (weight / total) for one, weight in zip(denoised, weights, strict=True)]
        ).sum(0)
    whole = uncond.clone()
    for one, weight in zip(denoised, weights, strict=True):
        whole += (one - uncond) * weight
    return whole


WRAPPERS = {
    patcher_extension.WrappersMP.OUTER_SAMPLE: {KEY: [outer_sample]},
    patcher_extension.WrappersMP.PREDICT_NOISE: {KEY: [predict_noise]},
    patcher_extension.WrappersMP.CALC_COND_BATCH: {KEY: [calc_cond_batch]},
}
HOOK = hooks.TransformerOptionsHook({"wrappers": WRAPPERS})
GROUP = hooks.HookGroup()
GROUP.add(HOOK)
"""The one hook of all Concord conditionings: ComfyUI registers it once for a run, however many there are."""
