"""The detailer's passes through the host: what they are asked, what comes back, and what they leave alone."""

import logging
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from sd_concord.core.errors import Missing
from sd_concord.core.sigmas import ModelSigmas
from webui_detailer import GREY, NEW, bench, latents_of

LEFT, RIGHT = (8, 8, 40, 48), (88, 40, 120, 88)
UNIT = {
    "ad_model": "face",
    "ad_mask_blur": 0,
    "ad_dilate_erode": 0,
    "ad_inpaint_only_masked_padding": 0,
    "ad_use_inpaint_width_height": True,
    "ad_inpaint_width": 64,
    "ad_inpaint_height": 64,
}


@pytest.fixture
def host(webui_fake, tmp_path, monkeypatch):
    made = bench(webui_fake, tmp_path)
    made.finds(monkeypatch, LEFT)
    return made


def detailed(host, *units, p=None, script=None, **given):
    script = script or host.script()
    p = p or host.request(**given)
    return p, host.run(script, p, [True, False, *units])


def test_only_what_is_under_the_mask_changes(host):
    _, [picture] = detailed(host, UNIT)
    changed = picture != GREY
    x1, y1, x2, y2 = LEFT
    assert changed[y1 : y2 + 1, x1 : x2 + 1].all()
    changed[y1 : y2 + 1, x1 : x2 + 1] = False
    assert not changed.any()


def test_a_pass_has_the_pictures_own_settings(host):
    detailed(host, UNIT)
    [made] = host.passes
    assert made.prompt == ["a cat"]
    assert made.negative_prompt == ["bad"]
    assert made.seed == [7]
    assert (made.steps, made.cfg_scale, made.denoising_strength) == (6, 5.0, 0.4)
    assert (made.width, made.height) == (64, 64)
    assert made.sampler_name == "Euler a"
    if host.webui.shape != "classic":
        assert made.scheduler == "Karras"
    assert made.closed
    assert set(made.override_settings) <= {"multiple_tqdm"}


def test_its_own_settings_count_and_are_set_back(host):
    own = {
        "ad_use_steps": True,
        "ad_steps": 9,
        "ad_use_cfg_scale": True,
        "ad_cfg_scale": 3.5,
        "ad_use_sampler": True,
        "ad_sampler": "DPM++ 2M",
        "ad_use_clip_skip": True,
        "ad_clip_skip": 2,
        "ad_use_checkpoint": True,
        "ad_checkpoint": "one",
        "ad_use_vae": True,
        "ad_vae": "own.vae.pt",
        "ad_use_noise_multiplier": True,
        "ad_noise_multiplier": 1.1,
        "ad_prompt": "a dog [SEP] [PROMPT], asleep",
        "ad_denoising_strength": 0.6,
        "ad_restore_face": True,
    }
    before = dict(host.webui.opts.data)
    detailed(host, UNIT | own)
    [made], [held] = host.passes, host.settings
    fused = host.webui.shape == "classic"  # where the schedule is part of the name
    assert (made.steps, made.cfg_scale) == (9, 3.5)
    assert made.sampler_name == ("DPM++ 2M Karras" if fused else "DPM++ 2M")
    assert (made.denoising_strength, made.initial_noise_multiplier) == (0.6, 1.1)
    assert made.prompt == ["a dog"]
    assert made.restore_faces
    assert held["CLIP_stop_at_last_layers"] == 2
    assert held["sd_model_checkpoint"] == "one.safetensors"
    vae = held["forge_additional_modules"] if host.webui.shape == "forge" else held["sd_vae"]
    assert vae == (["/models/VAE/own.vae.pt"] if host.webui.shape == "forge" else "own.vae.pt")
    assert host.webui.opts.data == before
    assert "forge_additional_modules" in host.restored[0] or "sd_vae" in host.restored[0]


def test_what_is_done_in_a_pass_is_not_seen_outside(host, tmp_path):
    state = host.webui.shared.state
    jobs = state.job_count, state.job_no
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    detailed(host, UNIT)
    assert torch.rand(1) == wanted
    assert (tmp_path / "params.txt").read_text() == "the last one"
    assert (state.job_count, state.job_no) == jobs


def test_parts_that_do_not_touch_are_drawn_together_each_with_its_seed_and_mask(host, monkeypatch):
    host.finds(monkeypatch, LEFT, RIGHT)
    _, [picture] = detailed(host, UNIT | {"ad_prompt": "one [SEP] two"})
    [made] = host.passes
    assert made.prompt == ["one", "two"]
    assert made.seed == [7, 8]
    assert made.nmask.shape[0] == 2
    assert (picture[10, 10] == NEW + 7).all()
    assert (picture[60, 100] == NEW + 8).all()


