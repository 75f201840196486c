"""The guider: prompts by call, AND, guidance, and what of it other packs can still change."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from comfy_fake import FakeComfy
from sd_concord.core.prompt import Conditioning
from sd_concord.core.prompt.conditioning import ConditioningPart
from sd_concord.core.run import Guidance
from torch import Tensor

X = torch.zeros(2, 4, 2, 2)


def cond(*values: float, lasts: tuple[int, ...] = (0,), weight: float = 1.0) -> ConditioningPart:
    hidden = torch.stack([torch.full((77, 3), value) for value in values])
    return ConditioningPart(
        weight=weight, hidden=hidden, pooled=None, lasts=lasts, rows=tuple(range(len(values))), past_end=0
    )


class Host:
    """What the guider asks of ComfyUI: a model that returns the first number of what it is told."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []

    def calc_cond_batch(
        self, model: Any, conds: list[Any], x: Tensor, sigma: Tensor, options: Any
    ) -> list[Tensor]:
        self.calls.append([float(entry["cross_attn"].mean()) for [entry] in conds])
        return [
            x + entry["cross_attn"].mean((1, 2)).view(-1, 1, 1, 1) * (torch.ones_like(x).cumsum(-1))
            for [entry] in conds
        ]

    def sampling_function(
        self,
        model: Any,
        x: Tensor,
        sigma: Tensor,
        negative: Any,
        positive: Any,
        scale: float,
        model_options: Any,
        seed: Any,
    ) -> Tensor:
        alone = scale == 1.0 and not model_options.get("disable_cfg1_optimization")
        conds = [positive, None if alone else negative]
        asked = {"conds": conds, "input": x, "sigma": sigma, "model": model, "model_options": model_options}
        whole, base = model_options["sampler_calc_cond_batch_function"](asked)
        return base + (whole - base) * scale


class CFGGuider:
    inner_model = None

    def __init__(self, model: Any) -> None:
        self.model = model

    def set_conds(self, positive: Any, negative: Any) -> None:
        self.conds = {
            kind: [{**told, "cross_attn": hidden} for hidden, told in entries]
            for kind, entries in (("positive", positive), ("negative", negative))
        }

    def __call__(self, x: Tensor, sigma: Tensor, model_options: Any, seed: Any) -> Tensor:
        return self.predict_noise(x, sigma, model_options, seed)  # type: ignore[attr-defined]


@pytest.fixture
def host(fake_comfy: FakeComfy) -> Host:
    host, samplers = Host(), fake_comfy.samplers
    samplers.CFGGuider = CFGGuider
    samplers.calc_cond_batch = host.calc_cond_batch
    samplers.sampling_function = host.sampling_function
    return host


@pytest.fixture
def module(fake_comfy: FakeComfy, host: Host) -> ModuleType:
    return fake_comfy.module("guider")


def denoiser(module: ModuleType, positive: Any, guidance: Guidance, **more: Any) -> Any:
    side = module.Side(conds=[Conditioning(parts=tuple(positive))], told={}, **more)
    other = module.Side(conds=[Conditioning(parts=(cond(-1.0),))], told={})
    return module.HostDenoiser(module.guider(None, side, other, guidance), {"seed": 1})


def seen(out: Tensor) -> float:
    return float(out[0, 0, 0, 0])


def test_the_texts_of_a_call_are_what_the_model_is_told(module: ModuleType, host: Host) -> None:
    asked = denoiser(module, [cond(1.0, 2.0, 3.0, lasts=(0, 2, 3))], Guidance(scale=4.0))
    for _ in range(6):
        asked(X, torch.tensor(1.0))
    assert [call[0] for call in host.calls] == [1, 2, 2, 3, 1, 1]
    assert asked.calls == 6


