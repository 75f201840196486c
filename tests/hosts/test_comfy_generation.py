"""Concord Sampler, Hires and Refiner in the real ComfyUI: pictures of stock KSampler and of the harness."""

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed, which runs the model to compare with")
import numpy as np
import torch
from comfy_graphs import WIDGETS, gap, loaded, mean_gap, sampler
from comfy_host import Graph
from miniatures import miniature
from PIL import Image
from safetensors.torch import save_file
from sd_concord.core.image import (
    ConcordSettings,
    Generation,
    Hires,
    Refiner,
    SamplerOptions,
    ScheduleOptions,
    Variation,
)
from sd_concord.harness import Pipeline

pytestmark = pytest.mark.hosts
MODELS = {
    "demo": Pipeline.load,
    "mini-sd15": lambda: Pipeline(miniature("sd15")),
    "mini-sdxl": lambda: Pipeline(miniature("sdxl")),
    "mini-sdxl-v": lambda: Pipeline(miniature("sdxl", "v", ztsnr=True)),
}


@pytest.fixture(scope="module")
def pipelines():
    made = {}

    def get(name):
        if name not in made:
            made[name] = MODELS[name]()
        return made[name]

    return get


def pictures(comfy, checkpoints, name="demo", **given):
    graph = Graph()
    node = sampler(graph, loaded(graph, name), **given)
    graph.add("SaveImage", images=node[2], filename_prefix="test")
    return comfy.queue(graph).pictures


KSAMPLERS = {
    "euler": {"sampler": "euler", "scheduler": "normal"},
    "ancestral": {"sampler": "euler_ancestral", "scheduler": "simple"},
    "sde": {"sampler": "dpmpp_2m_sde", "scheduler": "exponential"},
    "discarding": {"sampler": "dpm_2", "scheduler": "karras"},
    "cfg++": {"sampler": "euler_cfg_pp", "scheduler": "sgm_uniform", "cfg": 1.2},
    "no guidance": {"sampler": "dpmpp_2m", "scheduler": "beta", "cfg": 1.0},
}


@pytest.mark.parametrize("name", ["mini-sd15", "mini-sdxl"])
@pytest.mark.parametrize("case", KSAMPLERS)
def test_as_comfyui_it_is_stock_ksampler(comfy, checkpoints, case, name):
    given = {"width": 64, "height": 64, "steps": 4, "seed": 3, "batch_size": 2, **KSAMPLERS[case]}
    found = pictures(
        comfy, checkpoints, name, profile="comfyui", positive="a (cat:1.3)", negative="dog", **given
    )
    graph = Graph()
    loader = loaded(graph, name)
    texts = [graph.add("CLIPTextEncode", clip=loader[1], text=text)[0] for text in ("a (cat:1.3)", "dog")]
    stock = graph.add(
        "KSampler",
        model=loader[0],
        positive=texts[0],
        negative=texts[1],
        latent_image=graph.add("EmptyLatentImage", width=64, height=64, batch_size=2)[0],
        seed=3,
        steps=4,
        cfg=given.get("cfg", 4.0),
        sampler_name=given["sampler"],
        scheduler=given["scheduler"],
        denoise=1.0,
    )
    image = graph.add("VAEDecode", samples=stock[0], vae=loader[2])
    graph.add("SaveImage", images=image[0], filename_prefix="test")
    wanted = comfy.queue(graph).pictures
    assert len(found) == 2
    assert max(gap(*pair) for pair in zip(found, wanted, strict=True)) <= 1


