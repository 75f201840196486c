"""The panel "Concord Prompt" on every shape of host: the core's conditioning at each call, and nothing left behind."""

import copy
import logging
import re

import pytest
import torch
from sd_concord.core.prompt import DIALECTS, RunShape, encode, plan, split_and
from sd_concord.core.prompt.padding import batch_for_call
from webui_text import SIZES, Part, install, request, run

TEXTS = ["a [red:blue:2] (circle:1.3)", "one AND two :0.5 AND three :-0.001", "x [y|z], " * 40, "hat:1.4"]


@pytest.fixture
def host(webui_fake, monkeypatch):
    """Each shape of host with a model of one text encoder, and the panel."""
    return ready(webui_fake, monkeypatch)


@pytest.fixture
def forge(make_webui, monkeypatch):
    return ready(make_webui("forge"), monkeypatch)


def ready(webui, monkeypatch, **more):
    webui.inside = install(webui, monkeypatch, **more)
    [kind] = webui.part("prompt_panel").register()
    webui.script, [webui.dropdown] = webui.make_ui(kind)
    return webui


def wanted(webui, texts, call, dialect, *, steps=4, negative=False, **shape):
    run_shape = RunShape(negative=negative, **shape)
    zero = negative and webui.shared.sd_model.is_sdxl
    laid = [plan(text, steps, dialect=dialect, run=run_shape) for text in texts]
    return batch_for_call([encode(one, webui.inside.encoders, zero_empty=zero) for one in laid], call)


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_each_call_has_the_conditioning_of_the_core(host, dialect):
    p = request(host, TEXTS, ["", "blurry [a|b] AND c"])
    for step, params in enumerate(run(host, host.script, p, dialect)):
        torch.testing.assert_close(params.text_cond, wanted(host, TEXTS, step, dialect).hidden)
        away = wanted(host, p.all_negative_prompts, step, dialect, negative=True)
        torch.testing.assert_close(params.text_uncond, away.hidden)


def test_the_host_counts_the_parts_and_weights_of_the_prompts(host):
    """It splits the stand-ins as it splits any prompt."""
    p = request(host, TEXTS)
    run(host, host.script, p, "concord")
    assert [[weight for _, weight in split_and(text)] for text in p.prompts] == [
        [1],
        [1, 0.5, -0.001],
        [1],
        [1],
    ]
    assert not re.search("[a-df-zA-Z]", "".join(p.prompts).replace("AND", ""))
    run(host, host.script, p := request(host, TEXTS), "a1111")
    assert split_and(p.prompts[3])[0][1] == 1.4


@pytest.mark.parametrize("weight", [1.0, -0.5, 1e-7, 0.1, 123456.75])
def test_a_weight_is_written_as_the_host_reads_one(host, weight):
    written = host.part("prompt_passes").number(weight)
    assert re.fullmatch(r"[-+]?(?:\d+\.?|\d*\.\d+)", written)
    assert float(written) == weight


def test_the_host_dialect_touches_nothing(host):
    p = request(host, TEXTS, ["blurry"])
    before = {name: copy.copy(value) for name, value in vars(p).items()}
    called = run(host, host.script, p, "host")
    assert all(not params.text_cond.any() for params in called)
    assert not host.inside.encoders[0].calls
    assert p.prompts == before["prompts"]
    assert p.extra_generation_params == {}


def test_nothing_of_a_request_is_left_for_the_next(host):
    run(host, host.script, request(host, TEXTS), "concord")
    p = request(host, TEXTS)
    assert all(not params.text_cond.any() for params in run(host, host.script, p, "host"))
    p = request(host, TEXTS)
    run(host, host.script, p, "concord")
    run(host, host.script, p, "host")
    assert "Concord prompt dialect" not in p.extra_generation_params


def test_a_copy_of_a_request_is_not_served(host):
    """Scripts copy requests to draw something else with them."""
    p = request(host, TEXTS)
    [*_, last] = run(host, host.script, p, "concord")
    other = copy.copy(p)
    for callback in host.callbacks["cfg_denoiser"]:
        last.denoiser.p, last.text_cond = other, torch.zeros_like(last.text_cond)
        callback(last)
    assert not last.text_cond.any()


def test_it_listens_once_however_often_it_is_loaded(host):
    panel = host.part("prompt_panel")
    panel.register()
    panel.register()
    assert len(host.callbacks["cfg_denoiser"]) == 1


