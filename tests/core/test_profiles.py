"""What a run is in each host: noise, start, sigmas, samplers; A1111's and Forge's against their recordings."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from golden import golden_dir
from sd_concord.core.errors import BadValue
from sd_concord.core.profiles import (
    PROFILES,
    Profile,
    Run,
    Seeds,
    end_of,
    noise_of,
    profile,
    sampler_of,
    schedule_of,
    sigmas_of,
    start_of,
    table_of,
)
from sd_concord.core.sampling import SAMPLERS, Variation, batch_noise, brownian_tree, image_noise
from sd_concord.core.sampling.lcm import lcm_scalings
from sd_concord.core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas

SD, FLOW = ModelSigmas.sd(), ModelSigmas.flow(3.0)
SHAPE = (4, 8, 8)
SCHEDULE_OF_LABEL = {spec.label: name for name, spec in SCHEDULERS.items()} | {"Uniform": "normal"}


def recorded(host):
    """Return [(request, options, x0, sigma)] of the text-to-image runs of a web UI."""
    folder = golden_dir("pictures") / host
    index = json.loads((folder / "index.json").read_text())
    with np.load(folder / "latents.npz") as arrays:
        found = []
        for entry in index["entries"]:
            if entry["endpoint"] == "txt2img" and not entry["request"].get("enable_hr"):
                options = index["common_options"] | entry.get("options", {})
                x0, sigma = arrays[f"{entry['id']}/x0"], arrays[f"{entry['id']}/sigma"]
                found.append((entry["request"], options, x0, sigma))
    return found


def seeds_of(request, options):
    """Return the seeds of a recorded request."""
    batch, strength = request.get("batch_size", 1), request.get("subseed_strength", 0)
    height, width = request.get("seed_resize_from_h", 0), request.get("seed_resize_from_w", 0)
    subseeds = [request.get("subseed", 0) + i for i in range(batch)]
    return Seeds(
        seed=request["seed"],
        batch=batch,
        source={"CPU": "cpu", "NV": "philox"}[options["randn_source"]],
        ensd=options["eta_noise_seed_delta"],
        variation=Variation(subseeds, strength) if strength else None,
        resize_from=(height, width) if height > 0 else None,
    )


@pytest.mark.golden
@pytest.mark.parametrize("name", ["forge", "a1111"])
def test_runs_begin_as_recorded(name):
    host = profile(name)
    checked = 0
    for request, options, x0, sigma in recorded(name):
        spec, _ = sampler_of(host, request["sampler_name"])
        label = request.get("scheduler", "Automatic")
        schedule = schedule_of(host, spec, SCHEDULE_OF_LABEL.get(label, label), "sd1")
        own = {key: options[key] for key in ("rho", "sigma_min", "sigma_max") if options[key]}
        run = Run(discard=options["always_discard_next_to_last_sigma"] or None)
        sigmas = sigmas_of(host, spec, schedule, request["steps"], SD, run=run, **own)
        shape = (4, request["height"] // 8, request["width"] // 8)
        first, _ = noise_of(host, spec, shape, seeds_of(request, options), sigmas)
        start = start_of(host, spec, first, float(sigmas[0]), table_of(host, SD))
        if spec.timesteps and name == "a1111":  # recorded in its own unit variance, with timesteps
            start = start / math.sqrt(1 + float(sigmas[0]) ** 2)
        elif spec.nfe and spec.nfe(6) == 6 and not spec.timesteps and spec.name != "dpm_fast":
            np.testing.assert_allclose(sigmas[: len(sigma)].numpy(), sigma, rtol=1e-5, atol=0)
            assert len(sigmas) == len(sigma) + 1
        if options["s_churn"] == 0:
            assert np.abs(start.numpy() - x0).max() <= 1e-6 * np.abs(x0).max()
        checked += 1
    assert checked >= 35


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_has_a_run_in_every_profile(name, sampler):
    host = profile(name)
    spec, options = sampler_of(host, sampler)
    assert set(options) <= {field.name for field in dataclasses.fields(spec.options)} if options else True
    sigmas = sigmas_of(host, spec, schedule_of(host, spec, "karras"), 10, SD)
    first, noise = noise_of(host, spec, SHAPE, Seeds(seed=1, batch=2), sigmas)
    assert first.shape == (2, *SHAPE)
    assert noise(float(sigmas[0]), float(sigmas[1])).shape == (2, *SHAPE)
    start = start_of(host, spec, first, float(sigmas[0]), SD)
    assert float(start.std()) == pytest.approx(float(sigmas[0]), rel=0.1)
    assert end_of(host, spec, start, float(sigmas[-1])).shape == start.shape


def test_verified_and_not():
    assert {name for name, host in PROFILES.items() if host.verified} == {
        "concord",
        "a1111",
        "forge",
        "comfyui",
    }
    assert {"a1111-1.10", "reforge", "forge-classic"} <= set(PROFILES)
    assert all(host.name == name for name, host in PROFILES.items())


def test_unknown_profiles_are_offered_near_ones():
    with pytest.raises(
        BadValue, match=r"unknown profile 'comfy'; did you mean comfyui.*Known: concord, a1111"
    ):
        profile("comfy")
    with pytest.raises(BadValue, match="unknown sampler 'ddym'"):
        Profile(name="x", label="X", sampler_forms=(("ddim", "ddym"),))


def test_a1111s_table_differs_in_the_sixth_digit():
    table = table_of(profile("a1111"), SD)
    assert table.sigma_max == pytest.approx(14.614642143249512, rel=1e-9)
    assert table.sigma_min == pytest.approx(0.02916753478348255, rel=1e-9)
    assert table_of(profile("forge"), SD) is SD
    assert table_of(profile("a1111"), FLOW) is FLOW


def test_lcm_of_the_web_uis_knows_fifty_timesteps():
    spec = SAMPLERS["lcm"]
    table = table_of(profile("forge"), SD, spec)
    assert len(table.values) == 50
    assert table.values[0] == SD.values[19]
    assert table.values[-1] == SD.values[999]
    assert len(table_of(profile("comfyui"), SD, spec).values) == 1000


def test_lcm_scalings():
    assert lcm_scalings(0.0) == (1.0, 0.0)
    skip, out = lcm_scalings(499.0)
    assert skip == pytest.approx(0.25 / (4990.0**2 + 0.25))
    assert skip + out**2 == pytest.approx(1.0)


def test_names_mean_what_the_host_means():
    a1111, comfyui = profile("a1111"), profile("comfyui")
    assert sampler_of(a1111, "DDIM")[0].name == "ddim_timesteps"
    assert sampler_of(a1111, "ddim")[0].name == "ddim_timesteps"
    assert sampler_of(comfyui, "ddim")[0].name == "ddim"
    assert sampler_of(a1111, "UniPC")[0].name == "uni_pc_timesteps"
    assert sampler_of(a1111, "lms")[1] == {"through_zero": True}
    assert sampler_of(comfyui, "lms")[1] == {}
    assert sampler_of(a1111, "dpmpp_2m_sde_gpu")[0].name == "dpmpp_2m_sde"


def test_automatic_schedules():
    a1111 = profile("a1111")
    chosen = {name: schedule_of(a1111, SAMPLERS[name], "Automatic") for name in ("dpmpp_2m", "euler", "plms")}
    assert chosen == {"dpmpp_2m": "karras", "euler": "normal", "plms": "ddim_timesteps"}
    assert schedule_of(a1111, SAMPLERS["dpmpp_3m_sde"], None) == "exponential"
    assert schedule_of(profile("comfyui"), SAMPLERS["heun"], None) == SAMPLERS["heun"].scheduler
    assert schedule_of(a1111, SAMPLERS["euler"], "ays", "sd1") == "align_your_steps_sd1"
    assert schedule_of(a1111, SAMPLERS["euler"], "ays", "sdxl") == "align_your_steps"


def test_noise_layouts():
    sigmas = get_sigmas("karras", 5, SD)
    spec, seeds = SAMPLERS["euler_ancestral"], Seeds(seed=7, batch=2, source="cpu")
    first, noise = noise_of(profile("a1111"), spec, SHAPE, seeds, sigmas)
    own = image_noise(SHAPE, [7, 8])
    assert torch.equal(first, own.first())
    assert torch.equal(noise(2.0, 1.0), own.next())
    first, noise = noise_of(profile("comfyui"), spec, SHAPE, seeds, sigmas)
    assert torch.equal(first, batch_noise((2, *SHAPE), 7).first())
    assert torch.equal(noise(2.0, 1.0), first)


def test_sde_noise():
    sigmas = get_sigmas("karras", 5, SD)
    steps = (float(sigmas[0]), float(sigmas[1]))
    spec, seeds = SAMPLERS["dpmpp_2m_sde"], Seeds(seed=7, batch=2, source="cpu")
    tree = brownian_tree(sigmas, [7, 8], SHAPE)(*steps)
    _, noise = noise_of(profile("a1111"), spec, SHAPE, seeds, sigmas)
    assert torch.equal(noise(*steps), tree)
    _, noise = noise_of(profile("a1111"), SAMPLERS["dpmpp_sde"], SHAPE, seeds, sigmas)
    gap = (noise(*steps) - tree).abs().max()
    assert 0 < gap < 0.01  # it is asked at sigmas that went through float32's log and back
    _, noise = noise_of(profile("comfyui"), spec, SHAPE, seeds, sigmas)
    assert not torch.equal(noise(*steps)[1], brownian_tree(sigmas, [7, 8], SHAPE)(*steps)[1])
    _, noise = noise_of(profile("concord"), spec, SHAPE, seeds, sigmas)
    assert noise(*steps).shape == (2, *SHAPE)
    _, noise = noise_of(profile("a1111"), spec, SHAPE, seeds, torch.tensor([14.6, 0.0]))
    assert noise(14.6, 0.0).shape == (2, *SHAPE)


def test_the_web_uis_draw_like_a_card_by_default():
    sigmas = get_sigmas("karras", 5, SD)
    first, _ = noise_of(profile("a1111"), SAMPLERS["euler"], SHAPE, Seeds(seed=7), sigmas)
    assert torch.equal(first, image_noise(SHAPE, [7], "philox").first())


def test_a_variation_shares_the_seed():
    varied = Seeds(seed=7, batch=3, variation=Variation([1, 2, 3], 0.2))
    assert list(varied.each()) == [7, 7, 7]
    assert list(Seeds(seed=7, batch=3, variation=Variation([1], 0.0)).each()) == [7, 8, 9]


def test_starts():
    noise, spec = torch.ones(1, *SHAPE), SAMPLERS["euler"]
    most = SD.sigma_max
    by = {name: start_of(profile(name), spec, noise, most, SD).mean().item() for name in ("a1111", "comfyui")}
    assert by["a1111"] == pytest.approx(most)
    assert by["comfyui"] == pytest.approx(math.sqrt(1 + most**2))
    assert start_of(profile("comfyui"), spec, noise, 5.0, SD).mean() == pytest.approx(5.0)
    latent = torch.full((1, *SHAPE), 3.0)
    assert start_of(profile("a1111"), spec, noise, 5.0, SD, latent=latent).mean() == pytest.approx(8.0)
    assert start_of(profile("comfyui"), spec, noise, 0.25, FLOW, latent=latent).mean() == pytest.approx(2.5)
    with pytest.raises(BadValue, match="latent is"):
        start_of(profile("a1111"), spec, noise, 5.0, SD, latent=latent[:, :2])


def test_timestep_samplers_begin_and_end_in_unit_variance_in_the_web_uis():
    noise, spec = torch.ones(1, *SHAPE), SAMPLERS["plms"]
    start = start_of(profile("forge"), spec, noise, 2.0, SD)
    assert start.mean() == pytest.approx(math.sqrt(5))
    assert end_of(profile("forge"), spec, start, 2.0).mean() == pytest.approx(1.0)
    assert torch.equal(end_of(profile("concord"), spec, start, 2.0), start)
    assert start_of(profile("concord"), spec, noise, 2.0, SD).mean() == pytest.approx(2.0)


def test_step_rules():
    spec = SAMPLERS["euler"]
    lengths = {}
    for name in ("a1111", "comfyui"):
        for kind in ("text", "image", "hires"):
            sigmas = sigmas_of(profile(name), spec, "karras", 20, SD, run=Run(kind=kind, strength=0.5))
            lengths[name, kind] = len(sigmas) - 1
    assert lengths == {
        ("a1111", "text"): 20,
        ("a1111", "image"): 11,
        ("a1111", "hires"): 20,
        ("comfyui", "text"): 20,
        ("comfyui", "image"): 20,
        ("comfyui", "hires"): 20,
    }


def test_discard_rules():
    def discards(name, sampler, **run):
        spec = SAMPLERS[sampler]
        sigmas = sigmas_of(profile(name), spec, "karras", 10, SD, run=Run(**run))
        return float(sigmas[-2]) > 0.04

    assert discards("a1111", "dpmpp_3m_sde")
    assert not discards("comfyui", "dpmpp_3m_sde")
    assert discards("comfyui", "uni_pc")
    assert not discards("concord", "dpm_2")
    assert discards("concord", "dpm_2", discard=True)
    assert not discards("a1111", "dpm_2", discard=False)
