"""The parts of the generation record: passes, options and networks.  In each, None means "not recorded"."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadValue
from .keys import UNIT_SWITCHES, check_fields
from .model_ref import ModelRef
from .rules import Options, members

OWNED = ("sampler", "scheduler", "hires.sampler", "hires.scheduler")
"""Fields of the generation record that may name a sampler or schedule of ours beside the program's."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """A second seed whose noise is mixed in at ``strength`` (0 = none, 1 = all)."""

    seed: int | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "variation")


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """Options of the sampler, in the symbols of Karras et al. and k-diffusion; UniPC's in A1111's words."""

    eta: float | None = None
    eta_ddim: float | None = None
    s_churn: float | None = None
    s_tmin: float | None = None
    s_tmax: float | None = None
    s_noise: float | None = None
    uni_pc_variant: str | None = None
    uni_pc_order: int | None = None
    uni_pc_lower_order_final: bool | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "sampler_options")


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """Options of the schedule; ``sgm_noise``: the first noise is scaled by ``sqrt(1 + sigma**2)``.

    ``downcast_alphas``: the model's table is made in half precision.  ``noise_schedule``: "Zero Terminal SNR"
    brings that table to zero terminal SNR.  ``beta_alpha``, ``beta_beta``: of Beta.
    """

    sigma_max: float | None = None
    sigma_min: float | None = None
    rho: float | None = None
    discard_penultimate: bool | None = None
    sgm_noise: bool | None = None
    noise_schedule: str | None = None
    downcast_alphas: bool | None = None
    beta_alpha: float | None = None
    beta_beta: float | None = None
    uni_pc_skip_type: str | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "schedule_options")


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Settings of inpainting: blur and padding in pixels; mode, content and area in the web UI's words.

    ``soft``: soft inpainting, with its schedule bias, preservation strength and contrast boost.
    ``differential``: pixels join the run one after the other, by the strength of the mask.
    """

    mask_blur: float | None = None
    mask_mode: str | None = None
    content: str | None = None
    area: str | None = None
    padding: int | None = None
    soft: bool | None = None
    soft_bias: float | None = None
    soft_preservation: float | None = None
    soft_contrast: float | None = None
    differential: bool | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "inpaint")


@dataclass(frozen=True, kw_only=True)
class Hires:
    """The second pass at a larger size; what is None is as in the first pass.

    ``upscale`` is a factor; ``resize`` is (width, height) in its stead, a 0 following from the other side.
    ``steps`` 0: as many as the first pass.  The denoising strength stands in ``Generation``.
    """

    upscale: float | None = None
    resize: tuple[int, int] | None = None
    steps: int | None = None
    upscaler: str | None = None
    checkpoint: str | None = None
    sampler: str | None = None
    scheduler: str | None = None
    cfg: float | None = None
    distilled_cfg: float | None = None
    prompt: str | None = None
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "hires")


@dataclass(frozen=True, kw_only=True)
class Refiner:
    """A second model that takes over at fraction ``switch_at``, of steps if ``by_steps``, else of noise.

    ``switch_by``: how the fraction is read, where it is not as in the program whose profile is followed.
    ``passes``: of a run with hires that it is in, in A1111's words.  ``aesthetic_score``,
    ``negative_aesthetic_score``: what SDXL's refiner is told of the prompts, 6 and 2.5 unless given.
    """

    model: str | None = None
    switch_at: float | None = None
    by_steps: bool | None = None
    switch_by: str | None = None
    passes: str | None = None
    aesthetic_score: float | None = None
    negative_aesthetic_score: float | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "refiner")


@dataclass(frozen=True, kw_only=True)
class DetailerUnit:
    """One pass of the detailer; pixels for sizes, 0…1 for strengths; what is None is as by default.

    First ADetailer's options, in its words.  A ``use_…`` says whether the values after it hold in place of the
    picture's own; a value given without its switch turns it on.  Then what ADetailer records nowhere or lacks:

    ``sort_order``: in which order masks are worked on.  ``dynamic_denoise_power``: the strength is multiplied
    by ``(1 - area of the box / area of the image) ** power``.  ``same_seed``: of all masks, else each has one
    more.  ``match_box_size``: the size to work at follows the shape of the box.  ``seed``: of the first mask.
    ``min_side``, ``max_side``: of the boxes that are kept, 0 for any.  ``skip_size``: a box whose short side
    is as long is left alone, 0 for none.  ``crop_factor``: the crop is the box times this, in place of the
    mask and its padding.  ``guide_size``: the short side of the box (or of the crop, ``guide_size_for``) is
    scaled to this, the crop's long side at most to ``max_size``.  ``feather``: radius of the edge in place of
    ``mask_blur``.  ``noise_mask``: differential diffusion, the mask softened by ``noise_mask_feather``.
    ``cycle``: passes a mask.  ``colour_match``: how far colours are brought back to the crop's, 0…1.
    ``faithful``: ADetailer's known faults too, for pictures that have them.  ``found``: how many masks were
    redrawn, once it is known.
    """

    model: str | None = None
    model_classes: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    confidence: float | None = None
    mask_filter_method: str | None = None
    mask_k: int | None = None
    mask_min_ratio: float | None = None
    mask_max_ratio: float | None = None
    x_offset: int | None = None
    y_offset: int | None = None
    dilate_erode: int | None = None
    mask_merge_invert: str | None = None
    mask_blur: float | None = None
    denoising_strength: float | None = None
    only_masked: bool | None = None
    padding: int | None = None
    use_inpaint_size: bool | None = None
    inpaint_width: int | None = None
    inpaint_height: int | None = None
    use_steps: bool | None = None
    steps: int | None = None
    use_cfg: bool | None = None
    cfg: float | None = None
    use_checkpoint: bool | None = None
    checkpoint: str | None = None
    use_vae: bool | None = None
    vae: str | None = None
    use_sampler: bool | None = None
    sampler: str | None = None
    scheduler: str | None = None
    use_noise_multiplier: bool | None = None
    noise_multiplier: float | None = None
    use_clip_skip: bool | None = None
    clip_skip: int | None = None
    restore_face: bool | None = None
    controlnet_model: str | None = None
    controlnet_module: str | None = None
    controlnet_weight: float | None = None
    controlnet_start: float | None = None
    controlnet_end: float | None = None

    sort_order: str | None = None
    dynamic_denoise_power: float | None = None
    same_seed: bool | None = None
    match_box_size: str | None = None
    seed: int | None = None
    min_side: int | None = None
    max_side: int | None = None
    skip_size: int | None = None
    crop_factor: float | None = None
    guide_size: int | None = None
    guide_size_for: str | None = None
    max_size: int | None = None
    feather: int | None = None
    noise_mask: bool | None = None
    noise_mask_feather: int | None = None
    cycle: int | None = None
    colour_match: float | None = None
    faithful: bool | None = None
    found: int | None = None

    def __post_init__(self) -> None:
        """Check the fields and turn on the switch of what is given; raises ``BadValue``."""
        check_fields(self, "detailer")
        for switch, values in UNIT_SWITCHES.items():
            if getattr(self, switch) is None and any(getattr(self, name) is not None for name in values):
                object.__setattr__(self, switch, True)


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks of the prompt and their hashes; a network without a hash is not written."""

    loras: tuple[ModelRef, ...] = ()
    embeddings: tuple[ModelRef, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "networks")


