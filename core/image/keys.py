"""The one table of infotext keys: label ↔ field of the record ↔ rule of its value.

The order of the table is the order in which the web UI writes the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import BadValue
from .rules import (
    FLAG,
    HASHES,
    OPTIONS,
    RESIZE,
    SAMPLER,
    SCHEDULER,
    SIZE,
    STRENGTH,
    TEXT,
    Rule,
    number,
    whole,
)


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key: its label, the record's field (``hires.steps``), its rule, and values that are not written."""

    label: str
    path: str
    rule: Rule
    silent: tuple[object, ...] = ()


MASK_FILTERS = ("Area", "Confidence")
"""By what ADetailer keeps the first k masks."""
MASK_MERGES = ("None", "Merge", "Merge and Invert")
"""How ADetailer makes one mask of many."""
SORT_ORDERS = ("None", "Position (left to right)", "Position (center to edge)", "Area (large to small)")
"""ADetailer's orders of masks."""
SIZE_MODES = ("Off", "Strict (SDXL only)", "Free")
"""How ADetailer fits the size to work at to the shape of a box."""

RESIZE_MODES = ("just resize", "crop and resize", "resize and fill", "just resize (latent upscale)")
"""How A1111 brings a picture to the size of the run."""
SKIP_TYPES = ("time_uniform", "time_quadratic", "logSNR")
"""How the steps of UniPC lie, in A1111's words: even in time, in its square root, in log SNR."""
UNI_PC_VARIANTS = ("bh1", "bh2", "vary_coeff")
"""UniPC's kinds of coefficients, in A1111's words."""
REFINED = ("second pass", "first pass", "both passes")
"""Which passes of a run with hires have a refiner, in A1111's words."""
SWITCHES = ("webui_noise", "webui_calls", "comfyui_steps")
"""How the fraction at which a refiner takes over is read; see ``refiner_plan``."""


def _one_of(*names: str) -> Rule:
    """Return the rule of one word of ``names``."""
    return Rule(read=str, accepts=lambda value: value in names, wants="one of " + ", ".join(map(repr, names)))


def _key(label: str, path: str, rule: Rule, *silent: object) -> Key:
    return Key(label=label, path=path, rule=rule, silent=silent)


