"""A UNet and a VAE for the models of the fake web UIs, each shape's way to them, and the same for the core."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from sd_concord.core.guided_run import Given
from sd_concord.core.sigmas import ModelSigmas
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate
from webui_fake import WebUI

SIGMAS = ModelSigmas.sd()
SCALE = 0.18215


def predicted(x: Tensor, times: Tensor, hidden: Tensor) -> Tensor:
    """Return noise that depends on all that a UNet is told."""
    text = hidden.float().flatten(1).mean(1)[:, None, None, None]
    return 0.9 * x + 0.1 * torch.tanh(x) + 0.2 * text + 0.05 * torch.sin(times / 70)[:, None, None, None]


class ToyNetwork:
    """The network as the core has it; ``calls`` counts."""

    device, dtype = torch.device("cpu"), torch.float32
    prediction, is_sdxl, takes_score = "eps", False, False

    def __call__(self, x: Tensor, timestep: float, given: Given) -> Tensor:
        return predicted(x, torch.full((len(x),), timestep), given.hidden)


class DiffusionModel:
    """The network in the hosts."""

    in_channels = 4

    def __init__(self) -> None:
        self.calls = 0
        self.then: Any = None

    def __call__(self, x: Tensor, times: Tensor, context: Tensor, **_: Any) -> Tensor:
        self.calls += 1
        if self.then:
            self.then(self.calls)
        return predicted(x, times, context)


def toy_decode(latents: Tensor) -> Tensor:
    """Return pictures (B, 3, H, W) in -1 … 1."""
    return torch.tanh(interpolate(latents[:, :3] / SCALE / 8, scale_factor=8))


def toy_encode(pixels: Tensor) -> Any:
    """Return the posterior of pictures in -1 … 1, which has no variance."""
    mean = torch.cat([avg_pool2d(pixels, 8), avg_pool2d(pixels[:, :1], 8)], 1)
    return SimpleNamespace(mean=mean, std=torch.zeros_like(mean))


def install_network(webui: WebUI, inside: Any) -> DiffusionModel:
    """Give the model that ``webui_text.install`` has made a UNet and a VAE; return the UNet."""
    network, model = DiffusionModel(), inside.model
    webui.devices.dtype_vae = webui.devices.dtype_unet = torch.float32
    webui.devices.without_autocast = nullcontext
    common = webui.sd_samplers_common
    common.latents = []
    common.store_latent = common.latents.append
    common.samples_to_images_tensor = lambda sample, way, model: model.decode_first_stage(sample)
    webui.shared.state.nextjob = lambda: None
    webui.shared.sd_upscalers, webui.opts.data["samples_save"] = [], False
    webui.images.flatten = lambda image, background: image
    model.sd_checkpoint_info = SimpleNamespace(name_for_extra="toy", ids=("toy",))
    model.sd_model_hash = "0123456789"
    model.decode_first_stage = toy_decode
    if webui.shape == "a1111":
        _plain(model, network)
    else:
        _patched(webui, model, network)
    return network


def _plain(model: Any, network: DiffusionModel) -> None:
    model.model = SimpleNamespace(diffusion_model=network)
    model.alphas_cumprod = 1 / (1 + SIGMAS.table.double() ** 2)
    model.parameterization = "eps"
    model.first_stage_model = torch.nn.Module()
    model.apply_model = lambda x, t, cond: network(x, t, torch.cat(cond["c_crossattn"], 1))
    model.encode_first_stage = toy_encode
    model.get_first_stage_encoding = lambda z: z * SCALE


class _Vae:
    def __init__(self) -> None:
        self.patcher = SimpleNamespace(model_options={})

    def clone(self) -> _Vae:
        made = _Vae()
        made.patcher.model_options = dict(self.patcher.model_options)
        return made


def _patched(webui: WebUI, model: Any, network: DiffusionModel) -> None:
    objects = model.forge_objects
    objects.vae = _Vae()
    inner = objects.unet.model
    inner.diffusion_model = network
    sigmas = SimpleNamespace(sigmas=SIGMAS.table)
    if webui.shape == "forge":
        inner.predictor, inner.computation_dtype = sigmas, torch.float32
        sigmas.prediction_type = "epsilon"
    else:
        inner.model_sampling, inner.model_type = sigmas, SimpleNamespace(name="EPS")
        inner.manual_cast_dtype, inner.get_dtype = None, lambda: torch.float32
    model.forge_objects_original = objects.shallow_copy()
    model.forge_objects_after_applying_lora = objects.shallow_copy()

    def encode_first_stage(pixels: Tensor) -> Tensor:
        choose = model.forge_objects.vae.patcher.model_options["model_vae_regulation"]
        return choose(toy_encode(pixels)) * SCALE

    model.encode_first_stage = encode_first_stage
    model.get_first_stage_encoding = lambda z: z
