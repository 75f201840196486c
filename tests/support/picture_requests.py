"""Records of the requests behind the golden pictures: what was asked of A1111, Forge and ComfyUI."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from golden import golden_dir
from PIL import Image
from sd_concord.core.image import (
    ConcordSettings,
    Generation,
    Hires,
    Inpaint,
    Refiner,
    SamplerOptions,
    ScheduleOptions,
    Variation,
)
from sd_concord.core.image.keys import RESIZE_MODES

SCHEDULES = {"Uniform": "normal"}
CONTENTS = ("fill", "original", "latent noise", "latent nothing")
"""The web UIs' numbers of masked content."""
LATENT_WAYS = {"nearest-exact": "Latent (nearest-exact)", "bilinear": "Latent", "bicubic": "Latent (bicubic)"}
"""ComfyUI's ways to enlarge a latent that are ours too."""


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


def picture(file, mode="RGB"):
    """Return a picture that requests begin with."""
    with Image.open(golden_dir("pictures") / file) as image:
        return np.asarray(image.convert(mode))


def web_ui_stages(host, entry, common):
    """Return the record of a request for hires or image to image, and what else `generate` is given."""
    request, options = entry["request"], common | entry.get("options", {})
    record = replace(web_ui_record(host, entry, common), denoising_strength=request["denoising_strength"])
    if request.get("enable_hr"):
        hires = Hires(
            upscale=request["hr_scale"],
            steps=request["hr_second_pass_steps"],
            upscaler=request["hr_upscaler"],
            sampler=request.get("hr_sampler_name"),
            scheduler=request.get("hr_scheduler"),
        )
        return replace(record, hires=hires), {}
    given = {"init_image": picture(f"inputs/{request['init_images'][0]}")}
    record = replace(
        record,
        extra_noise=options["img2img_extra_noise"] or None,
        concord=replace(
            record.concord,
            exact_steps=options["img2img_fix_steps"] or None,
            resize_mode=RESIZE_MODES[request["resize_mode"]],
        ),
    )
    if "mask" not in request:
        return record, given
    inpaint = Inpaint(
        mask_blur=request["mask_blur"],
        mask_mode="Inpaint not masked" if request["inpainting_mask_invert"] else None,
        content=CONTENTS[request["inpainting_fill"]],
        area="Only masked" if request["inpaint_full_res"] else None,
        padding=request["inpaint_full_res_padding"],
    )
    return replace(record, inpaint=inpaint), given | {"mask": picture(f"inputs/{request['mask']}", "L")}


def comfyui_stages(one, graph):
    """Return the same of a graph of ComfyUI, None for one that a record cannot be."""
    nodes = {}
    for node in graph.values():
        nodes.setdefault(node["class_type"], []).append(node["inputs"])
    record = Generation(
        prompt=one["positive"] or "",
        negative_prompt=one["negative"] or "",
        steps=one["steps"],
        cfg=one["cfg"],
        sampler=one["sampler"],
        scheduler=one["scheduler"],
        seed=one["seed"],
        size=(one["width"], one["height"]),
        concord=ConcordSettings(profile="comfyui"),
    )
    if one["group"] in ("img2img", "inpaint") and "VAEEncodeForInpaint" not in nodes:
        given = {"init_image": picture(f"comfyui/input/{nodes['LoadImage'][0]['image']}")}
        if "LoadImageMask" in nodes:
            given["mask"] = picture(f"comfyui/input/{nodes['LoadImageMask'][0]['image']}")[..., 0]
        return replace(record, denoising_strength=one["denoise"]), given
    if one["group"] == "hires":
        return _comfyui_hires(record, nodes)
    if one["note"] == "refiner style: leftover noise handed on":
        switch = nodes["KSamplerAdvanced"][0]["end_at_step"] / one["steps"]
        return replace(record, refiner=Refiner(model="second", switch_at=switch)), {}
    return None


def _comfyui_hires(record, nodes):
    first, second = nodes["KSampler"]
    way = nodes["LatentUpscale" if "LatentUpscale" in nodes else "ImageScale"][0]
    names = LATENT_WAYS if "LatentUpscale" in nodes else {"lanczos": "Lanczos"}
    if way["upscale_method"] not in names or first["seed"] != second["seed"]:
        return None
    hires = Hires(
        resize=(way["width"], way["height"]), steps=second["steps"], upscaler=names[way["upscale_method"]]
    )
    return replace(record, hires=hires, denoising_strength=second["denoise"]), {}