FIRST = (
    _key("Steps", "steps", whole(1)),
    _key("Sampler", "sampler", SAMPLER),
    _key("Schedule type", "scheduler", SCHEDULER),
    _key("CFG scale", "cfg", number()),
    _key("Distilled CFG Scale", "distilled_cfg", number()),
    _key("Image CFG scale", "image_cfg", number()),
    _key("Seed", "seed", whole()),
    _key("Face restoration", "face_restoration", TEXT),
    _key("Size", "size", SIZE),
    _key("Model hash", "model.hash", TEXT),
    _key("Model", "model.name", TEXT),
    _key("FP8 weight", "fp8_weight", TEXT),
    _key("Cache FP16 weight for LoRA", "cache_fp16_weight", FLAG, False),
    _key("VAE hash", "vae.hash", TEXT),
    _key("VAE", "vae.name", TEXT),
    _key("Variation seed", "variation.seed", whole()),
    _key("Variation seed strength", "variation.strength", number()),
    _key("Seed resize from", "seed_resize_from", RESIZE, (0, 0)),
    _key("Denoising strength", "denoising_strength", STRENGTH),
    _key("Conditional mask weight", "conditional_mask_weight", number()),
    _key("Clip skip", "clip_skip", whole(0), 0, 1),
    _key("ENSD", "ensd", whole(), 0),
    _key("Token merging ratio", "token_merging_ratio", STRENGTH, 0),
    _key("Token merging ratio hr", "token_merging_ratio_hr", STRENGTH, 0),
    _key("Init image hash", "init_image_hash", TEXT),
    _key("RNG", "rng", TEXT, "GPU"),
    _key("NGMS", "ngms", number(), 0),
    _key("Tiling", "tiling", FLAG, False),
    _key("Mask blur", "inpaint.mask_blur", number(0)),
    _key("Mask mode", "inpaint.mask_mode", TEXT),
    _key("Masked content", "inpaint.content", TEXT),
    _key("Inpaint area", "inpaint.area", TEXT),
    _key("Masked area padding", "inpaint.padding", whole(0)),
    _key("Noise multiplier", "noise_multiplier", number()),
    _key("Extra noise", "extra_noise", number(), 0),
    _key("Template", "template", TEXT),
    _key("Negative Template", "negative_template", TEXT),
    _key("Concord version", "concord.version", TEXT),
    _key("Concord profile", "concord.profile", TEXT),
    _key("Concord prompt dialect", "concord.dialect", TEXT),
    _key("Concord CFG rescale", "concord.cfg_rescale", STRENGTH, 0),
    _key("Concord guidance start", "concord.guidance_start", STRENGTH),
    _key("Concord guidance end", "concord.guidance_end", STRENGTH),
    _key("Concord sigma multiply", "concord.sigma_multiply", number(0)),
    _key("Concord sigma multiply start", "concord.sigma_multiply_start", STRENGTH),
    _key("Concord sigma multiply end", "concord.sigma_multiply_end", STRENGTH),
    _key("Concord sampler options", "concord.sampler_options", OPTIONS, ()),
    _key("Concord schedule options", "concord.schedule_options", OPTIONS, ()),
    _key("Concord batch size", "concord.batch_size", whole(1), 1),
    _key("Concord batch position", "concord.batch_position", whole(0)),
    _key("Concord resize mode", "concord.resize_mode", _one_of(*RESIZE_MODES), RESIZE_MODES[0]),
    _key("Concord exact steps", "concord.exact_steps", FLAG, False),
    _key("Concord comma backtrack", "concord.comma_backtrack", whole(0)),
    _key("Concord recipe", "concord.recipe", TEXT),
    _key("Soft inpainting enabled", "inpaint.soft", FLAG, False),
    _key("Soft inpainting schedule bias", "inpaint.soft_bias", number(0)),
    _key("Soft inpainting preservation strength", "inpaint.soft_preservation", number(0)),
    _key("Soft inpainting transition contrast boost", "inpaint.soft_contrast", number(1)),
    _key("Concord differential diffusion", "inpaint.differential", FLAG, False),
)
"""Keys before those of the detailer and of other programs."""

