"""Options of the stages beyond text to image, what a record makes of them, and the pictures that are read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ...core.errors import BadFile, BadValue
from ...core.image import ConcordSettings, Generation, Hires, Inpaint, Refiner
from ...core.image.keys import REFINED, RESIZE_MODES, SWITCHES
from ...core.image.masked_content import LABELS
from ...core.image.upscale import LATENT_UPSCALERS
from ...core.run import DEFAULT_STRENGTH, sampling_of
from ...core.sigmas import ModelSigmas
from ..stages.canvas import INVERTED, ONLY_MASKED
from ..stages.refiner import SWITCH_AT
from .options import size

Pixels = NDArray[np.uint8]
_SHORT_RESIZE: dict[str, str] = dict(zip(("stretch", "crop", "fill", "latent"), RESIZE_MODES, strict=True))
_SHORT_CONTENT: dict[str, str] = {name: LABELS[name] for name in LABELS}
_SHORT_PASSES: dict[str, str] = dict(zip(("second", "first", "both"), REFINED, strict=True))


def add_hires_settings(parser: argparse.ArgumentParser) -> None:
    """Declare the hires pass."""
    group = parser.add_argument_group("hires pass")
    add = group.add_argument
    add(
        "--hires",
        type=_scale,
        metavar="SCALE|WxH",
        help="draw it again, larger: 2, or 1024x1536, a 0 follows",
    )
    add(
        "--hires-upscaler", metavar="NAME", help=f"{', '.join(LATENT_UPSCALERS)}; Lanczos, Nearest; or a file"
    )
    add("--hires-steps", type=int, metavar="N", help="default: as many as the first pass")
    add("--hires-denoise", type=float, metavar="0…1", help=f"default: {DEFAULT_STRENGTH}")
    add("--hires-sampler", metavar="NAME", help="default: the first pass's")
    add("--hires-scheduler", metavar="NAME", help="default: the first pass's")
    add("--hires-cfg", type=float, metavar="X", help="default: the first pass's")
    add("--hires-prompt", metavar="TEXT", help="default: the prompt")
    add("--hires-negative", metavar="TEXT", help="default: the negative prompt")
    add("--hires-checkpoint", metavar="FILE", help="another model for this pass")


def add_refiner_settings(parser: argparse.ArgumentParser) -> None:
    """Declare the refiner, and where second models and upscalers are found."""
    group = parser.add_argument_group("refiner and other models")
    add = group.add_argument
    add("--refiner", metavar="FILE", help="a model that takes over within the run, such as SDXL's refiner")
    add("--refiner-switch-at", type=float, metavar="0…1", help=f"when it does; default: {SWITCH_AT}")
    add("--refiner-switch-by", choices=SWITCHES, help="what that is a share of; default: the profile's")
    add("--refiner-passes", choices=tuple(_SHORT_PASSES), help="of a run with hires; default: second")
    add("--aesthetic-score", type=float, metavar="X", help="what SDXL's refiner is told; default: 6")
    add("--negative-aesthetic-score", type=float, metavar="X", help="of the negative prompt; default: 2.5")
    folder = {"type": Path, "action": "append", "default": [], "metavar": "FOLDER"}
    add("--model-dir", help="where second models are found by name", **folder)
    add("--upscaler-dir", help="where upscalers are found by name", **folder)


def add_image_settings(parser: argparse.ArgumentParser) -> None:
    """Declare image to image."""
    group = parser.add_argument_group("image to image")
    add = group.add_argument
    add("--denoise", type=float, metavar="0…1", help=f"how much is drawn anew; default: {DEFAULT_STRENGTH}")
    add(
        "--resize-mode",
        dest="resize",
        choices=tuple(_SHORT_RESIZE),
        help="how the picture is brought to --size; default: stretch",
    )
    add(
        "--exact-steps", action="store_true", help="run all --steps, whatever --denoise is, as A1111's option"
    )
    add("--noise-multiplier", type=float, metavar="X", help="a factor of the start noise; default: 1")
    add("--extra-noise", type=float, metavar="X", help="A1111's extra noise; default: 0")
    add("--overwrite", action="store_true", help="let --out name the picture that is read")


def add_inpaint_settings(parser: argparse.ArgumentParser) -> None:
    """Declare inpainting."""
    group = parser.add_argument_group("inpainting")
    add = group.add_argument
    add("--mask-blur", type=float, metavar="PIXELS", help="default: 4")
    add("--masked-content", choices=tuple(_SHORT_CONTENT), help="what it begins as; default: original")
    add("--only-masked", action="store_true", help="work on the masked part alone, at --size")
    add("--padding", type=int, metavar="PIXELS", help="round the masked part; default: 32")
    add("--invert-mask", action="store_true", help="paint what is black")
    add("--soft", action="store_true", help="soft inpainting: grey in the mask is a weaker hold")
    add("--soft-bias", type=float, metavar="X", help="its schedule bias; default: 1")
    add("--soft-preservation", type=float, metavar="X", help="its preservation strength; default: 0.5")
    add("--soft-contrast", type=float, metavar="X", help="its transition contrast boost; default: 4")
    add("--differential", action="store_true", help="grey in the mask joins later in the run")


def with_hires(record: Generation, args: argparse.Namespace) -> Generation:
    """Return ``record`` with the hires pass that the options ask for; raises ``BadValue`` for what cannot be."""
    given = {
        name: value
        for name, value in vars(args).items()
        if name.startswith("hires_") and name != "hires_denoise" and value is not None
    }
    if args.hires is None and record.hires is None:
        if given or args.hires_denoise is not None:
            name = next(iter(given), "hires_denoise").replace("_", "-")
            raise BadValue(f"--{name} needs the hires pass; add --hires SCALE or --hires WxH")
        return record
    named = {name.removeprefix("hires_"): value for name, value in given.items()}
    if "negative" in named:
        named["negative_prompt"] = named.pop("negative")
    if args.hires is not None:
        by_size = isinstance(args.hires, tuple)
        named |= {"resize": args.hires if by_size else None, "upscale": None if by_size else args.hires}
    strength = record.denoising_strength if args.hires_denoise is None else args.hires_denoise
    record = replace(record, hires=replace(record.hires or Hires(), **named), denoising_strength=strength)
    sampling_of(record, ModelSigmas.sd(), kind="hires", batch=args.batch)
    return record


def with_refiner(record: Generation, args: argparse.Namespace) -> Generation:
    """Return ``record`` with the refiner that the options ask for; raises ``BadValue`` for what cannot be."""
    own = Refiner(
        model=args.refiner,
        switch_at=args.refiner_switch_at,
        switch_by=args.refiner_switch_by,
        by_steps=True if args.refiner_switch_by == "webui_calls" else None,
        passes=_SHORT_PASSES.get(args.refiner_passes or ""),
        aesthetic_score=args.aesthetic_score,
        negative_aesthetic_score=args.negative_aesthetic_score,
    )
    if own == Refiner():
        return record
    if args.refiner is None and record.refiner is None:
        raise BadValue("options of the refiner need one; name it with --refiner FILE")
    given = {one.name: value for one in fields(own) if (value := getattr(own, one.name)) is not None}
    return replace(record, refiner=replace(record.refiner or own, **given))


def with_image(record: Generation, args: argparse.Namespace) -> Generation:
    """Return ``record`` with what the options of image to image ask for."""
    own = record.concord or ConcordSettings()
    mode = _SHORT_RESIZE.get(args.resize or "")
    record = replace(
        record,
        denoising_strength=args.denoise,
        noise_multiplier=args.noise_multiplier,
        extra_noise=args.extra_noise,
        concord=replace(own, resize_mode=mode, exact_steps=args.exact_steps or None),
    )
    sampling_of(record, ModelSigmas.sd(), kind="image", batch=args.batch)
    return record


def with_inpaint(record: Generation, args: argparse.Namespace) -> Generation:
    """Return ``record`` with what the options of inpainting ask for."""
    if args.padding is not None and not args.only_masked:
        raise BadValue("--padding is of the masked part; add --only-masked")
    return replace(
        record,
        inpaint=Inpaint(
            mask_blur=args.mask_blur,
            mask_mode=INVERTED if args.invert_mask else None,
            content=_SHORT_CONTENT.get(args.masked_content or ""),
            area=ONLY_MASKED if args.only_masked else None,
            padding=args.padding,
            soft=args.soft or None,
            soft_bias=args.soft_bias,
            soft_preservation=args.soft_preservation,
            soft_contrast=args.soft_contrast,
            differential=args.differential or None,
        ),
    )


def read_picture(path: Path) -> Pixels:
    """Return the picture in a file, uint8 (H, W, 3), as one sees it; what is transparent is white.

    Raises ``BadFile`` for a file that is missing or no picture.
    """
    image = _opened(path)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> Pixels:
    """Return the mask in a file, uint8 (H, W): its transparency where it has one, else its brightness.

    Raises ``BadFile`` for a file that is missing or no picture.
    """
    image = _opened(path)
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        alpha = np.asarray(image.getchannel("A"))
        return np.where(alpha > 128, np.uint8(255), np.uint8(0))
    return np.asarray(image.convert("L"))


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise BadFile(f"{path} is not there; check the path") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:100]
        raise BadFile(f"cannot read {path} as a picture ({reason}); pass a PNG, JPEG or WebP file") from error


def _scale(text: str) -> float | tuple[int, int]:
    """Parse ``2``, ``1.5`` or ``1024x1536``."""
    if "x" in text.lower():
        return size(text)
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no scale; write 2, 1.5 or 1024x1536") from None


def check_not_input(path: Path, inputs: Sequence[Path]) -> None:
    """Raise ``BadValue`` when ``path`` is one of the files that are read."""
    for one in inputs:
        if path.exists() and one.exists() and path.samefile(one):
            raise BadValue(f"{path} is the picture that is read; name another --out, or add --overwrite")


@dataclass
class StepFiles:
    """Where the pictures before and after each stage go; ``inputs`` are never written over."""

    folder: Path
    inputs: Sequence[Path] = ()
    runs: int = 0
    stages: int = field(default=0, init=False)

    def begin(self) -> None:
        """Begin the files of the next batch."""
        self.runs, self.stages = self.runs + 1, 0

    def __call__(self, stage: str, images: Sequence[Pixels]) -> None:
        """Write the pictures of a stage; raises ``BadFile`` where that cannot be."""
        self.stages += 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for i, image in enumerate(images):
                number = f"-{i + 1}" if len(images) > 1 else ""
                name = f"{self.runs:03d}-{self.stages}-{stage.replace(' ', '-')}{number}.png"
                check_not_input(self.folder / name, self.inputs)
                Image.fromarray(image).save(self.folder / name)
        except OSError as error:
            raise BadFile(
                f"cannot write to {self.folder}: {error.strerror}; name another --save-steps"
            ) from error
