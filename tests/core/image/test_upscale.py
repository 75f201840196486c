"""Upscalers of latents and pictures, and the web UIs' rule for the size."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sd_concord.core.errors import BadFile, BadType, BadValue, Missing
from sd_concord.core.image.tiles import Tiling
from sd_concord.core.image.upscale import (
    LATENT_UPSCALERS,
    RESAMPLERS,
    Pixels,
    upscale_image,
    upscale_latent,
)
from sd_concord.core.image.upscalers import NetworkUpscaler, find_upscaler, load_upscaler
from torch import Tensor
from torch.nn.functional import interpolate
from upscaler_files import esrgan

spandrel = pytest.mark.skipif(
    importlib.util.find_spec("spandrel") is None, reason="spandrel is not installed"
)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def drawn(height: int, width: int) -> Pixels:
    """Return a smooth picture with a few edges."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + k) + np.cos(y / 7 - k) + 0.6 * ((x // 20 + y // 30 + k) % 2) for k in range(3)]
    return (60 + 50 * (1 + np.stack(waves, -1) / 2)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "mode", "antialias"),
    [
        ("Latent", "bilinear", False),
        ("Latent (antialiased)", "bilinear", True),
        ("Latent (bicubic)", "bicubic", False),
        ("Latent (bicubic antialiased)", "bicubic", True),
        ("Latent (nearest)", "nearest", False),
        ("Latent (nearest-exact)", "nearest-exact", False),
    ],
)
def test_latents_are_enlarged_as_named(name: str, mode: str, antialias: bool) -> None:
    latent = torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(1))
    # (columns, rows), one side smaller, so that antialiasing shows
    out = upscale_latent(latent, (12, 6), name)
    wanted = interpolate(latent, size=(6, 12), mode=mode, antialias=antialias)
    assert torch.equal(out, wanted)
    plain = interpolate(latent, size=(6, 12), mode=mode)
    assert torch.equal(out, plain) != antialias
    assert name in LATENT_UPSCALERS


def test_unknown_latent_upscalers_are_named() -> None:
    with pytest.raises(BadValue, match=r"unknown latent upscaler 'latent'.*Latent \(bicubic\)"):
        upscale_latent(torch.zeros(1, 4, 8, 8), (16, 16), "latent")
    with pytest.raises(BadValue, match="new size is 0x16"):
        upscale_latent(torch.zeros(1, 4, 8, 8), (0, 16))


class Watched:
    """An upscaler that repeats pixels, and remembers the sizes that it was given."""

    name = "watched"

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, image: Pixels, factor: float) -> Pixels:
        self.sizes.append(image.shape[:2])
        return image.repeat(self.scale, 0).repeat(self.scale, 1)


@pytest.mark.parametrize(
    ("scale", "size", "calls"),
    [
        (4, (64, 48), 1),
        (2, (64, 48), 2),
        (2, (40, 30), 2),
        (2, (300, 224), 3),
        (1, (64, 48), 1),
        (4, (16, 12), 0),
        (2, (8, 30), 2),
    ],
    ids=["4x", "twice", "not quite twice", "three times at most", "no larger", "same", "one side"],
)
def test_a_network_is_called_until_it_is_enough(scale: int, size: tuple[int, int], calls: int) -> None:
    upscaler = Watched(scale)
    out = upscale_image(noise(12, 16), size, upscaler)
    assert out.shape == (size[1], size[0], 3)
    assert out.dtype == np.uint8
    assert len(upscaler.sizes) == calls


def test_lanczos_ends_at_the_size_by_way_of_multiples_of_eight() -> None:
    image = noise(12, 16)
    doubled = Image.fromarray(image.repeat(4, 0).repeat(4, 1))
    lanczos = Image.Resampling.LANCZOS
    wanted = doubled.resize((56, 40), lanczos).resize((60, 44), lanczos)
    # 16 * 3.75 = 60 and 12 * 3.75 = 45, which are cut to 56 and 40
    assert np.array_equal(upscale_image(image, (60, 44), Watched(4)), np.asarray(wanted))
    exact = doubled.resize((56, 40), lanczos)
    assert np.array_equal(upscale_image(image, (56, 40), Watched(4)), np.asarray(exact))


@pytest.mark.parametrize("name", RESAMPLERS)
def test_filters_are_pillows(name: str) -> None:
    image = noise(24, 16)
    filter = Image.Resampling.NEAREST if name == "Nearest" else Image.Resampling.LANCZOS
    wanted = np.asarray(Image.fromarray(image).resize((32, 48), filter))
    assert np.array_equal(upscale_image(image, (32, 48), RESAMPLERS[name]), wanted)
    assert np.array_equal(upscale_image(image, (16, 24), RESAMPLERS[name]), image)


def test_pictures_of_another_kind_are_refused() -> None:
    with pytest.raises(BadType, match="image is list; pass a uint8 array"):
        upscale_image([[0]], (8, 8))  # type: ignore[arg-type]
    with pytest.raises(BadValue, match=r"image is float64 \(4, 4, 3\); pass uint8"):
        upscale_image(np.zeros((4, 4, 3)), (8, 8))  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="size is 0x8"):
        upscale_image(noise(4, 4), (0, 8))


def nearest(image: Tensor) -> Tensor:
    return image.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_a_networks_values_are_rounded_once() -> None:
    upscaler = NetworkUpscaler(
        name="x", network=lambda image: nearest(image) + 0.4 / 255, scale=2, tiling=Tiling(size=32, overlap=8)
    )
    image = noise(50, 70)
    assert np.array_equal(upscaler(image, 2.0), image.repeat(2, 0).repeat(2, 1))


