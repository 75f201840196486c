"""`sd-concord sigmas`: schedules side by side, and what the doctor says of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

MODELS = ("sd", "zsnr", "flow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--scheduler",
        default="karras",
        metavar="NAMES",
        help="schedules, with commas between; default: karras",
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="steps of a run; default: 20")
    parser.add_argument(
        "--sampler", default="dpmpp_2m", metavar="NAME", help="for the doctor; default: dpmpp_2m"
    )
    parser.add_argument(
        "--kind",
        choices=MODELS,
        default="sd",
        help="the model's sigmas: sd, zsnr (zero terminal SNR) or flow",
    )
    parser.add_argument("--shift", type=float, default=3.0, help="of a flow; default: 3")
    parser.add_argument("--v-prediction", action="store_true", help="the model predicts v")
    parser.add_argument("--cfg", type=float, help="the guidance, for the doctor")
    parser.add_argument(
        "--convention",
        default="concord",
        metavar="NAME",
        help="whose lists: concord, comfyui, webui or reforge",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them into this picture")
    parser.add_argument("--json", action="store_true", help="print sigmas, floor and findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print each schedule with the doctor's words, and draw them all if asked."""
    from ...core.errors import BadFile
    from ...core.sampling.doctor import diagnose
    from ...core.sigma_plot import Curve, draw
    from ...core.sigmas import SCHEDULERS, ModelSigmas

    model = {"sd": ModelSigmas.sd, "zsnr": ModelSigmas.zsnr}.get(
        args.kind, lambda: ModelSigmas.flow(args.shift)
    )()
    found = {
        SCHEDULERS[name.strip()].name: diagnose(
            args.sampler,
            name.strip(),
            args.steps,
            model,
            prediction="v" if args.v_prediction else "eps",
            cfg=args.cfg,
            convention=args.convention,
        )
        for name in args.scheduler.split(",")
    }
    if args.json:
        print(json.dumps({name: _figures(one) for name, one in found.items()}))  # noqa: T201
    else:
        for name, one in found.items():
            print(f"{name}  {' '.join(f'{sigma:.4g}' for sigma in one.sigmas)}")  # noqa: T201
            print("  " + one.words().replace("\n", "\n  "))  # noqa: T201
    if args.plot:
        picture = draw([Curve(name, one.sigmas, one.words()) for name, one in found.items()], model)
        try:
            picture.save(args.plot)
        except (OSError, ValueError) as error:
            raise BadFile(
                f"cannot write {args.plot}: {error}; pass a path that ends in .png, in a folder"
            ) from error
    return 0


def _figures(one: object) -> dict[str, object]:
    """Return a diagnosis as plain values."""
    from ...core.sampling.doctor import Diagnosis

    assert isinstance(one, Diagnosis)
    findings = [{"code": f.code, "message": f.message, "advice": f.advice} for f in one.findings]
    return {"sigmas": list(one.sigmas), "floor": one.floor, "findings": findings}