@pytest.mark.parametrize(
    ("prompt", "sampler"),
    [
        ("one <lora:a:1> [SEP] two", "Euler a"),
        ("one AND two :0.5 [SEP] two", "Euler a"),
        ("one [SEP] " + "word " * 90, "Euler a"),
        ("one [SEP] two", "DPM adaptive"),
    ],
    ids=["networks", "AND", "longer", "steps of its own"],
)
def test_parts_that_a_batch_would_change_are_drawn_one_by_one(host, monkeypatch, prompt, sampler):
    host.finds(monkeypatch, LEFT, RIGHT)
    unit = UNIT | {"ad_prompt": prompt, "ad_use_sampler": True, "ad_sampler": sampler}
    detailed(host, unit)
    assert [made.batch_size for made in host.passes] == [1, 1]


def test_parts_that_touch_follow_one_another(host, monkeypatch):
    host.finds(monkeypatch, LEFT, (30, 30, 60, 60))
    detailed(host, UNIT)
    assert [made.batch_size for made in host.passes] == [1, 1]


def test_a_batch_is_its_pictures_one_by_one(host, monkeypatch):
    host.finds(monkeypatch, LEFT, RIGHT)
    _, together = detailed(host, UNIT, batch=3)
    seeds = [made.seed for made in host.passes]
    assert seeds == [[7, 8], [8, 9], [9, 10]]
    assert [picture[10, 10, 0] - NEW for picture in together] == [7, 8, 9]


def test_units_work_one_after_the_other_and_one_that_is_off_keeps_its_number(host):
    p, _ = detailed(host, UNIT, {"ad_model": "None"}, UNIT | {"ad_steps": 3, "ad_use_steps": True})
    assert [made.steps for made in host.passes] == [6, 3]
    assert p.extra_generation_params["ADetailer model 3rd"] == "face"
    assert "ADetailer model 2nd" not in p.extra_generation_params


def test_the_infotext_says_what_was_done(host):
    p, _ = detailed(host, UNIT | {"cycle": 2, "ad_steps": 9, "ad_use_steps": True})
    texts = p.extra_generation_params
    assert texts["ADetailer model"] == "face"
    assert texts["ADetailer steps"] == "9"
    assert texts["ADetailer use separate steps"] == "True"
    assert texts["Concord detailer cycle"] == "2"
    assert texts["Concord detailer found"] == "2"


def test_a_request_that_is_run_again_keeps_nothing_of_the_last_units(host):
    script, p = host.script(), host.request()
    host.run(script, p, [True, False, UNIT | {"ad_use_steps": True}, UNIT])
    host.run(script, p, [True, False, UNIT])
    assert not [key for key in p.extra_generation_params if key.endswith("2nd") or "steps" in key]


def test_off_is_off(host):
    script, p = host.script(), host.request()
    [picture] = host.run(script, p, [])
    assert host.passes == []
    assert p.extra_generation_params == {}
    assert (picture == GREY).all()


@pytest.mark.parametrize("flag", ["interrupted", "skipped"])
def test_who_stops_keeps_the_picture_as_it_is(host, monkeypatch, flag):
    host.finds(monkeypatch, LEFT, RIGHT)

    def draw(p):
        setattr(host.webui.shared.state, flag, True)
        return []

    host.draw = draw
    p, [picture] = detailed(host, UNIT, UNIT)
    assert len(host.passes) == 1
    assert (picture == GREY).all()
    assert p.comments == {}


def test_a_picture_that_is_no_number_leaves_the_part_and_says_so(host):
    def draw(p):
        raise host.webui.devices.NansException

    host.draw = draw
    p, [picture] = detailed(host, UNIT)
    assert (picture == GREY).all()
    assert "no number" in next(iter(p.comments))


def test_after_this_picture_includes_its_detailer(host):
    host.webui.shared.state.stopping_generation = True
    seen = []
    host.draw = lambda p: (
        seen.append(host.webui.shared.state.stopping_generation) or [Image.new("RGB", (64, 64))]
    )
    detailed(host, UNIT)
    assert seen == [False]
    assert host.webui.shared.state.stopping_generation


def test_a_detector_that_cannot_be_had_costs_its_unit_and_one_line(webui_fake, tmp_path, caplog):
    host = bench(webui_fake, tmp_path)
    with caplog.at_level(logging.WARNING):
        p, [picture] = detailed(host, UNIT | {"ad_model": "nowhere.pt"})
    assert (picture == GREY).all()
    [line] = [record.getMessage() for record in caplog.records]
    assert "nowhere.pt" in line
    assert "models/adetailer" in line
    assert list(p.comments) == [line]


