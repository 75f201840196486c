"""What the model sees without the prompt, for CFG++: taken by the hook that the host has for it.

A1111 calls back with all that the model saw.  Forge and its kin call functions that stand in the options of the
UNet after they have guided; one is put there for the time of a model call.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core.errors import BadValue
from . import host
from .host import detect, sd_samplers_common

Given = dict[str, Any]
_listening: list[list[Tensor]] = []
"""Who waits for A1111's callback: the model call under way, if it is one of ours."""


def listen() -> None:
    """Let A1111 call back; other hosts never do.  Callbacks are dropped at each "Reload UI"."""
    if detect().denoised:
        host.listen("cfg_denoised", _heard)


def with_unguided(model: Any, x: Tensor, sigma: Tensor, given: Given) -> tuple[Tensor, Tensor]:
    """Return the guided clean latent and the one of the negative prompt alone, both (B, C, h, w).

    ``model``: the host's ``CFGDenoiser``.  ``sigma``: (B,).  ``given``: the keyword arguments of its calls, which
    the host itself may change.  Raises ``BadValue`` where the host gives none.
    """
    seen: list[Tensor] = []
    patched = hasattr(model.inner_model.inner_model, "forge_objects")
    denoised = (_patched if patched else _called_back)(model, x, sigma, given, seen)
    if not seen:
        raise BadValue(
            "a CFG++ sampler needs the negative prompt's prediction, and this host gives none; "
            "take a sampler without CFG++ in its name"
        )
    return denoised, seen[-1]


def _called_back(model: Any, x: Tensor, sigma: Tensor, given: Given, seen: list[Tensor]) -> Tensor:
    """Return what A1111's model gives while its callback is heard."""
    _listening.append(seen)
    try:
        denoised = model(x, sigma, **given)
    finally:
        _listening.pop()
    seen[:] = [rows[-len(x) :].clone() for rows in seen]
    return denoised


def _heard(params: Any) -> None:
    """Keep what the model saw: the rows of the positive prompts, then one of the negative an image."""
    if _listening:
        _listening[-1].append(params.x)


def _patched(model: Any, x: Tensor, sigma: Tensor, given: Given, seen: list[Tensor]) -> Tensor:
    """Return what Forge's model gives with a function in the UNet's options that looks on."""
    sd_samplers_common.apply_refiner(
        model, x
    )  # now, or the call would change the UNet after it was looked at
    if given.get("uncond") is None:
        given["uncond"] = _negative(model.p)

    def look(found: dict[str, Any]) -> Tensor:
        seen.append(found["uncond_denoised"])
        return found["denoised"]

    unet = model.inner_model.inner_model.forge_objects.unet
    before = unet.model_options
    unet.model_options = dict(before)
    unet.set_model_sampler_post_cfg_function(look, disable_cfg1_optimization=True)
    try:
        return model(x, sigma, **given)
    finally:
        unet.model_options = before


def _negative(p: Any) -> Any:
    """Return the negative prompt's conditions, which Forge leaves out at a CFG scale of 1."""
    scale = "hr_cfg" if p.is_hr_pass else "cfg_scale"
    asked = getattr(p, scale)
    setattr(p, scale, asked + 1)
    try:
        p.setup_conds()
    finally:
        setattr(p, scale, asked)
    return p.hr_uc if p.is_hr_pass else p.uc
