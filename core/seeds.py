"""Seeds of a batch: what a record asks for of noise, and the record of each image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from .errors import BadValue, unknown
from .filled import filled, profile_of
from .image.generation import Generation
from .image.parts import ConcordSettings
from .profiles import Profile, Seeds
from .sampling import Variation

RNG = {"CPU": "cpu", "GPU": "philox", "NV": "philox"}
"""The record's words for noise sources; a card's numbers are drawn on the CPU."""


def seeds_of(record: Generation, batch: int = 1) -> Seeds:
    """Return the seeds of a batch whose first image is ``record``'s.

    Raises ``BadValue`` for an unknown ``rng``, and where the host draws noise for a batch as a whole and the
    record asks for what that cannot give.
    """
    host = profile_of(record)
    record = filled(record)
    if record.rng not in RNG:
        raise unknown("rng", record.rng or "", RNG)
    asked = record.variation
    strength = (asked and asked.strength) or 0.0
    variation = None
    if asked is not None and asked.seed is not None and strength > 0:
        variation = Variation([asked.seed + i for i in range(batch)], strength)
    own = record.concord
    place = None
    if own is not None and own.batch_size and own.batch_position is not None and batch == 1:
        place = (min(own.batch_position, own.batch_size - 1), own.batch_size)
    width, height = record.seed_resize_from or (0, 0)
    resize = (height, width) if width > 0 and height > 0 else None
    if host.noise_layout == "batch":
        _check_whole(host, record, varied=variation is not None or resize is not None)
    return Seeds(
        seed=cast("int", record.seed),
        batch=_drawn_together(record, batch),
        source=cast("Any", RNG[record.rng]),
        ensd=record.ensd,
        variation=variation,
        resize_from=resize,
        place=place if host.noise_layout == "image" else None,
    )


def _check_whole(host: Profile, record: Generation, *, varied: bool) -> None:
    """Raise ``BadValue`` for what one generator for a whole batch does not know."""
    if varied or record.ensd or record.rng != "CPU":
        raise BadValue(
            f"profile {host.name!r} draws noise for the batch at once on the CPU; leave out variation, "
            "seed resize, ENSD and rng, or take another profile"
        )


def _drawn_together(record: Generation, batch: int) -> int:
    """Return for how many images noise is drawn: one of an earlier batch brings its batch with it."""
    own = record.concord
    return own.batch_size if _is_one_of_many(record, batch) and own and own.batch_size else batch


def _is_one_of_many(record: Generation, batch: int) -> bool:
    own = record.concord
    whole = profile_of(record).noise_layout == "batch"
    return whole and batch == 1 and own is not None and own.batch_position is not None


def place_of(record: Generation, batch: int) -> int | None:
    """Return which image of the noise alone is kept, None for all; raises ``BadValue`` for one outside its batch."""
    if not _is_one_of_many(record, batch) or record.concord is None:
        return None
    i, size = record.concord.batch_position or 0, record.concord.batch_size or 1
    if i >= size:
        raise BadValue(f"batch_position is {i} in a batch of {size}; pass 0 to {size - 1}")
    return i


def image_of(record: Generation, i: int, batch: int = 1, *, together: bool = False) -> Generation:
    """Return the record of image ``i`` (from 0) of a batch, which makes that image alone.

    Seeds count up; with a variation the variation seed does, and where noise is drawn for the batch as a
    whole the image's place in it is recorded.  ``together``: some of it is drawn for the batch, as Forge does
    in inpainting, and always in DDPM, so that the place is recorded beside the image's own seed.
    """
    host = profile_of(record)
    if batch > 1 and (together or record.sampler in host.global_noise):
        own = replace(record.concord or ConcordSettings(), batch_size=batch, batch_position=i)
        record = replace(record, concord=own)
    if host.noise_layout == "batch":
        if batch == 1:
            return record
        own = replace(record.concord or ConcordSettings(), batch_size=batch, batch_position=i)
        return replace(record, concord=own)
    if record.variation is not None and (record.variation.strength or 0) > 0:
        return replace(record, variation=replace(record.variation, seed=(record.variation.seed or 0) + i))
    return replace(record, seed=(record.seed or 0) + i)


def batch_of(record: Generation, i: int, batch: int = 1) -> Generation:
    """Return the record of the first image of batch ``i`` (from 0), when ``batch`` images are made at a time."""
    if profile_of(record).noise_layout == "batch":
        return replace(record, seed=(record.seed or 0) + i)
    return image_of(record, i * batch)
