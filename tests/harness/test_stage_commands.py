"""`generate --hires`, `img2img` and `inpaint` as a user meets them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sd_concord.core.image import parse_infotext, read_image_info
from sd_concord.harness.cli import main

SMALL = ("--steps", "2", "--seed", "3", "-q")


@pytest.fixture
def run(capsys):
    def run(*words):
        code = main([*map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def files(tmp_path):
    """A picture, and a mask of its size."""
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[24:40, 24:40] = 255
    Image.fromarray(image).save(tmp_path / "in.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_hires_is_drawn_and_recorded(run, tmp_path):
    out, steps = tmp_path / "out.png", tmp_path / "steps"
    options = ("--hires-steps", 3, "--hires-upscaler", "Lanczos", "--hires-denoise", 0.5, "--hires-cfg", 3)
    own = ("--hires-sampler", "Euler a", "--hires-scheduler", "Karras", "--hires-prompt", "x")
    words = ("a ring", *SMALL, "--size", 32, "--hires", 2, *options, *own, "--save-steps", steps)
    code, _, err = run("generate", *words, "--out", out)
    assert (code, err) == (0, "")
    assert pixels(out).shape == (64, 64, 3)
    record = read_image_info(out)
    hires = record.hires
    assert (hires.upscale, hires.steps, hires.upscaler, hires.cfg) == (2, 3, "Lanczos", 3)
    assert (hires.sampler, hires.scheduler, hires.prompt) == ("euler_ancestral", "karras", "x")
    assert record.denoising_strength == 0.5
    names = sorted(path.name for path in steps.iterdir())
    assert names == ["001-1-first-pass.png", "001-2-upscaled.png", "001-3-result.png"]
    assert [pixels(steps / name).shape[0] for name in names] == [32, 64, 64]
    assert np.array_equal(pixels(steps / names[-1]), pixels(out))


def test_img2img_takes_the_size_of_the_picture(run, files):
    code, _, err = run(
        "img2img", files / "in.png", "a ring", *SMALL, "--denoise", 0.5, "--out", files / "o.png"
    )
    assert (code, err) == (0, "")
    assert pixels(files / "o.png").shape == (64, 64, 3)
    record = read_image_info(files / "o.png")
    assert record.denoising_strength == 0.5
    assert record.init_image_hash


def test_every_option_of_image_to_image_is_recorded(run, files):
    options = ("--size", "32x40", "--resize-mode", "crop", "--exact-steps", "--noise-multiplier", 1.1)
    words = (files / "in.png", "a ring", *SMALL, *options, "--extra-noise", 0.1, "--out", files / "o.png")
    assert run("img2img", *words)[0] == 0
    record = read_image_info(files / "o.png")
    assert (record.size, record.concord.resize_mode) == ((32, 40), "crop and resize")
    assert (record.concord.exact_steps, record.noise_multiplier, record.extra_noise) == (True, 1.1, 0.1)


def test_inpaint_changes_the_masked_part_alone(run, files):
    words = (
        files / "in.png",
        files / "mask.png",
        "a ring",
        *SMALL,
        "--mask-blur",
        0,
        "--out",
        files / "o.png",
    )
    code, _, err = run("inpaint", *words)
    assert (code, err) == (0, "")
    before, after = pixels(files / "in.png"), pixels(files / "o.png")
    inside = pixels(files / "mask.png")[..., 0] == 255
    assert np.array_equal(before[~inside], after[~inside])
    assert not np.array_equal(before[inside], after[inside])


def test_every_option_of_inpainting_is_recorded(run, files):
    options = (
        "--masked-content",
        "noise",
        "--only-masked",
        "--padding",
        8,
        "--invert-mask",
        "--mask-blur",
        2,
    )
    soft = ("--soft", "--soft-bias", 2, "--soft-preservation", 0.7, "--soft-contrast", 3, "--size", 64)
    words = (files / "in.png", files / "mask.png", "a ring", *SMALL, *options, *soft)
    assert run("inpaint", *words, "--out", files / "o.png")[0] == 0
    own = read_image_info(files / "o.png").inpaint
    assert (own.content, own.area, own.padding) == ("latent noise", "Only masked", 8)
    assert (own.mask_mode, own.mask_blur) == ("Inpaint not masked", 2)
    assert (own.soft, own.soft_bias, own.soft_preservation, own.soft_contrast) == (True, 2, 0.7, 3)
    assert parse_infotext("a\nSteps: 1, Concord differential diffusion: True, Seed: 1").inpaint.differential


def test_a_transparent_mask_counts_by_its_transparency(run, files):
    mask = np.zeros((64, 64, 4), np.uint8)
    mask[24:40, 24:40, 3] = 255
    Image.fromarray(mask).save(files / "alpha.png")
    for name in ("mask", "alpha"):
        run("inpaint", files / "in.png", files / f"{name}.png", "a", *SMALL, "--out", files / f"o-{name}.png")
    assert np.array_equal(pixels(files / "o-mask.png"), pixels(files / "o-alpha.png"))


def _wrong_mask(folder):
    Image.new("L", (32, 64)).save(folder / "small.png")
    return folder / "small.png"


def _text(folder):
    (folder / "page.png").write_text("<html>")
    return folder / "page.png"


BAD = {
    "mask size": (
        lambda f: ["inpaint", f / "in.png", _wrong_mask(f), "a"],
        "mask is 32x64 but the picture is 64x64",
    ),
    "no picture": (lambda f: ["img2img", f / "gone.png", "a"], "gone.png is not there"),
    "unreadable": (lambda f: ["img2img", _text(f), "a"], "cannot read"),
    "unreadable mask": (lambda f: ["inpaint", f / "in.png", _text(f), "a"], "page.png as a picture"),
    "padding": (
        lambda f: ["inpaint", f / "in.png", f / "mask.png", "a", "--padding", 3],
        "add --only-masked",
    ),
    "denoise": (lambda f: ["img2img", f / "in.png", "a", "--denoise", 2], "denoising_strength is 2"),
    "hires": (lambda _: ["generate", "a", "--hires-steps", 3], "--hires-steps needs the hires pass"),
    "hires small": (lambda _: ["generate", "a", "--hires", 0.01], "would be 0x0"),
    "hires sampler": (
        lambda _: ["generate", "a", "--hires", 2, "--hires-sampler", "eulr"],
        "did you mean euler",
    ),
    "refiner": (lambda _: ["generate", "a", "--refiner-switch-at", 0.5], "name it with --refiner FILE"),
    "no refiner": (lambda _: ["generate", "a", "--refiner", "gone.ckpt"], "no model 'gone.ckpt'"),
    "over the input": (lambda f: ["img2img", f / "in.png", "a", "--out", f / "in.png"], "add --overwrite"),
    "over the mask": (
        lambda f: ["inpaint", f / "in.png", f / "mask.png", "a", "--out", f / "mask.png"],
        "is the picture that is read",
    ),
    "preview over it": (
        lambda f: ["img2img", f / "in.png", "a", "--preview", f / "in.png"],
        "is the picture",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_says_what_to_do(run, files, case):
    make, words = BAD[case]
    before = (files / "in.png").read_bytes(), (files / "mask.png").read_bytes()
    asked = make(files)
    code, _, err = run(*asked, *SMALL, *(() if "--out" in asked else ("--out", files / "out.png")))
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert before == ((files / "in.png").read_bytes(), (files / "mask.png").read_bytes())


def test_the_input_is_written_over_when_asked(run, files):
    before = pixels(files / "in.png")
    code, *_ = run("img2img", files / "in.png", "a", *SMALL, "--out", files / "in.png", "--overwrite")
    assert code == 0
    assert not np.array_equal(before, pixels(files / "in.png"))


def test_a_numbered_name_does_not_hit_the_input(run, files):
    (files / "in.png").rename(files / "o-1.png")
    before = (files / "o-1.png").read_bytes()
    words = (files / "o-1.png", "a", *SMALL, "--batch", 2, "--out", files / "o.png")
    code, _, err = run("img2img", *words)
    assert code == 1
    assert "is the picture that is read" in err
    assert (files / "o-1.png").read_bytes() == before
