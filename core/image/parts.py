"""The parts of the generation record: passes, options and networks.  In each, None means "not recorded"."""

from __future__ import annotations

from dataclasses import dataclass

from .keys import check_fields
from .model_ref import ModelRef


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
    """Options of the sampler, in the symbols of Karras et al. and k-diffusion."""

    eta: float | None = None
    eta_ddim: float | None = None
    s_churn: float | None = None
    s_tmin: float | None = None
    s_tmax: float | None = None
    s_noise: float | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "sampler_options")


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """Options of the schedule; ``sgm_noise``: the first noise is scaled by ``sqrt(1 + sigma**2)``."""

    sigma_max: float | None = None
    sigma_min: float | None = None
    rho: float | None = None
    discard_penultimate: bool | None = None
    sgm_noise: bool | None = None
    noise_schedule: str | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "schedule_options")


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Settings of inpainting: blur and padding in pixels; mode, content and area in the web UI's words."""

    mask_blur: float | None = None
    mask_mode: str | None = None
    content: str | None = None
    area: str | None = None
    padding: int | None = None

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
    """A second model that takes over at fraction ``switch_at``, of steps if ``by_steps``, else of noise."""

    model: str | None = None
    switch_at: float | None = None
    by_steps: bool | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "refiner")


@dataclass(frozen=True, kw_only=True)
class DetailerUnit:
    """One pass of the detailer, with ADetailer's options; pixels for sizes, 0…1 for strengths."""

    model: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    confidence: float | None = None
    dilate_erode: int | None = None
    mask_blur: float | None = None
    denoising_strength: float | None = None
    only_masked: bool | None = None
    padding: int | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "detailer")


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
    ``cfg_rescale``: 0…1.  ``batch_size`` and ``batch_position`` (from 0): where noise is drawn for a batch as
    a whole, a picture needs its place in it.
    """

    version: str | None = None
    profile: str | None = None
    dialect: str | None = None
    cfg_rescale: float | None = None
    batch_size: int | None = None
    batch_position: int | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue``."""
        check_fields(self, "concord")
