"""Crops inpainted together: each is the one that it is alone."""

from __future__ import annotations

import numpy as np
import pytest
from miniatures import miniature
from sd_concord.core.errors import BadValue
from sd_concord.core.image import ConcordSettings, Generation, Inpaint
from sd_concord.harness import Pipeline
from sd_concord.harness.stages.crops import Crop, inpaint_crops

SIDE = 32


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(miniature())


def crop(i, **fields):
    random = np.random.default_rng(i)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4 + i : 24, 8 : 28 - i] = 255
    image = random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    return Crop(image=image, mask=mask, **{"prompt": f"face number {i}", "seed": 10 + i} | fields)


def record(profile="concord", **fields):
    wanted = {
        "prompt": "a cat",
        "negative_prompt": "bad",
        "steps": 4,
        "seed": 3,
        "sampler": "euler_ancestral",
    }
    own = {"denoising_strength": 0.6, "concord": ConcordSettings(profile=profile)}
    return Generation(**wanted | own | fields)


def calls(pipeline, monkeypatch):
    """Return the list that the batch of each call of the network is written to."""
    seen = []
    forward = pipeline.model.unet.forward

    def counted(x, *args, **options):
        seen.append(len(x))
        return forward(x, *args, **options)

    monkeypatch.setattr(pipeline.model.unet, "forward", counted)
    return seen


@pytest.mark.parametrize("profile", ["concord", "a1111", "forge", "comfyui"])
@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde"])
def test_a_batch_gives_what_each_is_alone(pipeline, monkeypatch, profile, sampler):
    crops = [crop(i, negative_prompt=f"bad {i}") for i in range(3)]
    asked = record(profile, sampler=sampler, inpaint=Inpaint(content="latent noise"))
    alone = [inpaint_crops(pipeline, [one], asked)[0] for one in crops]
    seen = calls(pipeline, monkeypatch)
    together = inpaint_crops(pipeline, crops, asked)
    assert set(seen) == {6}
    for one, other in zip(together, alone, strict=True):
        assert one.dtype == np.float32
        assert one.shape == (SIDE, SIDE, 3)
        assert np.abs(one - other).max() < 2e-3  # sums of a batch, through the run and the decoder


def test_alone_is_what_generate_paints(pipeline):
    """Whole, with sharp masks, and compared under the mask, since generate lays it on the picture."""
    one = crop(0)
    (drawn,) = inpaint_crops(pipeline, [one], record())
    asked = record(prompt=one.prompt, seed=one.seed, inpaint=Inpaint(mask_blur=0.0), size=(SIDE, SIDE))
    (picture,) = pipeline.generate(asked, init_image=one.image, mask=one.mask)
    inside = one.mask == 255
    assert np.abs(picture.image[inside] / 255 - drawn[inside]).max() <= 0.51 / 255


def test_strengths_that_begin_apart_run_apart_and_stay_in_order(pipeline, monkeypatch):
    crops = [crop(0, strength=0.9), crop(1, strength=0.3), crop(2, strength=0.9), crop(3, strength=0.35)]
    asked = record("a1111")
    alone = [inpaint_crops(pipeline, [one], asked)[0] for one in crops]
    seen = calls(pipeline, monkeypatch)
    together = inpaint_crops(pipeline, crops, asked)
    assert seen == [4] * 4 + [4] * 2  # the web UIs' rule gives 0.3 and 0.35 the same two steps
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one - other).max() < 2e-3


def test_prompts_of_other_lengths_and_weights_run_apart(pipeline, monkeypatch):
    long = ", ".join(["many words"] * 60)
    crops = [crop(0), crop(1, prompt=long), crop(2, prompt="a AND b"), crop(3)]
    alone = [inpaint_crops(pipeline, [one], record())[0] for one in crops]
    seen = calls(pipeline, monkeypatch)
    together = inpaint_crops(pipeline, crops, record())
    assert seen[:4] == [4] * 4
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one - other).max() < 2e-3


def test_a_batch_may_be_smaller(pipeline, monkeypatch):
    crops = [crop(i) for i in range(3)]
    seen = calls(pipeline, monkeypatch)
    inpaint_crops(pipeline, crops, record(), batch=2)
    assert seen == [4] * 4 + [2] * 4


def test_what_a_crop_leaves_open_is_the_records(pipeline):
    asked = record()
    own = crop(1, prompt=asked.prompt, negative_prompt=asked.negative_prompt, seed=asked.seed, strength=0.6)
    bare = Crop(image=own.image, mask=own.mask)
    first, second = (inpaint_crops(pipeline, [one], asked)[0] for one in (own, bare))
    assert np.array_equal(first, second)


def test_crops_that_cannot_be_are_refused(pipeline):
    small = Crop(image=np.zeros((16, 16, 3), np.uint8), mask=np.ones((16, 16), bool))
    with pytest.raises(BadValue, match="pass those of one size"):
        inpaint_crops(pipeline, [crop(0), small], record())
    with pytest.raises(BadValue, match="batch is 0"):
        inpaint_crops(pipeline, [crop(0)], record(), batch=0)
    assert inpaint_crops(pipeline, [], record()) == []
