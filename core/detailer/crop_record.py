"""A crop of the detailer as a generation record, for fronts that draw it with the core."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..image.generation import Generation
from ..image.parts import ConcordSettings, Inpaint
from .detail import Crop
from .masks import blur, mask_from_array
from .plan import Run


def crop_record(picture: Generation, run: Run) -> Generation:
    """Return the record of a crop: the picture's, with what ``run`` has of its own but for texts and seed."""
    settings = picture.concord or ConcordSettings()
    own = replace(settings, batch_size=None, batch_position=None, resize_mode=None)
    return replace(
        picture,
        steps=run.steps,
        cfg=run.cfg,
        sampler=run.sampler,
        scheduler=run.scheduler,
        noise_multiplier=run.noise_multiplier,
        clip_skip=run.clip_skip or picture.clip_skip,
        variation=run.variation,
        seed_resize_from=None,
        inpaint=Inpaint(differential=True if run.noise_mask else None),
        hires=None,
        refiner=None,
        concord=own,
    )


def crop_mask(one: Crop) -> NDArray[np.uint8]:
    """Return the mask of a crop, uint8 (h, w), blurred where differential diffusion asks for it."""
    run = one.run
    soft = run.noise_mask_feather if run.noise_mask else 0
    return blur(mask_from_array(one.mask), soft / 2, soft).full() if soft else one.mask
