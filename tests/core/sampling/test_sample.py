"""What holds for every sampler, and what ``sample`` refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_problems import BothAlike, mixture, options_without_noise
from sd_concord.core.errors import BadType, BadValue
from sd_concord.core.sampling import SAMPLERS, image_noise, sample, sampler
from sd_concord.core.sampling.dpm_solver import Adaptive, Controller
from sd_concord.core.sampling.steps import ancestral_step
from sd_concord.core.sigmas import ModelSigmas, get_sigmas
from torch.utils._python_dispatch import TorchDispatchMode

SHAPE = (2, 4, 6, 6)
FLOW = ModelSigmas.flow(3.0)


def toy(shape=SHAPE, flow=False):
    """Return a denoiser of latents of ``shape`` that is cheap, smooth and takes other sizes."""

    def denoise(x, sigma):
        a = 1 - sigma if flow else 1.0
        return (0.3 + a * 0.25 * (x - a * 0.3) / (a * a * 0.25 + sigma * sigma)).to(x.dtype)

    return BothAlike(denoise)


def start(shape=SHAPE, dtype=torch.float64, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def fixed_noise(shape=SHAPE):
    return image_noise(shape[1:], range(shape[0]))


def schedule(n=7, model=None):
    return get_sigmas("karras", n, model or ModelSigmas.sd()).double()


@pytest.mark.parametrize("name", SAMPLERS)
def test_leaves_what_it_is_given_alone(name):
    x, sigmas = start(), schedule()
    x = x * sigmas[0]
    before = x.clone(), sigmas.clone()
    told = []

    def on_step(i, sigma, x, denoised):
        told.append((x, denoised, x.clone(), denoised.clone()))

    sample(name, toy(), x, sigmas, noise=fixed_noise(), on_step=on_step)
    assert torch.equal(x, before[0])
    assert torch.equal(sigmas, before[1])
    assert told
    for x_told, denoised_told, x_then, denoised_then in told:
        assert torch.equal(x_told, x_then)
        assert torch.equal(denoised_told, denoised_then)


@pytest.mark.parametrize("name", SAMPLERS)
def test_two_runs_are_equal_and_a_picture_does_not_depend_on_its_batch(name):
    sigmas = schedule()
    x = start() * sigmas[0]
    one, two = (sample(name, toy(), x, sigmas, noise=fixed_noise()) for _ in range(2))
    assert torch.equal(one, two)
    if name != "dpm_adaptive":  # its steps follow the error of the whole batch
        alone = sample(name, toy(), x[1:], sigmas, noise=image_noise(SHAPE[1:], [1]))
        torch.testing.assert_close(alone, one[1:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SAMPLERS)
def test_half_precision_stays_finite_and_near(name, dtype):
    sigmas = schedule(8).float()
    x = start() * sigmas[0]
    seen = set()

    class Half(BothAlike):
        def __call__(self, x, sigma):
            seen.add(x.dtype)
            return super().__call__(x, sigma)

        def with_uncond(self, x, sigma):
            seen.add(x.dtype)
            return super().with_uncond(x, sigma)

    got = sample(name, Half(toy()), x.to(dtype), sigmas, noise=fixed_noise())
    exact = sample(name, toy(), x, sigmas, noise=fixed_noise())
    assert got.dtype == dtype
    assert seen == {dtype}
    assert torch.isfinite(got).all()
    # The toy contracts: its end is as exact as one rounding of its largest state to the dtype.
    assert (got.double() - exact).abs().max() < 60 * torch.finfo(dtype).eps


@pytest.mark.parametrize("model", [ModelSigmas.sd(), ModelSigmas.zsnr(), FLOW], ids=["sd", "zsnr", "flow"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_constant_is_preserved(name, model):
    """A model that always sees the same picture leads there, exactly, from anywhere."""
    spec = SAMPLERS[name]
    if model.is_flow and not spec.flow:
        return
    picture = start(seed=9)
    sigmas = get_sigmas("karras", 9, model).double()
    x = picture * model.alpha(float(sigmas[0])) + start() * sigmas[0]

    def denoise(x, sigma):
        return torch.nn.functional.interpolate(picture[: len(x)], size=x.shape[2:]).to(x.dtype)

    out = sample(name, BothAlike(denoise), x, sigmas, model=model, noise=fixed_noise())
    if SAMPLERS[name].resizes:
        torch.testing.assert_close(out, picture, rtol=0, atol=1e-9)
    elif name in ("dpm_fast", "dpm_adaptive", "uni_pc_timesteps", "uni_pc", "uni_pc_bh2"):
        left = float(sigmas[-2]) if name.startswith("dpm") else 0.001
        noise = (out - picture * (1 - left if model.is_flow else 1.0)) / left
        torch.testing.assert_close(noise.std(), start().std(), rtol=0.05, atol=0)
    else:
        torch.testing.assert_close(out, picture, rtol=0, atol=1e-9 * float(sigmas[0]))


@pytest.mark.parametrize("name", [n for n, spec in SAMPLERS.items() if n not in ("dpm_adaptive", "lcm")])
def test_ends_at_the_last_sigma_when_it_is_above_0(name):
    """The state left is the picture plus noise of just that sigma."""
    spec = SAMPLERS[name]
    picture = torch.full((1, 1, 40, 40), 0.5, dtype=torch.float64)
    sigmas = torch.tensor([10.0, 6.0, 3.0, 1.5, 0.8, 0.4], dtype=torch.float64)
    x = picture + 10 * start((1, 1, 40, 40))

    def denoise(x, sigma):
        return torch.full_like(x, 0.5)

    out = sample(name, BothAlike(denoise), x, sigmas, noise=image_noise((1, 40, 40), [5]))
    spread = float((out - picture).std())
    # The Dy samplers step further on purpose, and take noise out of the pixels they touch.
    low = 0.2 if spec.resizes else 0.36
    assert low < spread < 0.44, spread


def test_ddpm_is_euler_ancestral_and_the_two_names_of_2m_sde_heun_agree():
    sigmas = schedule(9)
    x = start() * sigmas[0]
    for one, two in (("ddpm", "euler_ancestral"), ("res_multistep_ancestral", "dpmpp_2m_sde_heun")):
        pair = [sample(name, toy(), x, sigmas, noise=fixed_noise()) for name in (one, two)]
        assert torch.equal(*pair)


@pytest.mark.parametrize("name", [n for n, spec in SAMPLERS.items() if spec.nfe and n != "restart"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 21])
def test_calls_the_denoiser_as_often_as_it_declares(name, n):
    calls = []

    class Counted(BothAlike):
        def __call__(self, x, sigma):
            calls.append(float(sigma))
            return super().__call__(x, sigma)

        def with_uncond(self, x, sigma):
            calls.append(float(sigma))
            return super().with_uncond(x, sigma)

    sigmas = schedule(n)
    sample(name, Counted(toy()), start() * sigmas[0], sigmas, noise=fixed_noise())
    assert len(calls) == SAMPLERS[name].nfe(n)


@pytest.mark.parametrize("n", [1, 5, 19, 20, 35, 36, 50])
def test_restart_calls_as_often_as_it_declares(n):
    calls = []

    def denoise(x, sigma):
        calls.append(float(sigma))
        return x * 0.5

    sigmas = schedule(n)
    sample("restart", denoise, start() * sigmas[0], sigmas, noise=fixed_noise())
    assert len(calls) == SAMPLERS["restart"].nfe(n)


@pytest.mark.parametrize("name", SAMPLERS)
def test_repeated_sigmas_do_not_break_a_run(name):
    sigmas = torch.tensor([10.0, 10.0, 4.0, 4.0, 4.0, 1.0, 0.3, 0.3, 0.0], dtype=torch.float64)
    out = sample(name, toy(), start() * 10, sigmas, noise=fixed_noise())
    assert torch.isfinite(out).all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(set(SAMPLERS) - {"dpm_adaptive"})),
    steps=st.lists(st.floats(1e-3, 50.0), min_size=2, max_size=8, unique=True),
    to_zero=st.booleans(),
)
def test_any_falling_sigmas_give_a_finite_latent(name, steps, to_zero):
    sigmas = torch.tensor(sorted(steps, reverse=True) + [0.0] * to_zero, dtype=torch.float64)
    out = sample(name, toy(), start() * sigmas[0], sigmas, noise=fixed_noise())
    assert out.shape == SHAPE
    assert torch.isfinite(out).all()


@given(sigma=st.floats(0.01, 1.0), share=st.floats(0.01, 0.999), eta=st.floats(0.0, 1.0), flow=st.booleans())
def test_an_ancestral_step_lands_on_the_next_sigma(sigma, share, eta, flow):
    sigma_next = sigma * share * (0.999 if flow else 1.0)
    down, scale, up = ancestral_step(sigma, sigma_next, eta, flow)
    assert 0 <= down <= sigma_next * (1 + 1e-12)
    assert (scale * down) ** 2 + up**2 == pytest.approx(sigma_next**2, rel=1e-9)
    if flow:
        assert scale * (1 - down) == pytest.approx(1 - sigma_next)


BAD_SIGMAS = {
    "rise": ([1.0, 2.0, 0.0], "rise from 1 to 2 at 1"),
    "nan": ([2.0, float("nan"), 0.0], r"sigmas\[1\] is nan"),
    "infinite": ([float("inf"), 1.0], r"sigmas\[0\] is inf"),
    "negative": ([1.0, -0.5], r"sigmas\[1\] is -0.5"),
    "zero inside": ([1.0, 0.0, 0.0], "only the last may be 0"),
    "one value": ([1.0], "steps \\+ 1 values"),
    "two dimensions": ([[1.0, 0.0]], "one dimension"),
}


@pytest.mark.parametrize(("values", "message"), BAD_SIGMAS.values(), ids=BAD_SIGMAS)
def test_refuses_bad_sigmas(values, message):
    with pytest.raises(BadValue, match=message):
        sample("euler", toy(), start(), torch.tensor(values))


def test_refuses_unknown_names_and_offers_near_ones():
    sigmas = schedule()
    with pytest.raises(BadValue, match=r"unknown sampler 'eular'; did you mean euler.*Known: .*dpmpp_2m"):
        sample("eular", toy(), start(), sigmas)
    with pytest.raises(BadValue, match=r"option of sampler 'euler' 's_churm'; did you mean s_churn"):
        sample("euler", toy(), start(), sigmas, s_churm=1.0)
    with pytest.raises(BadType, match="pass a number"):
        sample("euler", toy(), start(), sigmas, s_churn="much")
    with pytest.raises(BadValue, match="sampler 'dpmpp_2m_cfg_pp' 'eta'"):
        sample("dpmpp_2m_cfg_pp", toy(), start(), sigmas, eta=1.0)


def test_refuses_a_sampler_that_does_not_fit_the_model():
    with pytest.raises(BadValue, match=r"'plms' does not work on rectified-flow.*these do: .*euler"):
        sample("plms", toy(), start(), get_sigmas("simple", 4, FLOW), model=FLOW)
    with pytest.raises(BadValue, match=r"begin at 14.6.* flow model's end at 1"):
        sample("euler", toy(), start(), schedule(), model=FLOW)
    with pytest.raises(BadType, match="with_uncond"):
        sample("euler_cfg_pp", lambda x, sigma: x, start(), schedule())


def test_refuses_wrong_tensors():
    with pytest.raises(BadType, match="pass a floating-point latent"):
        sample("euler", toy(), torch.ones(1, 4, 8, 8, dtype=torch.int64), schedule())
    with pytest.raises(BadValue, match=r"shape \(4,\)"):
        sample("euler", toy(), torch.ones(4), schedule())
    with pytest.raises(BadType, match="pass a 1-D tensor"):
        sample("euler", toy(), start(), [1.0, 0.0])
    with pytest.raises(BadValue, match="must keep the shape"):
        sample("euler", lambda x, sigma: x[:1], start(), schedule())
    with pytest.raises(BadType, match="gave a tuple"):
        sample("euler", lambda x, sigma: (x,), start(), schedule())
    with pytest.raises(BadValue, match=r"step noise has shape \(1, 4, 6, 6\)"):
        sample("euler_ancestral", toy(), start(), schedule(), noise=image_noise(SHAPE[1:], [1]))
    with pytest.raises(BadValue, match="want \\(B, C, h, w\\)"):
        sample("euler_dy", toy(), torch.ones(2, 6), schedule())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "heun", "euler_cfg_pp"])
def test_nan_from_the_model_stops_the_run_and_says_where(name, bad):
    sigmas = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.0], dtype=torch.float64)
    seen = []

    def denoise(x, sigma):
        seen.append(float(sigma))
        return torch.where(torch.arange(x.numel()).reshape(x.shape) == 5, bad, x) if sigma == 2.0 else x

    with pytest.raises(BadValue, match=r"NaN or infinity at step [23] of 5 \(sigma 2\)"):
        sample(name, BothAlike(denoise), start(), sigmas, noise=fixed_noise())
    assert seen[-1] >= 1.0  # found at the next call, without a wait in this one


def test_nan_in_the_last_call_is_found_too():
    sigmas = torch.tensor([2.0, 1.0, 0.0])
    with pytest.raises(BadValue, match=r"step 2 of 2 \(sigma 1\)"):
        sample("euler", lambda x, s: x * (float("nan") if s == 1 else 1.0), start(), sigmas)


def test_large_but_finite_values_do_not_stop_a_half_precision_run():
    x = torch.full((1, 4, 64, 64), 60.0, dtype=torch.float16)
    out = sample("euler", lambda x, sigma: x, x, torch.tensor([2.0, 1.0, 0.0]))
    assert torch.equal(out, x)


class CountReads(TorchDispatchMode):
    """Counts the operator by which every comparison, ``float`` and ``item`` waits for a device."""

    reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_sampler_reads_a_tensor(name):
    sigmas, picture, noise = schedule(6), start(seed=4), fixed_noise()
    x = start() * sigmas[0]

    def denoise(x, sigma):
        return torch.nn.functional.interpolate(picture, size=x.shape[2:])

    with CountReads() as count:
        sample(name, BothAlike(denoise), x, sigmas, noise=noise)
    # dpm_adaptive alone must know the error of a step before the next.
    assert (count.reads > 0) == (name == "dpm_adaptive")


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_loop_waits_for_a_device(name):
    """On the meta device there are no numbers to read, compare or copy to the CPU: each of these raises."""
    spec = SAMPLERS[name]

    def denoise(x, sigma):
        assert isinstance(sigma, float)
        return torch.empty_like(x)

    given = {
        "noise": lambda sigma, sigma_next: torch.empty(SHAPE, device="meta"),
        "model": ModelSigmas.sd(),
        "options": spec.options and spec.options(),
        "on_step": lambda *step: None,
    }
    taken = {key: given[key] for key in spec.takes}
    x, sigmas = torch.empty(SHAPE, device="meta"), tuple(schedule(6).tolist())
    if name == "dpm_adaptive":  # must know the error of a step before the next
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            spec.run(BothAlike(denoise), x, sigmas, **taken)
    else:
        assert spec.run(BothAlike(denoise), x, sigmas, **taken).is_meta


@pytest.mark.parametrize("name", SAMPLERS)
def test_is_declared_in_full(name):
    spec = SAMPLERS[name]
    assert spec.label
    assert spec.source
    assert spec.kind in ("deterministic", "ancestral", "sde")
    assert spec.run.__doc__
    if spec.options:
        assert dataclasses.is_dataclass(spec.options)
        assert spec.options.__dataclass_params__.frozen
        assert spec.options.__doc__
        spec.options()


def test_labels_and_aliases_are_unique():
    labels = [spec.label for spec in SAMPLERS.values()]
    assert len(labels) == len(set(labels))
    for gpu in ("dpmpp_sde_gpu", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde_gpu"):
        assert gpu in SAMPLERS
        assert SAMPLERS[gpu] is SAMPLERS[gpu.removesuffix("_gpu")]
        assert gpu not in list(SAMPLERS)


def test_a_declaration_that_asks_for_too_much_is_refused():
    with pytest.raises(BadValue, match="asks for"):

        @sampler(name="wants_more", label="?", order=1, source="?")
        def sample_wants_more(denoise, x, sigmas, *, colour):
            return x

    with pytest.raises(BadValue, match="'other' wants the name 'euler', which 'euler' has"):

        @sampler(name="other", label="?", order=1, source="?", aliases=("euler",))
        def sample_other(denoise, x, sigmas):
            return x


def test_no_graph_is_kept():
    weight = torch.ones((), requires_grad=True)
    out = sample("ipndm", lambda x, sigma: x * weight, start(), schedule())
    assert not out.requires_grad


@pytest.mark.parametrize("name", ["dpmpp_2m", "euler_ancestral", "uni_pc"])
def test_the_denoiser_is_asked_with_a_cpu_scalar(name):
    kinds = set()

    def denoise(x, sigma):
        kinds.add((type(sigma), sigma.dtype, sigma.ndim, sigma.device.type))
        return x * 0.5

    sample(name, denoise, start(dtype=torch.float32), schedule().float())
    assert kinds == {(torch.Tensor, torch.float64, 0, "cpu")}


def test_without_options_every_sampler_takes_its_record_from_the_declaration():
    for name, spec in SAMPLERS.items():
        for key in options_without_noise(spec):
            assert key == "eta", name


def test_mixture_is_a_posterior_mean():
    denoiser = mixture(dim=2, components=3)
    x = torch.zeros(1, 2, dtype=torch.float64)
    assert torch.allclose(
        denoiser(x, torch.tensor(1e4)), denoiser.mu.T @ (denoiser.weights / denoiser.weights.sum())
    )


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2"])
def test_churn_raises_sigma_within_its_range(name):
    """With n steps, between s_tmin and s_tmax, sigma grows by min(s_churn / n, sqrt(2) - 1)."""
    sigmas = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    asked, drawn = [], []

    def denoise(x, sigma):
        asked.append(float(sigma))
        return torch.zeros_like(x)

    def noise(sigma, sigma_next):
        drawn.append((sigma, sigma_next))
        return torch.ones(SHAPE, dtype=torch.float64)

    told = []
    x = torch.zeros(SHAPE, dtype=torch.float64)
    options = {"s_churn": 0.8, "s_tmin": 1.5, "s_tmax": 5.0, "s_noise": 0.5}
    sample(name, denoise, x, sigmas, noise=noise, on_step=lambda i, s, x, d: told.append(x), **options)
    assert drawn == [(4.0, pytest.approx(4.8)), (2.0, pytest.approx(2.4))]
    assert {8.0, 1.0} <= set(asked)
    assert any(value == pytest.approx(4.8) for value in asked)
    assert float(told[0].max()) == 0
    assert float(told[1].max()) == pytest.approx(0.5 * (4.8**2 - 4.0**2) ** 0.5)
    asked.clear()
    sample(name, denoise, x, sigmas, noise=noise, s_churn=100.0)
    assert asked[0] == pytest.approx(8.0 * 2**0.5)


DRAWS = {
    "euler_ancestral": 1,
    "dpmpp_2m_sde": 1,
    "dpmpp_sde": 2,
    "seeds_2": 2,
    "seeds_3": 3,
    "exp_heun_2_x0_sde": 1,
    "dpmpp_sde_cfg_pp": 2,
    "dpmpp_3m_sde_cfg_pp": 1,
    "lcm": 1,
}


@pytest.mark.parametrize(("name", "draws"), DRAWS.items())
def test_draws_noise_once_a_stage_but_at_the_last_step(name, draws):
    drawn = []

    def noise(sigma, sigma_next):
        drawn.append((sigma, sigma_next))
        return torch.zeros(SHAPE, dtype=torch.float64)

    sigmas = schedule(6)
    sample(name, toy(), start() * sigmas[0], sigmas, noise=noise)
    assert len(drawn) == draws * 5
    assert all(sigma > sigma_next > 0 for sigma, sigma_next in drawn)


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_own_step_solvers_take_ancestral_noise(name):
    """On a constant picture the end has the noise of the last sigma, whatever eta."""
    picture = torch.full((1, 1, 48, 48), 0.5, dtype=torch.float64)
    x = picture + 10 * start((1, 1, 48, 48))
    sigmas = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.7, 0.5, 0.4], dtype=torch.float64)
    ends = {}
    for eta in (0.0, 0.7):
        noise = image_noise((1, 48, 48), [5])
        ends[eta] = sample(name, lambda x, sigma: torch.full_like(x, 0.5), x, sigmas, noise=noise, eta=eta)
        assert float((ends[eta] - picture).std()) == pytest.approx(0.4, rel=0.05)
    assert not torch.equal(ends[0.0], ends[0.7])


def test_the_step_controller_counts_a_noisy_run_as_order_one_and_a_half():
    assert Controller.of(Adaptive()).powers == (1 / 3, 0.0, 0.0)
    assert Controller.of(Adaptive(eta=1.0)).powers[0] == pytest.approx(1 / 1.5)
    control = Controller.of(Adaptive(h_init=0.1))
    assert control.accepts(0.01)
    assert control.h > 0.1
    assert not control.accepts(1e3)
