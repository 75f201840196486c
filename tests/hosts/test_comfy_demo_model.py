"""The embedded model in ComfyUI: the same conditioning, denoised latents and pictures as in the harness."""

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which runs the model to compare with")
import numpy as np
from comfy_host import Graph
from host_answers import conditioning, denoised, gap
from sd_concord.harness import Pipeline
from sd_concord.harness.pipeline import DEMO
from sd_concord.harness.train.recognise import recognise

pytestmark = pytest.mark.hosts
PROMPTS = {
    "short": "a red circle",
    "two chunks": "a small blue star on the left and a yellow square " * 8,
    "empty": "",
    "unknown": "photograph of an astronaut riding a horse",
}
PICTURE = "a red circle on a white background"


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


def from_folder(graph, checkpoints):
    return graph.add("ConcordProbeDemoLoader", folder=str(DEMO))


def from_one_file(graph, checkpoints):
    return graph.add("CheckpointLoaderSimple", ckpt_name=checkpoints[-1])


LOADERS = pytest.mark.parametrize("load", [from_folder, from_one_file], ids=["folder", "one file"])


def picture(comfy, load, checkpoints, **settings):
    graph = Graph()
    graph.sample(load(graph, checkpoints), PICTURE, **settings)
    [found] = comfy.queue(graph).pictures
    return found


@LOADERS
@pytest.mark.parametrize("text", PROMPTS.values(), ids=PROMPTS)
def test_conditioning_is_the_harness_own(comfy, checkpoints, pipeline, load, text):
    graph = Graph()
    cond = graph.add("CLIPTextEncode", clip=load(graph, checkpoints)[1], text=text)
    graph.add("ConcordProbeConditioning", conditioning=cond[0], name="cond")
    comfy.queue(graph)
    wanted = conditioning(pipeline.model, text).hidden
    assert (comfy.tensors("cond")["hidden"] - wanted).abs().max() < 1e-5


@LOADERS
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_denoised_is_the_harness_own(comfy, checkpoints, pipeline, load, cfg):
    graph = Graph()
    loader = load(graph, checkpoints)
    positive, negative = (
        graph.add("CLIPTextEncode", clip=loader[1], text=text)[0] for text in (PICTURE, "blurry")
    )
    graph.add(
        "ConcordProbeDenoised",
        model=loader[0],
        positive=positive,
        negative=negative,
        cfg=cfg,
        name="denoised",
    )
    comfy.queue(graph)
    found = comfy.tensors("denoised")
    wanted = denoised(pipeline.model, found["x"], found["sigma"], PICTURE, "blurry", cfg)
    assert max(gap(one, other) for one, other in zip(found["denoised"], wanted, strict=True)) < 1e-4


@LOADERS
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_picture_shows_what_was_asked(comfy, checkpoints, load, seed):
    seen = recognise(picture(comfy, load, checkpoints, seed=seed))
    assert ("circle", "red") in [(thing.kind, thing.colour) for thing in seen]


def test_a_picture_is_the_harness_own(comfy, checkpoints, pipeline):
    """But for 0.2 % in the first noise, which ComfyUI scales by the root of 1 + sigma squared."""
    found = picture(comfy, from_folder, checkpoints, seed=1).astype(int)
    [wanted] = pipeline(PICTURE, seed=1, steps=20, sampler="dpmpp_2m", scheduler="karras")
    assert np.abs(found - wanted.image).mean() < 1


def test_one_file_and_folder_are_the_same_model(comfy, checkpoints):
    one, other = (picture(comfy, load, checkpoints, seed=7) for load in (from_folder, from_one_file))
    assert np.array_equal(one, other)
