"""`sd-concord study`: error against steps of every sampler and schedule where the exact answer is known."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from ...core.errors import BadFile
from ...core.sigmas import ModelSigmas
from ..pipeline import DEMO, Pipeline
from ..study.report import charts, markdown
from ..study.runs import STEPS, ZSNR_STEPS, Result, floor_of, over_demo, over_mixture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--model", type=Path, default=DEMO, help="the folder of a model of the embedded one's world"
    )
    parser.add_argument("--out", type=Path, help="write the study to this Markdown file, not to the screen")
    parser.add_argument("--pictures", type=Path, help="write the charts to this folder")
    parser.add_argument(
        "--results", type=Path, help="keep every figure in this JSON file; read from it if it is there"
    )
    parser.add_argument("--steps", type=_counts, default=STEPS, help=f"default: {','.join(map(str, STEPS))}")


def run(args: argparse.Namespace) -> int:
    """Measure, or read what was measured, and write the tables and charts."""
    if args.results and args.results.is_file():
        results, floor = _read(args.results)
    else:
        results, floor = _measured(args), floor_of()
        if args.results:
            rows = [dataclasses.asdict(one) for one in results]
            args.results.write_text(json.dumps({"floor": floor, "results": rows}), encoding="utf-8")
    pictures: list[str] = []
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        for name, picture in charts(results).items():
            path = args.pictures / f"study-{name}.png"
            picture.quantize(64).save(path, optimize=True)
            pictures.append(_link(path, args.out))
    text = markdown(results, floor, pictures)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)  # noqa: T201
    return 0


def _measured(args: argparse.Namespace) -> list[Result]:
    import torch
    from tqdm import tqdm

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    bar = tqdm(unit="run", file=sys.stderr)
    results: list[Result] = []
    try:
        for problem, model, steps in (
            ("sd", ModelSigmas.sd(), args.steps),
            ("zsnr", ModelSigmas.zsnr(), ZSNR_STEPS),
        ):
            for one in over_mixture(model, problem, steps=steps):
                results.append(one)
                bar.update()
        results += over_demo(Pipeline.load(args.model), done=bar.update)
    finally:
        bar.close()
        torch.set_num_threads(threads)
    return results


def _read(path: Path) -> tuple[list[Result], float]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [Result(**row) for row in kept["results"]], float(kept["floor"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{path} holds no study ({error}); remove it, and it is made again") from error


def _link(path: Path, beside: Path | None) -> str:
    if beside is not None and path.resolve().is_relative_to(beside.resolve().parent):
        return path.resolve().relative_to(beside.resolve().parent).as_posix()
    return str(path)


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers; pass such as 10,20,40") from error
    if min(counts) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} holds a number below 2; pass 2 steps or more")
    return counts
