"""Schedules: the hosts' lists to the digit, and what holds for this project's own."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from golden import golden_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.errors import BadType, BadValue
from sd_concord.core.sigmas import CONVENTIONS, SCHEDULERS, ModelSigmas, get_sigmas, names_in
from sd_concord.core.sigmas.registry import Registry

FLUX = ModelSigmas.flow(math.exp(1.15), count=10_000)
MODELS = {
    "sd": ModelSigmas.sd(),
    "zsnr": ModelSigmas.zsnr(),
    "flow1": ModelSigmas.flow(1.0),
    "flow3": ModelSigmas.flow(3.0),
    "flux": FLUX,
}
HOSTS = {"comfy": "comfyui", "forge": "webui", "reforge": "reforge"}
RECORDED_AS = {
    "polyexponential2": ("polyexponential", {"rho": 2.0}),
    "oss_flux": ("oss", {}),
    "normal_scheduler": ("normal", {}),
    "simple_scheduler": ("simple", {}),
    "ddim_scheduler": ("ddim_uniform", {}),
    "beta_scheduler": ("beta", {}),
    "cosine_scheduler": ("cosine", {}),
    "phi_scheduler": ("phi", {}),
    "cosexpblend_scheduler": ("cosexpblend", {}),
    "get_sigmas_laplace": ("laplace", {}),
    "get_sigmas_karras_dynamic": ("karras_dynamic", {}),
    "get_sigmas_sinusoidal_sf": ("sinusoidal", {}),
    "get_sigmas_invcosinusoidal_sf": ("invcosinusoidal", {}),
    "get_sigmas_react_cosinusoidal_dynsf": ("react_cosinusoidal", {}),
    "ays_11_sigmas_sd1": ("ays_11_sd1", {}),
    "ays_11_sigmas_sdxl": ("ays_11", {}),
    "ays_32_sigmas_sd1": ("ays_32_sd1", {}),
    "ays_32_sigmas_sdxl": ("ays_32", {}),
    "get_align_your_steps_sigmas_sd1": ("align_your_steps_sd1", {}),
    "get_align_your_steps_sigmas_sdxl": ("align_your_steps", {}),
    "get_align_your_steps_sigmas_GITS_sd1": ("ays_gits_sd1", {}),
    "get_align_your_steps_sigmas_GITS_sdxl": ("ays_gits", {}),
}


@dataclass(frozen=True)
class Thing:
    name: str
    aliases: tuple[str, ...] = ()


STEPS = [1, 2, 3, 4, 7, 10, 12, 20, 33, 100, 1000, 1001, 3333, 10_000]


def recorded_schedules():
    """Return {(host, model, name, steps): sigmas} of the golden set."""
    folder = golden_dir("samplers")
    index = json.loads((folder / "schedules.json").read_text())
    with np.load(folder / "schedules.npz") as arrays:
        lists = np.split(arrays["flat"], np.cumsum(arrays["length"])[:-1])
    return {tuple(key.split("|")): values for key, values in zip(index["keys"], lists, strict=True)}


def recorded_models():
    """Return the models of the golden set."""
    with np.load(golden_dir("samplers") / "sigma_tables.npz") as arrays:
        svd = ModelSigmas.from_table(torch.as_tensor(arrays["svd"]))
    return {**MODELS, "svd": svd}


@pytest.mark.golden
@pytest.mark.parametrize("host", HOSTS)
def test_equals_the_hosts_list(host):
    models = recorded_models()
    checked = 0
    for (whose, kind, name, steps), wanted in recorded_schedules().items():
        if whose != host:
            continue
        own, options = ("gits", {"coeff": float(name[4:])}) if name.startswith("gits") else (name, {})
        own, options = RECORDED_AS.get(name, (own, options))
        got = get_sigmas(own, int(steps), models[kind], convention=HOSTS[host], **options).numpy()
        # Lists are made in float32 there, in float32 or float64 here.
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=0, err_msg=f"{kind} {name} {steps}")
        checked += 1
    assert checked > 100


@pytest.mark.golden
def test_equals_the_recorded_tables():
    with np.load(golden_dir("samplers") / "sigma_tables.npz") as arrays:
        for name in ("sd", "zsnr", "flow1", "flow3"):
            np.testing.assert_allclose(MODELS[name].table.numpy(), arrays[name], rtol=3e-7, atol=0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_gives_as_many_falling_sigmas_as_steps(name, kind):
    for n in STEPS:
        sigmas = get_sigmas(name, n, MODELS[kind])
        assert sigmas.shape == (n + 1,)
        assert sigmas.dtype == torch.float32
        assert sigmas[-1] == 0
        assert torch.isfinite(sigmas).all()
        assert (sigmas.diff() < 0).all(), n


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(SCHEDULERS)),
    n=st.integers(1, 10_000),
    model=st.sampled_from(sorted(MODELS)),
    denoise=st.floats(0.02, 1.0),
)
def test_gives_them_for_any_steps_of_image_to_image(name, n, model, denoise):
    count = min(int(n / denoise), 10_000)
    sigmas = get_sigmas(name, count, MODELS[model])
    assert len(sigmas) == count + 1
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "oss"])
@pytest.mark.parametrize("kind", MODELS)
def test_begins_at_the_models_largest_sigma(name, kind):
    for n in (1, 10, 25):
        first = float(get_sigmas(name, n, MODELS[kind])[0])
        assert first == pytest.approx(MODELS[kind].sigma_max, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "timesteps"),
    [
        ("align_your_steps", (999, 845, 730, 587, 443, 310, 193, 116, 53, 13)),
        ("align_your_steps_sd1", (999, 850, 736, 645, 545, 455, 343, 233, 124, 24)),
    ],
)
@pytest.mark.parametrize("kind", ["sd", "zsnr"])
def test_align_your_steps_goes_by_timestep(name, timesteps, kind):
    sigmas = get_sigmas(name, 10, MODELS[kind])
    wanted = [MODELS[kind].values[t] for t in timesteps]
    torch.testing.assert_close(sigmas[:-1], torch.tensor(wanted), rtol=1e-6, atol=0)


def test_align_your_steps_is_the_published_list_on_sd():
    published = [14.6146, 6.3184, 3.7682, 2.1811, 1.3405, 0.8621, 0.5551, 0.3798, 0.2332, 0.1114]
    torch.testing.assert_close(
        get_sigmas("ays", 10, MODELS["sd"])[:-1], torch.tensor(published), rtol=2e-4, atol=0
    )


def test_concord_agrees_with_the_hosts_where_these_are_right():
    for name in ("karras", "exponential", "polyexponential", "normal", "sgm_uniform", "kl_optimal", "phi"):
        host = "reforge" if name == "phi" else "comfyui"
        own, theirs = (get_sigmas(name, 20, MODELS["sd"], convention=c) for c in ("concord", host))
        torch.testing.assert_close(own, theirs, rtol=2e-6, atol=0)
    for n in (5, 10, 20):
        own, theirs = (get_sigmas("simple", n, MODELS["sd"], convention=c) for c in ("concord", "comfyui"))
        torch.testing.assert_close(own, theirs, rtol=1e-6, atol=0)


def test_karras_is_even_in_the_root():
    roots = get_sigmas("karras", 12, MODELS["sd"], rho=5.0)[:-1].double() ** (1 / 5)
    torch.testing.assert_close(roots.diff(), roots.diff()[0].expand(11), rtol=1e-4, atol=0)


def test_exponential_is_polyexponential_of_rho_1():
    pair = [get_sigmas(name, 12, MODELS["zsnr"]) for name in ("exponential", "polyexponential")]
    torch.testing.assert_close(*pair, rtol=1e-6, atol=0)


def test_kl_optimal_is_even_in_the_arc_tangent():
    arcs = get_sigmas("kl_optimal", 9, MODELS["sd"])[:-1].double().atan()
    torch.testing.assert_close(arcs.diff(), arcs.diff()[0].expand(8), rtol=1e-5, atol=0)


def test_laplace_lays_equal_probability_between_its_sigmas():
    mu, width = 0.3, 0.7
    logs = (get_sigmas("laplace", 40, MODELS["sd"], mu=mu, beta=width)[:-1].double().log() - mu) / width
    share = torch.where(logs < 0, 0.5 * logs.exp(), 1 - 0.5 * (-logs).exp())
    torch.testing.assert_close(share.diff(), share.diff()[0].expand(39), rtol=1e-3, atol=0)


def test_beta_1_1_is_even_in_timesteps():
    even = get_sigmas("beta", 8, MODELS["sd"], alpha=1.0, beta=1.0)
    model = MODELS["sd"]
    places = [model.index(float(sigma)) for sigma in even[:-1]]
    assert places == pytest.approx([999 * (1 - i / 8) for i in range(8)], abs=1e-3)


def test_bong_tangent_on_a_flow_is_the_hosts():
    own, theirs = (
        get_sigmas("bong_tangent", 20, MODELS["flow3"], convention=c) for c in ("concord", "comfyui")
    )
    torch.testing.assert_close(own, theirs)


def test_ends_of_a_schedule_can_be_set():
    sigmas = get_sigmas("karras", 5, MODELS["sd"], sigma_max=10.0, sigma_min=0.1)
    assert sigmas[[0, 4]].tolist() == pytest.approx([10.0, 0.1])


@pytest.mark.parametrize("n", [0, -1, 10_001])
def test_refuses_step_counts(n):
    with pytest.raises(BadValue, match=f"steps is {n}; pass 1 to 10000"):
        get_sigmas("karras", n, MODELS["sd"])


def test_refuses():
    sd = MODELS["sd"]
    with pytest.raises(BadValue, match=r"unknown scheduler 'karas'; did you mean karras.*Known: .*beta"):
        get_sigmas("karas", 5, sd)
    with pytest.raises(BadType, match=r"steps is 5.0"):
        get_sigmas("karras", 5.0, sd)
    with pytest.raises(BadValue, match="unknown convention 'a1111'; known: concord, comfyui, webui, reforge"):
        get_sigmas("karras", 5, sd, convention="a1111")
    with pytest.raises(BadValue, match=r"comfyui has no schedule 'phi'; it has .*karras"):
        get_sigmas("phi", 5, sd, convention="comfyui")
    with pytest.raises(BadValue, match="option of scheduler 'karras' 'roh'; did you mean rho"):
        get_sigmas("karras", 5, sd, roh=7)
    with pytest.raises(BadValue, match="option of scheduler 'normal' 'rho'"):
        get_sigmas("normal", 5, sd, rho=7)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("karras", {"rho": 0.0}, "rho is 0"),
        ("karras", {"sigma_max": 1.0, "sigma_min": 2.0}, "sigma_max is 1 and sigma_min 2"),
        ("beta", {"alpha": -1.0}, "alpha and beta are -1"),
        ("laplace", {"beta": 0.0}, "beta is 0"),
        ("linear_quadratic", {"threshold": 2.0}, "threshold is 2"),
        ("sinusoidal", {"power": 0.0}, "power is 0"),
        ("gits", {"coeff": 0.7}, "coeff is 0.7"),
        ("oss", {"family": "sdxl"}, "unknown family of OSS 'sdxl'"),
        ("bong_tangent", {}, "divides by zero"),
    ],
)
def test_refuses_options(name, options, message):
    convention = "comfyui" if name == "bong_tangent" else "concord"
    with pytest.raises(BadValue, match=message):
        get_sigmas(name, 1, MODELS["sd"], convention=convention, **options)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_is_declared_in_full(name):
    spec = SCHEDULERS[name]
    assert spec.label
    assert spec.source
    assert spec.run.__doc__
    assert spec.made_for in ("any", "sd", "flow")
    assert set(spec.hosts) <= set(CONVENTIONS)


def test_each_convention_lists_its_names():
    assert "linear_quadratic" in names_in("comfyui")
    assert "phi" in names_in("reforge")
    assert "phi" not in names_in("comfyui")
    assert names_in("concord") == list(SCHEDULERS)
    labels = [spec.label for spec in SCHEDULERS.values()]
    assert len(labels) == len(set(labels))


def test_a_declaration_may_be_repeated_but_not_stolen():
    table: Registry = Registry("thing")
    table.add(Thing("one", ("first",)))
    table.add(Thing("one", ("first", "1")))
    assert list(table) == ["one"]
    assert table["1"] is table["one"] is table.get("first")
    assert table.get("two") is None
    with pytest.raises(BadValue, match="thing 'two' wants the name 'first', which 'one' has"):
        table.add(Thing("two", ("first",)))
    with pytest.raises(BadValue, match="thing 'two' wants the name 'one', which 'one' has"):
        table.add(Thing("two", ("one",)))
