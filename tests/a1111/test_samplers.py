"""Samplers in the hosts' tables: names that no parser takes apart, flags, and a run that is the core's own."""

from inspect import signature
from types import SimpleNamespace

import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.image.names import OURS, sampler_name
from sd_concord.core.sampling import SAMPLERS, ModelSigmas, sample
from webui_fake import HOST_SAMPLERS

CHURN = {"s_churn", "s_tmin", "s_tmax", "s_noise"}
SIGMAS = torch.tensor([14.6, 6.0, 2.0, 0.6, 0.1, 0.0])


class Model:
    """A host's ``CFGDenoiser``: what it sees with the prompt is half of ``x``, without it a quarter."""

    def __init__(self, webui, *, p=None, patched=False):
        table = ModelSigmas.sd().table
        unet = SimpleNamespace(model_options={"kept": 1}, model=None)
        unet.set_model_sampler_post_cfg_function = lambda fn, disable_cfg1_optimization=False: (
            unet.model_options.update(post=[fn], disable_cfg1_optimization=disable_cfg1_optimization)
        )
        objects = {"forge_objects": SimpleNamespace(unet=unet)} if patched else {}
        self.unet, self.webui, self.mask = unet, webui, None
        self.inner_model = SimpleNamespace(sigmas=table, inner_model=SimpleNamespace(**objects))
        self.p = p or SimpleNamespace(is_hr_pass=False)
        self.step, self.total_steps, self.seen = 0, 5, []

    def __call__(self, x, sigma, **given):
        self.seen.append((float(sigma[0]), dict(given), self.step))
        self.step += 1
        guided, alone = x * 0.5, x * 0.25
        for heard in self.webui.callbacks["cfg_denoised"]:
            heard(SimpleNamespace(x=torch.cat([guided, guided, alone])))
        for look in self.unet.model_options.get("post", []):
            guided = look({"denoised": guided, "uncond_denoised": alone})
        return guided


class Rng:
    def __init__(self, shape=(1, 4, 4, 4)):
        self.made, self.shape = torch.Generator().manual_seed(3), shape

    def next(self):
        return torch.randn(self.shape, generator=self.made)


def ours(webui):
    """Return the core's name → the record of each sampler of ours."""
    found = [one for one in webui.sd_samplers.all_samplers if "concord" in one.options]
    return {one.options["concord"]: one for one in found}


@pytest.fixture
def webui(webui_fake):
    webui_fake.part("samplers").register()
    return webui_fake


@pytest.fixture
def x():
    return torch.randn((1, 4, 4, 4), generator=torch.Generator().manual_seed(1)) * 14.6


def run_of(webui, name):
    return ours(webui)[name].constructor(None).func


def plain(x, sigma):
    return x * 0.5


def test_each_is_there_once(webui):
    found = [one.options["concord"] for one in webui.sd_samplers.all_samplers if "concord" in one.options]
    assert sorted(found) == sorted(SAMPLERS)
    assert webui.sd_samplers.samplers is webui.sd_samplers.all_samplers


def test_a_label_is_the_fields_unless_the_host_has_one_like_it(webui):
    def fold(name):
        return "".join(sign for sign in name.casefold() if sign not in " _-")

    own = {fold(name) for name, _, _ in HOST_SAMPLERS[webui.shape]}
    for name, one in ours(webui).items():
        label = SAMPLERS[name].label
        assert one.name == (label + OURS if fold(label) in own else label)


def test_no_name_stands_for_two(webui):
    names = [one.name for one in webui.sd_samplers.all_samplers]
    assert len(set(names)) == len(names)
    for name, aliases, _ in HOST_SAMPLERS[webui.shape]:
        for word in (name, *aliases):
            assert webui.sd_samplers.samplers_map[word.lower()] == name


def test_the_core_reads_every_label(webui):
    assert {name: sampler_name(one.name) for name, one in ours(webui).items()} == {
        name: name for name in SAMPLERS
    }


def test_the_others_find_our_labels(webui):
    here = webui.part("labels").samplers_here()
    assert here == {name: one.name for name, one in ours(webui).items()}


@pytest.mark.parametrize("shape", ["a1111", "forge", "reforge"])
def test_no_label_is_taken_apart(make_webui, shape):
    """Over all labels, the host's own too, and all schedules, ours too."""
    webui = make_webui(shape)
    before = [one.name for one in webui.sd_samplers.all_samplers]
    read = webui.sd_samplers.get_sampler_and_scheduler
    safe = [name for name in before if read(name, "Automatic") == (name, "Automatic")]
    webui.part("samplers").register()
    webui.part("schedulers").register()
    fresh = [one.name for one in webui.sd_samplers.all_samplers if one.name not in before]
    for scheduler in webui.sd_schedulers.schedulers:
        for label in (*safe, *fresh):
            default = webui.sd_samplers.all_samplers_map[label].options.get("scheduler")
            wanted = "Automatic" if default == scheduler.name else scheduler.label
            assert read(label, scheduler.label) == (label, wanted)
            assert read(label, scheduler.name) == (label, wanted)


