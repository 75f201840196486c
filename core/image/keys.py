"""The one table of infotext keys: label ↔ field of the record ↔ rule of its value.

The order of the table is the order in which the web UI writes the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import BadValue
from .rules import FLAG, HASHES, RESIZE, SAMPLER, SCHEDULER, SIZE, STRENGTH, TEXT, Rule, number, whole


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key: its label, the record's field (``hires.steps``), its rule, and values that are not written."""

    label: str
    path: str
    rule: Rule
    silent: tuple[object, ...] = ()


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
    _key("Concord batch size", "concord.batch_size", whole(1), 1),
    _key("Concord batch position", "concord.batch_position", whole(0)),
)
"""Keys before those of the detailer and of other programs."""

UNIT = (
    _key("model", "model", TEXT),
    _key("prompt", "prompt", TEXT, ""),
    _key("negative prompt", "negative_prompt", TEXT, ""),
    _key("confidence", "confidence", STRENGTH),
    _key("dilate erode", "dilate_erode", whole()),
    _key("mask blur", "mask_blur", number(0)),
    _key("denoising strength", "denoising_strength", STRENGTH),
    _key("inpaint only masked", "only_masked", FLAG),
    _key("inpaint padding", "padding", whole(0)),
)
"""Keys of one detailer unit, written as ``ADetailer <label>``, then with `` 2nd``, `` 3rd`` and so on."""

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
    _key("Schedule max sigma", "schedule_options.sigma_max", number(0), 0),
    _key("Schedule min sigma", "schedule_options.sigma_min", number(0), 0),
    _key("Schedule rho", "schedule_options.rho", number(0), 0),
    _key("Discard penultimate sigma", "schedule_options.discard_penultimate", FLAG, False),
    _key("SGM noise multiplier", "schedule_options.sgm_noise", FLAG, False),
    _key("Noise Schedule", "schedule_options.noise_schedule", TEXT, "Default"),
    _key("Eta", "sampler_options.eta", number()),
    _key("Eta DDIM", "sampler_options.eta_ddim", number()),
    _key("Sigma churn", "sampler_options.s_churn", number(), 0),
    _key("Sigma tmin", "sampler_options.s_tmin", number(), 0),
    _key("Sigma tmax", "sampler_options.s_tmax", number()),
    _key("Sigma noise", "sampler_options.s_noise", number(), 1),
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
