"""Noise: equal to the hosts' recorded numbers, one image at a time, and Brownian where it must be."""

from __future__ import annotations

import gzip
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from golden import golden_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.errors import BadValue
from sd_concord.core.sampling import (
    Variation,
    batch_brownian_tree,
    batch_noise,
    brownian,
    brownian_tree,
    image_noise,
)
from sd_concord.core.sampling.noise import TorchGenerator, paste_centre, slerp
from sd_concord.core.sampling.philox import philox

SOURCES = {"CPU": "cpu", "NV": "philox"}
SHAPE = (4, 8, 8)
SIGMAS = torch.tensor([14.0, 6.0, 2.0, 0.7, 0.1, 0.0])


def webui():
    """Return the recorded cases and arrays of the web UI."""
    folder = golden_dir("noise")
    with gzip.open(folder / "webui.jsonl.gz", "rt") as lines:
        cases = [json.loads(line) for line in lines]
    with np.load(folder / "webui.npz") as arrays:
        return cases, {key: arrays[key] for key in arrays.files}


def comfyui():
    """Return the recorded index and arrays of ComfyUI."""
    folder = golden_dir("noise_sigmas")
    with np.load(folder / "comfyui.npz") as arrays:
        return json.loads((folder / "comfyui.json").read_text()), {key: arrays[key] for key in arrays.files}


def drawn(stream, count):
    """Return the start noise and ``count - 1`` step noises."""
    return np.stack([stream.first().numpy(), *(stream.next().numpy() for _ in range(count - 1))])


@pytest.mark.golden
def test_image_noise_is_the_web_uis():
    cases, arrays = webui()
    cases = [case for case in cases if case["kind"] == "image_rng"]
    assert len(cases) >= 50
    for case in cases:
        variation = (case["subseeds"], case["strength"]) if case["subseeds"] else None
        resize = case["from_h"], case["from_w"]
        stream = image_noise(
            case["shape"], case["seeds"], SOURCES[case["source"]], variation, resize, case["ensd"]
        )
        # Plain CPU draws are equal to the bit; the rest differ by the rounding of log, sin and the arc.
        plain = case["source"] == "CPU" and not case["strength"]
        got = drawn(stream, case["draws"])
        np.testing.assert_allclose(got, arrays[case["id"]], rtol=0, atol=1e-6 if plain else 1e-5)


@pytest.mark.golden
def test_batch_noise_is_diffusers_and_image_noise_its_list_of_generators():
    cases, arrays = webui()
    cases = [case for case in cases if case["kind"] == "diffusers"]
    assert cases
    for case in cases:
        if case["generator"] == "one":
            stream = batch_noise(case["shape"], case["seeds"][0], restart=False)
        else:
            stream = image_noise(case["shape"][1:], case["seeds"])
        np.testing.assert_allclose(drawn(stream, case["draws"]), arrays[case["id"]], rtol=0, atol=1e-6)


@pytest.mark.golden
def test_brownian_tree_is_the_web_uis():
    cases, arrays = webui()
    cases = [case for case in cases if case["kind"] == "brownian"]
    assert {case["mode"] for case in cases} == {"steps", "mid", "mixed"}
    for case in cases:
        source = SOURCES[case["source"]]
        noise = brownian_tree(torch.tensor(case["sigmas"]), case["seeds"], case["shape"], source)
        got = np.stack([noise(*query).numpy() for query in case["queries"]])
        np.testing.assert_allclose(got, arrays[case["id"]], rtol=0, atol=1e-5)


@pytest.mark.golden
def test_batch_noise_is_comfyuis():
    index, arrays = comfyui()
    for case in index["init"]:
        dtype = getattr(torch, case.get("latent_dtype", "float32"))
        first = batch_noise(case["latent"], case["seed"], indices=case["batch_inds"], dtype=dtype).first()
        assert list(first.shape) == case["shape"]
        np.testing.assert_array_equal(first.double().numpy(), arrays[case["key"]].astype(np.float64))
    for case in index["step"]:
        stream = batch_noise(case["latent"], case["seed"])
        got = np.stack([stream.next().numpy() for _ in range(case["draws"])])
        np.testing.assert_array_equal(got, arrays[case["key"]])
        assert torch.equal(batch_noise(case["latent"], case["seed"]).next(), stream.first())


@pytest.mark.golden
def test_batch_brownian_tree_is_comfyuis():
    index, arrays = comfyui()
    for case in index["brownian"]:
        ends = torch.tensor([case["sigma_max"], case["sigma_min"], 0.0])
        noise = batch_brownian_tree(ends, case["seed"], case["latent"])
        got = np.stack([noise(*call).numpy() for call in case["calls"]])
        np.testing.assert_allclose(got, arrays[case["key"]], rtol=0, atol=1e-5)