def test_the_host_is_told_what_it_needs(webui):
    found = {name: one.options for name, one in ours(webui).items()}
    assert {name for name, told in found.items() if told.get("second_order")} == {
        name for name, spec in SAMPLERS.items() if spec.second_order
    }
    assert {name for name, told in found.items() if told.get("discard_next_to_last_sigma")} == {
        "dpm_2",
        "dpm_2_ancestral",
        "dpmpp_3m_sde",
    }
    assert {name for name, told in found.items() if told.get("brownian_noise")} == {
        *("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "dpmpp_sde_cfg_pp"),
        "dpmpp_3m_sde_cfg_pp",
    }
    assert found["euler_ancestral"].get("uses_ensd")
    assert not found["euler"].get("uses_ensd")


def test_automatic_is_the_hosts_own_for_twins_and_ours_for_the_rest(webui):
    found = {name: one.options.get("scheduler") for name, one in ours(webui).items()}
    assert (found["euler"], found["dpmpp_2m"], found["dpmpp_3m_sde"]) == (None, "karras", "exponential")
    assert (found["seeds_2"], found["ddim_timesteps"]) == ("karras", "ddim_timesteps")


def test_what_the_host_passes_stands_in_the_signature(webui):
    def passed(name):
        return set(signature(run_of(webui, name)).parameters) - {"model", "x", "sigmas", "extra_args"}

    assert passed("euler") == {"callback", "disable", *CHURN}
    assert passed("euler_ancestral") == {"callback", "disable", "eta", "s_noise"}
    assert passed("dpmpp_2m_sde") == {"callback", "disable", "eta", "s_noise", "noise_sampler"}
    assert passed("dpm_fast") == {"callback", "disable", "eta", "s_noise"}  # with eta 1, as in the host
    assert passed("euler_cfg_pp") == {
        "callback",
        "disable",
        "s_noise",
    }  # an eta of 1 would make it another sampler
    extra = webui.sd_samplers_kdiffusion.sampler_extra_params
    assert set(extra[run_of(webui, "euler")]) == CHURN


def test_timestep_samplers_have_the_eta_of_ddim(webui):
    made = ours(webui)["ddim_timesteps"].constructor(None)
    assert (made.eta_option_field, made.eta_infotext_field, made.eta_default) == ("eta_ddim", "Eta DDIM", 0.0)


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "er_sde", "euler_ancestral", "restart"])
def test_a_run_is_the_cores(webui, x, name):
    model = Model(webui, p=SimpleNamespace(rng=Rng()))
    found = run_of(webui, name)(model, x, SIGMAS, {})
    rng = Rng()
    wanted = sample(name, plain, x, SIGMAS, noise=lambda sigma, sigma_next: rng.next())
    assert torch.equal(found, wanted)


def test_options_of_the_host_reach_the_core(webui, x):
    model = Model(webui, p=SimpleNamespace(rng=Rng()))
    found = run_of(webui, "euler_ancestral")(model, x, SIGMAS, {}, eta=0.5, s_noise=0.9)
    rng = Rng()
    wanted = sample("euler_ancestral", plain, x, SIGMAS, noise=lambda *_: rng.next(), eta=0.5, s_noise=0.9)
    assert torch.equal(found, wanted)


def test_the_hosts_form_of_a_sampler_is_run(webui, x):
    """LMS in the web UIs takes its polynomial through zero."""
    found = run_of(webui, "lms")(Model(webui), x, SIGMAS, {})
    assert torch.equal(found, sample("lms", plain, x, SIGMAS, through_zero=True))
    assert not torch.equal(found, sample("lms", plain, x, SIGMAS))


def test_brownian_noise_is_the_hosts_own(webui, x):
    asked = []

    def tree(sigma, sigma_next):
        asked.append((float(sigma), float(sigma_next)))
        return torch.ones_like(x)

    run_of(webui, "dpmpp_2m_sde")(Model(webui), x, SIGMAS, {}, noise_sampler=tree)
    assert asked[0] == (pytest.approx(14.6), pytest.approx(6.0))


def test_the_host_is_told_of_each_step(webui, x):
    told = []
    run_of(webui, "euler")(Model(webui), x, SIGMAS, {}, callback=told.append)
    assert [found["i"] for found in told] == [0, 1, 2, 3, 4]
    assert [float(found["sigma"]) for found in told] == pytest.approx(SIGMAS[:-1].tolist())
    assert all(found["x"].shape == found["denoised"].shape == x.shape for found in told)


