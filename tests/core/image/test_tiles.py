"""Tiles: the same picture as at once, and no seam where they meet."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from sd_concord.core.errors import BadValue
from sd_concord.core.image.tiles import Tiling, run_tiled
from torch import Tensor
from torch.nn.functional import conv2d, pixel_shuffle


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(1, channels, height, width, generator=generator)


def convolutions(seed: int = 0, layers: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = [3, *[6] * (layers - 1), 12]
    return [
        torch.randn(after, before, 3, 3, generator=generator) / before for before, after in pairwise(widths)
    ]


def network(image: Tensor) -> Tensor:
    """See 3 pixels far; enlarge twofold."""
    for kernel in convolutions():
        image = conv2d(image, kernel, padding=1)
    return pixel_shuffle(image, 2)


@pytest.mark.parametrize("size", [(70, 100), (33, 32), (40, 7), (200, 33), (64, 64)], ids=str)
def test_tiles_give_what_the_whole_gives(size: tuple[int, int]) -> None:
    image = picture(*size)
    whole = network(image)
    tiled = run_tiled(network, image, Tiling(size=32, overlap=12))
    # float32 sums in another order
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-6 * float(whole.abs().max()))


def test_a_network_that_sees_farther_than_the_rim_differs() -> None:
    # else the test above says nothing
    image = picture(70, 100)
    tiled = run_tiled(network, image, Tiling(size=32, overlap=4))
    assert float((tiled - network(image)).abs().max()) > 1e-3


def test_tiles_are_of_one_size_and_cover_the_picture() -> None:
    seen: list[tuple[int, ...]] = []

    def watch(image: Tensor) -> Tensor:
        seen.append(tuple(image.shape))
        return image

    image = picture(100, 250)
    torch.testing.assert_close(run_tiled(watch, image, Tiling(size=64, overlap=16)), image)
    assert set(seen) == {(1, 3, 64, 64)}
    assert len(seen) == 2 * 5


def test_a_small_picture_is_one_tile() -> None:
    calls: list[int] = []

    def watch(image: Tensor) -> Tensor:
        calls.append(1)
        return image

    image = picture(64, 64)
    for tiling in (Tiling(size=64, overlap=8), None):
        assert torch.equal(run_tiled(watch, image, tiling), image)
    assert len(calls) == 2


def test_a_brightness_that_differs_by_tile_fades_over_the_whole_overlap() -> None:
    # a network that answers with the mean of what it sees: tiles disagree, and no line may show it
    def mean(image: Tensor) -> Tensor:
        return image.mean().expand_as(image)

    ramp = torch.linspace(0, 1, 96).expand(1, 1, 32, 96)
    out = run_tiled(mean, ramp, Tiling(size=32, overlap=16))[0, 0, 0]
    steps = out.diff().abs()
    assert float(steps.max()) < float(out[-1] - out[0]) / 30


def test_nan_at_the_rim_of_a_tile_does_not_spread() -> None:
    def frail(image: Tensor) -> Tensor:
        out = image.clone()
        out[..., 0] = torch.nan
        out[..., -1] = torch.nan
        return out

    out = run_tiled(frail, picture(32, 96), Tiling(size=32, overlap=8))
    assert bool(out[..., 1:-1].isfinite().all())


def test_half_precision_is_blended_in_single() -> None:
    image = picture(40, 40).half()
    out = run_tiled(lambda tile: tile, image, Tiling(size=32, overlap=8))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, image.float(), rtol=1e-6, atol=1e-6)


def test_what_tiles_cannot_be_is_refused() -> None:
    with pytest.raises(BadValue, match="tiles of 4 that share 0; pass a size of 8 or more"):
        Tiling(size=4, overlap=0)
    with pytest.raises(BadValue, match="tiles of 64 that share 33"):
        Tiling(size=64, overlap=33)
    with pytest.raises(BadValue, match="tiles need one whole factor for every size"):
        run_tiled(lambda tile: tile[..., :-1], picture(64, 64), Tiling(size=32, overlap=8))
