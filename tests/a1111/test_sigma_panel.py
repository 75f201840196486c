"""The panel "Concord Sigmas": what it does to a request, what it records, and that nothing of it is left behind."""

from types import SimpleNamespace

import pytest
import torch
from sd_concord.core.image import ConcordSettings, Generation, format_infotext, parse_infotext
from sd_concord.core.image.keys import KEYS
from sd_concord.core.image.pairs import read_pairs
from sd_concord.core.run import sampling_of
from sd_concord.core.sampling import SAMPLERS, ModelSigmas
from sd_concord.core.sampling.guidance import multiply_sigmas
from sd_concord.core.sigmas import get_sigmas

NEUTRAL = (1.0, 0.0, 1.0, 0.0, "", "", "")
NAMES = ("factor", "start", "end", "tail_power", "sigmas", "sampler_options", "schedule_options")


@pytest.fixture(params=["a1111", "forge", "reforge", "classic"])
def webui(request, make_webui):
    return registered(make_webui(request.param))


@pytest.fixture
def forge(make_webui):
    return registered(make_webui("forge"))


def registered(webui):
    for part in ("samplers", "schedulers"):
        webui.part(part).register()
    return webui


def request(webui, sampler="Euler", scheduler="Automatic", kind="Txt2Img", **more):
    """Return a request and its sampler, which asks it for sigmas."""
    p = getattr(webui.processing, f"StableDiffusionProcessing{kind}")(
        sampler_name=sampler,
        scheduler=scheduler,
        hr_scheduler=scheduler,
        hr_sampler_name=sampler,
        hr_second_pass_steps=0,
        is_hr_pass=False,
        steps=8,
        denoising_strength=0.5,
        sampler_noise_scheduler_override=None,
        extra_generation_params={},
        comments=[],
        **more,
    )
    p.comment = p.comments.append
    config = webui.sd_samplers.all_samplers_map[sampler]
    p.sampler = config.constructor(None)
    p.sampler.config = config
    p.sampler.model_wrap = SimpleNamespace(
        sigmas=ModelSigmas.sd().table, inner_model=SimpleNamespace(is_sdxl=False)
    )
    return p


def ask(webui, p, **given):
    """Let the panel see the request; return its script."""
    script = webui.part("sigma_panel").ConcordSigmas()
    script.process(p, *(given.get(name, default) for name, default in zip(NAMES, NEUTRAL, strict=True)))
    return script


def sigmas_of(p, steps=8):
    return p.sampler.get_sigmas(p, steps)


def test_neutral_controls_leave_a_request_alone(webui):
    p = request(webui)
    before = dict(vars(p))
    ask(webui, p)
    assert vars(p) == before


def test_arguments_that_the_api_leaves_out_are_the_defaults(webui):
    p = request(webui)
    webui.part("sigma_panel").ConcordSigmas().process(p, 0.9, None)
    plain = sigmas_of(request(webui))
    assert torch.allclose(sigmas_of(p), plain * 0.9)


@pytest.mark.parametrize("sampler", ["Euler", "DPM2", "Euler (Concord)", "DPM2 (Concord)"])
def test_a_factor_multiplies_the_sigmas_that_the_host_lays_out(webui, sampler):
    """DPM2 is laid out over one step more, whose last sigma above 0 is dropped."""
    plain = sigmas_of(request(webui, sampler))
    p = request(webui, sampler)
    ask(webui, p, factor=0.9, start=0.25, end=0.75)
    assert torch.equal(sigmas_of(p), multiply_sigmas(plain, 0.9, 0.25, 0.75))
    assert len(plain) == 9


def test_it_is_recorded_by_the_cores_keys(webui):
    p = request(webui)
    ask(webui, p, factor=0.9, start=0.25)
    assert p.extra_generation_params == {}  # only what was really done
    sigmas_of(p)
    found = p.extra_generation_params
    assert found["Concord sigma multiply"] == "0.9"
    assert found["Concord sigma multiply start"] == "0.25"
    assert "Concord sigma multiply end" not in found
    assert set(found) <= set(KEYS)


def test_seeing_a_request_twice_does_it_once(webui):
    p = request(webui)
    ask(webui, p, factor=0.9)
    ask(webui, p, factor=0.9)
    assert torch.allclose(sigmas_of(p), sigmas_of(request(webui)) * 0.9)


def test_nothing_is_left_for_the_next_request_of_the_same_object(webui):
    p = request(webui, "DEIS (Concord)" if webui.shape in ("forge", "reforge") else "DEIS")
    ask(webui, p, factor=0.9, tail_power=1.5)
    ask(webui, p)
    assert p.sampler_noise_scheduler_override is None
    assert not hasattr(p, "concord_sampler_options")


def test_sigmas_of_another_script_are_kept_and_multiplied(webui):
    p = request(webui)
    p.sampler_noise_scheduler_override = lambda steps: torch.arange(steps, -1.0, -1)
    ask(webui, p, factor=0.5)
    assert sigmas_of(p, 3).tolist() == [1.5, 1, 0.5, 0]
    ask(webui, p)
    assert sigmas_of(p, 3).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("kind", ["hires", "image"])
