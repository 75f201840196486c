"""Pictures that tile: what is moved over the edge comes in at the other side."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from sd_concord.core.image import ConcordSettings, Generation, read_image_info
from sd_concord.harness import Pipeline
from sd_concord.harness.cli import main
from sd_concord.harness.tiling import tiled


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline.load()


def moved(pipeline, latent, by=1):
    """Return how far the picture of a moved latent is from the moved picture."""
    stride = pipeline.model.vae_stride
    vae = pipeline.model.vae
    with torch.inference_mode():
        there, here = (vae.decode(one)[0] for one in (latent.roll(by, 3), latent))
    return float((there - here.roll(by * stride, 3)).abs().max())


def test_the_vae_wraps_round_while_it_is_wanted_and_not_afterwards(pipeline):
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    apart = moved(pipeline, latent)
    with tiled(pipeline.model, True):
        assert moved(pipeline, latent) < 1e-3
    assert moved(pipeline, latent) == apart > 0.05


def seam(image):
    """Return how much rougher the edge is than the picture within: of columns, the mean step."""
    pixels = image.astype(float)
    return abs(pixels[:, 0] - pixels[:, -1]).mean() / abs(pixels[:, 1:] - pixels[:, :-1]).mean()


def test_a_picture_that_tiles_has_no_seam_and_says_so(pipeline):
    record = Generation(prompt="a red circle on a blue background", seed=4, steps=6, tiling=True)
    [drawn] = pipeline.generate(record)
    [plain] = pipeline.generate(dataclasses.replace(record, tiling=None))
    assert drawn.generation.tiling is True
    assert (drawn.image != plain.image).any()
    assert seam(drawn.image) < 3
    of_forge = dataclasses.replace(record, concord=ConcordSettings(profile="forge"), rng="CPU")
    [one] = pipeline.generate(of_forge)
    [other] = pipeline.generate(dataclasses.replace(of_forge, tiling=None))
    assert (one.image == other.image).all(), "Forge f2.0.1 draws no tiles"


def test_a_sweep_over_tiling_draws_what_a_single_call_does(pipeline, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["a red circle", "--seed", "4", "--steps", "3", "--sampler", "euler"]
    assert main(["sweep", *given, "--x", "tiling=True,False", "--out", str(out)]) == 0
    capsys.readouterr()
    made = {}
    for file in out.rglob("*.png"):
        if "grid" not in file.name:
            made[bool(read_image_info(file).tiling)] = np.asarray(Image.open(file).convert("RGB"))
    for is_wanted in (True, False):
        record = Generation(prompt="a red circle", seed=4, steps=3, sampler="euler", tiling=is_wanted or None)
        [one] = pipeline.generate(record)
        assert (one.image == made[is_wanted]).all()
