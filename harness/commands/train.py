"""`sd-concord train`: make the embedded model from nothing, stage by stage; each can be stopped and goes on."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch

from ...core.errors import BadFile, BadValue
from ..pipeline import DEMO
from ..train.diffusion import DiffusionTraining, Networks, train_diffusion
from ..train.export import export
from ..train.latents import latent_scale, make_shards, settle_scale
from ..train.networks import make_vae
from ..train.parallel import rank, spawn, workers_of
from ..train.vae import VaeTraining, train_vae

STAGES = ("vae", "latents", "unet", "export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("stage", choices=STAGES, help="in this order")
    parser.add_argument(
        "--folder", type=Path, default=Path("training"), help="checkpoints and logs; default: training"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work; default: 1")
    parser.add_argument("--shards", type=int, default=8, help="latents: shards of 4000 scenes; default: 8")
    parser.add_argument("--out", type=Path, default=DEMO, help="export: the folder; default: models/demo")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="vae, unet: another value of a training option",
    )


def run(args: argparse.Namespace) -> int:
    """Run one stage."""
    if args.stage == "vae":
        spawn(args.workers, train_vae, args.folder, _options(VaeTraining(), args.set))
    elif args.stage == "latents":
        spawn(args.workers, _latents, args.folder, args.shards)
    elif args.stage == "unet":
        spawn(args.workers, train_diffusion, args.folder, _options(DiffusionTraining(), args.set))
    else:
        _export(args.folder, args.out)
    return 0


def _options(defaults: Any, given: list[str]) -> Any:
    """Return ``defaults`` with ``NAME=VALUE`` texts put in, each read as what the default is."""
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if not hasattr(defaults, name) or not value:
            known = ", ".join(field.name for field in dataclasses.fields(defaults))
            raise BadValue(f"--set {text!r} is no option of this stage; write NAME=VALUE, names are: {known}")
        values[name] = _read_as(name, type(getattr(defaults, name)), value)
    return dataclasses.replace(defaults, **values)


def _read_as(name: str, kind: type, text: str) -> Any:
    wants = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise BadValue(f"--set {name} is {text!r}; pass {wants}") from None


def _checkpoint(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.exists():
        raise BadFile(f"{path} is not there; run the stages in order: {', '.join(STAGES)}")
    return torch.load(path, weights_only=True)


def _vae(folder: Path) -> Any:
    """Return the VAE trained in ``folder``, or the embedded model's when none was."""
    if not (folder / "vae.pt").exists():
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        return AutoencoderKL.from_pretrained(DEMO / "vae").eval()
    vae = make_vae()
    vae.load_state_dict(_checkpoint(folder, "vae.pt")["vae"])
    return vae.eval()


def _latents(folder: Path, shards: int) -> None:
    make_shards(folder, _vae(folder), range(rank(), shards, workers_of()))


def _export(folder: Path, out: Path) -> None:
    state = _checkpoint(folder, "unet.pt")
    tokens: list[int] = state["options"]["tokens"]
    networks = Networks(tokens)
    networks.load_state_dict(state["average"])
    vae = _vae(folder)
    settle_scale(vae, latent_scale(torch.load(folder / "latents-0.pt", weights_only=True)))
    options = state["options"]
    size = export(out, networks, vae, tokens, options["prediction"], zero_snr=options.get("zero_snr", False))
    print(f"{out}: {size / 1e6:.2f} MB after {state['step']} steps")  # noqa: T201