def test_philox_meets_its_published_answers():
    """The known-answer tests of Random123 for philox4x32-10."""
    zero = [np.zeros(1, np.uint32)] * 4
    ones = [np.full(1, 0xFFFFFFFF, np.uint32)] * 4
    pi = [np.array([word], np.uint32) for word in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    answers = [
        (zero, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (ones, (0xFFFFFFFF, 0xFFFFFFFF), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (pi, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ]
    for counter, key, wanted in answers:
        assert tuple(int(word[0]) for word in philox(counter, key)) == wanted


@pytest.mark.parametrize("source", ["cpu", "philox"])
def test_an_image_does_not_depend_on_its_batch(source):
    three = image_noise(SHAPE, [5, 6, 7], source)
    alone = image_noise(SHAPE, [6], source)
    assert torch.equal(three.first()[1:2], alone.first())
    assert torch.equal(three.next()[1:2], alone.next())


@pytest.mark.parametrize("source", ["cpu", "philox"])
def test_noise_has_unit_variance_and_new_numbers_each_step(source):
    stream = image_noise((4, 64, 64), [1], source)
    parts = [stream.first(), stream.next(), stream(3.0, 2.0)]
    for part in parts:
        assert abs(float(part.mean())) < 0.03
        assert abs(float(part.std()) - 1) < 0.03
    assert not torch.equal(parts[1], parts[2])
    assert torch.equal(stream.first(), parts[0])


def test_variation_goes_from_one_seed_to_the_other():
    plain, other = image_noise(SHAPE, [1]).first(), image_noise(SHAPE, [2]).first()
    assert torch.equal(image_noise(SHAPE, [1], variation=Variation([2], 0.0)).first(), plain)
    whole = image_noise(SHAPE, [1], variation=([2], 1.0)).first()
    torch.testing.assert_close(whole, other, rtol=0, atol=1e-5)
    half = image_noise(SHAPE, [1], variation=([2], 0.5))
    # On the arc between two equal lengths the middle is as far from both.
    assert float((half.first() - plain).norm()) == pytest.approx(
        float((half.first() - other).norm()), rel=0.1
    )
    assert torch.equal(half.next(), image_noise(SHAPE, [1]).next())


def test_slerp_of_perpendicular_columns_is_a_rotation():
    start, end = torch.zeros(1, 2, 1), torch.zeros(1, 2, 1)
    start[0, 0, 0], end[0, 1, 0] = 1.0, 1.0
    for amount in (0.0, 0.3, 1.0):
        angle = amount * math.pi / 2
        wanted = torch.tensor([math.cos(angle), math.sin(angle)]).reshape(1, 2, 1)
        torch.testing.assert_close(slerp(start, end, amount), wanted, rtol=0, atol=1e-6)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    patch_height=st.integers(1, 9),
    patch_width=st.integers(1, 9),
)
def test_a_patch_is_centred_and_the_rest_is_left(height, width, patch_height, patch_width):
    canvas, patch = torch.zeros(1, height, width), torch.ones(1, patch_height, patch_width)
    out = paste_centre(canvas, patch)
    rows, columns = min(height, patch_height), min(width, patch_width)
    # A patch larger by an odd number loses its centre to the rule of the web UI: one less than fits.
    lost = [
        (side < other and (other - side) % 2)
        for side, other in ((height, patch_height), (width, patch_width))
    ]
    assert out.sum() == (rows - lost[0]) * (columns - lost[1])
    assert canvas.sum() == 0


def test_seed_resize_keeps_the_later_draws():
    plain, resized = image_noise(SHAPE, [4]), image_noise(SHAPE, [4], resize_from=(32, 32))
    assert not torch.equal(plain.first(), resized.first())
    assert torch.equal(plain.next(), resized.next())
    small = image_noise((4, 4, 4), [4]).first()
    assert torch.equal(resized.first()[:, :, 2:6, 2:6], small)


def test_ensd_changes_the_steps_alone():
    plain, moved = image_noise(SHAPE, [4]), image_noise(SHAPE, [4], ensd=31337)
    assert torch.equal(plain.first(), moved.first())
    assert torch.equal(moved.next(), image_noise(SHAPE, [4 + 31337]).first())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 8, 8), []), "seeds is empty"),
        (((4, 8, 8), [1], "gpu"), "unknown noise source 'gpu'.*cpu"),
        (((4, 8, 8), [2**64]), "at most 64 bits"),
        (((4, 0, 8), [1]), "positive sizes"),
        (((4, 8, 8), [1], "cpu", ([2], 1.5)), "strength is 1.5"),
        (((8, 8), [1], "cpu", ([2], 0.5)), r"want \(C, h, w\)"),
    ],
)
def test_image_noise_refuses(arguments, message):
    with pytest.raises(BadValue, match=message):
        image_noise(*arguments)


