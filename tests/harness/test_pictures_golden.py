"""The golden pictures of A1111, Forge and ComfyUI, drawn under their profiles from text to pixels."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from golden import golden_dir
from miniatures import golden_checkpoint
from PIL import Image
from sd_concord.core.image import ConcordSettings, Generation, SamplerOptions, ScheduleOptions, Variation
from sd_concord.core.sampling import SAMPLERS
from sd_concord.harness import Pipeline

pytestmark = pytest.mark.golden

SCHEDULES = {"Uniform": "normal"}
EVERY = 1 if os.environ.get("CONCORD_ALL_PICTURES") else 8
"""Of how many pictures one is drawn; all of them take minutes."""
NO_OPTION = ("154-comma-backtrack-0-long", "180-unipc-bh2-order-2", "182-pad-conds")
"""Requests whose option a record does not have."""


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load(golden_checkpoint())


def web_ui_record(host, entry, common):
    """Return the record of a request to a web UI."""
    request, options = entry["request"], common | entry.get("options", {})
    label = request.get("scheduler", "Automatic")
    strength = request.get("subseed_strength", 0)
    width, height = request.get("seed_resize_from_w", 0), request.get("seed_resize_from_h", 0)
    return Generation(
        prompt=request["prompt"],
        negative_prompt=request.get("negative_prompt", ""),
        steps=request["steps"],
        cfg=request["cfg_scale"],
        sampler=request["sampler_name"],
        scheduler=SCHEDULES.get(label, label),
        seed=request["seed"],
        size=(request["width"], request["height"]),
        rng=options["randn_source"],
        ensd=options["eta_noise_seed_delta"] or None,
        emphasis=options["emphasis"],
        clip_skip=options["CLIP_stop_at_last_layers"],
        variation=Variation(seed=request["subseed"], strength=strength) if strength else None,
        seed_resize_from=(width, height) if width > 0 else None,
        sampler_options=SamplerOptions(
            eta=options["eta_ancestral"] if options["eta_ancestral"] != 1 else None,
            eta_ddim=options["eta_ddim"] or None,
            s_churn=options["s_churn"] or None,
            s_tmin=options["s_tmin"] or None,
            s_tmax=options["s_tmax"] or None,
            s_noise=options["s_noise"] if options["s_noise"] != 1 else None,
        ),
        schedule_options=ScheduleOptions(
            rho=options["rho"] or None,
            sigma_min=options["sigma_min"] or None,
            sigma_max=options["sigma_max"] or None,
            discard_penultimate=options["always_discard_next_to_last_sigma"] or None,
            sgm_noise=options["sgm_noise_multiplier"] or None,
        ),
        concord=ConcordSettings(profile=host),
    )


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
        most, equal = worst(host, pipeline.generate(record, batch=batch), entry["files"])
        chaotic = SAMPLERS[pipeline.complete(record).sampler].kind == "sde"
        assert most <= 1 + chaotic, (name, most, equal)
        assert equal >= (0.95 if chaotic else 0.99), (name, most, equal)
        checked += 1
    assert checked >= len(cases) // EVERY - len(NO_OPTION)
