"""What guidance does with a network's predictions, to the last bit as each program computes it."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from sd_concord.core.guided_run import Given, GuidedDenoiser
from sd_concord.core.image import ConcordSettings, Generation
from sd_concord.core.prompt import Conditioning
from sd_concord.core.prompt.conditioning import ConditioningPart
from sd_concord.core.run import sampling_of
from sd_concord.core.sampling import sample
from sd_concord.core.sampling.steps import ancestral_split
from sd_concord.core.sigmas import ModelSigmas
from torch import Tensor

SD = ModelSigmas.sd()
SIGMA = torch.tensor(9.7183)
X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * 10


class Fake:
    """A network that predicts a bent line in what it is given; it keeps its inputs."""

    device, dtype, is_sdxl, takes_score = torch.device("cpu"), torch.float32, False, False

    def __init__(self, prediction: Literal["eps", "v"] = "eps") -> None:
        self.prediction: Literal["eps", "v"] = prediction
        self.inputs: list[Tensor] = []

    def __call__(self, x: Tensor, timestep: float, given: Given) -> Tensor:
        self.inputs.append(x)
        return (x * 0.9 + given.hidden.mean((1, 2))[:, None, None, None]).tanh()


def conditioning(value):
    part = ConditioningPart(
        weight=1.0, hidden=torch.full((1, 3, 5), value), pooled=None, lasts=(99,), rows=(0,)
    )
    return Conditioning(parts=(part,))


def guided(profile, network, cfg=7.0, **fields):
    record = Generation(seed=1, steps=8, cfg=cfg, concord=ConcordSettings(profile=profile), **fields)
    conds, unconds = [conditioning(0.3)], [conditioning(-0.2)]
    return GuidedDenoiser(network, conds, unconds, sampling_of(record, SD), (64, 64))


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("profile", ["forge", "comfyui", "a1111"])
def test_a_call_is_the_programs_to_the_last_bit(profile, prediction):
    """ComfyUI 0.3.64 and Forge f2.0.1 divide by a root, k-diffusion in A1111 1.9.4 multiplies by its inverse."""
    network = Fake(prediction)
    out = guided(profile, network)(X, SIGMA)
    square = SIGMA**2 + 1
    scaled = X * (1 / square**0.5) if profile == "a1111" else X / square**0.5
    assert torch.equal(network.inputs[0][:2], scaled)
    told = [Given(hidden=torch.full((2, 3, 5), value)) for value in (0.3, -0.2)]
    predicted = [Fake()(scaled, 0.0, given) for given in told]
    if prediction == "eps":
        cond, uncond = (X - one * SIGMA for one in predicted)
    elif profile == "a1111":
        cond, uncond = (one * (-SIGMA / square**0.5) + X * (1 / square) for one in predicted)
    else:
        cond, uncond = (X / square - one * SIGMA / square**0.5 for one in predicted)
    assert torch.equal(out, uncond + (cond - uncond) * 7.0)


def test_steps_of_euler_euler_a_and_heun_are_the_hosts_to_the_last_bit():
    sigmas = torch.tensor([14.6146, 5.7, 0.0])

    def clean(x, sigma):
        return (x * 0.1).tanh() * (1 + sigma / 100)

    def slope(x, sigma):
        return (x - clean(x, sigma)) / sigma

    steps = sigmas.diff()
    x = X + slope(X, sigmas[0]) * steps[0]
    up = (sigmas[1] ** 2 * (sigmas[0] ** 2 - sigmas[1] ** 2) / sigmas[0] ** 2) ** 0.5
    fresh = torch.randn(X.shape, generator=torch.Generator().manual_seed(2))
    down = (sigmas[1] ** 2 - up**2) ** 0.5
    ancestral = X + slope(X, sigmas[0]) * (down - sigmas[0]) + fresh * up
    out = sample("euler_ancestral", clean, X, sigmas, noise=lambda *_: fresh)
    assert torch.equal(out, clean(ancestral, sigmas[1]))
    by_heun = X + (slope(X, sigmas[0]) + slope(x, sigmas[1])) / 2 * steps[0]
    for name, state in (("euler", x), ("heun", by_heun)):
        assert torch.equal(sample(name, clean, X, sigmas), state + slope(state, sigmas[1]) * steps[1])


def test_the_ancestral_split_is_k_diffusions_to_the_last_bit():
    for sigma, sigma_next in (
        (14.614640235900879, 2.918307065963745),
        (0.9323579668998718, 0.029167160391807556),
    ):
        start, end = torch.tensor([sigma, sigma_next])
        up = torch.minimum(end, (end**2 * (start**2 - end**2) / start**2) ** 0.5)
        split = ancestral_split(sigma, sigma_next, 1.0, torch.float32)
        assert split == (float((end**2 - up**2) ** 0.5), float(up))


def test_forge_takes_zeros_for_a_negative_that_it_leaves_out():
    of_forge = guided("forge", Fake(), cfg=1.0, sampler="ddim_cfgpp")
    out, uncond = of_forge.with_uncond(X, SIGMA)
    assert torch.equal(out, guided("forge", Fake(), cfg=1.0)(X, SIGMA))
    assert not uncond.any()
    assert of_forge.calls == 1
    assert guided("comfyui", Fake(), cfg=1.0).with_uncond(X, SIGMA)[1].any()
    assert guided("forge", Fake(), cfg=3.0).with_uncond(X, SIGMA)[1].any()