def test_shares_are_of_the_part_that_is_run(webui, kind):
    hires = kind == "hires"
    given = {"kind": "Txt2Img" if hires else "Img2Img"}
    laid_out, run = (16, 8) if hires else (8, 5)
    plain = request(webui, **given)
    p = request(webui, **given)
    plain.is_hr_pass = p.is_hr_pass = hires
    ask(webui, p, factor=0.9, start=0.5)
    wanted = sigmas_of(plain, laid_out)[-(run + 1) :]
    assert torch.equal(sigmas_of(p, laid_out)[-(run + 1) :], multiply_sigmas(wanted, 0.9, 0.5, 1))


def test_a_list_is_fitted_to_the_steps(webui):
    p = request(webui)
    ask(webui, p, sigmas="14, 4 1 0.1 0")
    assert torch.equal(sigmas_of(p, 4), torch.tensor([14, 4, 1, 0.1, 0]))
    wanted = get_sigmas("custom", 9, ModelSigmas.sd(), sigmas="14 4 1 0.1")
    assert torch.equal(sigmas_of(p, 9), wanted)
    assert p.extra_generation_params == {
        "Schedule type": "Custom",
        "Concord schedule options": "sigmas=14 4 1 0.1",
    }


def test_a_hires_pass_with_a_schedule_of_its_own_keeps_it(forge):
    p = request(forge, scheduler="Simple")
    p.hr_scheduler = "Beta (Concord)"
    ask(forge, p, sigmas="14 4 1 0.1")
    p.is_hr_pass = True
    assert torch.equal(sigmas_of(p), get_sigmas("beta", 8, ModelSigmas.sd()))


def test_schedule_options_reach_our_schedules(forge):
    p = request(forge, scheduler="Karras (Concord)")
    ask(forge, p, schedule_options="rho=5, sigma_max=10")
    assert torch.equal(sigmas_of(p), get_sigmas("karras", 8, ModelSigmas.sd(), rho=5.0, sigma_max=10.0))
    found = p.extra_generation_params
    assert (found["Schedule rho"], found["Schedule max sigma"]) == ("5.0", "10.0")
    other = request(forge, scheduler="Karras (Concord)")
    assert torch.equal(sigmas_of(other), get_sigmas("karras", 8, ModelSigmas.sd()))


def test_sampler_options_and_the_tail_reach_our_samplers(webui):
    p = request(webui, "DEIS (Concord)" if webui.shape in ("forge", "reforge") else "DEIS")
    ask(webui, p, tail_power=1.5, sampler_options="max_order=2")
    given = p.concord_sampler_options
    assert given(SAMPLERS["deis"]) == {"tail_power": 1.5, "max_order": 2}
    assert given(SAMPLERS["euler"]) == {}  # as in a hires pass with another sampler
    assert p.extra_generation_params == {"Concord sampler options": "max_order=2, tail_power=1.5"}
    assert p.sampler_noise_scheduler_override is None


def test_options_with_a_key_of_the_hosts_get_it(webui):
    p = request(webui, "Euler a (Concord)")
    ask(webui, p, sampler_options="eta=0.5")
    assert p.extra_generation_params == {"Eta": "0.5"}


@pytest.mark.parametrize(
    ("sampler", "given", "words"),
    [
        ("Euler", {"tail_power": 1.0}, "Euler is the host's"),
        ("Euler (Concord)", {"tail_power": 1.0}, "has no tail power"),
        ("Euler", {"schedule_options": "rho=5"}, "takes no schedule options"),
        ("Euler (Concord)", {"sampler_options": "rho=5"}, "nothing is changed: unknown option"),
        ("Euler", {"sigmas": "1 2"}, "nothing is changed: sigmas rise"),
        ("Euler", {"start": 0.8, "end": 0.2, "factor": 0.9}, "nothing is changed: start and end"),
    ],
)
def test_what_cannot_be_had_is_said_under_the_picture(webui, sampler, given, words):
    p = request(webui, sampler)
    ask(webui, p, **given)
    [said] = p.comments
    assert said.startswith("Concord Sigmas: ")
    assert words in said
    assert p.sampler_noise_scheduler_override is None


def test_a_sampler_with_noise_levels_of_its_own_is_named(webui):
    p = request(webui, "DDIM")
    ask(webui, p, factor=0.9).post_sample(p, None)
    assert p.comments == ["Concord Sigmas: DDIM has its own noise levels, and nothing is changed"]
    used = request(webui)
    script = ask(webui, used, factor=0.9)
    sigmas_of(used)
    script.post_sample(used, None)
    assert used.comments == []


RECORDED = {
    "factor": 0.95,
    "start": 0.1,
    "end": 0.8,
    "tail_power": 1.5,
    "sigmas": "",
    "sampler_options": "max_order=2",
    "schedule_options": "decay=0.8",
}


