"""Concord Load Image Settings and Concord Save Image in the real ComfyUI."""

import gzip
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which makes the checkpoints")
from comfy_graphs import WIDGETS, gap, loaded, sampler
from comfy_host import Graph
from golden import golden_dir
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_concord.core.image import (
    Generation,
    ModelRef,
    format_infotext,
    read_chunks,
    read_image_info,
    save_image,
)

pytestmark = pytest.mark.hosts
SMALL = WIDGETS | {"width": 64, "height": 64, "steps": 4, "batch_size": 2, "seed": 11, "negative": "blurry"}


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def saving(graph, images, **given):
    return graph.add(
        "ConcordSaveImage",
        images=images,
        **{"filename": "x/%seed%", "format": "png", "workflow": True} | given,
    )


def saved(comfy, done, node):
    return [
        comfy.folder / "output" / one["subfolder"] / one["filename"]
        for one in done.outputs[node.id]["images"]
    ]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_what_the_sampler_made_is_read_back(comfy, checkpoints, format):
    graph = Graph()
    made = sampler(graph, loaded(graph, "mini-sd15"), **SMALL)
    node = saving(graph, made[2], record=made[1], format=format, filename="%model%/%sampler% %seed% %width%")
    paths = saved(comfy, comfy.queue(graph), node)
    assert [path.relative_to(comfy.folder / "output").as_posix().rpartition("_")[0] for path in paths] == [
        f"mini-sd15/dpmpp_2m {seed} 64" for seed in (11, 12)
    ]
    for path, seed in zip(paths, (11, 12), strict=True):
        record = read_image_info(path)
        assert (record.seed, record.prompt, record.negative_prompt) == (seed, SMALL["positive"], "blurry")
        assert (record.sampler, record.scheduler, record.steps, record.cfg) == ("dpmpp_2m", "karras", 4, 4.0)
        assert record.model == ModelRef(name="mini-sd15")
        assert record.concord.profile == "a1111"
        assert json.loads(read_chunks(path)["prompt"]) == graph


def test_a_saved_picture_makes_itself_again(comfy, checkpoints):
    """Load Image Settings wired to a sampler whose widgets say something else."""
    graph = Graph()
    made = sampler(graph, loaded(graph, "mini-sd15"), **SMALL)
    node = saving(graph, made[2], record=made[1], filename="again/%seed%")
    first = saved(comfy, comfy.queue(graph), node)[1]
    shutil.copy(first, comfy.folder / "input" / "again.png")
    graph = Graph()
    settings = graph.add("ConcordLoadImageSettings", image="again.png")
    other = SMALL | {"positive": "nothing", "steps": 9, "seed": 5, "batch_size": 1, "sampler": "euler"}
    again = sampler(graph, loaded(graph, "mini-sd15"), record=settings[1], **other)
    graph.add("SaveImage", images=again[2], filename_prefix="test")
    [picture] = comfy.queue(graph).pictures
    assert gap(picture, np.asarray(Image.open(first))) <= 1
    graph[again.id]["inputs"]["record_seed"] = False
    [picture] = comfy.queue(graph).pictures
    assert gap(picture, np.asarray(Image.open(first))) > 1


def test_values_are_ready_for_stock_nodes(comfy, checkpoints, noise):
    record = Generation(
        prompt="a cat",
        negative_prompt="grey",
        steps=3,
        cfg=5.5,
        seed=2**40,
        sampler="euler_ancestral",
        scheduler="karras",
        clip_skip=2,
        size=(72, 64),
        model=ModelRef(name="mini-sd15"),
        version="v1.9.4",
    )
    save_image(comfy.folder / "input" / "settings.png", noise, record)
    graph = Graph()
    told = graph.add("ConcordLoadImageSettings", image="settings.png")
    loader = graph.add("CheckpointLoaderSimple", ckpt_name=told[14])
    clip = graph.add("CLIPSetLastLayer", clip=loader[1], stop_at_clip_layer=told[12])
    stock = graph.add(
        "KSampler",
        model=loader[0],
        positive=graph.add("CLIPTextEncode", clip=clip[0], text=told[2])[0],
        negative=graph.add("CLIPTextEncode", clip=clip[0], text=told[3])[0],
        latent_image=graph.add("EmptyLatentImage", width=told[9], height=told[10], batch_size=1)[0],
        steps=told[4],
        cfg=told[5],
        seed=told[6],
        sampler_name=told[7],
        scheduler=told[8],
        denoise=told[13],
    )
    image = graph.add("VAEDecode", samples=stock[0], vae=loader[2])
    graph.add("SaveImage", images=image[0], filename_prefix="test")
    done = comfy.queue(graph)
    assert done.pictures[0].shape == (64, 72, 3)
    assert done.outputs[told.id]["text"] == [format_infotext(record)]
    written = json.loads(
        Image.open(comfy.folder / "output" / done.outputs[str(len(graph))]["images"][0]["filename"]).text[
            "prompt"
        ]
    )
    assert written[told.id]["class_type"] == "ConcordLoadImageSettings"


