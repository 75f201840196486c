"""Train the VAE in three phases: on crops, on whole pictures, and the decoder alone.

A guide ties the first three latent channels to the mean colour of each 8 x 8 cell; its weight fades.  Without
it the small network stays grey for a long time.  Crops are cheap but not enough: with one channel to a group
the norms see other statistics in a whole picture.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .draw import draw
from .muon import Muon, split_parameters
from .networks import make_vae
from .parallel import average_gradients, rank
from .run import Run, learning_rate
from .scenes import SIZE, Mix, random_scene

DENSE = Mix(counts=(0.2, 0.3, 0.3, 0.2), faces=0.5, styles=0.2)
"""More to a picture than the UNet will see, as every item teaches the VAE something."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Part of the training: ``crop`` in pixels (0 is none), and whether the encoder still learns."""

    steps: int
    batch: int
    lr: float
    crop: int = 0
    encoder: bool = True


@dataclass(frozen=True, kw_only=True)
class VaeTraining:
    """How the VAE is trained: steps of each phase, and the weights of the losses."""

    crops: int = 2200
    whole: int = 1800
    decoder: int = 1000
    kl: float = 3e-5
    calm: float = 9.0
    guide: float = 1.0
    guide_end: float = 0.05
    seed: int = 0
    device: str = "cpu"

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases, one after another."""
        return (
            Phase(steps=self.crops, batch=8, lr=3e-3, crop=64),
            Phase(steps=self.whole, batch=3, lr=2e-3),
            Phase(steps=self.decoder, batch=3, lr=1e-3, encoder=False),
        )

    def at(self, step: int) -> tuple[Phase, int]:
        """Return the phase of ``step`` and the step's place in it."""
        for phase in self.phases:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        raise IndexError(step)


def pictures(count: int, rng: random.Random, crop: int = 0) -> Tensor:
    """Return ``count`` fresh pictures, or crops of them, as float32 (count, 3, h, w) in [-1, 1]."""
    out: list[np.ndarray] = []
    for _ in range(count):
        scene = random_scene(rng, DENSE)
        picture = draw(scene, seed=rng.getrandbits(30))
        if crop:
            item = rng.choice(scene.items)
            corner = (int(c - crop / 2 + rng.uniform(-20, 20)) for c in (item.x, item.y))
            x, y = (min(max(c, 0), SIZE - crop) for c in corner)
            picture = picture[y : y + crop, x : x + crop]
        out.append(picture)
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(out: Tensor, target: Tensor, calm: float = 0.0) -> Tensor:
    """Return the absolute error of values and of the differences between neighbours, which keeps edges sharp.

    What is not background, by the upper left pixel, counts five times, and edges ten: faces are small.
    ``calm`` is the further weight of background far from any thing, where the norms like to leave a spot.
    """
    thing = (target - target[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.15
    range_ = F.max_pool2d(target, 3, 1, 1) + F.max_pool2d(-target, 3, 1, 1)
    edge = range_.amax(1, keepdim=True) > 0.3
    weight = 1 + 4 * F.max_pool2d(thing.float(), 5, 1, 2) + 5 * F.max_pool2d(edge.float(), 3, 1, 1)
    weight = weight + calm * (1 - F.max_pool2d(thing.float(), 11, 1, 5))
    weight = weight / weight.mean()
    loss = ((out - target).abs() * weight).mean()
    for dim in (2, 3):
        steps = (out.diff(dim=dim) - target.diff(dim=dim)).abs()
        loss = loss + 0.5 * (steps * weight.narrow(dim, 1, steps.shape[dim])).mean()
    return loss


def train_vae(folder: Path, options: VaeTraining) -> Any:
    """Train, resuming from ``folder`` when it holds a checkpoint, and return the VAE.  Writes ``vae.pt`` there."""
    torch.manual_seed(options.seed)
    vae = make_vae().to(options.device)
    total = sum(phase.steps for phase in options.phases)
    optimiser = Muon(*split_parameters([vae]), lr=options.phases[0].lr)
    run = Run(folder, "vae", total, {"vae": vae, "optimiser": optimiser}, asdict(options))
    for step in run:
        phase, i = options.at(step)
        for group in optimiser.param_groups:
            group["lr"] = phase.lr * learning_rate(i, phase.steps)
        rng = random.Random(f"{options.seed}/{rank()}/{step}")
        target = pictures(phase.batch, rng, phase.crop).to(options.device)
        loss, out = _loss(vae, target, phase, options, step / total)
        optimiser.zero_grad()
        loss.backward()
        average_gradients(vae.parameters())
        optimiser.step()
        error = (out.detach().clamp(-1, 1) - target).square().mean().item() / 4
        run.report(loss=loss.item(), psnr=-10 * math.log10(max(error, 1e-9)))
    return vae


def _loss(
    vae: Any, target: Tensor, phase: Phase, options: VaeTraining, progress: float
) -> tuple[Tensor, Tensor]:
    """Return the loss and the reconstruction."""
    if not phase.encoder:
        with torch.no_grad():
            latent = vae.encode(target).latent_dist.mean
        out = vae.decode(latent).sample
        return reconstruction_loss(out, target, options.calm), out
    posterior = vae.encode(target).latent_dist
    out = vae.decode(posterior.sample()).sample
    weight = options.guide * (options.guide_end / options.guide) ** min(1.0, 2 * progress)
    guide = (posterior.mean[:, :3] - 2 * F.avg_pool2d(target, 8)).square().mean()
    area = target.shape[-1] * target.shape[-2] / 64**2
    return reconstruction_loss(out, target) + options.kl * posterior.kl().mean() / area + weight * guide, out