@pytest.mark.parametrize(("sampler", "calls"), [("Heun", 2), ("Euler", 1), ("DPM++ 2S a", 2)])
def test_an_edit_counts_the_steps_of_the_sampler(host, sampler, calls):
    text = "[red:blue:2]"
    p = request(host, [text], sampler_name=sampler)
    called = run(host, host.script, p, "concord", calls=4 * calls)
    first = called[0].text_cond
    same = [torch.equal(params.text_cond, first) for params in called]
    assert same == [True] * 2 * calls + [False] * 2 * calls


def test_the_hires_pass_has_prompts_and_steps_of_its_own(host):
    p = request(host, ["a"], enable_hr=True, hr_second_pass_steps=3, all_hr_prompts=["[x:y:1.5] AND z :2"])
    called = run(host, host.script, p, "concord", passes=2, calls=3)
    for step, params in enumerate(called[3:]):
        active = wanted(host, p.all_hr_prompts, step, "concord", hires_steps=3).hidden
        torch.testing.assert_close(params.text_cond, active)
    assert split_and(p.hr_prompts[0])[1][1] == 2
    assert not torch.equal(called[3].text_cond, called[-1].text_cond)


def test_edits_fit_the_steps_of_an_image_to_image(host):
    p = request(host, ["[red:blue:0.5]"], steps=10, init_images=[None], denoising_strength=0.3)
    called = run(host, host.script, p, "concord")
    for step, params in enumerate(called):
        active = wanted(host, p.all_prompts, step, "concord", steps=10, denoise=0.3).hidden
        torch.testing.assert_close(params.text_cond, active)
    assert not torch.equal(called[0].text_cond, called[-1].text_cond)
    host.opts.set("img2img_fix_steps", True)
    p = request(host, ["[red:blue:0.5]"], steps=10, init_images=[None], denoising_strength=0.3)
    called = run(host, host.script, p, "concord")
    assert torch.equal(called[0].text_cond, called[-1].text_cond)


def test_sdxl_has_its_pooled_output_and_keeps_the_hosts_sizes(webui_fake, monkeypatch):
    host = ready(webui_fake, monkeypatch, sdxl=True)
    texts = ["a (b:1.2) AND c", "d"]
    [params, *_] = run(host, host.script, request(host, texts, ["", "e"]), "a1111")
    active = wanted(host, texts, 0, "a1111")
    torch.testing.assert_close(params.text_cond["crossattn"], active.hidden)
    torch.testing.assert_close(params.text_cond["vector"], torch.cat([active.pooled, SIZES.expand(3, -1)], 1))
    away = wanted(host, ["", "e"], 0, "a1111", negative=True)
    torch.testing.assert_close(params.text_uncond["crossattn"], away.hidden)
    assert not params.text_uncond["vector"][0, :2].any()
    assert params.text_uncond["vector"][1, :2].any()
    assert params.text_cond.shape == params.text_cond["crossattn"].shape


def test_embeddings_stand_where_they_are_named(webui_fake, monkeypatch):
    wide, narrow = torch.full((2, 4), 3.0), torch.full((2, 4), 5.0)
    given = {"Blob": {"clip_l": narrow, "clip_g": wide}, "other": torch.ones(1, 4)}
    host = ready(webui_fake, monkeypatch, sdxl=True, embeddings=given)
    p = request(host, ["a (bLoB:1.1) b"])
    run(host, host.script, p, "a1111")
    for encoder, vectors in zip(host.inside.encoders, (narrow, wide), strict=True):
        [insert] = encoder.inserts
        assert insert.position == 2
        torch.testing.assert_close(insert.vectors, vectors)
    key, words = ("TI hashes", "Blob: abcd")
    assert p.extra_generation_params[key] == words


@pytest.mark.parametrize("emphasis", ["No norm", "Ignore", "None", "Original"])
def test_the_hosts_emphasis_holds_and_is_recorded(host, emphasis):
    host.opts.set("emphasis", emphasis)
    p = request(host, ["a (b:1.5)"])
    [params, *_] = run(host, host.script, p, "a1111")
    active = encode(plan("a (b:1.5)", 4), host.inside.encoders, emphasis=emphasis).for_call(0)
    torch.testing.assert_close(params.text_cond, active.hidden)
    assert p.extra_generation_params.get("Emphasis", "Original") == emphasis


