"""The plan of one detailer unit: from detections to the inpainting runs, nothing being drawn yet.

ADetailer 25.3.0's flow (tests/golden/detailer/plans.jsonl.gz).  Where that has a known fault, the answer here is
the mended one, and ``DetailerUnit.faithful`` gives ADetailer's: offsets come in again on the other side, a merged
mask takes strength and size from the first box, a mask that is eroded away shifts the boxes of the others, and
strengths may leave 0…1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import BadValue
from ..image.generation import Generation
from ..image.names import split_fused
from ..image.parts import DetailerUnit, Variation
from .detections import Detections
from .masks import Box, Mask, blur, boxes_of, dilate_erode, doubled, intersects, masks_of, merge_masks, offset
from .regions import (
    Guide,
    crop_region,
    expanded_region,
    factor_region,
    guided_size,
    matched_size,
    padded_region,
    strength_by_area,
    to_multiple,
)
from .selection import select
from .tokens import MaskPrompt, Replacement, Target, Texts, mask_prompts
from .unit import with_defaults

FEATHER_SIGMA = 10.0
"""Sigma in pixels of Impact Pack's feather, whatever its radius."""
_SAME = (None, "None", "Use same checkpoint", "Use same VAE")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a unit works in: the ``picture``'s record, filled in, and what only the host knows.

    ``sdxl``: the model is of that family.  ``user_mask``: only masks that touch it are worked on.
    ``replacements``: (sought, put in its place) in the prompts, as the web UI's X/Y/Z plot asks for.

    Raises ``BadValue`` when ``picture`` lacks seed, steps, sampler or CFG.
    """

    picture: Generation
    sdxl: bool = False
    user_mask: Mask | None = None
    replacements: tuple[Replacement, ...] = ()

    def __post_init__(self) -> None:
        """Check the record; raises ``BadValue``."""
        lacking = [
            name for name in ("seed", "steps", "sampler", "cfg") if getattr(self.picture, name) is None
        ]
        if lacking:
            raise BadValue(f"the picture's record lacks {', '.join(lacking)}; fill it in first (core.filled)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One inpainting run: what is drawn where.

    ``mask``: what was detected, grown and moved.  ``overlay``: that with its soft edge; only where it is above
    0 does the picture change.  ``region``: the part of the picture that is cut out, worked on at ``size``
    (multiples of 8) and put back.  ``box``: what strength and size go by.  ``label``: its class.
    ``checkpoint``, ``vae``, ``clip_skip``: None is the picture's.  ``noise_mask``: differential diffusion by
    ``overlay`` blurred by ``noise_mask_feather``.  ``cycle``: how often the run is made, each with the seed one
    higher.  ``colour_match``: 0…1.
    """

    mask: Mask
    overlay: Mask
    region: Box
    box: tuple[float, float, float, float]
    label: str
    size: tuple[int, int]
    prompt: str
    negative_prompt: str
    seed: int
    variation: Variation | None
    strength: float
    steps: int
    cfg: float
    sampler: str
    scheduler: str | None
    noise_multiplier: float
    only_masked: bool
    padding: int
    mask_blur: float
    restore_face: bool
    checkpoint: str | None
    vae: str | None
    clip_skip: int | None
    noise_mask: bool
    noise_mask_feather: int
    cycle: int
    colour_match: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """A mask and the box and label that go with it."""

    mask: Mask
    box: tuple[float, float, float, float]
    label: str


def plan_unit(detections: Detections, unit: DetailerUnit, scene: Scene) -> list[Run]:
    """Return the runs of ``unit`` on ``detections``, in the order in which they are made.

    No run when nothing is left to work on.  Raises ``BadValue`` for masks of another size than the picture's.
    """
    u = with_defaults(unit)
    parts = _parts(select(detections, unit), u, scene.user_mask)
    picture = scene.picture
    texts = Texts(
        prompt=u.prompt,
        negative_prompt=u.negative_prompt,
        main=picture.prompt,
        main_negative=picture.negative_prompt,
        replacements=scene.replacements,
        seed=_seed(u, picture),
    )
    prompts = mask_prompts(texts, [Target(label=part.label, box=part.box) for part in parts])
    return [
        _run(parts[prompt.index], prompt, rank, u, scene)
        for rank, prompt in enumerate(prompts)
        if not prompt.skipped
    ]


def unit_masks(detections: Detections, unit: DetailerUnit) -> list[Mask]:
    """Return the masks of ``detections`` (selected before): moved, grown or eroded, and merged."""
    return [part.mask for part in _parts(detections, with_defaults(unit), None)]


def _parts(found: Detections, u: Any, user_mask: Mask | None) -> list[_Part]:
    """Return what is worked on.  An empty mask is dropped; ADetailer keeps it where nothing was eroded."""
    parts = [
        _Part(mask=_shaped(mask, u), box=_box(box), label=label)
        for mask, box, label in zip(masks_of(found), found.boxes, found.labels, strict=True)
    ]
    if u.dilate_erode or not u.faithful:
        parts = [part for part in parts if part.mask.box is not None]
    merged = merge_masks([part.mask for part in parts], u.mask_merge_invert)
    if u.mask_merge_invert != "None":
        labels = {part.label for part in parts}
        label = labels.pop() if len(labels) == 1 else ""
        parts = [_Part(mask=mask, box=_hull([part.box for part in parts]), label=label) for mask in merged]
    if user_mask is not None:
        parts = [part for part in parts if intersects(part.mask, user_mask)]
    if u.faithful:
        return [replace(part, box=_box(found.boxes[i])) for i, part in enumerate(parts)]
    return [part for part in parts if part.mask.box is not None]