UNIT = (
    _key("ADetailer model", "model", TEXT),
    _key("ADetailer model classes", "model_classes", TEXT, ""),
    _key("ADetailer prompt", "prompt", TEXT, ""),
    _key("ADetailer negative prompt", "negative_prompt", TEXT, ""),
    _key("ADetailer confidence", "confidence", STRENGTH),
    _key("ADetailer method to decide top k masks", "mask_filter_method", _one_of(*MASK_FILTERS)),
    _key("ADetailer mask only top k", "mask_k", whole(0), 0),
    _key("ADetailer mask min ratio", "mask_min_ratio", STRENGTH, 0),
    _key("ADetailer mask max ratio", "mask_max_ratio", STRENGTH, 1),
    _key("ADetailer x offset", "x_offset", whole(), 0),
    _key("ADetailer y offset", "y_offset", whole(), 0),
    _key("ADetailer dilate erode", "dilate_erode", whole()),
    _key("ADetailer mask merge invert", "mask_merge_invert", _one_of(*MASK_MERGES), "None"),
    _key("ADetailer mask blur", "mask_blur", number(0)),
    _key("ADetailer denoising strength", "denoising_strength", STRENGTH),
    _key("ADetailer inpaint only masked", "only_masked", FLAG),
    _key("ADetailer inpaint padding", "padding", whole(0)),
    _key("ADetailer use inpaint width height", "use_inpaint_size", FLAG),
    _key("ADetailer inpaint width", "inpaint_width", whole(1)),
    _key("ADetailer inpaint height", "inpaint_height", whole(1)),
    _key("ADetailer use separate steps", "use_steps", FLAG),
    _key("ADetailer steps", "steps", whole(1)),
    _key("ADetailer use separate CFG scale", "use_cfg", FLAG),
    _key("ADetailer CFG scale", "cfg", number(0)),
    _key("ADetailer use separate checkpoint", "use_checkpoint", FLAG),
    _key("ADetailer checkpoint", "checkpoint", TEXT),
    _key("ADetailer use separate VAE", "use_vae", FLAG),
    _key("ADetailer VAE", "vae", TEXT),
    _key("ADetailer use separate sampler", "use_sampler", FLAG),
    _key("ADetailer sampler", "sampler", SAMPLER),
    _key("ADetailer scheduler", "scheduler", SCHEDULER),
    _key("ADetailer use separate noise multiplier", "use_noise_multiplier", FLAG),
    _key("ADetailer noise multiplier", "noise_multiplier", number(0)),
    _key("ADetailer use separate CLIP skip", "use_clip_skip", FLAG),
    _key("ADetailer CLIP skip", "clip_skip", whole(1)),
    _key("ADetailer restore face", "restore_face", FLAG, False),
    _key("ADetailer ControlNet model", "controlnet_model", TEXT, "None"),
    _key("ADetailer ControlNet module", "controlnet_module", TEXT, "None"),
    _key("ADetailer ControlNet weight", "controlnet_weight", STRENGTH, 1),
    _key("ADetailer ControlNet guidance start", "controlnet_start", STRENGTH, 0),
    _key("ADetailer ControlNet guidance end", "controlnet_end", STRENGTH, 1),
    _key("Concord detailer sort order", "sort_order", _one_of(*SORT_ORDERS), "None"),
    _key("Concord detailer dynamic denoise power", "dynamic_denoise_power", number(), 0),
    _key("Concord detailer same seed", "same_seed", FLAG, False),
    _key("Concord detailer match box size", "match_box_size", _one_of(*SIZE_MODES), "Off"),
    _key("Concord detailer seed", "seed", whole()),
    _key("Concord detailer min side", "min_side", whole(0), 0),
    _key("Concord detailer max side", "max_side", whole(0), 0),
    _key("Concord detailer skip size", "skip_size", whole(0), 0),
    _key("Concord detailer crop factor", "crop_factor", number(1)),
    _key("Concord detailer guide size", "guide_size", whole(1)),
    _key("Concord detailer guide size for", "guide_size_for", _one_of("bbox", "crop")),
    _key("Concord detailer max size", "max_size", whole(8)),
    _key("Concord detailer feather", "feather", whole(0)),
    _key("Concord detailer noise mask", "noise_mask", FLAG, False),
    _key("Concord detailer noise mask feather", "noise_mask_feather", whole(0), 0),
    _key("Concord detailer cycle", "cycle", whole(1), 1),
    _key("Concord detailer colour match", "colour_match", STRENGTH, 0),
    _key("Concord detailer faithful", "faithful", FLAG, False),
    _key("Concord detailer found", "found", whole(0)),
)
"""Keys of one detailer unit; those of later units end in `` 2nd``, `` 3rd`` and so on."""

UNIT_SWITCHES: Mapping[str, tuple[str, ...]] = {
    "use_inpaint_size": ("inpaint_width", "inpaint_height"),
    "use_steps": ("steps",),
    "use_cfg": ("cfg",),
    "use_checkpoint": ("checkpoint",),
    "use_vae": ("vae",),
    "use_sampler": ("sampler", "scheduler"),
    "use_noise_multiplier": ("noise_multiplier",),
    "use_clip_skip": ("clip_skip",),
}
"""Switches of a detailer unit, and the values that hold only where they are on."""