@pytest.mark.parametrize(
    "given",
    [RECORDED, {**RECORDED, "sigmas": "14 4 1 0.1", "schedule_options": ""}],
    ids=["schedule", "list"],
)
def test_what_is_recorded_is_restored_and_is_what_the_core_runs(forge, given):
    p = request(forge, "DEIS (Concord)", "Cosine-exponential Blend")
    ask(forge, p, **given)
    found = sigmas_of(p)
    extra = {"Schedule type": "Cosine-exponential Blend", **p.extra_generation_params}
    line = ", ".join(f'{key}: "{text}"' if "," in text else f"{key}: {text}" for key, text in extra.items())
    text = f"a cat\nSteps: 8, Sampler: DEIS (Concord), {line}"
    params = dict(read_pairs(text.partition("\n")[2], KEYS))
    pasted = forge.part("sigma_panel").pasted
    assert {name: pasted(name)(params) for name in NAMES} == given
    record = parse_infotext(text)
    assert record.extras == ()
    sampling = sampling_of(record, ModelSigmas.sd())
    assert torch.equal(sampling.sigmas, found)
    assert sampling.options == {"max_order": 2, "tail_power": 1.5}


def test_a_record_of_another_front_fills_the_controls(webui):
    record = Generation(
        steps=8,
        sampler="deis",
        scheduler="custom",
        concord=ConcordSettings(
            sigma_multiply=0.95,
            sampler_options=(("tail_power", 1.5),),
            schedule_options=(("sigmas", "14 4 1"),),
        ),
    )
    params = dict(read_pairs(format_infotext(record).strip(), KEYS))
    pasted = webui.part("sigma_panel").pasted
    wanted = dict(zip(NAMES, NEUTRAL, strict=True)) | {"factor": 0.95, "tail_power": 1.5, "sigmas": "14 4 1"}
    assert {name: pasted(name)(params) for name in NAMES} == wanted


def test_an_infotext_without_our_keys_sets_the_controls_back(webui):
    pasted = webui.part("sigma_panel").pasted
    assert tuple(pasted(name)({"Steps": "20"}) for name in NAMES) == NEUTRAL
    assert pasted("factor")({"Concord sigma multiply": "much"}) == 1.0


def test_the_panel_tells_the_host_of_its_fields(webui):
    script, controls = webui.make_ui(webui.part("sigma_panel").ConcordSigmas)
    assert tuple(one.value for one in controls) == NEUTRAL
    assert [one.component for one in script.infotext_fields] == controls
    assert "Concord sigma multiply" in script.paste_field_names


def test_the_picture_shows_the_schedule_and_what_is_asked_for(webui):
    drawn = webui.part("sigma_panel")._drawn
    plain, words = drawn(8, "Euler", "Automatic", *NEUTRAL)
    assert words == ""
    other, _ = drawn(8, "Euler", "Automatic", 0.9, *NEUTRAL[1:])
    assert other.height > plain.height  # a line of words more
    assert drawn(8, "Euler", "Automatic", 1.0, 0.0, 1.0, 0.0, "1 2", "", "")[0] is None
    nothing, _ = drawn(None, None, None)
    assert nothing.size == plain.size


def test_the_picture_is_of_the_labels_of_this_host(forge):
    laid_out, model = forge.part("sigma_drawing").laid_out, ModelSigmas.sd()
    asked = forge.part("sigma_request").Asked()

    def of(label, sampler="Euler"):
        return laid_out(8, sampler, label, asked, model)

    assert torch.equal(of("Align Your Steps (Concord)"), get_sigmas("align_your_steps_sd1", 8, model))
    own = get_sigmas("align_your_steps_sd1", 8, model, convention="webui")
    assert torch.equal(of("Align Your Steps"), own)
    assert torch.equal(of("Automatic", "DPM++ 2M"), get_sigmas("karras", 8, model, convention="webui"))


def test_the_picture_is_of_the_model_that_is_loaded(make_webui):
    webui = make_webui("a1111")
    part = webui.part("sigma_drawing")
    assert part.loaded_model().sigma_max == ModelSigmas.sd().sigma_max
    zsnr = ModelSigmas.zsnr()
    squared = 1 / (1 + zsnr.table.double() ** 2)
    webui.sd_models.model_data.sd_model = SimpleNamespace(alphas_cumprod=squared, is_sdxl=True)
    assert part.loaded_model().sigma_max == pytest.approx(zsnr.sigma_max, rel=1e-5)
    assert part.family_loaded() == "sdxl"
    predictor = SimpleNamespace(sigmas=ModelSigmas.flow(3.0).table, shift=3.0)
    unet = SimpleNamespace(model=SimpleNamespace(predictor=predictor))
    webui.sd_models.model_data.sd_model = SimpleNamespace(forge_objects=SimpleNamespace(unet=unet))
    assert part.loaded_model().is_flow


def test_the_picture_looks_at_the_hosts_controls(webui):
    script = webui.part("sigma_panel").ConcordSigmas()
    steps = webui.gradio.Slider(1, 150, value=20)
    script.after_component(steps, elem_id="txt2img_steps")
    script.after_component(webui.gradio.Slider(1, 150), elem_id="img2img_steps")
    script.ui(False)
    [button] = [one for one in webui.gradio.made if one.kind == "Button"]
    [bound] = button.events["click"]
    assert bound.inputs[0] is steps
    assert [one.kind for one in bound.inputs[1:3]] == ["State", "State"]