def _shaped(mask: Mask, u: Any) -> Mask:
    return dilate_erode(offset(mask, u.x_offset, u.y_offset, wrap=u.faithful), u.dilate_erode)


def _box(box: Any) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(side) for side in box)
    return x1, y1, x2, y2


def _run(part: _Part, prompt: MaskPrompt, rank: int, u: Any, scene: Scene) -> Run:
    """Return the run of one mask, the ``rank``-th that is worked on."""
    picture = scene.picture
    size = part.mask.size
    overlay = _overlay(part.mask, u)
    work, region = _geometry(part, overlay, u, scene)
    more = 0 if u.same_seed else rank
    sampler, scheduler = _sampling(u, picture)
    power = u.dynamic_denoise_power
    return Run(
        mask=part.mask,
        overlay=overlay,
        region=region,
        box=part.box,
        label=part.label,
        size=work,
        prompt=prompt.prompt,
        negative_prompt=prompt.negative_prompt,
        seed=_seed(u, picture) + more if prompt.seed is None else prompt.seed,
        variation=_later(picture.variation, more),
        strength=strength_by_area(u.denoising_strength, part.box, size, power, clamp=not u.faithful),
        steps=u.steps if u.use_steps else picture.steps or 0,
        cfg=u.cfg if u.use_cfg else picture.cfg or 0.0,
        sampler=sampler,
        scheduler=scheduler,
        noise_multiplier=u.noise_multiplier if u.use_noise_multiplier else picture.noise_multiplier or 1.0,
        only_masked=u.only_masked,
        padding=u.padding,
        mask_blur=u.mask_blur,
        restore_face=u.restore_face,
        checkpoint=u.checkpoint if u.use_checkpoint and u.checkpoint not in _SAME else None,
        vae=u.vae if u.use_vae and u.vae not in _SAME else None,
        clip_skip=u.clip_skip if u.use_clip_skip else None,
        noise_mask=u.noise_mask,
        noise_mask_feather=u.noise_mask_feather,
        cycle=u.cycle,
        colour_match=u.colour_match,
    )


def _overlay(mask: Mask, u: Any) -> Mask:
    """Return ``mask`` with its soft edge: feathered as Impact Pack does, else blurred as A1111 does."""
    if u.feather is not None:
        return blur(mask, FEATHER_SIGMA, u.feather)
    soft = blur(mask, u.mask_blur)
    return soft if u.only_masked else doubled(soft)


def _geometry(part: _Part, overlay: Mask, u: Any, scene: Scene) -> tuple[tuple[int, int], Box]:
    """Return the size to work at and the region of the picture that it is of.

    The region has the size's aspect as far as the picture lets it, so that nothing is stretched.
    """
    image = part.mask.size
    whole = (0, 0, *image)
    wanted = scene.picture.size or image
    if u.use_inpaint_size:
        wanted = (u.inpaint_width, u.inpaint_height)
    else:
        wanted = matched_size(wanted, part.box, u.match_box_size, sdxl=scene.sdxl)
    if not u.faithful:
        wanted = to_multiple(wanted)
    if not u.only_masked:
        return wanted, whole
    if u.crop_factor is not None:
        x1, y1, x2, y2 = _hull([factor_region(part.box, u.crop_factor, image), *boxes_of([overlay])])
        region = (int(x1), int(y1), int(x2), int(y2))
    elif u.guide_size is not None:
        region = padded_region(overlay, u.padding) or whole
    else:
        return wanted, crop_region(overlay, u.padding, wanted) or whole
    if u.guide_size is not None:
        guide = Guide(size=u.guide_size, longest=u.max_size, box_first=u.guide_size_for == "bbox")
        wanted = guided_size(region, part.box, guide)
    return wanted, expanded_region(region, wanted, image)


def _hull(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    """Return the smallest box that holds all."""
    sides = np.array(boxes)
    return _box((*sides[:, :2].min(axis=0), *sides[:, 2:].max(axis=0)))


def _sampling(u: Any, picture: Generation) -> tuple[str, str | None]:
    """Return sampler and scheduler; those of an old label that holds both ("DPM++ 2M Karras") told apart."""
    sampler, scheduler = picture.sampler or "", picture.scheduler
    if not u.use_sampler:
        return sampler, scheduler
    if u.scheduler != "Use same scheduler":
        scheduler = u.scheduler
    if u.sampler != "Use same sampler":
        sampler = u.sampler
    return split_fused(sampler) or (sampler, scheduler)


def _seed(u: Any, picture: Generation) -> int:
    return (picture.seed or 0) if u.seed is None else u.seed


def _later(variation: Variation | None, more: int) -> Variation | None:
    """Return ``variation`` with its seed ``more`` higher."""
    if variation is None or variation.seed is None:
        return variation
    return replace(variation, seed=variation.seed + more)