LAST = (
    _key("ADetailer version", "detailer_version", TEXT),
    _key("Hires checkpoint", "hires.checkpoint", TEXT),
    _key("Hires sampler", "hires.sampler", SAMPLER),
    _key("Hires prompt", "hires.prompt", TEXT),
    _key("Hires negative prompt", "hires.negative_prompt", TEXT),
    _key("Hires CFG Scale", "hires.cfg", number()),
    _key("Hires Distilled CFG Scale", "hires.distilled_cfg", number()),
    _key("Hires schedule type", "hires.scheduler", SCHEDULER),
    _key("Hires resize", "hires.resize", RESIZE),
    _key("Hires upscale", "hires.upscale", number(0)),
    _key("Hires steps", "hires.steps", whole(0), 0),
    _key("Hires upscaler", "hires.upscaler", TEXT),
    _key("Refiner", "refiner.model", TEXT),
    _key("Refiner switch at", "refiner.switch_at", STRENGTH),
    _key("Refiner switch by sampling steps", "refiner.by_steps", FLAG, False),
    _key("Hires refiner", "refiner.passes", _one_of(*REFINED), REFINED[0]),
    _key("Concord refiner switch by", "refiner.switch_by", _one_of(*SWITCHES)),
    _key("Concord aesthetic score", "refiner.aesthetic_score", number()),
    _key("Concord negative aesthetic score", "refiner.negative_aesthetic_score", number()),
    _key("Schedule max sigma", "schedule_options.sigma_max", number(0), 0),
    _key("Schedule min sigma", "schedule_options.sigma_min", number(0), 0),
    _key("Schedule rho", "schedule_options.rho", number(0), 0),
    _key("Discard penultimate sigma", "schedule_options.discard_penultimate", FLAG, False),
    _key("SGM noise multiplier", "schedule_options.sgm_noise", FLAG, False),
    _key("Downcast alphas_cumprod", "schedule_options.downcast_alphas", FLAG, False),
    _key("Noise Schedule", "schedule_options.noise_schedule", TEXT, "Default"),
    _key("Beta schedule alpha", "schedule_options.beta_alpha", number(0)),
    _key("Beta schedule beta", "schedule_options.beta_beta", number(0)),
    _key("UniPC skip type", "schedule_options.uni_pc_skip_type", _one_of(*SKIP_TYPES), SKIP_TYPES[0]),
    _key("Eta", "sampler_options.eta", number()),
    _key("Eta DDIM", "sampler_options.eta_ddim", number()),
    _key("Sigma churn", "sampler_options.s_churn", number(), 0),
    _key("Sigma tmin", "sampler_options.s_tmin", number(), 0),
    _key("Sigma tmax", "sampler_options.s_tmax", number()),
    _key("Sigma noise", "sampler_options.s_noise", number(), 1),
    _key("UniPC variant", "sampler_options.uni_pc_variant", _one_of(*UNI_PC_VARIANTS), UNI_PC_VARIANTS[0]),
    _key("UniPC order", "sampler_options.uni_pc_order", whole(1), 3),
    _key("UniPC lower order final", "sampler_options.uni_pc_lower_order_final", FLAG, True),
    _key("NGMS all steps", "ngms_all_steps", FLAG, False),
    _key("Skip Early CFG", "skip_early_cfg", STRENGTH, 0),
    _key("Pad conds", "pad_conds", FLAG, False),
    _key("Pad conds v0", "pad_conds_v0", FLAG, False),
    _key("Old prompt editing timelines", "old_timelines", FLAG, False),
    _key("Emphasis", "emphasis", TEXT, "Original"),
    _key("Lora hashes", "networks.loras", HASHES, ()),
    _key("TI hashes", "networks.embeddings", HASHES, ()),
    _key("Version", "version", TEXT),
    _key("User", "user", TEXT),
)
"""Keys after those of the detailer and of other programs."""

KEYS: Mapping[str, Key] = {key.label: key for key in (*FIRST, *LAST)}
"""Every key but those of the detailer units, by label."""

_FIELDS: dict[str, list[tuple[str, Key]]] = {"detailer": [(key.path, key) for key in UNIT]}
for _entry in KEYS.values():
    _owner, _, _name = _entry.path.rpartition(".")
    _FIELDS.setdefault(_owner, []).append((_name, _entry))


def check_fields(record: object, owner: str = "") -> None:
    """Check the fields of ``record``, which is the field ``owner`` of the generation record, or that itself.

    None is "not recorded".  Raises ``BadValue`` that names the field, what it is, and what was wanted.
    """
    for name, key in _FIELDS[owner]:
        value = getattr(record, name)
        if value is not None and not key.rule.accepts(value):
            field = f"{owner}.{name}".lstrip(".")
            raise BadValue(f"{field} is {value!r}; pass {key.rule.wants}, or None when it is not known")