def test_a_missing_package_costs_its_unit_and_one_line(host, monkeypatch):
    def without(unit):
        raise Missing("YOLO detectors need ultralytics; pip install ultralytics")

    monkeypatch.setattr(host.webui.part("detailer_job"), "detector_for", without)
    p, [picture] = detailed(host, UNIT)
    assert (picture == GREY).all()
    [line] = p.comments
    assert "need ultralytics; pip install" in line


def test_a_wrong_argument_costs_its_unit_and_says_which(host):
    p, _ = detailed(host, UNIT | {"ad_inpaint_padding": 3}, UNIT)
    assert len(host.passes) == 1
    assert "ad_inpaint_padding" in next(iter(p.comments))


def test_an_inpainting_pass_works_where_the_user_painted(host, monkeypatch):
    host.finds(monkeypatch, LEFT, RIGHT)
    mask = Image.new("L", (128, 96))
    mask.paste(255, (80, 0, 128, 96))
    given = {"image_mask": mask, "inpainting_mask_invert": 0, "inpaint_full_res": False}
    _, [picture] = detailed(
        host, UNIT, p=host.request(img2img=True, **given), script=host.script(img2img=True)
    )
    assert (picture[:, :80] == GREY).all()
    assert (picture[60, 100] != GREY).all()


def test_nothing_painted_is_nothing_done(host):
    given = {"image_mask": Image.new("L", (128, 96)), "inpainting_mask_invert": 0}
    script = host.script(img2img=True)
    p, [picture] = detailed(host, UNIT, p=host.request(img2img=True, **given), script=script)
    assert (picture == GREY).all()
    assert "nothing in the mask" in next(iter(p.comments))


def test_img2img_can_be_left_out(host):
    script = host.script(img2img=True)
    p = host.request(img2img=True, init_images=[Image.new("RGB", (128, 96), (50, 50, 50))])
    host.webui.opts.data["img2img_background_color"] = "#ffffff"
    host.webui.images.flatten = lambda picture, colour: picture
    [picture] = host.run(script, p, [True, True, UNIT])
    assert (picture[0, 0] == 50).all()
    assert host.passes[0].steps == 6
    assert (p.steps, p.width, p.sampler_name) == (6, 64, "Euler a")
    texts = p.extra_generation_params
    assert (texts["Steps"], texts["Sampler"], texts["Size"]) == (6, "Euler a", "64x64")


def test_before_the_second_pass_latents_change_where_the_picture_did_and_nowhere_else(host):
    script = host.script()
    p = host.request(
        enable_hr=True,
        seeds=[7],
        disable_extra_networks=False,
        hr_extra_network_data={"lora": "x"},
        get_token_merging_ratio=lambda for_hr: 0,
        sd_model=host.webui.shared.sd_model,
    )
    seen = []

    class Sampler:
        def sample_img2img(self, p, x, *args, **given):
            seen.append((x, args, given))
            return x

    args = host.placed(script, [True, False, True, UNIT])
    script.before_process(p, *args)
    script.process(p, *args)
    script.before_process_batch(p, *args)
    own = p.sampler = Sampler()
    script.before_hr(p, *args)
    x = latents_of(torch.full((1, 3, 96, 128), GREY / 255 + 0.001))
    p.sampler.sample_img2img(p, x, "noise", steps=3)
    [(after, rest, given)] = seen
    assert (rest, given) == (("noise",), {"steps": 3})
    assert p.sampler is own
    changed = (after != x)[0].any(dim=0)
    assert changed[1:6, 1:5].all()
    changed[1:7, 1:6] = False
    assert not changed.any()
    assert host.activated == [{"lora": "x"}]
    p.batch_index = 0
    extra = (0,) if host.webui.shape == "forge" else ()
    pp = host.webui.scripts.PostprocessImageArgs(Image.new("RGB", (128, 96)), *extra)
    script.postprocess_image(p, pp, *args)
    assert len(host.passes) == 1
    assert p.extra_generation_params["Concord detailer before hires"] == "True"
    assert p.extra_generation_params["Concord detailer found"] == "1"


class Other:
    """A script of the host or of another extension."""

    def __init__(self, title, filename, args_from=0):
        self.name, self.filename = title, filename
        self.args_from, self.args_to = args_from, args_from + 2

    def title(self):
        return self.name


