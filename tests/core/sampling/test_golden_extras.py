"""Runs recorded from k-diffusion, the web UIs' timestep samplers and restart.

Their sigmas were not recorded: the schedules here agree to float32, and the runs to what that makes of them.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from golden import golden_dir
from sampler_problems import load_golden
from sd_concord.core.sampling import sample
from sd_concord.core.sigmas import ModelSigmas, get_sigmas

pytestmark = pytest.mark.golden

SD = ModelSigmas.sd()
TIMESTEP_FORMS = {
    "ddim": ("ddim_timesteps", {}),
    "ddim_eta1": ("ddim_timesteps", {"eta": 1.0}),
    "ddim_cfgpp": ("ddim_cfgpp", {}),
    "plms": ("plms", {}),
    "unipc": ("uni_pc_timesteps", {}),
}


def recorded(group):
    """Return the recorded runs whose key begins with ``group``, as {rest of the key: array}."""
    folder = golden_dir("samplers")
    index = json.loads((folder / "extras.json").read_text())
    with np.load(folder / "extras.npz") as arrays:
        flat = arrays["flat"]
    ends = np.cumsum([int(np.prod(shape)) for shape in index["shape"]])
    parts = np.split(flat, ends[:-1])
    return {
        tuple(key.split("|")[1:]): part.reshape(shape)
        for key, part, shape in zip(index["keys"], parts, index["shape"], strict=True)
        if key.startswith(group + "|")
    }


def close(got, wanted, tolerance):
    """Check the largest error relative to the largest value, at least 1."""
    assert np.abs(got.numpy() - wanted).max() <= tolerance * max(1.0, np.abs(wanted).max())


def test_k_diffusion():
    runs = recorded("kdiffusion")
    assert len(runs) >= 100
    for (name, schedule, den, steps), wanted in runs.items():
        denoiser, noise, unit = load_golden(golden_dir("samplers")).problem(den, "sd", torch.float64)
        sigmas = get_sigmas(schedule, int(steps), SD, convention="webui").double()
        options = {"through_zero": True} if name == "lms" else {}
        out = sample(name, denoiser, unit * float(sigmas[0]), sigmas, noise=noise, **options)
        close(out, wanted, 5e-6)


def test_restart():
    runs = recorded("a1111")
    for (kind, den, steps, *_), wanted in runs.items():
        denoiser, noise, unit = load_golden(golden_dir("samplers")).problem(den, "sd", torch.float64)
        sigmas = get_sigmas("karras", int(steps), SD, convention="webui").double()
        out = sample("restart", denoiser, unit * float(sigmas[0]), sigmas, noise=noise)
        if kind == "restart":
            close(out, wanted, 5e-6)
        else:
            assert denoiser.calls == int(wanted[0])


@pytest.mark.parametrize("form", TIMESTEP_FORMS)
def test_timestep_samplers(form):
    """They run on variance-preserving latents, and stop at the first timesteps instead of 0."""
    name, options = TIMESTEP_FORMS[form]
    schedule = "uni_pc_timesteps" if form == "unipc" else "ddim_timesteps"
    runs = {key: wanted for key, wanted in recorded("forge_timesteps").items() if key[0] == form}
    assert runs
    for (_, den, steps, precision), wanted in runs.items():
        denoiser, noise, unit = load_golden(golden_dir("samplers")).problem(den, "sd", torch.float64)
        denoiser.scale = 7.5 / 12.5
        sigmas = get_sigmas(schedule, int(steps), SD, convention="webui").double()
        out = sample(name, denoiser, unit * (1 + sigmas[0] ** 2).sqrt(), sigmas, noise=noise, **options)
        close(out / (1 + sigmas[-1] ** 2).sqrt(), wanted, 1e-6 if precision == "64" else 1e-5)


IN_VAIN = ("res_multistep", "res_multistep_cfg_pp", "dpm_fast", "dpm_adaptive", "heunpp2")
"""Samplers for which ComfyUI draws noise that it then multiplies by 0."""


def noise_calls():
    """Return ComfyUI's recorded runs of all its samplers, but the one whose steps depend on the model."""
    calls = json.loads((golden_dir("noise_sigmas") / "comfyui_noise_calls.json").read_text())
    return [call for call in calls if call["sampler"] != "dpm_adaptive"]


@pytest.mark.parametrize("call", noise_calls(), ids=lambda call: f"{call['sampler']}-{call['scheduler']}")
def test_asks_the_model_and_draws_noise_where_comfyui_does(call):
    asked, drawn = [], []

    class Flat:
        def __call__(self, x, sigma):
            asked.append(float(sigma))
            return x * 0.1

        def with_uncond(self, x, sigma):
            return self(x, sigma), x * 0.05

    def noise(sigma, sigma_next):
        drawn.append([sigma, sigma_next])
        return torch.zeros(1, 4, 8, 8)

    sigmas = torch.tensor(call["sigmas"])
    if call["sampler"].startswith("uni_pc"):
        sigmas[-1] = 0.0  # recorded after the host wrote 0.001 into its own list
    sample(call["sampler"], Flat(), torch.ones(1, 4, 8, 8) * sigmas[0], sigmas, noise=noise)
    assert asked == pytest.approx(call["unet_sigmas"], rel=1e-5)
    if call["sampler"] not in IN_VAIN:
        np.testing.assert_allclose(np.reshape(drawn, (-1, 2)), np.reshape(call["draws"], (-1, 2)), rtol=1e-5)
