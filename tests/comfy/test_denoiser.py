"""Samplers of the core as ComfyUI calls them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_fake import FakeComfy
from sd_concord.core.errors import BadValue
from sd_concord.core.sampling import SAMPLERS, sample
from sd_concord.core.sigmas import ModelSigmas, get_sigmas
from torch import Tensor

SIGMAS = get_sigmas("karras", 5, ModelSigmas.sd())


class Model:
    """ComfyUI's chain of model, guider and base model; what it sees at sigma is known."""

    def __init__(self) -> None:
        sampling = SimpleNamespace(sigmas=ModelSigmas.sd().table)
        self.inner_model = SimpleNamespace(inner_model=SimpleNamespace(model_sampling=sampling))
        self.asked: list[tuple[Tensor, dict[str, Any]]] = []

    def __call__(self, x: Tensor, sigma: Tensor, **given: Any) -> Tensor:
        self.asked.append((sigma, given))
        denoised = x / (1 + sigma[:, None, None, None] ** 2)
        for run in given.get("model_options", {}).get("sampler_post_cfg_function", ()):
            denoised = run({"denoised": denoised, "uncond_denoised": denoised / 2})
        return denoised


def latent() -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * float(SIGMAS[0])


def function(comfy: FakeComfy, name: str) -> Any:
    return comfy.module("denoiser").sampler_function(SAMPLERS[name])


def core(x: Tensor, sigma: Tensor) -> Tensor:
    return x / (1 + sigma.to(x) ** 2)


def test_it_runs_as_in_the_core(fake_comfy: FakeComfy) -> None:
    out = function(fake_comfy, "dpmpp_2m")(Model(), latent(), SIGMAS)
    assert (out - sample("dpmpp_2m", core, latent(), SIGMAS)).abs().max() < 1e-6


def test_what_the_host_passes_reaches_the_model(fake_comfy: FakeComfy) -> None:
    model = Model()
    given = {"seed": 5, "model_options": {"a": 1}, "denoise_mask": None}
    function(fake_comfy, "euler")(model, latent(), SIGMAS, extra_args=given)
    assert all(extra == given for _, extra in model.asked)
    assert [sigma.tolist() for sigma, _ in model.asked] == [[float(s)] * 2 for s in SIGMAS[:-1]]


def test_options_reach_the_sampler_and_unknown_ones_are_refused(fake_comfy: FakeComfy) -> None:
    run = function(fake_comfy, "euler_ancestral")
    plain, none = run(Model(), latent(), SIGMAS), run(Model(), latent(), SIGMAS, eta=0.0)
    assert not torch.equal(plain, none)
    with pytest.raises(BadValue, match="rho"):
        run(Model(), latent(), SIGMAS, rho=7.0)


def test_each_step_is_told_as_the_host_wants_it(fake_comfy: FakeComfy) -> None:
    told: list[dict[str, Any]] = []
    function(fake_comfy, "heun")(Model(), latent(), SIGMAS, callback=told.append)
    assert [one["i"] for one in told] == [0, 1, 2, 3, 4]
    assert [float(one["sigma"]) for one in told] == SIGMAS[:-1].tolist()
    assert told[0]["x"].shape == told[0]["denoised"].shape
    assert all(set(one) == {"x", "i", "sigma", "sigma_hat", "denoised"} for one in told)


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_step_the_latent_comes_back(fake_comfy: FakeComfy, count: int) -> None:
    x = latent()
    assert function(fake_comfy, "euler")(Model(), x, SIGMAS[:count]) is x


def test_it_may_end_above_zero(fake_comfy: FakeComfy) -> None:
    assert function(fake_comfy, "dpmpp_2m")(Model(), latent(), SIGMAS[:3]).isfinite().all()


def drawn(comfy: FakeComfy, name: str, own: Any = None, sigmas: Tensor = SIGMAS) -> Tensor:
    noise = comfy.module("denoiser").host_noise(SAMPLERS[name], latent(), sigmas, 7, own)
    return noise(float(SIGMAS[0]), float(SIGMAS[1]))


def test_step_noise_is_the_hosts(fake_comfy: FakeComfy) -> None:
    wanted = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    assert torch.equal(drawn(fake_comfy, "euler_ancestral"), wanted)
    assert torch.equal(drawn(fake_comfy, "dpmpp_2m_sde"), torch.ones(2, 4, 8, 8))
    assert torch.equal(drawn(fake_comfy, "dpmpp_2m_sde", sigmas=SIGMAS[-2:]), wanted)


def test_a_noise_source_that_is_brought_is_used(fake_comfy: FakeComfy) -> None:
    def own(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return torch.full((2, 4, 8, 8), float(sigma - sigma_next))

    assert torch.equal(drawn(fake_comfy, "dpmpp_2m_sde", own), own(*SIGMAS[:2]))


def test_the_source_is_looked_up_when_it_is_needed(fake_comfy: FakeComfy) -> None:
    fake_comfy.k_diffusion.default_noise_sampler = lambda x, seed: lambda *_: torch.zeros_like(x)
    assert not drawn(fake_comfy, "euler_ancestral").any()


def test_cfg_pp_gets_the_negative_from_the_hosts_hook(fake_comfy: FakeComfy) -> None:
    class Pair:
        __call__ = staticmethod(core)

        def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            return core(x, sigma), core(x, sigma) / 2

    model, options = Model(), {"transformer_options": {}}
    out = function(fake_comfy, "euler_cfg_pp")(model, latent(), SIGMAS, extra_args={"model_options": options})
    assert (out - sample("euler_cfg_pp", Pair(), latent(), SIGMAS)).abs().max() < 1e-5
    assert all(given["model_options"]["disable_cfg1_optimization"] for _, given in model.asked)
    assert options == {"transformer_options": {}}


def test_a_guider_without_the_hook_is_named(fake_comfy: FakeComfy) -> None:
    model = Model()
    model.__class__ = type("Plain", (Model,), {"__call__": lambda self, x, sigma, **given: x / 2})
    with pytest.raises(BadValue, match="CFG\\+\\+"):
        function(fake_comfy, "euler_cfg_pp")(model, latent(), SIGMAS)


def test_a_sampler_of_several_sizes_refuses_a_mask(fake_comfy: FakeComfy) -> None:
    with pytest.raises(BadValue, match="mask"):
        function(fake_comfy, "euler_dy")(
            Model(), latent(), SIGMAS, extra_args={"denoise_mask": torch.ones(1)}
        )
