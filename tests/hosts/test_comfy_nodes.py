"""Concord's prompt and SIGMAS nodes in graphs that the real ComfyUI runs."""

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
from comfy_host import Graph

pytestmark = pytest.mark.hosts
ENCODE = {"dialect": "a1111", "emphasis": "Original", "clip_skip": 0, "zero_empty_negative": True}
KSAMPLER = {"seed": 1, "steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}


def picture(comfy, name, positive, **settings):
    """Draw with Concord Text Encode and the stock KSampler."""
    graph = Graph()
    loader = graph.add("CheckpointLoaderSimple", ckpt_name=name)
    prompts = [
        graph.add("ConcordTextEncode", clip=loader[1], text=text, negative=negative, **ENCODE)[0]
        for text, negative in ((positive, False), ("", True))
    ]
    sampler = graph.add(
        "KSampler",
        model=loader[0],
        positive=prompts[0],
        negative=prompts[1],
        latent_image=graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)[0],
        **KSAMPLER | settings,
    )
    image = graph.add("VAEDecode", samples=sampler[0], vae=loader[2])
    graph.add("SaveImage", images=image[0], filename_prefix="nodes")
    [found] = comfy.queue(graph).pictures
    return found.astype(np.int32)


@pytest.mark.parametrize("name", ["mini-sd15.safetensors", "mini-sdxl.safetensors"])
def test_a_schedule_draws_in_the_stock_ksampler(comfy, checkpoints, name):
    cat, dog, both, again = (
        picture(comfy, name, text) for text in ("a cat", "a dog", "a [cat:dog:0.5]", "a [cat:dog:2]")
    )
    assert (cat != both).any()
    assert (dog != both).any()
    assert (both == again).all()


def test_our_sampler_and_schedule_in_the_stock_ksampler(comfy, checkpoints):
    ours = {"sampler_name": "concord_euler", "scheduler": "concord_normal"}
    one, other = picture(comfy, checkpoints[0], "a cat"), picture(comfy, checkpoints[0], "a cat", **ours)
    assert np.abs(one - other).max() <= 1


def test_sigmas_options_and_tail_in_sampler_custom(comfy, checkpoints):
    graph = Graph()
    loader = graph.add("CheckpointLoaderSimple", ckpt_name=checkpoints[0])
    sigmas = graph.add(
        "ConcordScheduler",
        model=loader[0],
        scheduler="align_your_steps",
        steps=4,
        denoise=1.0,
        options="",
        discard_penultimate=False,
        convention="concord",
    )
    more = graph.add("ConcordSigmaMultiply", sigmas=sigmas[0], factor=0.98, start=0.2, end=0.8)
    tail = graph.add("ConcordTail", sigmas=more[0], denoise=0.5)
    plot = graph.add(
        "ConcordPlotSigmas", sigmas=sigmas[0], sigmas_b=more[0], sigmas_c=tail[0], model=loader[0]
    )
    text = graph.add("ConcordTextEncode", clip=loader[1], text="a cat", negative=False, **ENCODE)
    latent = graph.add(
        "SamplerCustom",
        model=loader[0],
        add_noise=True,
        noise_seed=1,
        cfg=2.0,
        positive=text[0],
        negative=text[0],
        sampler=graph.add("ConcordSamplerOptions", sampler="dpmpp_2m", options="tail_power=1.5")[0],
        sigmas=more[0],
        latent_image=graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)[0],
    )
    image = graph.add("VAEDecode", samples=latent[0], vae=loader[2])
    graph.add("SaveImage", images=image[0], filename_prefix="nodes")
    done = comfy.queue(graph)
    assert [one["type"] for one in done.outputs[plot.id]["images"]] == ["temp"]
    assert any(one.shape == (64, 64, 3) and one.std() > 1 for one in done.pictures)


def test_explain_says_it_in_the_node(comfy):
    graph = Graph()
    node = graph.add(
        "ConcordExplain", text="a [cat:dog:0.5] (x", steps=10, dialect="a1111", sampler="heun", negative=False
    )
    done = comfy.queue(graph).outputs[node.id]
    assert "open-bracket" in done["text"][0]
    assert done["images"]


def test_an_error_is_one_line_in_the_node_and_the_queue_goes_on(comfy, checkpoints):
    graph = Graph()
    loader = graph.add("CheckpointLoaderSimple", ckpt_name=checkpoints[0])
    settings = {"denoise": 1.0, "discard_penultimate": False, "convention": "concord"}
    sigmas = graph.add(
        "ConcordScheduler", model=loader[0], scheduler="karras", steps=4, options="roh=5", **settings
    )
    graph.add("ConcordPlotSigmas", sigmas=sigmas[0])
    with pytest.raises(RuntimeError, match="did you mean rho"):
        comfy.queue(graph)
    assert picture(comfy, checkpoints[0], "a cat").std() > 1


def test_every_node_is_described(comfy):
    found = {name: one for name, one in comfy.object_info().items() if name.startswith("Concord")}
    found = {name: one for name, one in found.items() if not name.startswith("ConcordProbe")}
    assert {"ConcordTextEncode", "ConcordLoraPrompt", "ConcordExplain", "ConcordScheduler"} <= set(found)
    for one in found.values():
        assert one["category"].startswith("Concord/")
        assert one["description"]
        for inputs in (one["input"].get("required", {}), one["input"].get("optional", {})):
            assert all(declared[1].get("tooltip") for declared in inputs.values())