@dataclass(frozen=True, kw_only=True)
class ConcordSettings:
    """What the web UIs have no key for.

    ``profile``: whose habits the run followed (``a1111``, ``comfyui``…).  ``dialect``: of the prompt.
    ``cfg_rescale``: 0…1.  ``guidance_start``, ``guidance_end``: the part of the run, 0…1, in which guidance is
    on.  ``sigma_multiply``: a factor of the sigmas from ``sigma_multiply_start`` to ``sigma_multiply_end``, 0…1
    of the list.  ``sampler_options``, ``schedule_options``: (name, value) of the options that have no key of
    their own.  ``batch_size`` and ``batch_position`` (from 0): where noise is drawn for a batch as
    a whole, a picture needs its place in it.  ``resize_mode``: of the first picture, in A1111's words.
    ``exact_steps``: A1111's "do exactly the amount of steps" in image to image.  ``comma_backtrack``: tokens
    behind the last comma that may move to the next chunk, 0 … 74, A1111's "prompt word wrap length limit".
    ``recipe``: the name of the settings that were begun with, in ``core.recipes``.  ``own``: of ``OWNED`` those
    that name Concord's own sampler or schedule where the program of the profile has another of that name; in an
    infotext such a name ends in "(Concord)".
    """

    version: str | None = None
    profile: str | None = None
    dialect: str | None = None
    cfg_rescale: float | None = None
    guidance_start: float | None = None
    guidance_end: float | None = None
    sigma_multiply: float | None = None
    sigma_multiply_start: float | None = None
    sigma_multiply_end: float | None = None
    sampler_options: Options | None = None
    schedule_options: Options | None = None
    batch_size: int | None = None
    batch_position: int | None = None
    resize_mode: str | None = None
    exact_steps: bool | None = None
    comma_backtrack: int | None = None
    recipe: str | None = None
    own: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "concord")
        if self.own is not None and not set(members(self.own, (None,))) <= set(OWNED):
            raise BadValue(f"concord.own is {self.own!r}; pass a tuple of {', '.join(map(repr, OWNED))}")
