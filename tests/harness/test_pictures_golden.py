"""The golden pictures of A1111, Forge and ComfyUI, drawn under their profiles from text to pixels."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from golden import golden_dir
from miniatures import golden_checkpoint
from picture_requests import comfyui_stages, web_ui_record, web_ui_stages
from PIL import Image
from sd_concord.core.image import ConcordSettings, Generation
from sd_concord.core.sampling import SAMPLERS
from sd_concord.core.seeds import batch_of
from sd_concord.harness import Pipeline

pytestmark = pytest.mark.golden

EVERY = 1 if os.environ.get("CONCORD_ALL_PICTURES") else 8
"""Of how many pictures one is drawn; all of them take minutes."""
NO_OPTION = ("154-comma-backtrack-0-long", "180-unipc-bh2-order-2", "182-pad-conds")
"""Requests whose option a record does not have."""


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load(golden_checkpoint())


def web_ui_cases(host):
    index = json.loads((golden_dir("pictures") / host / "index.json").read_text())
    for entry in index["entries"]:
        if entry["endpoint"] == "txt2img" and not entry["request"].get("enable_hr"):
            yield entry["id"], web_ui_record(host, entry, index["common_options"]), entry


def comfyui_cases():
    folder = golden_dir("pictures") / "comfyui"
    for one in json.loads((folder / "index.json").read_text())["pictures"]:
        nodes = set(one["nodes"]) - {"CLIPTextEncode", "EmptyLatentImage", "KSampler", "CLIPSetLastLayer"}
        if nodes or one["positive"] is None or one["denoise"] not in (None, 1.0):
            continue
        yield (
            str(one["id"]),
            Generation(
                prompt=one["positive"],
                negative_prompt=one["negative"],
                steps=one["steps"],
                cfg=one["cfg"],
                sampler=one["sampler"],
                scheduler=one["scheduler"],
                seed=one["seed"],
                size=(one["width"], one["height"]),
                clip_skip=-one["clip_skip"] if one["clip_skip"] else None,
                concord=ConcordSettings(profile="comfyui"),
            ),
            one,
        )


def worst(host, pictures, files):
    """Return the largest difference in levels, and the least share of equal values, of some pictures."""
    differences = []
    for picture, file in zip(pictures, files, strict=True):
        with Image.open(golden_dir("pictures") / host / file) as wanted:
            differences.append(np.abs(np.asarray(wanted.convert("RGB")).astype(int) - picture.image))
    return max(one.max() for one in differences), min((one == 0).mean() for one in differences)


@pytest.mark.parametrize("host", ["a1111", "forge", "comfyui"])
def test_pictures_of_the_host_are_drawn_again(host, pipeline):
    """To one level; two where recorded noise makes the run chaotic, as the record's README sets it."""
    cases = list(comfyui_cases() if host == "comfyui" else web_ui_cases(host))
    checked = 0
    for name, record, entry in cases[::EVERY]:
        if name in NO_OPTION:
            continue
        batch = entry["batch"] if host == "comfyui" else entry["request"].get("batch_size", 1)
        batches = 1 if host == "comfyui" else entry["request"].get("n_iter", 1)
        drawn = [pipeline.generate(batch_of(record, i, batch), batch=batch) for i in range(batches)]
        most, equal = worst(host, [picture for one in drawn for picture in one], entry["files"])
        chaotic = SAMPLERS[pipeline.complete(record).sampler].kind == "sde"
        assert most <= 1 + chaotic, (name, most, equal)
        assert equal >= (0.95 if chaotic else 0.99), (name, most, equal)
        checked += 1
    assert checked >= len(cases) // EVERY - len(NO_OPTION)


def web_ui_stage_cases(host):
    index = json.loads((golden_dir("pictures") / host / "index.json").read_text())
    for entry in index["entries"]:
        if entry["endpoint"] != "txt2img" or entry["request"].get("enable_hr"):
            yield entry["id"], *web_ui_stages(host, entry, index["common_options"]), entry["files"]


def comfyui_stage_cases():
    folder = golden_dir("pictures") / "comfyui"
    for one in json.loads((folder / "index.json").read_text())["pictures"]:
        graph = json.loads((folder / f"{one['id']:03d}.json").read_text())
        if asked := comfyui_stages(one, graph.get("prompt", graph)):
            yield f"{one['id']} {one['group']}", *asked, one["files"]


def pixel_upscaler(record):
    return record.hires is not None and not record.hires.upscaler.startswith("Latent")


@pytest.mark.parametrize("host", ["a1111", "forge", "comfyui"])
def test_pictures_of_hires_and_image_to_image_are_drawn_again(host, pipeline):
    """To one level; a value of the first pass that lies between two levels spreads through a pixel upscaler."""
    cases = list(comfyui_stage_cases() if host == "comfyui" else web_ui_stage_cases(host))
    pipeline.second.add("second", pipeline)
    for name, record, given, files in cases[:: max(1, EVERY // 2)]:
        most, equal = worst(host, pipeline.generate(record, batch=len(files), **given), files)
        assert most <= 1, (name, most, equal)
        assert equal >= (0.975 if pixel_upscaler(record) else 0.99), (name, most, equal)
    assert len(cases) >= 16