AND = "a red circle AND a blue square :0.6"
PASSES = {
    "plain": ({}, {}),
    "fraction of a timestep": ({"sampler": "euler", "scheduler": "exponential", "cfg": 12.0, "steps": 3}, {}),
    "two orders": ({"sampler": "heun", "scheduler": "karras"}, {}),
    "ancestral with ENSD": ({"sampler": "euler_ancestral", "ensd": 31337}, {"ensd": 31337}),
    "sde": ({"sampler": "dpmpp_sde", "scheduler": "automatic"}, {"scheduler": None}),
    "AND": ({"positive": AND, "sampler": "euler"}, {"prompt": AND}),
    "AND without guidance": ({"positive": AND, "cfg": 1.0}, {"prompt": AND, "cfg": 1.0}),
    "edits and BREAK": (
        {"positive": "[a red circle:a (blue:1.3) star:0.5] BREAK [white|black] background"},
        {"prompt": "[a red circle:a (blue:1.3) star:0.5] BREAK [white|black] background"},
    ),
    "long negative": ({"negative": "blurry, grey, " * 40}, {"negative_prompt": "blurry, grey, " * 40}),
    "rescaled": ({"cfg": 9.0, "cfg_rescale": 0.7}, {"cfg": 9.0}),
    "graphics card": ({"noise": "graphics card"}, {"rng": "NV"}),
    "processor": ({"noise": "CPU"}, {"rng": "CPU"}),
    "sgm": ({"sgm_noise": "on"}, {}),
    "lcm": ({"sampler": "lcm", "cfg": 1.5}, {"cfg": 1.5}),
    "eta": ({"sampler": "euler_ancestral", "options": "eta=0.5"}, {}),
    "variation": ({"variation": 0.3, "variation_seed": 77}, {}),
    "clip skip": ({"clip_skip": 2}, {"clip_skip": 2}),
}
CASES = (
    [(profile, "mini-sdxl-v", "plain") for profile in ("a1111", "forge")]
    + [("a1111", "demo", case) for case in PASSES]
    + [("forge", "demo", case) for case in ("plain", "long negative", "AND without guidance", "lcm")]
    + [("concord", "demo", case) for case in ("plain", "sde", "edits and BREAK")]
    + [
        ("a1111", name, case)
        for name in ("mini-sd15", "mini-sdxl")
        for case in ("plain", "AND", "clip skip", "long negative")
    ]
)


def record_of(given, profile):
    """The harness's record of the widgets."""
    whole = WIDGETS | given
    return {
        "prompt": whole["positive"],
        "negative_prompt": whole["negative"],
        "steps": whole["steps"],
        "cfg": whole["cfg"],
        "sampler": whole["sampler"],
        "scheduler": whole["scheduler"],
        "seed": whole["seed"],
        "size": (whole["width"], whole["height"]),
        "clip_skip": whole["clip_skip"] or None,
        "variation": Variation(seed=77, strength=0.3) if whole["variation"] else None,
        "schedule_options": ScheduleOptions(sgm_noise=True) if whole["sgm_noise"] == "on" else None,
        "sampler_options": SamplerOptions(eta=0.5) if whole["options"] else None,
        "concord": ConcordSettings(
            profile=profile,
            cfg_rescale=whole["cfg_rescale"] or None,
            dialect=None if whole["dialect"] == "as the profile" else whole["dialect"],
        ),
    }


@pytest.mark.parametrize(("profile", "name", "case"), CASES, ids=lambda value: value)
def test_it_is_the_harness_own(comfy, checkpoints, pipelines, profile, name, case):
    given, more = PASSES[case]
    given = {"width": 64, "height": 64, "steps": 6, "batch_size": 2, "seed": 11, **given}
    found = pictures(comfy, checkpoints, name, profile=profile, **given)
    wanted = pipelines(name).generate(Generation(**record_of(given, profile) | more), batch=2)
    assert max(gap(one, other.image) for one, other in zip(found, wanted, strict=True)) <= 1
    assert max(mean_gap(one, other.image) for one, other in zip(found, wanted, strict=True)) < 0.03
    assert gap(found[0], found[1]) > 1


HIRES = {
    "upscaler": "Latent",
    "upscale": 1.5,
    "width": 0,
    "height": 0,
    "steps": 0,
    "denoise": 0.6,
    "sampler": "as the first pass",
    "scheduler": "as the first pass",
    "cfg": 0.0,
    "positive": "",
    "negative": "",
}
SMALL = {"width": 64, "height": 64, "steps": 6, "batch_size": 2, "seed": 11}


@pytest.fixture(scope="module")
def second(comfy, checkpoints):
    """The pipeline of another miniature of SD1.5, which is the checkpoint mini-second there."""
    from sd_concord.harness.models import export_ldm

    model = miniature("sd15", seed=5)
    export_ldm(model, comfy.folder / "models" / "checkpoints" / "mini-second.safetensors")
    return Pipeline(model)


def hires(graph, loader, first, **given):
    nodes = {"model": loader[0], "clip": loader[1], "vae": loader[2], "latent": first[0], "record": first[1]}
    return graph.add("ConcordHires", **nodes | HIRES | given)


ENLARGED = {
    "latent": ("a1111", {}, Hires(upscale=1.5, upscaler="Latent")),
    "its own steps and texts": (
        "a1111",
        {"steps": 4, "positive": "[a cat:a dog:0.5]", "negative": "grey", "cfg": 6.0, "sampler": "euler"},
        Hires(
            upscale=1.5,
            upscaler="Latent",
            steps=4,
            cfg=6.0,
            sampler="euler",
            prompt="[a cat:a dog:0.5]",
            negative_prompt="grey",
        ),
    ),
    "to a size, cut": (
        "forge",
        {"width": 96, "height": 128, "upscaler": "Latent (bicubic antialiased)"},
        Hires(resize=(96, 128), upscaler="Latent (bicubic antialiased)"),
    ),
    "picture": ("concord", {"upscaler": "Lanczos"}, Hires(upscale=1.5, upscaler="Lanczos")),
    "ksampler": (
        "comfyui",
        {"upscaler": "Latent (nearest-exact)"},
        Hires(upscale=1.5, upscaler="Latent (nearest-exact)"),
    ),
}


