"""ComfyUI graphs carried out over the core: wires, areas, masks, ranges, and the pictures they make."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from sd_concord.core.errors import BadValue
from sd_concord.core.image import ConcordSettings, Generation
from sd_concord.core.image.graph import parse_graph
from sd_concord.core.sigmas import ModelSigmas
from sd_concord.harness import Pipeline
from sd_concord.harness.graphs import NODES, missing_nodes, output_of, play_graph
from sd_concord.harness.graphs.bislerp import bislerp
from sd_concord.harness.graphs.denoising import clean, told_time
from sd_concord.harness.graphs.ranges import sigma_of_share
from sd_concord.harness.graphs.regions import cut_to, feathered, placed
from sd_concord.harness.graphs.values import Entry, ModelWire
from sd_concord.harness.reproduce.recorded import read_recorded
from sd_concord.harness.reproduce.reproducing import Places, Reproducer
from torch.nn.functional import interpolate

SOURCE = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load()


def images(name: str, channel: str) -> Any:
    del name
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    return mask if channel else SOURCE


def text_graph(**ksampler: Any) -> dict[str, Any]:
    """Return the graph of text to image, its sampler changed by ``ksampler``."""
    inputs = {
        "model": ["1", 0],
        "positive": ["2", 0],
        "negative": ["3", 0],
        "latent_image": ["4", 0],
        "seed": 5,
        "steps": 4,
        "cfg": 4.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
    }
    nodes = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": "demo.safetensors"}),
        "2": ("CLIPTextEncode", {"text": "a (red:1.3) circle", "clip": ["1", 1]}),
        "3": ("CLIPTextEncode", {"text": "text", "clip": ["1", 1]}),
        "4": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "5": ("KSampler", {**inputs, **ksampler}),
        "6": ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
        "7": ("SaveImage", {"images": ["6", 0], "filename_prefix": "x"}),
    }
    return {name: {"class_type": kind, "inputs": given} for name, (kind, given) in nodes.items()}


def with_nodes(graph: dict[str, Any], **nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Return ``graph`` with further nodes, called ``n8`` for node 8."""
    more = {name[1:]: {"class_type": kind, "inputs": given} for name, (kind, given) in nodes.items()}
    return {**graph, **more}


def played(graph: dict[str, Any], pipeline: Pipeline) -> list[np.ndarray[Any, Any]]:
    return play_graph(json.dumps(graph), pipeline, images)


def as_record(**fields: Any) -> Generation:
    base: dict[str, Any] = {
        "prompt": "a (red:1.3) circle",
        "negative_prompt": "text",
        "steps": 4,
        "cfg": 4.0,
        "sampler": "euler",
        "scheduler": "normal",
        "seed": 5,
        "size": (64, 64),
    }
    return Generation(**{**base, **fields}, concord=ConcordSettings(profile="comfyui"))


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("euler_ancestral", "karras"), ("dpmpp_2m_sde", "sgm_uniform"), ("dpm_2", "normal")],
)
def test_a_graph_is_the_picture_of_its_record(sampler: str, scheduler: str, pipeline: Pipeline) -> None:
    [one] = played(text_graph(sampler_name=sampler, scheduler=scheduler), pipeline)
    [other] = pipeline.generate(as_record(sampler=sampler, scheduler=scheduler))
    assert np.abs(one.astype(int) - other.image).max() <= 1


def test_image_to_image_and_its_mask_are_the_records(pipeline: Pipeline) -> None:
    graph = with_nodes(
        text_graph(latent_image=["10", 0], denoise=0.6),
        n8=("LoadImage", {"image": "a.png"}),
        n9=("VAEEncode", {"pixels": ["8", 0], "vae": ["1", 2]}),
        n10=("SetLatentNoiseMask", {"samples": ["9", 0], "mask": ["11", 0]}),
        n11=("LoadImageMask", {"image": "m.png", "channel": "red"}),
    )
    [one] = played(graph, pipeline)
    mask = images("m.png", "red")
    [other] = pipeline.generate(as_record(denoising_strength=0.6), init_image=SOURCE, mask=mask)
    assert np.abs(one.astype(int) - other.image).max() <= 1


def test_two_stages_are_one_run(pipeline: Pipeline) -> None:
    """The leftover noise handed on to the same model is what one sampler would have gone on with."""
    shared = {"steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
    wires = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0]}
    first = {"add_noise": "enable", "noise_seed": 5, "start_at_step": 0, "end_at_step": 2}
    second = {"add_noise": "disable", "noise_seed": 9, "start_at_step": 2, "end_at_step": 10000}
    graph = with_nodes(
        text_graph(),
        n5=(
            "KSamplerAdvanced",
            {**shared, **wires, **second, "latent_image": ["8", 0], "return_with_leftover_noise": "disable"},
        ),
        n8=(
            "KSamplerAdvanced",
            {**shared, **wires, **first, "latent_image": ["4", 0], "return_with_leftover_noise": "enable"},
        ),
    )
    [one], [other] = played(graph, pipeline), played(text_graph(), pipeline)
    assert np.abs(one.astype(int) - other).max() <= 1
    cut = with_nodes(
        graph, n8=("KSamplerAdvanced", {**graph["8"]["inputs"], "return_with_leftover_noise": "disable"})
    )
    assert np.abs(played(cut, pipeline)[0].astype(int) - other).max() > 1


