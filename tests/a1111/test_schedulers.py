"""Schedules in the hosts' tables, and fused with samplers in a host that has no table."""

from types import SimpleNamespace

import pytest
import torch
from sd_concord.core.image.names import OURS, scheduler_name, split_fused
from sd_concord.core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas
from webui_fake import HOST_SAMPLERS, HOST_SCHEDULERS

SHAPES = ("a1111", "forge", "reforge")


@pytest.fixture(params=SHAPES)
def webui(request, make_webui):
    webui = make_webui(request.param)
    webui.part("schedulers").register()
    return webui


def fold(name):
    return "".join(sign for sign in name.casefold() if sign not in " _-")


def ours(webui):
    found = [one for one in webui.sd_schedulers.schedulers if hasattr(one.function, "concord_name")]
    return {one.function.concord_name: one for one in found}


def wrap(model, *, sdxl=False):
    """Return a host's wrapped model."""
    return SimpleNamespace(sigmas=model.table, inner_model=SimpleNamespace(is_sdxl=sdxl), shift=model.shift)


def laid_out(one, n, model, *, sdxl=False, **more):
    given = {"sigma_min": model.sigma_min, "sigma_max": model.sigma_max, **more}
    return one.function(n=n, **given, inner_model=wrap(model, sdxl=sdxl), device="cpu")


def test_each_is_there_once(webui):
    found = [one.function.concord_name for one in webui.sd_schedulers.schedulers[len(own(webui)) :]]
    assert sorted(found) == sorted(SCHEDULERS)
    for one in ours(webui).values():
        table = webui.sd_schedulers.schedulers_map
        assert table[one.name] is one
        assert table[one.label] is one


def own(webui):
    return HOST_SCHEDULERS[webui.shape]


def test_a_label_is_the_fields_unless_the_host_has_one_like_it(webui):
    taken = {fold(name) for row in own(webui) for name in (*row[:2], *(row[2] or []))}
    for name, one in ours(webui).items():
        label = SCHEDULERS[name].label
        assert one.label == (label + OURS if fold(label) in taken else label)
        assert one.name == (f"concord_{name}" if fold(name) in taken else name)


def test_the_core_reads_every_label(webui):
    assert {name: scheduler_name(one.label) for name, one in ours(webui).items()} == {
        name: name for name in SCHEDULERS
    }


def test_the_others_find_our_labels(webui):
    assert webui.part("labels").schedulers_here() == {name: one.label for name, one in ours(webui).items()}


def test_none_is_the_end_of_a_samplers_name(webui):
    webui.part("samplers").register()
    for one in ours(webui).values():
        for name in (one.label, one.name):
            for sampler in webui.sd_samplers.all_samplers:
                assert not sampler.name.lower().endswith(f" {name.lower()}")


@pytest.mark.parametrize(
    "model", [ModelSigmas.sd(), ModelSigmas.zsnr(), ModelSigmas.flow(3.0)], ids=["eps", "zsnr", "flow"]
)
def test_the_numbers_are_the_cores(webui, model):
    for name, one in ours(webui).items():
        wanted = f"{name}_sd1" if f"{name}_sd1" in SCHEDULERS else name
        found = laid_out(one, 7, model)
        assert torch.equal(found, get_sigmas(wanted, 7, model)), name
        assert found.shape == (8,)


@pytest.mark.parametrize("sdxl", [False, True])
def test_align_your_steps_is_the_models_family(webui, sdxl):
    found = laid_out(ours(webui)["align_your_steps"], 10, ModelSigmas.sd(), sdxl=sdxl)
    wanted = "align_your_steps" if sdxl else "align_your_steps_sd1"
    assert torch.equal(found, get_sigmas(wanted, 10, ModelSigmas.sd()))


def test_settings_of_the_host_are_followed(webui):
    model, one = ModelSigmas.sd(), ours(webui)["karras"]
    assert one.default_rho == 7
    found = laid_out(one, 7, model, sigma_min=0.1, sigma_max=10.0, rho=5.0)
    assert torch.equal(found, get_sigmas("karras", 7, model, sigma_min=0.1, sigma_max=10.0, rho=5.0))


def test_ends_a_hair_off_the_models_are_its_own(webui):
    """The hosts hand the table's ends over as they have them, other in the seventh digit."""
    model = ModelSigmas.sd()
    found = laid_out(ours(webui)["karras"], 7, model, sigma_max=model.sigma_max * (1 + 1e-6))
    assert torch.equal(found, get_sigmas("karras", 7, model))


def test_a_schedule_without_ends_of_its_own_ignores_them(webui):
    model = ModelSigmas.sd()
    found = laid_out(ours(webui)["simple"], 7, model, sigma_min=0.1)
    assert torch.equal(found, get_sigmas("simple", 7, model))


@pytest.fixture
def classic(make_webui):
    webui = make_webui("classic")
    webui.part("samplers").register()
    webui.part("schedulers").register()
    return webui


def fused(webui):
    part = webui.part("schedulers")
    wanted = len(part.FUSED_SAMPLERS) * len(part.FUSED_SCHEDULES)
    return webui.sd_samplers.all_samplers[-wanted:], wanted


def test_a_host_without_a_table_gets_fused_names(classic):
    found, wanted = fused(classic)
    names = {one.name for one in found}
    assert len(names) == wanted == 30
    assert not names & {name for name, _, _ in HOST_SAMPLERS["classic"]}
    assert "DEIS Align Your Steps" in names
    assert "Euler SGM Uniform (Concord)" in names  # the host has "Euler SGMUniform"


def test_the_core_takes_fused_names_apart(classic):
    part = classic.part("schedulers")
    wanted = {(sampler, schedule) for sampler in part.FUSED_SAMPLERS for schedule in part.FUSED_SCHEDULES}
    assert {split_fused(one.name) for one in fused(classic)[0]} == wanted


def sampler_of(webui, name):
    config = webui.sd_samplers.all_samplers_map[name]
    made = config.constructor(None)
    made.config, made.model_wrap = config, wrap(ModelSigmas.sd())
    return made


def test_a_fused_sampler_lays_its_schedule_out(classic):
    made = sampler_of(classic, "Euler Beta")
    p = SimpleNamespace(sampler_noise_scheduler_override=None)
    assert torch.equal(made.get_sigmas(p, 6), get_sigmas("beta", 6, ModelSigmas.sd()))


def test_sigmas_that_a_request_brings_come_first(classic):
    made = sampler_of(classic, "Euler Beta")
    p = SimpleNamespace(sampler_noise_scheduler_override=lambda steps: torch.arange(steps, -1.0, -1))
    assert made.get_sigmas(p, 3).tolist() == [3, 2, 1, 0]


def test_a_setting_of_the_host_drops_the_last_sigma_above_0(classic):
    made = sampler_of(classic, "Euler Beta")
    classic.opts.set("always_discard_next_to_last_sigma", True)
    p = SimpleNamespace(sampler_noise_scheduler_override=None)
    wanted = get_sigmas("beta", 7, ModelSigmas.sd())
    assert torch.equal(made.get_sigmas(p, 6), torch.cat([wanted[:-2], wanted[-1:]]))
    assert p.sampler_noise_scheduler_override is None