@pytest.mark.parametrize("case", ENLARGED)
def test_the_hires_pass_is_the_harness_own(comfy, checkpoints, pipelines, case):
    profile, given, wanted = ENLARGED[case]
    graph = Graph()
    loader = loaded(graph, "mini-sd15")
    first = sampler(graph, loader, profile=profile, **SMALL)
    graph.add("SaveImage", images=hires(graph, loader, first, **given)[2], filename_prefix="test")
    found = comfy.queue(graph).pictures
    record = Generation(**record_of(SMALL, profile) | {"hires": wanted, "denoising_strength": 0.6})
    made = pipelines("mini-sd15").generate(record, batch=2)
    assert max(gap(one, other.image) for one, other in zip(found, made, strict=True)) <= 1


TAKES_OVER = {
    "by noise": ("a1111", "as the profile", {}),
    "two orders": ("forge", "as the profile", {"sampler": "heun"}),
    "by calls": ("a1111", "calls (A1111 1.7)", {}),
    "by steps": ("comfyui", "as the profile", {"sampler": "euler", "dialect": "a1111"}),
}


@pytest.mark.parametrize("case", TAKES_OVER)
def test_the_refiner_takes_over_as_in_the_harness(comfy, checkpoints, pipelines, second, case):
    profile, counted, given = TAKES_OVER[case]
    graph = Graph()
    other = loaded(graph, "mini-second")
    refiner = graph.add(
        "ConcordRefiner",
        model=other[0],
        clip=other[1],
        switch_at=0.5,
        counted_in=counted,
        aesthetic_score=6.0,
        negative_aesthetic_score=2.5,
    )
    base = loaded(graph, "mini-sd15")
    by_web_ui = profile != "comfyui"  # those decode with the refiner's own VAE
    loader = (base[0], base[1], other[2] if by_web_ui else base[2])
    given = SMALL | {"positive": "[a cat:(a blue dog:1.4):0.6]", "cfg": 9.0} | given
    first = sampler(graph, loader, profile=profile, refiner=refiner[0], **given)
    graph.add("SaveImage", images=first[2], filename_prefix="test")
    saved = graph.add("ConcordProbeRecord", record=first[1])
    done = comfy.queue(graph)
    pipeline = pipelines("mini-sd15")
    pipeline.second.add("second", second)
    how = "webui_calls" if "calls" in counted else None
    record = record_of(SMALL | given, profile) | {
        "refiner": Refiner(model="second", switch_at=0.5, switch_by=how)
    }
    made = pipeline.generate(Generation(**record), batch=2)
    assert max(gap(one, other.image) for one, other in zip(done.pictures, made, strict=True)) <= 1
    assert max(mean_gap(one, other.image) for one, other in zip(done.pictures, made, strict=True)) < 0.03
    assert "Refiner: mini-second" in done.outputs[saved.id]["text"][0]


@pytest.fixture(scope="module")
def loras(comfy, pipelines):
    """A folder of ComfyUI's with a LoRA for the UNet and the text encoder of the miniature of SD1.5."""
    model = pipelines("mini-sd15").model
    name = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q"
    modules = {
        f"lora_unet_{name}": model.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_q,
        "lora_te_text_model_encoder_layers_1_mlp_fc1": model.text_encoders[0]
        ._inner.encoder.layers[1]
        .mlp.fc1,
    }
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for flat, module in modules.items():
        out, inner = module.weight.shape
        tensors[f"{flat}.lora_up.weight"] = 0.2 * torch.randn(out, 2, generator=generator)
        tensors[f"{flat}.lora_down.weight"] = torch.randn(2, inner, generator=generator)
        tensors[f"{flat}.alpha"] = torch.tensor(2.0)
    folder = comfy.folder / "models" / "loras"
    save_file(tensors, folder / "ink.safetensors")
    return folder


LORA_PROMPTS = {
    "one": "a cat <lora:ink:0.4>",
    "text encoder and UNet": "a cat <lora:ink:0.3:0.6>",
    "in an edit": "a [cat <lora:ink:0.5>:dog:0.5]",
    "in an alternation": "[a|b <lora:ink:0.5>]",
}


