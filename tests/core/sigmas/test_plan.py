"""The sigmas of one run: strength, discarded steps, splits."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from golden import golden_dir
from sd_concord.core.errors import BadValue
from sd_concord.core.sigmas import ModelSigmas, get_sigmas
from sd_concord.core.sigmas.plan import (
    drop_penultimate,
    extend,
    run_sigmas,
    sd_turbo_sigmas,
    split,
    split_by_strength,
    tail_of,
)

MODELS = {
    "sd": ModelSigmas.sd(),
    "zsnr": ModelSigmas.zsnr(),
    "flow3": ModelSigmas.flow(3.0),
    "flux1.15": ModelSigmas.flow(math.exp(1.15), count=10_000),
}
SD = MODELS["sd"]
AYS = {"SD1": "ays_sd1", "SDXL": "ays", "SVD": "ays_svd"}
FORMULAE = {
    "KarrasScheduler": ("karras", ("sigma_max", "sigma_min", "rho")),
    "ExponentialScheduler": ("exponential", ("sigma_max", "sigma_min")),
    "PolyexponentialScheduler": ("polyexponential", ("sigma_max", "sigma_min", "rho")),
    "LaplaceScheduler": ("laplace", ("sigma_max", "sigma_min", "mu", "beta")),
    "BetaSamplingScheduler": ("beta", ("alpha", "beta")),
    "VPScheduler": ("vp", ("beta_d", "beta_min", "eps_s")),
}


def recorded():
    """Return [(case, sigmas)] of ComfyUI."""
    folder = golden_dir("noise_sigmas")
    index = json.loads((folder / "comfyui.json").read_text())
    with np.load(folder / "comfyui.npz") as arrays:
        flat, offset = arrays["sigmas/flat"], arrays["sigmas/offset"]
    return [(case, flat[offset[k] : offset[k + 1]]) for k, case in enumerate(index["sigmas"])]


def list_of(case):
    """Return this project's list of a recorded case."""
    path, model = case["path"], MODELS.get(case.get("model", "sd"), SD)
    steps = case.get("steps", 10)
    if path in ("KSampler", "BasicScheduler"):
        return run_sigmas(
            case["scheduler"],
            steps,
            model,
            denoise=case["denoise"],
            rule="ksampler" if path == "KSampler" else "basic",
            discard_penultimate=case.get("discard_penultimate", False),
            convention="comfyui",
        )
    if path in FORMULAE:
        name, inputs = FORMULAE[path]
        sigmas = get_sigmas(name, steps, model, convention="comfyui", **{key: case[key] for key in inputs})
        return sigmas[:-1] if name == "laplace" else sigmas
    if path == "AlignYourStepsScheduler":
        whole = get_sigmas(AYS[case["model_type"]], steps, SD, convention="comfyui")
        return tail_of(whole, case["denoise"])
    if path == "GITSScheduler":
        return tail_of(
            get_sigmas("gits", steps, SD, convention="comfyui", coeff=case["coeff"]), case["denoise"]
        )
    if path == "SDTurboScheduler":
        return sd_turbo_sigmas(steps, model, case["denoise"])
    return edited(path, get_sigmas("karras", 10, SD, convention="comfyui"))


def edited(path, base):
    """Return ``base`` after the node that ``path`` names."""
    word, *numbers = path.split()
    if word == "SplitSigmas":
        return split(base, int(numbers[0]))[numbers[1] == "low"]
    if word == "SplitSigmasDenoise":
        return split_by_strength(base, float(numbers[0]))[numbers[1] == "low"]
    if word == "SetFirstSigma":
        return torch.cat([torch.tensor([float(numbers[0])]), base[1:]])
    parts, start, end, spacing = numbers
    return extend(base, int(parts), above=float(end), below=float(start), spacing=spacing)


@pytest.mark.golden
def test_equals_comfyuis_lists():
    cases = recorded()
    assert len(cases) > 300
    for case, wanted in cases:
        got = list_of(case).numpy()
        assert got.shape == wanted.shape, case
        if case["ok"]:
            np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=0, err_msg=str(case))
        else:
            assert np.isnan(got).any(), case


def test_strength_keeps_the_last_steps():
    whole = get_sigmas("karras", 20, SD)
    assert torch.equal(run_sigmas("karras", 10, SD, denoise=0.5), whole[-11:])
    assert torch.equal(run_sigmas("karras", 20, SD, denoise=1.0), whole)
    assert len(run_sigmas("karras", 20, SD, denoise=0.0)) == 0


def test_many_steps_at_little_strength_stay_within_what_can_be_laid_out():
    assert len(run_sigmas("karras", 500, SD, denoise=0.01)) == 501


@pytest.mark.parametrize(("strength", "calls"), [(0.0, 1), (0.3, 7), (0.75, 16), (1.0, 20)])
def test_the_web_uis_take_a_share_of_the_steps_and_one(strength, calls):
    sigmas = run_sigmas("karras", 20, SD, denoise=strength, rule="webui")
    assert len(sigmas) - 1 == calls
    assert torch.equal(sigmas, get_sigmas("karras", 20, SD)[-(calls + 1) :])


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
def test_the_web_uis_can_be_told_to_do_every_step(strength):
    sigmas = run_sigmas("karras", 20, SD, denoise=strength, rule="webui_exact")
    assert len(sigmas) - 1 == 20
    assert torch.equal(sigmas, get_sigmas("karras", int(20 / min(strength, 0.999)), SD)[-21:])


def test_no_step_at_no_strength_by_the_exact_rule():
    assert len(run_sigmas("karras", 20, SD, denoise=0.0, rule="webui_exact")) == 0


def test_discarding_takes_out_the_last_sigma_above_0_of_one_more_step():
    sigmas = run_sigmas("karras", 8, SD, discard_penultimate=True)
    whole = get_sigmas("karras", 9, SD)
    assert len(sigmas) == 9
    assert torch.equal(sigmas, drop_penultimate(whole))
    assert float(whole[-2]) not in sigmas.tolist()


def test_refuses_strengths_and_spacings():
    with pytest.raises(BadValue, match=r"denoise is 1.5"):
        run_sigmas("karras", 8, SD, denoise=1.5)
    with pytest.raises(BadValue, match="spacing 'square' in 3 parts"):
        extend(get_sigmas("karras", 8, SD), 3, spacing="square")


def test_extend_cuts_each_step():
    sigmas = torch.tensor([8.0, 4.0, 0.0])
    assert extend(sigmas, 2).tolist() == [8.0, 6.0, 4.0, 2.0, 0.0]
    assert extend(sigmas, 2, above=5.0).tolist() == [8.0, 6.0, 4.0, 0.0]


def test_a_list_that_is_too_long_is_cut_by_the_node_but_not_by_ksampler():
    asked = {"convention": "comfyui"}
    assert len(run_sigmas("ddim_uniform", 7, SD, rule="ksampler", **asked)) == 9
    assert len(run_sigmas("ddim_uniform", 7, SD, rule="basic", **asked)) == 8
    # The node takes a strength just below 1 for what it is; KSampler takes it for 1.
    assert len(run_sigmas("ddim_uniform", 7, SD, rule="ksampler", denoise=0.99995, **asked)) == 9