def test_parts_add_up_by_their_weights_times_the_scale(module: ModuleType, host: Host) -> None:
    asked = denoiser(module, [cond(2.0), cond(5.0, weight=0.5)], Guidance(scale=3.0))
    assert seen(asked(X, torch.tensor(1.0))) == pytest.approx(-1 + 3 * (1.0 * 3 + 0.5 * 6))
    assert host.calls == [[2.0, 5.0, -1.0]]


@pytest.mark.parametrize(
    ("weights", "skips", "calls", "wanted"),
    [
        ((1.0,), False, 1, 2.0),
        ((1.0, 0.5), False, 3, -1 + 3 + 0.5 * 6),
        ((1.0, 0.5), True, 2, 2 + 0.5 * 5),
        ((0.5, 0.5), False, 2, 0.5 * 2 + 0.5 * 5),
    ],
)
def test_at_scale_one_the_negative_is_asked_only_where_it_counts(
    module: ModuleType, host: Host, weights: Any, skips: bool, calls: int, wanted: float
) -> None:
    parts = [cond(value, weight=weight) for value, weight in zip((2.0, 5.0), weights, strict=False)]
    asked = denoiser(module, parts, Guidance(scale=1.0, skips_negative=skips))
    assert seen(asked(X, torch.tensor(1.0))) == pytest.approx(wanted)
    assert len(host.calls[0]) == calls


def test_cfg_plus_plus_gets_the_negative_at_scale_one_too(module: ModuleType, host: Host) -> None:
    asked = denoiser(module, [cond(2.0)], Guidance(scale=1.0, skips_negative=True))
    guided, uncond = asked.with_uncond(X, torch.tensor(1.0))
    assert (seen(guided), seen(uncond)) == (2.0, -1.0)


def test_guidance_is_off_outside_its_interval(module: ModuleType, host: Host) -> None:
    asked = denoiser(module, [cond(2.0)], Guidance(scale=3.0, low=1.0, high=5.0))
    assert [seen(asked(X, torch.tensor(sigma))) for sigma in (9.0, 2.0, 0.5)] == [2.0, 8.0, 2.0]


def test_rescaling_goes_towards_the_positives_deviation(module: ModuleType, host: Host) -> None:
    plain = denoiser(module, [cond(2.0)], Guidance(scale=3.0))(X, torch.tensor(1.0))
    whole = denoiser(module, [cond(2.0)], Guidance(scale=3.0, rescale=1.0))(X, torch.tensor(1.0))
    assert float(plain[0].std() / whole[0].std()) == pytest.approx(8 / 2)


def test_a_batch_may_have_a_prompt_each(module: ModuleType, host: Host) -> None:
    conds = [Conditioning(parts=(cond(value),)) for value in (2.0, 5.0)]
    sides = [module.Side(conds=conds, told={"width": 8}), module.Side(conds=conds, told={})]
    guider = module.guider(None, *sides, Guidance(scale=1.0))
    out = module.HostDenoiser(guider, {})(X, torch.tensor(1.0))
    assert [float(one[0, 0, 0]) for one in out] == [2.0, 5.0]
    assert guider.conds["positive"][0]["width"] == 8


def test_hooks_that_change_make_entries_of_their_own(module: ModuleType, host: Host) -> None:
    positive = [cond(1.0)]
    side = module.Side(
        conds=[Conditioning(parts=tuple(positive))],
        told={},
        hooks=lambda call: f"hooks {call > 2}",
        state=lambda call: int(call > 2),
    )
    assert [entry[1]["hooks"] for entry in side.entries((2,))] == ["hooks False", "hooks True"]


def test_what_runs_is_opened_with_the_latent_and_the_callback(module: ModuleType) -> None:
    given = []

    def body(denoiser: Any, latent: Tensor, callback: Any) -> Tensor:
        given.append((denoiser.calls, latent, callback))
        return latent + 1

    out = module.Opened(body).sample(None, None, {}, "callback", None, X)
    assert torch.equal(out, X + 1)
    assert given == [(0, X, "callback")]