@pytest.mark.parametrize("dialect", ["a1111", "concord"])
@pytest.mark.parametrize("prompt", LORA_PROMPTS.values(), ids=LORA_PROMPTS)
def test_loras_are_laid_on_as_in_the_harness(comfy, checkpoints, loras, prompt, dialect):
    given = SMALL | {"positive": prompt, "sampler": "euler", "batch_size": 1, "dialect": dialect}
    plain = given | {"positive": "a dog"}
    found, again = (
        pictures(comfy, checkpoints, "mini-sd15", profile="a1111", **one)[0] for one in (given, plain)
    )
    own = ConcordSettings(profile="a1111", dialect=dialect)
    record = Generation(**record_of(given, "a1111") | {"concord": own})
    [made] = Pipeline(miniature("sd15"), lora_folders=[loras]).generate(record)
    bare = Pipeline(miniature("sd15"))
    [without] = bare.generate(record)
    assert gap(found, made.image) <= 1
    assert gap(made.image, without.image) > 3
    [after] = bare.generate(Generation(**record_of(plain, "a1111")))
    assert gap(again, after.image) <= 1


@pytest.mark.parametrize("case", ["whole", "masked", "ddim", "a batch of one latent"])
def test_image_to_image_is_the_harness_own(comfy, checkpoints, pipelines, case):
    rng = np.random.default_rng(5)
    image = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 8:40] = 255
    Image.fromarray(image).save(comfy.folder / "input" / "image.png")
    Image.fromarray(mask).save(comfy.folder / "input" / "mask.png")
    given = SMALL | {
        "denoise": 0.6,
        "batch_size": 2 if "batch" in case else 1,
        "sampler": {"ddim": "ddim", "masked": "euler_ancestral"}.get(case, "dpmpp_2m"),
    }
    graph = Graph()
    loader = loaded(graph, "mini-sd15")
    pixels = graph.add("LoadImage", image="image.png")
    latent = graph.add("VAEEncode", pixels=pixels[0], vae=loader[2])
    masked = case in ("masked", "ddim")
    if masked:
        drawn = graph.add("LoadImageMask", image="mask.png", channel="red")
        latent = graph.add("SetLatentNoiseMask", samples=latent[0], mask=drawn[0])
    node = sampler(graph, loader, profile="comfyui", latent=latent[0], **given)
    graph.add("SaveImage", images=node[2], filename_prefix="test")
    found = comfy.queue(graph).pictures
    record = Generation(**record_of(given, "comfyui") | {"denoising_strength": 0.6})
    made = pipelines("mini-sd15").generate(
        record, batch=given["batch_size"], init_image=image, mask=mask if masked else None
    )
    assert max(gap(one, other.image) for one, other in zip(found, made, strict=True)) <= 1


ERRORS = {
    "size": ({"width": 100}, "size is 100x64; both sides must be multiples of 8, such as 96x64"),
    "option": ({"options": "etta=0.5"}, "option of sampler"),
    "guidance": ({"profile": "comfyui", "ensd": 31337}, "draws noise for the batch at once"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_says_the_way_out_and_the_queue_goes_on(comfy, checkpoints, case):
    given, words = ERRORS[case]
    with pytest.raises(RuntimeError, match="ConcordSampler") as error:
        pictures(comfy, checkpoints, "mini-sd15", **SMALL | given)
    assert words in str(error.value).splitlines()[0]
    assert len(pictures(comfy, checkpoints, "mini-sd15", **SMALL)) == 2


def test_without_a_vae_only_who_wants_pictures_fails(comfy, checkpoints):
    graph = Graph()
    loader = loaded(graph, "mini-sd15")
    node = graph.add("ConcordSampler", model=loader[0], clip=loader[1], **WIDGETS | SMALL)
    image = graph.add("VAEDecode", samples=node[0], vae=loader[2])
    graph.add("SaveImage", images=image[0], filename_prefix="test")
    assert len(comfy.queue(graph).pictures) == 2
    graph.add("SaveImage", images=node[2], filename_prefix="test")
    graph[node.id]["inputs"]["seed"] = 99
    with pytest.raises(RuntimeError, match="ConcordSampler: the IMAGE output needs a VAE"):
        comfy.queue(graph)


def test_what_is_odd_about_the_prompt_stands_on_the_node(comfy, checkpoints):
    graph = Graph()
    node = sampler(graph, loaded(graph, "mini-sd15"), **SMALL | {"positive": "a (cat", "steps": 1})
    graph.add("SaveImage", images=node[2], filename_prefix="test")
    assert "(" in comfy.queue(graph).outputs[node.id]["text"][0]
