"""The loaded model: networks lent by diffusers and transformers, and the facts that the core needs."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ...core.errors import BadValue
from ...core.sigmas.model import ZSNR_LAST_ALPHA, ModelSigmas

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from .text import ClipEncoder

Family = Literal["sd15", "sdxl"]
Prediction = Literal["eps", "v"]
REFINER_IDS = 5
"""Numbers that SDXL's refiner is told besides the text; SDXL itself is told six."""


@dataclass(frozen=True, kw_only=True)
class Betas:
    """The forward process of training: ``steps`` values from ``start`` to ``end``, or those of ``table``.

    ``scaled_linear`` is linear in the square root of beta, as in every Stable Diffusion; ``linear`` is the
    other one met.
    """

    start: float = 0.00085
    end: float = 0.012
    steps: int = 1000
    kind: Literal["scaled_linear", "linear"] = "scaled_linear"
    table: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the range; raises ``BadValue``."""
        if self.table is None and not 0 < self.start <= self.end < 1:
            raise BadValue(f"betas run from {self.start} to {self.end}; wanted 0 < start <= end < 1")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One text-to-image model, ready to run.

    ``prediction``: what the UNet returns.  ``ztsnr``: trained with zero terminal SNR.  ``scale_factor`` and
    ``shift_factor``: the sampled latent is ``(encoded - shift_factor) * scale_factor``.  ``size``: (width,
    height) in pixels that it was trained on.  ``files``: the weight files it came from, UNet first.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    family: Family
    prediction: Prediction
    ztsnr: bool
    betas: Betas
    scale_factor: float
    shift_factor: float
    size: tuple[int, int]
    unet: UNet2DConditionModel = field(repr=False)
    vae: AutoencoderKL = field(repr=False)
    text_encoders: tuple[ClipEncoder, ...] = field(repr=False)

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's number format; the VAE may have a wider one."""
        return self.unet.dtype

    @property
    def in_channels(self) -> int:
        """Channels that the UNet takes: 4, or 9 for an inpainting model (latent, mask, masked latent)."""
        return int(self.unet.config["in_channels"])

    @property
    def takes_score(self) -> bool:
        """Whether it is told an aesthetic score in place of a target size, as SDXL's refiner is."""
        config = self.unet.config
        width, part = (
            config.get("projection_class_embeddings_input_dim"),
            config.get("addition_time_embed_dim"),
        )
        if self.family != "sdxl" or not width or not part:
            return False
        text: Any = self.text_encoders[-1].module.config
        pooled = int(text.projection_dim)
        return (int(width) - pooled) // int(part) == REFINER_IDS

    @property
    def latent_channels(self) -> int:
        """Channels of the latent."""
        return int(self.vae.config["latent_channels"])

    @property
    def vae_stride(self) -> int:
        """Pixels to one latent cell, along each side."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The table alpha-bar, float64 on the CPU, as ``alpha_bar`` makes it."""
        return alpha_bar(self.betas, ztsnr=self.ztsnr)

    @cached_property
    def sigmas(self) -> ModelSigmas:
        """The noise levels it was trained on, as the core's schedules and samplers take them."""
        if self.betas == Betas():
            return ModelSigmas.zsnr() if self.ztsnr else ModelSigmas.sd()
        squared = self.alphas_cumprod
        exact = ((1 - squared) / squared).sqrt()
        return ModelSigmas(exact.float(), exact=exact)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the file, in hex; of a folder, that of the joined digests of ``files``.

        Reads all weight files when it is first asked for: a second or so for a gigabyte.
        """
        digests = [_file_digest(file) for file in self.files]
        if len(digests) == 1 and self.path.is_file():
            return digests[0].hex()
        return hashlib.sha256(b"".join(digests)).hexdigest()

    @property
    def hash(self) -> str:
        """A1111's "Model hash" (AutoV2): the first ten digits of ``sha256``."""
        return self.sha256[:10]


def alpha_bar(betas: Betas, *, ztsnr: bool = False) -> Tensor:
    """Return the cumulative product of ``1 - beta``, shape ``(betas.steps,)``, float64.

    With ``ztsnr`` its square root is shifted and scaled so that the last is zero and the first stays.  The
    last is then set to 4.897e-8 (sigma 4518.76), as the hosts do, so that sigma is finite.

    Source: Lin et al. 2023, arXiv:2305.08891, alg. 1.
    """
    if betas.table is not None:
        beta = torch.tensor(betas.table, dtype=torch.float64)
    elif betas.kind == "linear":
        beta = torch.linspace(betas.start, betas.end, betas.steps, dtype=torch.float64)
    else:
        beta = (
            torch.linspace(math.sqrt(betas.start), math.sqrt(betas.end), betas.steps, dtype=torch.float64)
            ** 2
        )
    result = torch.cumprod(1 - beta, 0)
    if not ztsnr:
        return result
    root = result.sqrt()
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    result = root**2
    result[-1] = ZSNR_LAST_ALPHA
    return result


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