def test_brownian_draws_once_a_query_and_has_unit_variance(monkeypatch):
    draws, randn = [], TorchGenerator.randn
    monkeypatch.setattr(
        TorchGenerator, "randn", lambda self, shape: draws.append(shape) or randn(self, shape)
    )
    noise = brownian(SIGMAS, [3], (4, 64, 64))
    # The steps of the run, the stages of one, and one asked for again: each new stretch is one draw.
    a, b, c, d, e, _ = SIGMAS.tolist()
    queries = ((a, b), (b, c), (c, 1.1), (c, d), (d, e), (d, e))
    for (sigma, sigma_next), drawn in zip(queries, (1, 2, 3, 4, 5, 5), strict=True):
        part = noise(sigma, sigma_next)
        assert len(draws) == drawn
        assert part.shape == (1, 4, 64, 64)
        assert abs(float(part.std()) - 1) < 0.03


@pytest.mark.parametrize("make", [brownian, brownian_tree])
def test_the_noise_of_a_stretch_is_the_sum_of_its_parts(make):
    noise = make(SIGMAS, [3, 4], SHAPE)
    for stops in ((6.0, 3.3, 2.0), (14.0, 9.0, 7.0, 6.0), (0.7, 0.33, 0.1)):
        parts = sum(noise(a, b) * math.sqrt(a - b) for a, b in pairwise(stops))
        whole = noise(stops[0], stops[-1]) * math.sqrt(stops[0] - stops[-1])
        torch.testing.assert_close(whole, parts, rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 14.0), st.floats(0.1, 14.0)), min_size=1, max_size=6),
    st.floats(0.2, 13.9),
)
def test_brownian_is_consistent_whatever_was_asked_before(queries, middle):
    noise = brownian(SIGMAS, [8], (2, 4, 4))
    for a, b in queries:
        if abs(a - b) > 1e-3:
            noise(a, b)
    whole = noise(14.0, 0.1) * math.sqrt(13.9)
    high, low = noise(14.0, middle) * math.sqrt(14.0 - middle), noise(middle, 0.1) * math.sqrt(middle - 0.1)
    torch.testing.assert_close(whole, high + low, rtol=0, atol=1e-4)
    torch.testing.assert_close(noise(0.1, 14.0), -noise(14.0, 0.1), rtol=0, atol=1e-6)


def test_a_bridge_into_drawn_motion_has_the_right_variance():
    noise = brownian(torch.tensor([4.0, 0.0]), [1], (1, 200, 200))
    whole = noise(4.0, 1.0) * math.sqrt(3.0)
    noise(1.0, 0.5)
    part = noise(4.0, 2.0) * math.sqrt(2.0)
    rest = part - whole * (2.0 / 3.0)  # independent of the whole, of variance 2 * 1 / 3
    assert float(rest.var()) == pytest.approx(2.0 / 3.0, rel=0.03)
    assert abs(float((rest * whole).mean())) < 0.03


def test_brownian_per_image():
    both = brownian(SIGMAS, [3, 4], SHAPE)
    alone = brownian(SIGMAS, [4], SHAPE)
    for step in ((14.0, 9.5), (14.0, 6.0), (6.0, 2.0)):
        assert torch.equal(both(*step)[1:], alone(*step))


def test_brownian_refuses():
    with pytest.raises(BadValue, match="seeds is empty"):
        brownian(SIGMAS, [], SHAPE)
    with pytest.raises(BadValue, match="to itself"):
        brownian(SIGMAS, [1], SHAPE)(2.0, 2.0)
    with pytest.raises(BadValue, match="1 value above 0"):
        brownian_tree(torch.tensor([2.0, 0.0]), [1], SHAPE)


def test_the_tree_remembers_little():
    noise = brownian_tree(torch.tensor([14.0, 0.03, 0.0]), [1], (1, 2, 2))
    for a, b in pairwise(np.geomspace(14, 0.04, 60)):
        noise(float(a), float(b))
    (tree,) = noise.__closure__[0].cell_contents
    assert len(tree._halves) <= 64
