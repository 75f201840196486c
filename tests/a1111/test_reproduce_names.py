"""What our web UI front writes of samplers and schedules is read back and gives the same run."""

from types import SimpleNamespace

import pytest
import torch
from sd_concord.core.image import parse_infotext
from sd_concord.core.profile_choice import with_profile
from sd_concord.core.profiles import PROFILES, sampler_of
from sd_concord.core.run import Sampling, sampling_of
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.sigmas import SCHEDULERS, ModelSigmas

VERSIONS = {"a1111": "v1.9.4", "forge": "f2.0.1v1.10.1-previous-669-gdfdcbab6", "reforge": "f1.0.5-v1.10.1"}
STEPS = 9
NEEDS_LIST = ("custom",)
"""Schedules that ask for an option which no dropdown has."""


@pytest.fixture(params=VERSIONS)
def webui(request, make_webui):
    webui = make_webui(request.param)
    webui.part("samplers").register()
    webui.part("schedulers").register()
    return webui


def read(webui, sampler, schedule=""):
    """What comes of the text that the host writes, under the profile that it asks for."""
    schedule = schedule and f"Schedule type: {schedule}, "
    text = f"a\nSteps: {STEPS}, Sampler: {sampler}, {schedule}CFG scale: 7, Seed: 1, RNG: CPU, "
    record = with_profile(parse_infotext(f"{text}Version: {VERSIONS[webui.shape]}"))
    assert record.concord.profile == webui.part("host").detect().profile
    return sampling_of(record, ModelSigmas.sd(), family="sd1")


def table_here(webui):
    model = ModelSigmas.sd()
    return model.with_float32_alphas() if webui.shape == "a1111" else model


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in NEEDS_LIST])
def test_a_schedule_of_ours_has_the_sigmas_that_the_web_ui_ran(webui, name):
    model = table_here(webui)
    label = webui.part("labels").schedulers_here()[name]
    wrap = SimpleNamespace(sigmas=model.table, inner_model=SimpleNamespace(is_sdxl=False), shift=1.0)
    found = webui.sd_schedulers.schedulers_map[label]
    ran = found.function(
        n=STEPS, sigma_min=model.sigma_min, sigma_max=model.sigma_max, inner_model=wrap, device="cpu"
    )
    torch.testing.assert_close(read(webui, "Euler", label).sigmas, ran, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_of_ours_is_run_as_the_web_ui_ran_it(webui, name):
    label = webui.part("labels").samplers_here()[name]
    config = webui.sd_samplers.all_samplers_map[label]
    run = read(webui, label, "Karras")
    _, habits = sampler_of(PROFILES[run.host.name], name)
    assert run.sampler.name == name
    assert dict(run.options) == dict(habits)
    assert run.schedule == "karras"
    assert len(run.sigmas) == STEPS + 1
    drops = bool(config.options.get("discard_next_to_last_sigma"))
    assert drops == (run.host.discards in run.sampler.discards_penultimate)


@pytest.mark.parametrize("name", SAMPLERS)
def test_automatic_is_what_the_web_ui_takes_for_it(webui, name):
    label = webui.part("labels").samplers_here()[name]
    wanted = webui.sd_samplers.all_samplers_map[label].options.get("scheduler")
    found = webui.sd_schedulers.schedulers_map.get(wanted)
    if found is None:  # the host's own even spacing, of which its text says nothing more
        assert read(webui, label, "Automatic").schedule == "normal"
    else:  # its label is what the text says
        run = read(webui, label, found.label)
        assert run.schedule.removesuffix("_sd1") == (getattr(found.function, "concord_name", None) or wanted)


def starts(run: Sampling) -> float:
    noise = torch.ones(1, 4, 2, 2)
    return float(run.start(noise).max() / run.sigmas[0])


def test_a_timestep_sampler_of_ours_begins_as_any_other(webui):
    """The host's own begins with a variance-preserving latent."""
    assert starts(read(webui, "DDIM (Concord)", "Karras")) == pytest.approx(1, abs=1e-6)
    assert starts(read(webui, "DDIM")) > 1.002


def test_step_noise_of_our_ddpm_is_each_images_own(make_webui):
    webui = make_webui("forge")
    noises = [read(webui, label, "Karras").noise((4, 2, 2)) for label in ("DDPM", "DDPM (Concord)")]
    (first, theirs), (same, ours) = noises
    assert torch.equal(first, same)
    assert not torch.equal(theirs(2.0, 1.0), ours(2.0, 1.0))
