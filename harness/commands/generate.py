"""`sd-concord generate`: pictures from a prompt, written with everything that made them."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.errors import BadFile, BadValue
from ...core.image import Generation, save_image, save_numbered
from ...core.image.files import FORMATS
from ...core.recipes import findings_of, fit_to_files
from ..pipeline import Picture, Pipeline
from ..recipe_files import files_there, kind_of
from ..templates import batches, styled
from .detailing import add_detailer_settings, with_detailer
from .options import add_model_arguments, load_pipeline
from .settings import add_noise_settings, add_prompt_settings, add_sampling_settings, record_of
from .stages import (
    StepFiles,
    add_hires_settings,
    add_refiner_settings,
    check_not_input,
    with_hires,
    with_refiner,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_drawing_arguments(parser)
    add_hires_settings(parser)


def add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the prompt and the options that image to image has too."""
    parser.add_argument("prompt", help="what to draw, in A1111's syntax")
    parser.add_argument("-n", "--negative", default="", metavar="TEXT", help="what to keep out")
    group = parser.add_argument_group("prompt")
    add_prompt_settings(group)
    group.add_argument(
        "--style", action="append", default=[], metavar="NAME", help="of the styles file; may be repeated"
    )
    group.add_argument("--styles-file", type=Path, help="a styles.csv, as the web UIs have it")
    group.add_argument("--wildcards", action="store_true", help="choose one of {a|b} by the picture's seed")
    group.add_argument(
        "--wildcard-dir", type=Path, help="the same, and __name__ from the lists in this folder"
    )
    add_sampling_settings(parser)
    add_noise_settings(parser)
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--batch", type=int, default=1, metavar="N", help="pictures made at once, seeds counted up"
    )
    group.add_argument(
        "--count", type=int, default=1, metavar="N", help="batches, one after another; default: 1"
    )
    add_refiner_settings(parser)
    add_detailer_settings(parser)
    add_model_arguments(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", type=Path, default=Path("outputs"), help="a picture file or a folder; default: outputs"
    )
    group.add_argument("--preview", type=Path, help="a picture file, written anew while it is being made")
    group.add_argument("--preview-every", type=int, default=5, metavar="STEPS", help="default: 5")
    group.add_argument(
        "--save-steps", type=Path, metavar="FOLDER", help="the picture before and after each stage, as files"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bar, only the paths")


def run(args: argparse.Namespace) -> int:
    """Make the pictures; those finished before Ctrl-C are kept."""
    check_counts(args)
    return draw(args, with_hires(wanted_of(args), args))


def check_counts(args: argparse.Namespace) -> None:
    """Raise ``BadValue`` for a count below 1."""
    for name in ("steps", "batch", "count", "clip_skip", "preview_every"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise BadValue(f"--{name.replace('_', '-')} is {value}; pass 1 or more")


def wanted_of(args: argparse.Namespace) -> Generation:
    """Return the record that the options ask for, but for those of one command alone."""
    prompt, negative = styled(args.prompt, args.negative, args.style, args.styles_file)
    return with_detailer(with_refiner(record_of(args, prompt, negative), args), args)


@dataclass(frozen=True, kw_only=True, eq=False)
class Input:
    """The picture and mask of image to image, and the ``files`` they are from, which are not written over."""

    image: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None
    files: tuple[Path, ...] = ()


NOTHING = Input()


def draw(args: argparse.Namespace, wanted: Generation, given: Input = NOTHING) -> int:
    """Make the pictures of ``wanted``, say where they are, and return the exit code."""
    check_out(args.out, given.files)
    if args.preview:
        check_not_input(args.preview, given.files)
    pipeline = load_pipeline(args)
    found = findings_of(wanted, kind_of(pipeline.model))
    wanted, replaced = fit_to_files(wanted, files_there(args, pipeline.model))
    record = pipeline.complete(wanted, init_image=given.image, masked=given.mask is not None)
    for line in (*replaced, *found):
        _say(f"warning: {line}")
    place = Place(args.out, args.batch * args.count, given.files)
    steps = StepFiles(args.save_steps, given.files) if args.save_steps else None
    warned: set[str] = set()
    wildcards = args.wildcards or args.wildcard_dir is not None
    for one, together, problem in batches(record, args.batch, args.count, wildcards, args.wildcard_dir):
        pictures = _make(pipeline, one, together, args, given, steps)
        lines = [*([problem] if problem else []), *pipeline.warnings]
        for line in lines:
            if line not in warned:
                _say(f"warning: {line}")
        warned.update(lines)
        for picture in pictures:
            print(place.save(picture))  # noqa: T201
    return 0


@dataclass
class Place:
    """Where pictures go: a folder, numbered as the web UIs do, or files named after the one given."""

    out: Path
    total: int
    inputs: tuple[Path, ...] = ()
    done: int = 0

    def save(self, picture: Picture) -> Path:
        """Write the next picture and return its path."""
        self.done += 1
        if not _names_file(self.out):
            return save_numbered(self.out, picture.image, picture.generation).resolve()
        path = self.out if self.total == 1 else self.out.with_stem(f"{self.out.stem}-{self.done}")
        check_not_input(path, self.inputs)
        return save_image(path, picture.image, picture.generation).resolve()


def _names_file(out: Path) -> bool:
    return out.suffix.lower() in FORMATS


def _make(
    pipeline: Pipeline,
    record: Generation,
    batch: int,
    args: argparse.Namespace,
    given: Input,
    steps: StepFiles | None,
) -> list[Picture]:
    from tqdm import tqdm

    total = pipeline.count_steps(record, is_image=given.image is not None)
    with tqdm(total=total, unit="step", disable=args.quiet, leave=False, file=sys.stderr) as bar:

        def watch(done: int, denoised: Tensor) -> None:
            bar.update(done - bar.n)
            if args.preview and done % args.preview_every == 0:
                save_image(args.preview, next(iter(pipeline.decode(denoised[:1]))), record)

        if steps:
            steps.begin()
        return pipeline.generate(
            record, batch=batch, init_image=given.image, mask=given.mask, watch=watch, on_stage=steps
        )


def check_out(out: Path, inputs: tuple[Path, ...] = ()) -> None:
    """Raise before any work when the pictures could not be written, or only over ``inputs``."""
    folder = out.parent if _names_file(out) else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".concord-can-write"
        probe.touch()
        with suppress(FileNotFoundError):
            probe.unlink()
    except OSError as error:
        raise BadFile(f"cannot write to {folder}: {error.strerror}; name another place with --out") from error
    if _names_file(out):
        check_not_input(out, inputs)


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201
