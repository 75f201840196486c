"""ComfyUI graphs: what a picture's graph says, and what of it the record leaves out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from golden import golden_dir
from sd_concord.core.errors import BadValue
from sd_concord.core.image import (
    ConcordSettings,
    Hires,
    ModelRef,
    Refiner,
    format_infotext,
    parse_infotext,
    read_comfyui_graph,
)
from sd_concord.core.image.comfyui_graph import LEFT_OUT, LORAS
from sd_concord.core.image.names import sampler_name

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph(**others: dict[str, Any]) -> Graph:
    """Return a plain text-to-image graph with ``others`` in addition, or in the place of its nodes."""
    sampler = node(
        "KSampler",
        seed=7,
        steps=20,
        cfg=6.5,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=1.0,
        model=["ckpt", 0],
        positive=["pos", 0],
        negative=["neg", 0],
        latent_image=["empty", 0],
    )
    return {
        "ckpt": node("CheckpointLoaderSimple", ckpt_name="sdxl\\base_1.0.safetensors"),
        "pos": node("CLIPTextEncode", text="a fox", clip=["ckpt", 1]),
        "neg": node("CLIPTextEncode", text="blurry", clip=["ckpt", 1]),
        "empty": node("EmptyLatentImage", width=832, height=1216, batch_size=1),
        "ks": sampler,
        "decode": node("VAEDecode", samples=["ks", 0], vae=["ckpt", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="x"),
        **others,
    }


def second(**changes: Any) -> dict[str, Any]:
    inputs = graph()["ks"]["inputs"] | {"denoise": 0.5} | changes
    return node("KSampler", **inputs)


def test_a_plain_graph_is_read_whole() -> None:
    reading = read_comfyui_graph(json.dumps(graph()))
    record = reading.generation
    assert reading.left_out == ()
    assert (record.prompt, record.negative_prompt) == ("a fox", "blurry")
    assert (record.steps, record.cfg, record.seed, record.size) == (20, 6.5, 7, (832, 1216))
    assert (record.sampler, record.scheduler) == ("dpmpp_2m", "karras")
    assert record.model == ModelRef(name="base_1.0")
    assert (record.denoising_strength, record.hires, record.refiner, record.clip_skip) == (None,) * 4
    assert record.concord == ConcordSettings(profile="comfyui")
    assert record.host == "comfyui"
    assert parse_infotext(format_infotext(record)).prompt == "a fox"


def test_loras_clip_skip_vae_and_rescale_are_read() -> None:
    changed = graph(
        l1=node("LoraLoader", lora_name="style/ink.safetensors", strength_model=0.8, strength_clip=0.5,
                model=["ckpt", 0], clip=["ckpt", 1]),
        l2=node("LoraLoaderModelOnly", lora_name="turbo.safetensors", strength_model=1, model=["l1", 0]),
        rescale=node("RescaleCFG", multiplier=0.7, model=["l2", 0]),
        skip=node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["l1", 1]),
        pos=node("CLIPTextEncode", text=["words", 0], clip=["skip", 0]),
        words=node("PrimitiveString", value="two birds"),
        vae=node("VAELoader", vae_name="kl-f8.safetensors"),
        decode=node("VAEDecode", samples=["ks", 0], vae=["vae", 0]),
    )  # fmt: skip
    changed["ks"]["inputs"]["model"] = ["rescale", 0]
    reading = read_comfyui_graph(changed)
    record = reading.generation
    assert reading.left_out == ()
    assert [lora.name for lora in record.networks.loras] == ["ink", "turbo"]
    assert dict(record.extras) == {LORAS: "ink:0.8:0.5, turbo:1"}
    assert (record.clip_skip, record.prompt, record.vae) == (2, "two birds", ModelRef(name="kl-f8"))
    assert record.concord is not None
    assert record.concord.cfg_rescale == 0.7
    assert parse_infotext(format_infotext(record)).extras == record.extras


@pytest.mark.parametrize(
    ("between", "wanted"),
    [
        ({"up": node("LatentUpscaleBy", samples=["ks", 0], upscale_method="bicubic", scale_by=1.5)},
         {"upscale": 1.5, "upscaler": "Latent (bicubic)"}),
        ({"up": node("LatentUpscale", samples=["ks", 0], upscale_method="bilinear", width=0, height=1824,
                     crop="disabled")},
         {"resize": (0, 1824), "upscaler": "Latent"}),
        ({"up": node("VAEEncode", pixels=["scale", 0], vae=["ckpt", 2]),
          "scale": node("ImageScale", image=["model", 0], upscale_method="lanczos", width=1248, height=1824),
          "model": node("ImageUpscaleWithModel", image=["first", 0], upscale_model=["loader", 0]),
          "loader": node("UpscaleModelLoader", model_name="4x-UltraSharp.pth"),
          "first": node("VAEDecode", samples=["ks", 0], vae=["ckpt", 2])},
         {"resize": (1248, 1824), "upscaler": "4x-UltraSharp"}),
        ({"up": node("VAEEncode", pixels=["scale", 0], vae=["ckpt", 2]),
          "scale": node("ImageScaleBy", image=["model", 0], upscale_method="lanczos", scale_by=0.5),
          "model": node("ImageUpscaleWithModel", image=["first", 0], upscale_model=["loader", 0]),
          "loader": node("UpscaleModelLoader", model_name="4x-UltraSharp.pth"),
          "first": node("VAEDecode", samples=["ks", 0], vae=["ckpt", 2])},
         {"upscale": 2.0, "upscaler": "4x-UltraSharp"}),
        ({"up": node("Reroute", samples=["ks", 0])}, {"upscale": 1.0, "upscaler": "None"}),
    ],
    ids=["latent by", "latent to", "network to", "network by", "same size"],
)  # fmt: skip
def test_a_second_sampler_is_the_hires_pass(between: Graph, wanted: dict[str, Any]) -> None:
    changed = graph(**between, ks2=second(steps=12, latent_image=["up", 0], sampler_name="euler"))
    changed["decode"]["inputs"]["samples"] = ["ks2", 0]
    reading = read_comfyui_graph(changed)
    record = reading.generation
    assert record.hires == Hires(steps=12, sampler="euler", **wanted)
    assert (record.steps, record.sampler, record.denoising_strength) == (20, "dpmpp_2m", 0.5)
    assert reading.left_out == (("Reroute up",) if "Reroute" in str(between) else ())


def advanced(start: int, end: int, latent: str, **changes: Any) -> dict[str, Any]:
    inputs = {key: value for key, value in graph()["ks"]["inputs"].items() if key not in ("seed", "denoise")}
    more = {"noise_seed": 7, "start_at_step": start, "end_at_step": end, "latent_image": [latent, 0]}
    return node("KSamplerAdvanced", **(inputs | more | changes))


def test_two_stages_that_hand_noise_on_are_a_refiner() -> None:
    changed = graph(
        ks=advanced(0, 16, "empty", add_noise="enable"),
        refiner=node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
        rpos=node("CLIPTextEncode", text="a fox", clip=["refiner", 1]),
        ks2=advanced(16, 10000, "ks", add_noise="disable", model=["refiner", 0], positive=["rpos", 0]),
    )
    changed["decode"]["inputs"]["samples"] = ["ks2", 0]
    reading = read_comfyui_graph(changed)
    assert reading.generation.refiner == Refiner(model="refiner", switch_at=0.8, by_steps=True)
    assert reading.generation.hires is None
    assert reading.left_out == ()


def test_image_to_image_has_a_strength() -> None:
    changed = graph(
        load=node("LoadImage", image="in.png"), empty=node("VAEEncode", pixels=["load", 0], vae=["ckpt", 2])
    )
    changed["ks"]["inputs"]["denoise"] = 0.6
    reading = read_comfyui_graph(changed)
    assert (reading.generation.denoising_strength, reading.generation.size) == (0.6, None)
    assert reading.left_out == ("LoadImage load",)


def test_custom_samplers_are_read() -> None:
    changed = graph(
        ks=node("SamplerCustomAdvanced", noise=["n", 0], guider=["g", 0], sampler=["s", 0], sigmas=["b", 0],
                latent_image=["empty", 0]),
        n=node("RandomNoise", noise_seed=99),
        g=node("CFGGuider", model=["ckpt", 0], positive=["flux", 0], negative=["neg", 0], cfg=3.5),
        flux=node("FluxGuidance", conditioning=["pos", 0], guidance=2.5),
        s=node("KSamplerSelect", sampler_name="euler"),
        b=node("BasicScheduler", model=["ckpt", 0], scheduler="beta", steps=8, denoise=1.0),
    )  # fmt: skip
    reading = read_comfyui_graph(changed)
    record = reading.generation
    assert reading.left_out == ()
    assert (record.seed, record.cfg, record.distilled_cfg) == (99, 3.5, 2.5)
    assert (record.sampler, record.scheduler, record.steps, record.prompt) == ("euler", "beta", 8, "a fox")


def test_a_schedule_is_found_below_what_changes_its_sigmas() -> None:
    changed = graph(
        ks=node("SamplerCustom", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0], cfg=3.5, noise_seed=9,
                sampler=["s", 0], sigmas=["m", 0], latent_image=["empty", 0]),
        s=node("KSamplerSelect", sampler_name="euler"),
        m=node("ConcordSigmaMultiply", sigmas=["b", 0], factor=0.98),
        b=node("BasicScheduler", model=["ckpt", 0], scheduler="beta", steps=8, denoise=1.0),
    )  # fmt: skip
    reading = read_comfyui_graph(changed)
    assert (reading.generation.scheduler, reading.generation.steps) == ("beta", 8)
    assert any("ConcordSigmaMultiply" in name for name in reading.left_out)


def test_what_is_left_out_is_named() -> None:
    changed = graph(
        apply=node("ControlNetApplyAdvanced", positive=["pos", 0], negative=["neg", 0], control_net=["cn", 0],
                   image=["load", 0], strength=0.8),
        cn=node("ControlNetLoader", control_net_name="canny.safetensors"),
        load=node("LoadImage", image="edges.png"),
        freeu=node("FreeU", model=["ckpt", 0], b1=1.3),
        sharpen=node("ImageSharpen", image=["decode", 0]),
        save=node("SaveImage", images=["sharpen", 0]),
        empty=node("EmptyLatentImage", width=64, height=64, batch_size=4),
        other=node("SaveImage", images=["load", 0]),
    )  # fmt: skip
    changed["ks"]["inputs"] |= {"model": ["freeu", 0], "positive": ["apply", 0], "negative": ["apply", 1]}
    reading = read_comfyui_graph(changed)
    assert reading.left_out == (
        "which of the 4 pictures of the batch this is",
        "ControlNetApplyAdvanced apply",
        "ControlNetLoader cn",
        "FreeU freeu",
        "ImageSharpen sharpen",
        "LoadImage load",
        "SaveImage other",
    )
    assert (reading.generation.prompt, reading.generation.negative_prompt) == ("a fox", "blurry")
    assert dict(reading.generation.extras)[LEFT_OUT] == "; ".join(reading.left_out)


def test_samplers_have_the_registrys_names() -> None:
    changed = graph()
    changed["ks"]["inputs"]["sampler_name"] = "dpmpp_2m_sde_gpu"
    reading = read_comfyui_graph(changed)
    assert reading.generation.sampler == "dpmpp_2m_sde"
    assert reading.left_out == ("KSampler ks: dpmpp_2m_sde_gpu in the form of dpmpp_2m_sde",)


def test_one_picture_of_a_batch_is_told_from_the_others() -> None:
    changed = graph(
        empty=node("EmptyLatentImage", width=64, height=64, batch_size=4),
        one=node("LatentFromBatch", samples=["ks", 0], batch_index=2, length=1),
    )
    changed["decode"]["inputs"]["samples"] = ["one", 0]
    reading = read_comfyui_graph(changed)
    assert reading.generation.concord == ConcordSettings(profile="comfyui", batch_size=4, batch_position=2)
    assert reading.left_out == ()


def test_loops_and_loose_ends_do_not_hang() -> None:
    changed = graph(empty=node("LatentUpscaleBy", samples=["ks", 0], scale_by=float("nan"), upscale_method=3))
    changed["pos"]["inputs"]["text"] = ["pos", 0]
    changed["ckpt"]["inputs"]["model"] = ["ckpt", 0]
    changed["neg"]["inputs"]["text"] = ["nowhere", 0]
    changed["ks"]["inputs"] |= {"seed": -1, "steps": "many", "cfg": [["x"]], "denoise": 7}
    record = read_comfyui_graph(changed).generation
    assert (record.prompt, record.seed, record.steps, record.cfg) == ("", None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the graph is no JSON"),
        ("[" * 100_000, "the graph is no JSON"),
        ("[1, 2]", "holds no nodes with class_type and inputs"),
        ('{"1": {"type": "KSampler"}, "2": 3}', "holds no nodes"),
        ('{"1": {"class_type": "LoadImage", "inputs": {}}}', "no sampler that is known; it holds LoadImage"),
    ],
    ids=["no json", "deep", "list", "workflow", "no sampler"],
)
def test_what_is_no_graph_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        read_comfyui_graph(text)


UNTOLD = {"custom sigmas", "sampler options", "guider", "conditioning", "area"}
"""Groups whose index describes in words what the graph has in several nodes."""


@pytest.mark.golden
def test_graphs_of_the_real_program_say_what_was_asked() -> None:
    folder = golden_dir("pictures") / "comfyui"
    pictures = json.loads((folder / "index.json").read_text(encoding="utf-8"))["pictures"]
    assert pictures
    for picture in pictures:
        name = f"{picture['id']:03}"
        reading = read_comfyui_graph((folder / f"{name}.json").read_text(encoding="utf-8"))
        record = reading.generation
        assert parse_infotext(format_infotext(record)).extras == record.extras, name
        assert record.seed == picture["seed"], name
        if picture["group"] in UNTOLD:
            continue
        assert record.sampler == sampler_name(picture["sampler"]), name
        assert record.scheduler == picture["scheduler"], name
        assert (record.steps, record.cfg) == (picture["steps"], picture["cfg"]), name
        assert (record.prompt, record.negative_prompt) == (picture["positive"], picture["negative"]), name
        assert record.clip_skip == (picture["clip_skip"] and -picture["clip_skip"]), name
        if picture["group"] == "hires":
            assert record.hires is not None, name
            assert record.hires.resize == (picture["latent"][3] * 8, picture["latent"][2] * 8), name
        if record.size is not None:
            assert record.size == (picture["width"], picture["height"]), name
        else:
            assert record.denoising_strength == picture["denoise"], name
        if picture.get("switch_at") and record.refiner:
            assert record.refiner.switch_at == picture["switch_at"] / picture["steps"], name
