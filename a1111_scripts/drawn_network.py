"""The UNet that the host has loaded, as the core calls it: its own prediction, at the timestep that the core says."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import BadType
from ..core.guided_run import Given
from ..core.sigmas import ModelSigmas
from .denoiser import model_sigmas
from .host import sd_samplers_kdiffusion

devices: Any = import_module("modules.devices")

LATENT = 4
"""Channels of Stable Diffusion's latents."""
SIZE_WIDTH = 256
"""Numbers in which SDXL is told each size."""
_SAME = 1e-3
Prediction = Literal["eps", "v"]
_PREDICTIONS: dict[str, Prediction] = {
    "eps": "eps",
    "epsilon": "eps",
    "v": "v",
    "v_prediction": "v",
}
"""What the hosts call what a UNet predicts."""


class HostNetwork:
    """The UNet of the host's ``model`` as a ``Network`` of the core; raises ``BadType`` for one it cannot be."""

    def __init__(self, model: Any, encoders: int) -> None:
        """Take the loaded model and how many text encoders it has; SDXL's refiner has one."""
        self.is_sdxl = bool(getattr(model, "is_sdxl", False))
        self.takes_score = self.is_sdxl and encoders == 1
        self.prediction: Prediction = prediction_of(model)
        _check_channels(model)
        unet = _patcher(model)
        self._model, self._unet = model, unet
        if unet is None:
            self.device, self.dtype = torch.device(devices.device), devices.dtype_unet
            self._ask: Callable[[Tensor, Tensor, Given], Tensor] = self._plain
        else:
            self.device, self.dtype = unet.load_device, _dtype(unet.model)
            self._ask = self._patched

    def prepare(self, x: Tensor) -> None:
        """Give Forge and its kin a patcher of this pass's own, and let it be brought to where it runs on ``x``."""
        if self._unet is not None:
            self._unet = self._model.forge_objects.unet = _patcher(self._model).clone()
            sd_samplers_kdiffusion.sampling_prepare(self._unet, x)

    def __call__(self, x: Tensor, timestep: float, given: Given) -> Tensor:
        """Return the prediction, as ``Network`` says."""
        with devices.autocast():
            return self._ask(x, torch.full((len(x),), float(timestep), device=x.device), given)

    def _plain(self, x: Tensor, times: Tensor, given: Given) -> Tensor:
        """Ask A1111's model, which is ldm's or, of SDXL, sgm's."""
        if not self.is_sdxl:
            return self._model.apply_model(x, times, {"c_crossattn": [given.hidden]})
        return self._model.apply_model(x, times, {"crossattn": given.hidden, "vector": _vector(given)})

    def _patched(self, x: Tensor, times: Tensor, given: Given) -> Tensor:
        """Ask the UNet of Forge and its kin, with what has been put on its patcher."""
        assert self._unet is not None
        told = {"y": _vector(given)} if given.pooled is not None else {}
        options = dict(self._unet.model_options.get("transformer_options", {}))
        return self._unet.model.diffusion_model(
            x, times, context=given.hidden, control=None, transformer_options=options, **told
        )


def prediction_of(model: Any) -> Prediction:
    """Return what the UNet of the host's ``model`` predicts; raises ``BadType`` for neither noise nor velocity."""
    unet = _patcher(model)
    inner = None if unet is None else unet.model
    kind = getattr(getattr(inner, "predictor", None), "prediction_type", None)
    kind = kind or getattr(getattr(inner, "model_type", None), "name", None)
    kind = kind or getattr(model, "parameterization", "eps")
    found = _PREDICTIONS.get(str(kind).lower())
    if found is None:
        raise BadType(
            f"the model predicts {kind!r}; Concord draws with models of noise (eps) and velocity (v)"
        )
    return found


def sigmas_of(model: Any) -> ModelSigmas:
    """Return the sigma table of the host's ``model``; Stable Diffusion's is the core's own, exact to its last digit.

    Raises ``BadType`` for a rectified flow.
    """
    unet = _patcher(model)
    if unet is None:
        alphas = getattr(model, "alphas_cumprod_original", model.alphas_cumprod).detach().cpu().double()
        found = model_sigmas(SimpleNamespace(sigmas=((1 - alphas) / alphas).sqrt()))
    else:
        inner = unet.model
        found = model_sigmas(inner.predictor if hasattr(inner, "predictor") else inner.model_sampling)
    if found.is_flow:
        raise BadType("the model is a rectified flow; Concord draws with Stable Diffusion 1, 2 and XL")
    for known in (ModelSigmas.sd(), ModelSigmas.zsnr()):
        if known.table.shape == found.table.shape and torch.allclose(known.table, found.table, rtol=_SAME):
            return known
    return found


def _patcher(model: Any) -> Any:
    """Return what holds the UNet of Forge and its kin, None in A1111."""
    objects = getattr(model, "forge_objects", None)
    return None if objects is None else objects.unet


def _dtype(inner: Any) -> torch.dtype:
    """Return the number format in which Forge's or reForge's UNet computes."""
    if hasattr(inner, "computation_dtype"):
        return inner.computation_dtype
    return getattr(inner, "manual_cast_dtype", None) or inner.get_dtype()


def _check_channels(model: Any) -> None:
    unet = _patcher(model)
    network = model.model.diffusion_model if unet is None else unet.model.diffusion_model
    channels = getattr(network, "in_channels", LATENT)
    if channels != LATENT:
        raise BadType(
            f"the model takes {channels} channels, as inpainting models do; load one that takes {LATENT}"
        )


def _vector(given: Given) -> Tensor:
    """Return what SDXL is told besides the text: the pooled output, and each size as 256 numbers.

    Source: Podell et al. 2023 (arXiv:2307.01952), with the embedding of Vaswani et al. 2017 (arXiv:1706.03762).
    """
    assert given.pooled is not None
    assert given.sizes is not None
    half = SIZE_WIDTH // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half).to(
        given.sizes.device
    )
    angles = given.sizes.float()[..., None] * rates
    sizes = torch.cat([angles.cos(), angles.sin()], dim=-1).flatten(1)
    return torch.cat([given.pooled, sizes.to(given.pooled)], dim=1)
