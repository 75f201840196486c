"""Concord's dialects in the real web UIs: the core's conditioning at every call, AND in batches, LoRAs by the step."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from miniatures import golden_checkpoint
from sd_concord.core.prompt import DIALECTS, RunShape, encode, plan
from sd_concord.core.prompt.padding import batch_for_call
from webui_host import DEMO_MODEL

pytest.importorskip("diffusers", reason="diffusers is not installed, which runs the model to compare with")
from sd_concord.harness import Pipeline

pytestmark = pytest.mark.hosts
BASE = {
    "steps": 4,
    "cfg_scale": 5.0,
    "sampler_name": "Euler",
    "scheduler": "Karras",
    "width": 64,
    "height": 64,
    "seed": 3,
    "negative_prompt": "blurry",
}


def scripts(dialect, prompts=(), negatives=()):
    per_image = [json.dumps(list(prompts)), json.dumps(list(negatives))]
    return {"Concord Prompt": {"args": [dialect]}, "Concord Probe": {"args": per_image}}


@pytest.fixture(scope="module")
def encoders():
    return Pipeline.load().model.text_encoders


@pytest.fixture(params=["forge", "a1111"])
def demo(request):
    """Each host that knows the embedded model, whose text encoder there is to compare with."""
    webui = request.getfixturevalue(request.param)
    webui.use_model(DEMO_MODEL)
    return webui


@pytest.fixture
def host(webui):
    """Each host, reForge with the golden checkpoint, as it does not know the embedded model."""
    if webui.kind == "reforge":
        webui.add_golden_model(golden_checkpoint())
    else:
        webui.use_model(DEMO_MODEL)
    return webui


def draw(host, prompt, dialect="host", **more):
    drawn = host.txt2img(**BASE | {"prompt": prompt, "alwayson_scripts": scripts(dialect)} | more)
    return drawn, host.calls()


def conds(encoders, text, steps, dialect, **shape):
    return encode(plan(text, steps, dialect=dialect, run=RunShape(**shape)), encoders)


TEXTS = {
    "switch": "a [red:blue:2] (circle:1.3)",
    "alternation": "a [red|blue|green] circle",
    "fade": "a [red:blue:0.2-0.9] circle",
    "trailing weight": "a red circle:1.4",
    "break in brackets": "(a red BREAK circle:1.2) on a [white",
    "two chunks": "a red circle, " * 30,
}


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_the_conditioning_of_every_call_is_the_core_own(demo, encoders, dialect):
    texts = list(TEXTS.values())
    given = scripts(dialect, texts, ["blurry", "", *texts[2:]])
    _, calls = draw(demo, "", batch_size=len(texts), alwayson_scripts=given)
    assert len(calls) == 4
    for side, negative in ((texts, False), (["blurry", "", *texts[2:]], True)):
        wanted = [conds(encoders, text, 4, dialect, negative=negative) for text in side]
        for i, call in enumerate(calls):
            same(call.uncond if negative else call.cond, batch_for_call(wanted, i).hidden)


def test_the_exact_dialect_is_what_the_host_means(host):
    """Whatever its own reading gives, ours gives too, picture and all."""
    text = "a [red:blue:2] (circle:1.3) [x|y] AND a :0.3"
    (own, own_calls), (ours, our_calls) = draw(host, text), draw(host, text, "a1111")
    for one, other in zip(own_calls, our_calls, strict=True):
        same(other.cond, one.cond)
    assert np.abs(own.pictures[0].astype(int) - ours.pictures[0]).max() <= 1


def test_a_switch_comes_at_the_step_it_names(host):
    """Two of four steps of two calls have the first text; the host counts its 2 as calls, and one more."""
    _, calls = draw(host, "a [red:blue:2] circle", "concord", sampler_name="Heun")
    assert [torch.equal(call.cond, calls[0].cond) for call in calls] == [True] * 4 + [False] * 3
    _, calls = draw(host, "a [red:blue:2] circle", sampler_name="Heun")
    assert [torch.equal(call.cond, calls[0].cond) for call in calls] == [True] * 3 + [False] * 4


def test_hires_goes_on_in_the_dialect(demo, encoders):
    more = {"enable_hr": True, "hr_scale": 2, "hr_second_pass_steps": 3, "hr_upscaler": "Latent"}
    text = "a [red:blue:1.5] circle"
    _, calls = draw(demo, text, "concord", denoising_strength=0.7, **more)
    wanted = conds(encoders, text, 4, "concord", hires_steps=3)
    for i, call in enumerate(calls[4:]):
        same(call.cond, wanted.for_call(i).hidden)
    assert len(calls) == 7
    assert not torch.equal(calls[4].cond, calls[-1].cond)


AND = {
    "unequal parts": ["a red circle AND a star :-0.5", "a blue square"],
    "weights that cancel": ["a red circle AND a star :-1", "a blue square AND a red circle :-1"],
    "unequal weights": ["a red circle AND a star :0.5", "a blue square AND a circle :1.5"],
    "equal": ["a red circle AND a star :0.5", "a blue square AND a circle :0.5"],
}


@pytest.mark.parametrize("texts", AND.values(), ids=AND)
def test_and_combines_as_a1111_does_in_every_batch(host, texts):
    """Each image by its own parts and weights: the negative prompt plus w * cfg * (part - negative).

    The images begin with the same noise, of which next to nothing is that of a variation.
    """
    more = {"steps": 2, "subseed_strength": 1e-12, "subseed": 1}
    _, calls = draw(host, "", batch_size=2, alwayson_scripts=scripts("a1111", texts), **more)
    plans = [plan(text, 2).parts for text in texts]
    alone = ["blurry", *(part.text for parts in plans for part in parts)]
    given = scripts("a1111", alone)
    _, single = draw(host, "", cfg_scale=1, batch_size=len(alone), alwayson_scripts=given, **more)
    away, *rest = single[0].denoised
    for i, parts in enumerate(plans):
        wanted = away.clone()
        for part in parts:
            wanted += part.weight * BASE["cfg_scale"] * (rest.pop(0) - away)
        assert (calls[0].denoised[i] - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_a_batch_of_prompts_is_its_images_alone(host):
    texts = ["a [red:blue:2] circle", "a square AND a star :0.4", "a (green:1.4) star"]
    together, _ = draw(host, "", batch_size=3, alwayson_scripts=scripts("concord", texts))
    for i, text in enumerate(texts):
        alone, _ = draw(host, text, "concord", seed=BASE["seed"] + i)
        assert np.abs(alone.pictures[0].astype(int) - together.pictures[i]).max() <= 1


def test_conditionings_that_the_host_keeps_are_not_taken_for_ours(host):
    """A host that keeps them from one request to the next encodes anew, on the way in and on the way out."""
    text, kept = "a red circle:1.4", {"persistent_cond_cache": True}
    first, _ = draw(host, text, override_settings=kept)
    ours, _ = draw(host, text, "concord", override_settings=kept)
    again, _ = draw(host, text, override_settings=kept)
    once_more, _ = draw(host, text, "concord", override_settings=kept)
    assert np.array_equal(first.pictures[0], again.pictures[0])
    assert np.array_equal(ours.pictures[0], once_more.pictures[0])
    assert not np.array_equal(first.pictures[0], ours.pictures[0])


def test_the_dialect_is_recorded_with_the_typed_prompt(host):
    drawn, _ = draw(host, "a [red:blue:2] circle", "concord")
    assert drawn.infotexts[0].startswith("a [red:blue:2] circle\nNegative prompt: blurry\nSteps: 4")
    assert "Concord prompt dialect: concord" in drawn.infotexts[0]
    drawn, _ = draw(host, "a [red:blue:2] circle")
    assert "Concord" not in drawn.infotexts[0]


def test_an_unknown_dialect_is_named_and_the_host_draws(host):
    drawn, _ = draw(host, "a red circle", "klingon")
    plain, _ = draw(host, "a red circle")
    assert np.array_equal(drawn.pictures[0], plain.pictures[0])
    assert "dialect is 'klingon'" in host.log()
    assert "Concord" not in drawn.infotexts[0]


LORA = "concord-test"


@pytest.fixture
def lora(host):
    """A LoRA of large numbers on one layer of the UNet and on one of the text encoder."""
    folder = host.folder / "models" / "Lora"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    generator = torch.Generator().manual_seed(1)
    for name, (out, inner) in layers_of(host).items():
        tensors[f"{name}.lora_up.weight"] = 0.2 * torch.randn(out, 2, generator=generator)
        tensors[f"{name}.lora_down.weight"] = torch.randn(2, inner, generator=generator)
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    safetensors.torch.save_file(tensors, folder / f"{LORA}.safetensors")
    host.post("/sdapi/v1/refresh-loras", {})
    return LORA


def layers_of(host):
    """Return two layers of the model that the host draws with, and their shapes."""
    module = "mid_block.resnets.0.time_emb_proj"
    unet, text = (320, 1280), (3072, 768)
    if host.kind != "reforge":
        model = Pipeline.load().model
        unet = model.unet.get_submodule(module).weight.shape
        text = model.text_encoders[0]._inner.encoder.layers[1].mlp.fc1.weight.shape
    return {
        f"lora_unet_{module.replace('.', '_')}": unet,
        "lora_te_text_model_encoder_layers_1_mlp_fc1": text,
    }


def test_a_lora_comes_and_goes_with_its_edit(host, lora):
    """It is on for the calls of its edit alone; then the model is again what it was."""
    plain, plain_calls = draw(host, "a circle")
    _, steady = draw(host, f"a circle<lora:{lora}:0:1>")
    _, calls = draw(host, f"a circle[<lora:{lora}:0:1>::2]", "concord")
    assert not torch.allclose(steady[0].denoised, plain_calls[0].denoised, atol=1e-3)
    same(calls[0].denoised, steady[0].denoised)
    same(calls[1].denoised, steady[1].denoised)
    _, late = draw(host, f"a circle[<lora:{lora}:0:1>:1]", "concord")
    same(late[0].denoised, plain_calls[0].denoised)
    assert not torch.allclose(late[1].denoised, plain_calls[1].denoised, atol=1e-3)
    again, again_calls = draw(host, "a circle")
    assert np.array_equal(again.pictures[0], plain.pictures[0])
    assert torch.equal(again_calls[-1].denoised, plain_calls[-1].denoised)


def test_a_lora_of_an_edit_is_in_the_conditioning_of_its_calls(host, lora):
    """In that of the positive prompt; the negative one's is that without it."""
    _, plain = draw(host, "a circle")
    _, steady = draw(host, f"a circle<lora:{lora}:1:0>")
    _, calls = draw(host, f"a circle[<lora:{lora}:1:0>::2]", "concord")
    for call, wanted in zip(calls, [steady] * 2 + [plain] * 2, strict=True):
        same(call.cond, wanted[0].cond)
        same(call.uncond, plain[0].uncond)
    assert not torch.allclose(steady[0].cond, plain[0].cond, atol=1e-3)


def test_a_lora_outside_an_edit_is_the_host_own(host, lora):
    text = f"a circle<lora:{lora}:0.7>"
    (own, _), (ours, _) = draw(host, text), draw(host, text, "concord")
    assert np.abs(own.pictures[0].astype(int) - ours.pictures[0]).max() <= 1
    assert f'Lora hashes: "{lora}' in ours.infotexts[0]


def test_a_lora_of_an_edit_is_in_the_infotext(host, lora):
    drawn, _ = draw(host, f"a circle[<lora:{lora}:1>:1]", "concord")
    assert f'Lora hashes: "{lora}' in drawn.infotexts[0]


def same(found, wanted):
    """Tell apart more than rounding: five digits of the largest number."""
    if found.ndim == 3:
        wanted = wanted.repeat(1, found.shape[1] // wanted.shape[1], 1)
    assert (found - wanted).abs().max() < 1e-5 * max(float(wanted.abs().max()), 1.0)