def test_an_interrupt_of_the_host_ends_the_run(webui, x):
    interrupt = webui.sd_samplers_common.InterruptedException

    def stop(found):
        raise interrupt

    with pytest.raises(interrupt):
        run_of(webui, "euler")(Model(webui), x, SIGMAS, {}, callback=stop)


def test_conditions_that_the_host_changes_on_the_way_are_used(webui, x):
    """As when a refiner takes over: the host puts its conditions into the same dictionary."""
    given = {"cond": "first"}
    run_of(webui, "euler")(
        model := Model(webui), x, SIGMAS, given, callback=lambda found: given.update(cond=found["i"])
    )
    assert [found["cond"] for _, found, _ in model.seen] == ["first", 0, 1, 2, 3]


def test_the_count_of_calls_stays_within_what_the_host_has_planned(webui, x):
    """Beyond it the host takes the first prompt again."""
    model = Model(webui)
    run_of(webui, "heunpp2")(model, x, SIGMAS, {})
    assert len(model.seen) > 6
    assert max(step for _, _, step in model.seen) == model.total_steps


@pytest.mark.parametrize("name", [name for name, spec in SAMPLERS.items() if spec.needs_uncond])
def test_cfg_pp_is_given_what_is_seen_without_the_prompt(webui, x, name):
    class Pair:
        def __call__(self, x, sigma):
            return x * 0.5

        def with_uncond(self, x, sigma):
            return x * 0.5, x * 0.25

    patched = webui.shape != "a1111"
    model = Model(webui, p=SimpleNamespace(rng=Rng(), is_hr_pass=False), patched=patched)
    found = run_of(webui, name)(model, x, SIGMAS, {"uncond": 1})
    rng = Rng()
    assert torch.equal(found, sample(name, Pair(), x, SIGMAS, noise=lambda *_: rng.next()))
    assert model.unet.model_options == {"kept": 1}


@pytest.mark.parametrize("shape", ["forge", "reforge", "classic"])
@pytest.mark.parametrize("hires", [False, True])
def test_cfg_pp_asks_for_the_negative_prompt_that_the_host_leaves_out(make_webui, x, shape, hires):
    webui = make_webui(shape)
    webui.part("samplers").register()
    p = SimpleNamespace(rng=Rng(), is_hr_pass=hires, cfg_scale=1.0, hr_cfg=1.0, uc=None, hr_uc=None)

    def setup_conds():
        p.uc = None if p.cfg_scale == 1 else "negative"
        p.hr_uc = None if p.hr_cfg == 1 else "negative of hires"

    p.setup_conds = setup_conds
    model = Model(webui, p=p, patched=True)
    run_of(webui, "euler_cfg_pp")(model, x, SIGMAS, {"uncond": None})
    assert {found["uncond"] for _, found, _ in model.seen} == {"negative of hires" if hires else "negative"}
    assert (p.cfg_scale, p.hr_cfg) == (1.0, 1.0)


def test_cfg_pp_says_what_is_wrong_where_nothing_is_heard(make_webui, x):
    webui = make_webui("a1111")
    webui.part("samplers").register()
    webui.callbacks["cfg_denoised"].clear()
    with pytest.raises(BadValue, match="this host gives none"):
        run_of(webui, "euler_cfg_pp")(Model(webui), x, SIGMAS, {})


def test_no_request_is_heard_that_is_not_ours(make_webui, x):
    webui = make_webui("a1111")
    webui.part("samplers").register()
    run_of(webui, "euler_cfg_pp")(Model(webui, p=SimpleNamespace(rng=Rng())), x, SIGMAS, {})
    Model(webui)(x, torch.ones(1))
    assert webui.part("unguided")._listening == []


def test_a_mask_and_latents_of_other_sizes_do_not_go_together(webui, x):
    model = Model(webui)
    model.mask = torch.ones(1, 1, 4, 4)
    with pytest.raises(BadValue, match="cannot keep a mask"):
        run_of(webui, "euler_dy")(model, x, SIGMAS, {})


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_done_without_a_step(webui, x, count):
    assert run_of(webui, "euler")(Model(webui), x, SIGMAS[:count], {}) is x


def test_the_table_of_the_model_is_read(webui):
    read = webui.part("denoiser").model_sigmas
    for known in (ModelSigmas.sd(), ModelSigmas.zsnr(), ModelSigmas.flow(3.0)):
        found = read(SimpleNamespace(sigmas=known.table, predictor=SimpleNamespace(shift=known.shift)))
        assert torch.equal(found.table, known.table)
        assert (found.kind, found.shift) == (known.kind, known.shift)


def test_flux_keeps_the_logarithm_of_its_shift(webui):
    known = ModelSigmas.flow(3.0)
    predictor = SimpleNamespace(mu=torch.tensor(3.0).log().item())
    found = webui.part("denoiser").model_sigmas(SimpleNamespace(sigmas=known.table, predictor=predictor))
    assert found.shift == pytest.approx(3.0)
