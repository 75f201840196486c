"""What a detailer unit leaves open: ADetailer's defaults, and Concord's for the rest."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ..image.parts import DetailerUnit

DEFAULTS = DetailerUnit(
    model_classes="",
    prompt="",
    negative_prompt="",
    confidence=0.3,
    mask_filter_method="Area",
    mask_k=0,
    mask_min_ratio=0.0,
    mask_max_ratio=1.0,
    x_offset=0,
    y_offset=0,
    dilate_erode=4,
    mask_merge_invert="None",
    mask_blur=4,
    denoising_strength=0.4,
    only_masked=True,
    padding=32,
    use_inpaint_size=False,
    inpaint_width=512,
    inpaint_height=512,
    use_steps=False,
    steps=28,
    use_cfg=False,
    cfg=7.0,
    use_checkpoint=False,
    use_vae=False,
    use_sampler=False,
    sampler="DPM++ 2M Karras",
    scheduler="Use same scheduler",
    use_noise_multiplier=False,
    noise_multiplier=1.0,
    use_clip_skip=False,
    clip_skip=1,
    restore_face=False,
    controlnet_model="None",
    controlnet_module="None",
    controlnet_weight=1.0,
    controlnet_start=0.0,
    controlnet_end=1.0,
    sort_order="None",
    dynamic_denoise_power=0,
    same_seed=False,
    match_box_size="Off",
    min_side=0,
    max_side=0,
    skip_size=0,
    guide_size_for="bbox",
    max_size=1024,
    noise_mask=False,
    noise_mask_feather=0,
    cycle=1,
    colour_match=0.0,
    faithful=False,
)
"""Defaults of ADetailer 25.3.0; what has none (seed, crop factor, guide size, feather…) stays None."""


def with_defaults(unit: DetailerUnit) -> Any:
    """Return ``unit`` with ``DEFAULTS`` where it is None.

    Typed ``Any``, since a field that has a default is never None here.
    """
    left = {one.name: getattr(DEFAULTS, one.name) for one in fields(unit) if getattr(unit, one.name) is None}
    return replace(unit, **left)