def test_custom_sampling_is_the_ksamplers(pipeline: Pipeline) -> None:
    graph = with_nodes(
        text_graph(),
        n5=(
            "SamplerCustomAdvanced",
            {
                "noise": ["8", 0],
                "guider": ["9", 0],
                "sampler": ["10", 0],
                "sigmas": ["11", 0],
                "latent_image": ["4", 0],
            },
        ),
        n8=("RandomNoise", {"noise_seed": 5}),
        n9=("CFGGuider", {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 4.0}),
        n10=("KSamplerSelect", {"sampler_name": "euler"}),
        n11=("BasicScheduler", {"model": ["1", 0], "scheduler": "normal", "steps": 4, "denoise": 1.0}),
    )
    assert np.array_equal(played(graph, pipeline)[0], played(text_graph(), pipeline)[0])


def test_a_text_over_a_whole_range_and_area_is_the_text(pipeline: Pipeline) -> None:
    graph = with_nodes(
        text_graph(positive=["8", 0]),
        n8=("ConditioningSetTimestepRange", {"conditioning": ["9", 0], "start": 0.0, "end": 1.0}),
        n9=(
            "ConditioningSetAreaPercentage",
            {"conditioning": ["2", 0], "width": 1.0, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 0.7},
        ),
    )
    assert np.abs(played(graph, pipeline)[0].astype(int) - played(text_graph(), pipeline)[0]).max() <= 1


def test_a_text_combined_with_itself_is_the_text(pipeline: Pipeline) -> None:
    graph = with_nodes(
        text_graph(positive=["8", 0]),
        n8=("ConditioningCombine", {"conditioning_1": ["2", 0], "conditioning_2": ["2", 0]}),
    )
    assert np.abs(played(graph, pipeline)[0].astype(int) - played(text_graph(), pipeline)[0]).max() <= 1


def test_a_concord_sampler_is_drawn_by_its_widgets(pipeline: Pipeline) -> None:
    widgets = {
        "model": ["1", 0],
        "clip": ["1", 1],
        "positive": "a (red:1.3) circle",
        "negative": "text",
        "profile": "a1111",
        "seed": 5,
        "steps": 4,
        "cfg": 4.0,
        "sampler": "euler_ancestral",
        "scheduler": "karras",
        "width": 64,
        "height": 64,
        "batch_size": 2,
        "noise": "CPU",
        "ensd": 31337,
        "options": "eta=0.5",
    }
    two = played(with_nodes(text_graph(), n5=("ConcordSampler", widgets)), pipeline)
    record = as_record(sampler="euler_ancestral", scheduler="karras", rng="CPU", ensd=31337)
    record = replace(record, concord=ConcordSettings(profile="a1111"))
    from sd_concord.core.options import with_options

    others = pipeline.generate(with_options(record, {"eta": 0.5}), batch=2)
    for one, other in zip(two, others, strict=True):
        assert np.array_equal(one, other.image)


def stored(path: Path, graph: dict[str, Any], image: Any) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(graph))
    Image.fromarray(image).save(path, pnginfo=info)
    return path


def test_reproduce_carries_a_graph_out_and_finds_the_place_in_a_batch(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    graph = text_graph()
    graph["4"]["inputs"]["batch_size"] = 2
    path = stored(tmp_path / "a.png", graph, played(graph, pipeline)[1])
    verdict = Reproducer(Places()).judge(path)
    assert (verdict.same, verdict.profile) == (True, "comfyui")
    assert verdict.as_json()["batch_position"] == 1
    assert verdict.notes == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 6}, "Steps: 4 gives this picture, the graph says 6"),
        ({"scheduler": "karras"}, "Schedule type: normal gives this picture, the graph says karras"),
        ({"cfg": 5.5}, "CFG scale: 4 gives this picture, the graph says 5.5"),
    ],
)
def test_a_graph_changed_by_hand_is_blamed(
    given: dict[str, Any], words: str, pipeline: Pipeline, tmp_path: Path
) -> None:
    path = stored(tmp_path / "a.png", text_graph(**given), played(text_graph(), pipeline)[0])
    verdict = Reproducer(Places()).judge(path)
    assert not verdict.same
    assert verdict.blamed == words


