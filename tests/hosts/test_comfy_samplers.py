"""Concord's samplers and schedules in the real ComfyUI: in every menu, gone without a trace, and at work."""

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the models")
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.sigmas import SCHEDULERS

pytestmark = pytest.mark.hosts
SAMPLER_MENUS = ("KSampler", "KSamplerAdvanced", "KSamplerSelect")
SCHEDULER_MENUS = ("KSampler.scheduler", "KSamplerAdvanced.scheduler", "BasicScheduler")
STATES = {
    "alone": None,
    "after a pack that rebinds": "rebound before",
    "before one, and a reload": "rebound after",
}
NUMBERS_OF_THE_HOST = {
    **dict.fromkeys(("euler", "heun", "lms", "dpmpp_2m", "euler_ancestral", "dpmpp_2s_ancestral"), 1e-5),
    **dict.fromkeys(("dpmpp_2m_sde", "dpmpp_3m_sde", "euler_cfg_pp", "lcm", "ddpm"), 1e-5),
    "dpmpp_sde": 2e-3,  # its Brownian tree is asked at a middle that is rounded otherwise
}


@pytest.mark.parametrize("state", STATES)
def test_they_are_in_every_menu_behind_all_others(inside, state):
    menus = inside.facts[STATES[state]][1] if STATES[state] else inside.facts["menus"]
    for menu in SAMPLER_MENUS:
        assert [name for name in menus[menu] if name.startswith("concord_")] == [
            f"concord_{name}" for name in SAMPLERS
        ]
        assert menus[menu][0] == "euler"
    for menu in SCHEDULER_MENUS:
        assert [name for name in menus[menu] if name.startswith("concord_")] == [
            f"concord_{name}" for name in SCHEDULERS
        ]
        assert menus[menu][0] == "simple"


def test_no_name_of_the_host_is_lost_or_moved(inside):
    before, after = inside.facts["before"], inside.facts["after"]
    for key in ("samplers", "schedulers", "sampler_names", "scheduler_names"):
        assert after[key][: len(before[key])] == before[key]
        assert all(name.startswith("concord_") for name in after[key][len(before[key]) :])
    assert after["discards"] == before["discards"]


def test_a_second_registration_changes_nothing(inside):
    assert inside.facts["twice"] == inside.facts["after"]


def test_unloading_leaves_comfyui_as_it_was(inside):
    assert inside.facts["unloaded"] == inside.facts["before"]
    left = inside.facts["rebound unloaded"]
    assert left["samplers"] == [*inside.facts["before"]["samplers"], "other_sampler"]
    assert left["schedulers"] == [*inside.facts["before"]["schedulers"], "ays"]


def test_the_pack_takes_under_a_second_and_brings_no_heavy_party(inside):
    assert inside.facts["seconds"] < 1
    assert inside.facts["heavy"] == []


def test_a_reload_of_k_diffusion_leaves_our_functions(inside):
    functions = inside.facts["rebound after"][0]["functions"]
    assert {f"sample_concord_{name}" for name in SAMPLERS} <= set(functions)


def test_every_sampler_draws_in_ksampler(inside):
    found = inside.facts["finite"]
    assert found == dict.fromkeys((f"concord_{name}" for name in SAMPLERS), True)


def test_every_schedule_has_its_steps_at_any_number(inside):
    assert inside.facts["schedules"] == dict.fromkeys((f"concord_{name}" for name in SCHEDULERS), True)


@pytest.mark.parametrize("name", NUMBERS_OF_THE_HOST)
def test_with_the_same_formula_it_is_the_hosts_sampler(inside, name):
    # the noise of every step included, and for CFG++ the negative's prediction
    assert inside.facts[f"alike/{name}"] < NUMBERS_OF_THE_HOST[name]


@pytest.mark.parametrize("kind", ["flow", "zsnr"])
def test_flow_and_zero_terminal_snr_are_seen_in_the_hosts_model(inside, kind):
    # the first step of zero terminal SNR goes from sigma 4519 to 60, where ComfyUI's sum loses digits
    assert inside.facts[f"{kind} alike"] < (1e-3 if kind == "zsnr" else 1e-5)
    for name, found in inside.facts.items():
        if name.startswith(f"{kind}/"):
            fits = kind == "zsnr" or SAMPLERS[name.partition("/")[2]].flow
            assert found is True if fits else "flow" in found, (name, found)
