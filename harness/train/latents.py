"""The training set of the UNet: scenes and their latents, in shards that any number of workers make."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.errors import BadFile
from .draw import draw
from .scenes import EASY_SHAPES, Scene, random_scene

SHARD = 4000


def scene_at(shard: int, i: int) -> Scene:
    """Return scene ``i`` of a shard; the same one every time."""
    return random_scene(random.Random(f"scene/{shard}/{i}"))


@torch.no_grad()
def encode_shard(vae: Any, shard: int, count: int = SHARD) -> Tensor:
    """Draw the scenes of a shard and return their latents' means, float16 (count, 4, 16, 16), unscaled."""
    out: list[Tensor] = []
    for start in range(0, count, 16):
        pictures = [draw(scene_at(shard, i), seed=i) for i in range(start, min(start + 16, count))]
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        out.append(vae.encode(x).latent_dist.mean.half())
    return torch.cat(out)


def make_shards(folder: Path, vae: Any, shards: range) -> None:
    """Write ``latents-N.pt`` for each shard that is not there yet."""
    for shard in shards:
        path = folder / f"latents-{shard}.pt"
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            torch.save(encode_shard(vae, shard), temporary)
            temporary.replace(path)


def latent_scale(latents: Tensor) -> float:
    """Return the factor that gives ``latents`` unit variance."""
    return 1.0 / latents.float().std().item()


def settle_scale(vae: Any, scale: float, wanted: float = 0.18215) -> None:
    """Fold ``scale`` into the VAE so that ``wanted``, Stable Diffusion's own factor, gives unit variance.

    Then every host, whose factor is fixed, takes the VAE as it is.  The latent's mean is multiplied by
    ``scale / wanted`` and its log variance shifted to match; the decoder divides by the same.
    """
    factor = scale / wanted
    with torch.no_grad():
        mean_rows = slice(0, vae.config.latent_channels)
        vae.quant_conv.weight[mean_rows] *= factor
        vae.quant_conv.bias[mean_rows] *= factor
        vae.quant_conv.bias[vae.config.latent_channels :] += 2 * float(np.log(factor))
        vae.post_quant_conv.weight /= factor


@dataclass(frozen=True)
class Examples:
    """Latents float16 (n, 4, 16, 16) of unit variance and their scenes.

    ``easy`` rows are for the first lessons; ``pairs`` show two things.
    """

    latents: Tensor
    scenes: list[Scene]
    easy: list[int]
    pairs: list[int]

    @classmethod
    def load(cls, folder: Path) -> Examples:
        """Read all shards that are there; raises ``BadFile`` where there is none."""
        paths = sorted(folder.glob("latents-*.pt"), key=lambda path: int(path.stem.split("-")[1]))
        if not paths:
            raise BadFile(
                f"there are no latents in {folder}; make them with `sd-concord train latents` first"
            )
        latents: list[Tensor] = []
        scenes: list[Scene] = []
        for path in paths:
            shard = torch.load(path, weights_only=True)
            latents.append(shard)
            scenes += [scene_at(int(path.stem.split("-")[1]), i) for i in range(len(shard))]
        joined = torch.cat(latents).float()
        joined = (joined * latent_scale(joined[:SHARD])).half()
        easy = [i for i, scene in enumerate(scenes) if _is_easy(scene)]
        pairs = [i for i, scene in enumerate(scenes) if len(scene.items) == 2]
        return cls(joined, scenes, easy, pairs)


def _is_easy(scene: Scene) -> bool:
    known = (*EASY_SHAPES, "face")
    return len(scene.items) < 3 and all(item.kind in known for item in scene.items)