def test_a_node_that_is_not_carried_out_is_named(tmp_path: Path, pipeline: Pipeline) -> None:
    graph = with_nodes(text_graph(model=["8", 0]), n8=("FreeU_V2", {"model": ["1", 0], "b1": 1.3}))
    parsed = parse_graph(json.dumps(graph))
    assert missing_nodes(parsed, output_of(parsed)) == ["FreeU_V2 8"]
    with pytest.raises(BadValue, match="FreeU_V2 8"):
        played(graph, pipeline)
    path = stored(tmp_path / "a.png", graph, SOURCE)
    assert not read_recorded(path).is_playable
    assert "FreeU_V2 8" in Reproducer(Places(), tries=0).judge(path).notes


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"5": {"class_type": "KSampler", "inputs": {"seed": 1}}}, "saves no picture"),
        ({"7": {"class_type": "SaveImage", "inputs": {"images": "x"}}}, "has no wire at images"),
        ({"7": {"class_type": "SaveImage", "inputs": {"images": ["7", 0]}}}, "circle"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(graph: dict[str, Any], message: str, pipeline: Pipeline) -> None:
    with pytest.raises(BadValue, match=message):
        played(graph, pipeline)


def entry(**fields: Any) -> Entry:
    return Entry(hidden=torch.zeros(1, 77, 4), **fields)


def test_an_area_brings_a_copy_of_the_other_prompt() -> None:
    first = entry(area=(8, 4, 0, 0), start=0.1)
    second = replace(entry(), hidden=torch.ones(1, 77, 4))
    positive, negative = placed([(first,), (second,)], (8, 8))
    assert len(positive) == 1
    assert [one.area for one in negative] == [None, (8, 4, 0, 0)]
    assert torch.equal(negative[1].hidden, second.hidden)
    assert negative[1].start == 0.1
    again = placed([positive, negative], (8, 8))
    assert [len(side) for side in again] == [1, 2]


def test_shares_and_boxes_become_cells() -> None:
    mask = torch.zeros(1, 8, 16)
    mask[0, 2:4, 3:15] = 1
    [side] = placed(
        [(entry(area=(0.5, 0.26, 0.25, 0.0), of_shares=True), entry(mask=mask, to_bounds=True))], (8, 16)
    )
    assert side[0].area == (4, 4, 2, 0)
    assert side[1].area == (8, 12, 2, 3)
    assert cut_to(side[1].area, (8, 16)) == (6, 12, 2, 3)


def test_an_area_fades_at_its_inner_sides_alone() -> None:
    weight = feathered(torch.ones(1, 1, 8, 8), (8, 8, 0, 4), (8, 16))[0, 0]
    assert weight[:, 0].tolist() == [0.5] * 8
    assert weight[:, -1].tolist() == [0.5] * 8
    assert weight[0, 2:6].tolist() == [1.0] * 4


def test_bislerp_keeps_lengths_and_leaves_its_own_size_alone() -> None:
    latent = torch.randn(1, 4, 4, 5)
    unit = latent / latent.norm(dim=1, keepdim=True)
    assert torch.allclose(bislerp(unit, (8, 10)).norm(dim=1), torch.ones(1, 8, 10), atol=1e-4)
    assert torch.allclose(bislerp(latent, (4, 5)), latent, atol=1e-5)
    assert not torch.allclose(bislerp(latent, (8, 10)), interpolate(latent, size=(8, 10), mode="bilinear"))


def wire(**fields: Any) -> ModelWire:
    return ModelWire(**{"pipeline": None, "sigmas": ModelSigmas.sd(), "predicts": "eps", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("predicts", ["eps", "v", "edm", "x0"])
def test_a_network_that_is_right_gives_the_clean_latent(predicts: str) -> None:
    latent, noise, sigma = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2), 3.0
    x, scale = latent + sigma * noise, (sigma**2 + 1) ** 0.5
    velocity = (noise - sigma * latent) / scale
    out = {"eps": noise, "v": velocity, "edm": -velocity, "x0": latent}[predicts]
    assert torch.allclose(clean(wire(predicts=predicts), x, out, sigma), latent, atol=1e-5)


def test_times_are_told_as_the_model_knows_them() -> None:
    table = ModelSigmas.sd()
    assert told_time(wire(), float(table.table[500])) == 500
    thin = ModelSigmas(table.table[19::20])
    assert told_time(wire(sigmas=thin, times="distilled"), float(table.table[999])) == 999
    assert told_time(wire(times="log"), 1.0) == 0
    assert sigma_of_share(wire(), 0.0) == float("inf")
    assert sigma_of_share(wire(), 1.0) == 0
    assert sigma_of_share(wire(), 0.5) == pytest.approx(table.sigma_at(499.5), rel=1e-6)


def test_every_node_says_what_it_does() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in NODES.values())
    assert {"KSampler", "SamplerCustomAdvanced", "ConditioningSetMask", "ConcordSampler"} <= set(NODES)
