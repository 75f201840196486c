"""Small checkpoints of random weights, for tests of nodes: ComfyUI loads and runs them as the harness does."""

import re

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the models")
from comfy_host import Graph
from host_answers import conditioning, denoised, gap
from miniatures import miniature

pytestmark = pytest.mark.hosts
TEXT = "a red circle, left of a blue square"
MODELS = {
    "mini-sd15": lambda: miniature("sd15"),
    "mini-sdxl": lambda: miniature("sdxl"),
    "mini-sdxl-v": lambda: miniature("sdxl", "v", ztsnr=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_in_the_harness(comfy, checkpoints, name):
    graph = Graph()
    loader = graph.add("CheckpointLoaderSimple", ckpt_name=f"{name}.safetensors")
    positive, negative = (
        graph.add("CLIPTextEncode", clip=loader[1], text=text)[0] for text in (TEXT, "a dog")
    )
    graph.add("ConcordProbeConditioning", conditioning=positive, name=name)
    graph.add(
        "ConcordProbeDenoised",
        model=loader[0],
        positive=positive,
        negative=negative,
        cfg=4.0,
        name=f"{name}-x",
    )
    comfy.queue(graph)
    model, cond, found = MODELS[name](), comfy.tensors(name), comfy.tensors(f"{name}-x")
    wanted = conditioning(model, TEXT)
    assert (cond["hidden"] - wanted.hidden).abs().max() < 1e-4
    if wanted.pooled is not None:
        assert (cond["pooled"] - wanted.pooled).abs().max() < 1e-4
    clean = denoised(model, found["x"], found["sigma"], TEXT, "a dog", 4.0)
    assert max(gap(one, other) for one, other in zip(found["denoised"], clean, strict=True)) < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_it_draws(comfy, checkpoints, name):
    graph = Graph()
    loader = graph.add("CheckpointLoaderSimple", ckpt_name=f"{name}.safetensors")
    graph.sample(loader, TEXT, size=64, steps=2)
    [picture] = comfy.queue(graph).pictures
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 1


def test_no_weight_is_missing_or_left_over(comfy, checkpoints):
    for name in (*MODELS, "demo"):
        graph = Graph()
        graph.sample(
            graph.add("CheckpointLoaderSimple", ckpt_name=f"{name}.safetensors"), TEXT, size=64, steps=1
        )
        comfy.queue(graph)
    assert not re.findall(r"(?:clip|unet) (?:missing|unexpected)|Missing VAE keys", comfy.log())