def test_what_the_settings_say_of_prompts_holds(host):
    host.opts.set("use_old_scheduling", True)
    host.opts.set("comma_padding_backtrack", 3)
    text = "[a:b:0.5], " + "c d e f, " * 20
    called = run(host, host.script, request(host, [text]), "a1111")
    rules = host.part("prompt_passes").dialect_here("a1111")
    assert (rules.old_timeline, rules.comma_backtrack) == (True, 3)
    for step, params in enumerate(called):
        torch.testing.assert_close(params.text_cond, wanted(host, [text], step, rules).hidden)


def test_the_dialect_is_recorded_and_restored(host):
    p = request(host, ["a"])
    run(host, host.script, p, "concord")
    assert p.extra_generation_params["Concord prompt dialect"] == "concord"
    assert p.extra_generation_params["Concord version"]
    [(component, pasted)] = host.script.infotext_fields
    assert component is host.dropdown
    assert pasted(p.extra_generation_params) == "concord"
    assert pasted({}) == pasted({"Concord prompt dialect": "klingon"}) == "host"


def test_another_script_can_set_the_dialect(host):
    p = request(host, ["a"], concord_dialect="concord")
    run(host, host.script, p, "host")
    assert p.extra_generation_params["Concord prompt dialect"] == "concord"


def test_an_unknown_dialect_leaves_the_request_to_the_host(host, caplog):
    p = request(host, ["a:1.2"])
    [params, *_] = run(host, host.script, p, "klingon")
    assert p.prompts == ["a:1.2"]
    assert not params.text_cond.any()
    assert "dialect is 'klingon'" in p.comments[0]
    assert p.extra_generation_params == {}


def test_a_model_without_clip_leaves_the_request_to_the_host(host):
    model = host.shared.sd_model
    for name in [name for name in vars(model) if name.startswith(("text_processing", "cond_stage"))]:
        delattr(model, name)
    model.text_processing_engine_t5 = object()
    p = request(host, ["a:1.2"])
    run(host, host.script, p, "concord")
    assert p.prompts == ["a:1.2"]
    assert "not CLIP alone" in p.comments[0]


def test_a_model_that_comes_in_between_encodes_anew(host, monkeypatch):
    """A refiner, or the hires pass's own checkpoint."""
    p = request(host, ["a [b:c:2]"])
    run(host, host.script, p, "concord")
    second = copy.copy(host.shared.sd_model)
    part = copy.copy(host.inside.parts[0])
    part.encoder = copy.copy(part.encoder)
    part.encoder.shift = 2.0
    name = "text_processing_engine" if host.shape == "forge" else "cond_stage_model"
    setattr(second, name, part)
    host.shared.sd_model = second
    from webui_text import call

    found = call(host, p, 3).text_cond
    active = encode(plan("a [b:c:2]", 4, dialect="concord"), part.encoder).for_call(3)
    torch.testing.assert_close(found, active.hidden)


def test_prompts_that_another_script_changed_end_the_picture_with_a_reason(host, caplog):
    p = request(host, ["a AND b"])
    run(host, host.script, p, "concord")
    p.prompts = ["c"]
    from webui_text import call

    with caplog.at_level(logging.ERROR):
        call(host, p, 0)
    assert "another script changed the prompts" in caplog.text
    assert host.shared.state.interrupted


def test_the_vectors_of_a_failed_call_do_not_wait_for_the_hosts_next(host, monkeypatch):
    part = host.inside.parts[0]
    monkeypatch.setattr(Part, "encode_with_transformers", lambda self, ids: 1 / 0)
    p = request(host, ["a"])
    host.script.process(p, "a1111")
    host.script.before_process_batch(p, "a1111")
    with pytest.raises(ZeroDivisionError):
        host.script.process_batch(p, "a1111")
    assert part.store.fixes is None
    assert p.prompts == ["a"]


@pytest.mark.parametrize("img2img", [False, True])
def test_the_panel_is_on_both_tabs(webui_fake, img2img):
    [kind] = webui_fake.part("prompt_panel").register()
    script, [dropdown] = webui_fake.make_ui(kind, img2img=img2img)
    assert script.alwayson
    assert dropdown.choices == ["host", *DIALECTS]
    assert dropdown.value == "host"
    assert dropdown.elem_id == f"concord_{'img2img' if img2img else 'txt2img'}_prompt_dialect"