def test_stock_graphs_get_an_infotext_too(comfy, checkpoints):
    graph = Graph()
    loader = loaded(graph, "mini-sd15")
    stock = graph.sample(loader, "a cat", "grey", size=64, steps=2, seed=9)
    image = graph.add("VAEDecode", samples=stock[0], vae=loader[2])
    node = saving(graph, image[0], filename="stock", workflow=False)
    [path] = saved(comfy, comfy.queue(graph), node)
    record = read_image_info(path)
    assert (record.prompt, record.negative_prompt, record.seed, record.steps) == ("a cat", "grey", 9, 2)
    assert read_chunks(path) == {}


@pytest.mark.golden
def test_what_other_programs_write_is_read(comfy, checkpoints, noise):
    first = (golden_dir("infotext") / "create.jsonl.gz", golden_dir("infotext") / "novelai.jsonl.gz")
    rows = [json.loads(gzip.decompress(path.read_bytes()).splitlines()[0]) for path in first]
    graph = (golden_dir("pictures") / "comfyui" / "126.json").read_text(encoding="utf-8")
    stored = {
        "a1111": {"parameters": rows[0]["a1111"]},
        "forge": {"parameters": rows[0]["forge"]},
        "novelai": rows[1]["info"],
        "comfyui": {"prompt": graph},
    }
    for host, texts in stored.items():
        info = PngInfo()
        for name, text in texts.items():
            info.add_text(name, text)
        path = comfy.folder / "input" / f"{host}.png"
        Image.fromarray(noise).save(path, pnginfo=info)
        graph = Graph()
        settings = graph.add("ConcordLoadImageSettings", image=path.name)
        node = graph.add("ConcordProbeRecord", record=settings[1])
        graph.add("PreviewImage", images=settings[0])
        done = comfy.queue(graph)
        record = read_image_info(path)
        assert f"Steps: {record.steps}" in done.outputs[node.id]["text"][0]
        assert f"Seed: {record.seed}" in done.outputs[node.id]["text"][0]
        assert gap(done.pictures[0], noise) == 0


ERRORS = {
    "no settings": ({}, "ConcordLoadImageSettings: .*bare.png holds no generation settings"),
    "outside": ({"filename": "../%seed%"}, "ConcordSaveImage: the file name '../%seed%' leads outside"),
    "a mark": ({"filename": "%sed%"}, "ConcordSaveImage: unknown mark of a file name 'sed'.*%?seed"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_stand_on_the_node(comfy, noise, case):
    given, words = ERRORS[case]
    Image.fromarray(noise).save(comfy.folder / "input" / "bare.png")
    graph = Graph()
    if given:
        saving(graph, graph.add("LoadImage", image="bare.png")[0], **given)
    else:
        graph.add("PreviewImage", images=graph.add("ConcordLoadImageSettings", image="bare.png")[0])
    with pytest.raises(RuntimeError, match=words):
        comfy.queue(graph)


def test_a_missing_picture_is_refused_with_the_reason(comfy):
    graph = Graph()
    graph.add("PreviewImage", images=graph.add("ConcordLoadImageSettings", image="gone.png")[0])
    with pytest.raises(RuntimeError, match="upload it again"):
        comfy.queue(graph)


def test_a_jpeg_whose_workflow_is_too_long_goes_without(comfy, checkpoints):
    graph = Graph()
    made = sampler(graph, loaded(graph, "mini-sd15"), **SMALL | {"batch_size": 1, "steps": 1})
    graph.add("PreviewImage", images=made[2])
    graph.add(
        "ConcordProbeConditioning",
        conditioning=graph.add("CLIPTextEncode", clip=loaded(graph, "mini-sd15")[1], text="long " * 14000)[0],
        name="long",
    )
    node = saving(graph, made[2], record=made[1], format="jpeg", filename="long")
    [path] = saved(comfy, comfy.queue(graph), node)
    assert read_image_info(path).seed == 11
    assert read_chunks(path) == {}