def test_what_a_network_must_not_give_is_held_in_range() -> None:
    def wild(image: Tensor) -> Tensor:
        return torch.tensor([2.0, -1.0, torch.nan])[None, :, None, None].expand_as(image)

    out = NetworkUpscaler(name="x", network=wild, scale=1)(noise(8, 8), 1.0)
    assert out[0, 0].tolist() == [255, 0, 0]


def test_tiles_are_halved_when_memory_runs_out() -> None:
    sizes: list[int] = []

    def hungry(image: Tensor) -> Tensor:
        sizes.append(image.shape[-1])
        if image.shape[-1] > 64:
            raise torch.OutOfMemoryError("full")
        return nearest(image)

    image = noise(128, 128)
    out = NetworkUpscaler(name="x", network=hungry, scale=2, tiling=Tiling(size=256, overlap=16))(image, 2.0)
    assert np.array_equal(out, image.repeat(2, 0).repeat(2, 1))
    assert sizes[:2] == [128, 64]

    def hopeless(image: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        NetworkUpscaler(name="x", network=hopeless, scale=2)(image, 2.0)


def test_grey_networks_take_the_colours_one_by_one() -> None:
    def grey(image: Tensor) -> Tensor:
        assert image.shape[1] == 1
        return nearest(image)

    image = noise(20, 20)
    out = NetworkUpscaler(name="x", network=grey, scale=2, channels=1)(image, 2.0)
    assert np.array_equal(out, image.repeat(2, 0).repeat(2, 1))


@spandrel
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "params_ema"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_an_esrgan_is_loaded(tmp_path: Path, suffix: str, wrapped: bool) -> None:
    weights, path = esrgan(), tmp_path / f"4x-Random{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"params_ema": weights, "epoch": 3} if wrapped else weights, path)
    upscaler = load_upscaler(path)
    assert (upscaler.name, upscaler.scale, upscaler.architecture) == ("4x-Random", 4, "ESRGAN")
    out = upscaler(drawn(20, 24), 4.0)
    assert out.shape == (80, 96, 3)
    assert out.std() > 5
    assert upscale_image(drawn(20, 24), (60, 50), upscaler).shape == (50, 60, 3)


@spandrel
def test_no_module_of_torchvision_stays(tmp_path: Path) -> None:
    before = {name for name in sys.modules if name.split(".")[0] == "torchvision"}
    save_file(esrgan(), tmp_path / "a.safetensors")
    load_upscaler(tmp_path / "a.safetensors")
    assert {name for name in sys.modules if name.split(".")[0] == "torchvision"} == before


@spandrel
def test_a_real_network_shows_no_seam(tmp_path: Path) -> None:
    save_file(esrgan(blocks=2), tmp_path / "a.safetensors")
    image = drawn(96, 128)
    tiled, whole = (
        load_upscaler(tmp_path / "a.safetensors", tiling=tiling)(image, 4.0).astype(float)
        for tiling in (Tiling(size=64, overlap=32), Tiling(size=128, overlap=32))
    )
    assert whole.std() > 5
    # this network sees 34 pixels far, past the 8 that are thrown away: a level at most remains of it
    assert np.abs(tiled - whole).max() <= 1
    steps = [np.abs(np.diff(out, axis=1)).mean(axis=(0, 2)) for out in (tiled, whole)]
    assert float((steps[0] - steps[1]).max()) < 0.05


@spandrel
def test_upscalers_are_found_by_the_web_uis_names(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "ESRGAN"
    folder.mkdir(parents=True)
    save_file(esrgan(), folder / "RealESRGAN_x4plus_anime_6B.safetensors")
    torch.save(esrgan(), folder / "4x-UltraSharp.pth")
    for name, stem in (
        ("R-ESRGAN 4x+ Anime6B", "RealESRGAN_x4plus_anime_6B"),
        ("4x-ultrasharp", "4x-UltraSharp"),
        ("4x-UltraSharp.pth", "4x-UltraSharp"),
        (str(folder / "4x-UltraSharp.pth"), "4x-UltraSharp"),
    ):
        assert find_upscaler(name, [tmp_path / "models"]).name == stem
    assert find_upscaler("Lanczos") is RESAMPLERS["Lanczos"]
    with pytest.raises(
        BadValue, match=r"no upscaler '4x-Ultra'; known: None, Lanczos, Nearest, 4x-UltraSharp"
    ):
        find_upscaler("4x-Ultra", [tmp_path / "models"])


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('ran')",))


def test_files_that_are_no_upscaler_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"cannot read .*none.pth"):
        load_upscaler(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(BadFile, match=r"text.pth is not a whole safetensors or torch file"):
        load_upscaler(tmp_path / "text.pth")
    torch.save({"params": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(BadFile, match=r"evil.pth is damaged, or holds code besides weights"):
        load_upscaler(tmp_path / "evil.pth")
    torch.save({"params": {}}, tmp_path / "empty.pth")
    with pytest.raises(BadFile, match=r"empty.pth holds no weights of an upscaler"):
        load_upscaler(tmp_path / "empty.pth")


@spandrel
def test_weights_of_something_else_are_named(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
    with pytest.raises(BadFile, match=r"lora.safetensors is of no architecture that spandrel knows"):
        load_upscaler(tmp_path / "lora.safetensors")
    weights = esrgan()
    del weights["body.0.rdb2.conv3.weight"]
    save_file(weights, tmp_path / "half.safetensors")
    with pytest.raises(BadFile, match=r"half.safetensors is damaged or incomplete"):
        load_upscaler(tmp_path / "half.safetensors")


def test_without_spandrel_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(esrgan(), tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(Missing, match="need spandrel; pip install --no-deps spandrel einops"):
        load_upscaler(tmp_path / "a.safetensors")
