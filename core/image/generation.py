"""The generation record: everything that made one picture, as every front reads and writes it.

None means that a setting is not recorded, not that it was off.  Samplers and schedulers go by their names
in the registries (``dpmpp_2m``, ``karras``); a name that they do not know stays as it was read.  Copies with
other values are made with ``dataclasses.replace``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import BadType, BadValue
from .keys import check_fields
from .model_ref import ModelRef
from .parts import (
    ConcordSettings,
    DetailerUnit,
    Hires,
    Inpaint,
    Networks,
    Refiner,
    SamplerOptions,
    ScheduleOptions,
    Variation,
)
from .rules import members

_HOSTS = (("Concord ", "concord"), ("ComfyUI", "comfyui"), ("Fooocus", "fooocus"), ("neo", "forge"))


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Everything that made one picture.

    ``seed``: of this picture, not of the first of its batch.  ``size``: (width, height) of the first pass.
    ``ensd``: added to the seed for the noise of the steps.  ``rng``: where noise is drawn, ``GPU``, ``CPU``
    or ``NV``.  ``template``: the prompt before wildcards.  ``ngms``: negative guidance minimum sigma, below
    which every second call goes without the negative prompt, with ``ngms_all_steps`` each.
    ``skip_early_cfg``: the share of the run that begins without it.  ``pad_conds``, ``pad_conds_v0``: A1111's
    ways to bring prompts to one length.  ``old_timelines``: numbers of prompt edits as before A1111 1.6.
    ``extras``: keys of other programs with their values, in order.  ``source``: the line of settings that the
    record was read from; it lets what nobody changed be written back to the letter, and takes no part in
    comparison.

    Raises ``BadValue`` or ``BadType`` that names the field.
    """

    prompt: str = ""
    negative_prompt: str = ""
    template: str | None = None
    negative_template: str | None = None
    emphasis: str | None = None
    clip_skip: int | None = None
    networks: Networks = field(default_factory=Networks)
    pad_conds: bool | None = None
    pad_conds_v0: bool | None = None
    old_timelines: bool | None = None

    steps: int | None = None
    sampler: str | None = None
    sampler_options: SamplerOptions | None = None
    scheduler: str | None = None
    schedule_options: ScheduleOptions | None = None
    cfg: float | None = None
    distilled_cfg: float | None = None
    image_cfg: float | None = None
    ngms: float | None = None
    ngms_all_steps: bool | None = None
    skip_early_cfg: float | None = None

    seed: int | None = None
    variation: Variation | None = None
    seed_resize_from: tuple[int, int] | None = None
    ensd: int | None = None
    rng: str | None = None

    size: tuple[int, int] | None = None
    tiling: bool | None = None
    model: ModelRef | None = None
    vae: ModelRef | None = None
    fp8_weight: str | None = None
    cache_fp16_weight: bool | None = None
    token_merging_ratio: float | None = None
    token_merging_ratio_hr: float | None = None

    denoising_strength: float | None = None
    init_image_hash: str | None = None
    conditional_mask_weight: float | None = None
    noise_multiplier: float | None = None
    extra_noise: float | None = None
    inpaint: Inpaint | None = None

    hires: Hires | None = None
    refiner: Refiner | None = None
    detailer: tuple[DetailerUnit, ...] = ()
    detailer_version: str | None = None
    face_restoration: str | None = None

    concord: ConcordSettings | None = None
    version: str | None = None
    user: str | None = None
    extras: tuple[tuple[str, str], ...] = ()
    source: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the fields; raises ``BadValue`` or ``BadType``."""
        for name in ("prompt", "negative_prompt", "source"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise BadType(f"{name} is {value!r}; pass text")
        check_fields(self)
        for name, kind in SUBRECORDS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise BadType(f"{name} is {value!r}; pass a {kind.__name__}")
        _check_units(self.detailer)
        _check_extras(self.extras)

    @property
    def host(self) -> str | None:
        """Return the program that ``version`` is of: ``a1111``, ``forge``…; None if unknown."""
        version = self.version or ""
        if version[:1] == "f" and version[1:2].isdigit():
            return "forge"
        if version.removeprefix("v")[:1].isdigit() and "." in version:
            return "a1111"
        return next((host for start, host in _HOSTS if version.startswith(start)), None)


SUBRECORDS = {
    "networks": Networks,
    "sampler_options": SamplerOptions,
    "schedule_options": ScheduleOptions,
    "variation": Variation,
    "model": ModelRef,
    "vae": ModelRef,
    "inpaint": Inpaint,
    "hires": Hires,
    "refiner": Refiner,
    "concord": ConcordSettings,
}
"""The record of each field of ``Generation`` that is one."""


def _check_units(units: object) -> None:
    """Raise unless ``units`` is a tuple of ``DetailerUnit``."""
    if not all(isinstance(unit, DetailerUnit) for unit in members(units, (None,))):
        raise BadType(f"detailer is {units!r}; pass a tuple of DetailerUnit")


def _check_extras(extras: object) -> None:
    """Raise unless ``extras`` is a tuple of (key, value) texts whose keys an infotext can hold."""
    for pair in members(extras, (None,)):
        parts = members(pair)
        if len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise BadType(f"extras is {extras!r}; pass a tuple of (key, value), both text")
        key: str = parts[0]
        if not key or key != key.strip() or any(sign in key for sign in ",:\n"):
            raise BadValue(
                f"extras holds the key {key!r}; a key is one line without ',', ':' and outer blanks"
            )