def with_scripts(host, *others):
    p = host.request()
    p.scripts = host.webui.scripts.ScriptRunner()
    own = host.script()
    p.scripts.alwayson_scripts = [own, *others]
    p.script_args = ("x", "y", "z", "w")
    return own, p


def test_only_scripts_that_are_named_work_in_a_pass(host):
    wild, other = Other("Wild", "/ext/wildcards.py"), Other("Other", "/ext/other.py")
    own, p = with_scripts(host, wild, other)
    detailed(host, UNIT, p=p, script=own)
    assert host.passes[0].scripts.alwayson_scripts == [wild]
    assert host.passes[0].script_args == ("x", "y", "z", "w")
    assert p.scripts.alwayson_scripts == [own, wild, other]


def test_the_other_scripts_of_concord_work_in_a_pass(host, monkeypatch):
    prompt = Other("Concord Prompt", "concord.py")
    monkeypatch.setattr(Other, "__module__", "sd_concord.a1111_scripts.prompt_panel")
    own, p = with_scripts(host, prompt)
    detailed(host, UNIT, p=p, script=own)
    assert host.passes[0].scripts.alwayson_scripts == [prompt]


def test_controlnet_is_asked_for_by_its_own_arguments(host, monkeypatch):
    host.finds(monkeypatch, LEFT, RIGHT)
    control = Other("ControlNet", "/ext/controlnet.py", args_from=1)
    own, p = with_scripts(host, control)
    unit = UNIT | {
        "ad_controlnet_model": "tile",
        "ad_controlnet_module": "tile_resample",
        "ad_controlnet_weight": 0.5,
    }
    detailed(host, unit, p=p, script=own)
    assert [made.batch_size for made in host.passes] == [1, 1]
    before, wanted, off, after = host.passes[0].script_args
    assert (before, after) == ("x", "w")
    assert (wanted["model"], wanted["module"], wanted["weight"], wanted["enabled"]) == (
        "tile",
        "tile_resample",
        0.5,
        True,
    )
    assert off == {"enabled": False}
    assert host.passes[0].image_mask.size == (64, 64)
    assert control not in [one for made in host.passes[2:] for one in made.scripts.alwayson_scripts]


def test_without_a_unit_of_its_own_controlnet_stays_out(host):
    control = Other("ControlNet", "/ext/controlnet.py")
    own, p = with_scripts(host, control)
    detailed(host, UNIT, p=p, script=own)
    assert host.passes[0].scripts.alwayson_scripts == []


def test_a_noise_mask_lets_the_edge_join_later(host):
    detailed(host, UNIT | {"noise_mask": True, "noise_mask_feather": 16})
    [made] = host.passes
    [joining] = made.scripts.alwayson_scripts
    assert ((made.nmask > 0.1) & (made.nmask < 0.9)).any()
    painted, kept = torch.ones_like(made.nmask), torch.zeros_like(made.nmask)
    model = SimpleNamespace(sigmas=torch.tensor(ModelSigmas.sd().values))
    denoiser = SimpleNamespace(inner_model=model)
    areas = []
    for sigma in (14.0, 3.0, 0.5, 0.05):
        blend = SimpleNamespace(
            current_latent=painted,
            init_latent=kept,
            sigma=torch.tensor([sigma]),
            denoiser=denoiser,
            is_final_blend=False,
        )
        joining.on_mask_blend(made, blend)
        areas.append(float(blend.blended_latent.sum()))
        assert torch.equal(denoiser.nmask, blend.blended_latent)
        assert torch.equal(denoiser.mask, 1 - denoiser.nmask)
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]
    last = SimpleNamespace(current_latent=painted, is_final_blend=True)
    joining.on_mask_blend(made, last)
    assert last.blended_latent is painted


def test_a_unit_with_a_model_of_its_own_waits_for_the_second_pass_to_end(host):
    own = UNIT | {"ad_use_checkpoint": True, "ad_checkpoint": "one"}
    p = host.request(enable_hr=True)
    job = host.webui.part("detailer_job").job_of(p, (True, False, True, UNIT, own))
    assert [place for place, _ in job.units(early=True)] == [0]
    assert [place for place, _ in job.units(early=False)] == [1]


def test_the_second_passs_model_holds_in_what_is_done_before_it(host):
    hires = host.webui.part("detailer_hires")
    p = host.request(
        hr_checkpoint_info=SimpleNamespace(name="big"), hr_additional_modules=["Use same choices"]
    )
    assert hires.model_of_second_pass(p) == {"sd_model_checkpoint": "big"}
    assert hires.model_of_second_pass(host.request()) == {}
