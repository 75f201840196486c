"""Which scripts work in the detailer's own passes, and the two things that only a script can do there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..core.image.masked_content import differential_mask
from ..core.image.parts import DetailerUnit
from .denoiser import model_sigmas
from .detailer_settings import SCRIPTS, setting
from .host import scripts

PACKAGE = __name__.rpartition(".")[0]
NOT_HERE = "detailer_panel"
"""The module of the detailer's own scripts, which would call themselves."""
CONTROLNET = "controlnet"
PASSTHROUGH = "Passthrough"


def scripts_for(request: Any, p: Any, unit: DetailerUnit, *, noise_mask: bool) -> None:
    """Give ``request``, a pass of the detailer within ``p``, the scripts that work in it.

    Those are Concord's others, those that the settings name, and ControlNet where ``unit`` asks for it.
    """
    runner = copy.copy(p.scripts) if p.scripts is not None else scripts.ScriptRunner()
    found = [one for one in runner.alwayson_scripts if _works_here(one)]
    args = list(p.script_args or [])
    control = _controlnet(runner.alwayson_scripts, unit)
    if control is not None:
        found.append(control)
        _ask_controlnet(args, control, unit)
        request.image_mask = Image.fromarray(request.crops[0].mask)
    if noise_mask:
        found.append(Joining())
    runner.alwayson_scripts, runner.selectable_scripts, runner.scripts = found, [], list(found)
    runner.callback_map = {}
    request.scripts = runner
    request.script_args = tuple(args)


def _works_here(script: Any) -> bool:
    package, _, module = type(script).__module__.rpartition(".")
    if package == PACKAGE:
        return module != NOT_HERE
    names = {name.strip() for name in str(setting(SCRIPTS)).split(",")}
    return Path(script.filename or "").stem in names


def _controlnet(alwayson: list[Any], unit: DetailerUnit) -> Any:
    """Return ControlNet's script where ``unit`` wants it, else None."""
    if unit.controlnet_model in (None, "None"):
        return None
    return next((one for one in alwayson if one.title().lower() == CONTROLNET), None)


def _ask_controlnet(args: list[Any], script: Any, unit: DetailerUnit) -> None:
    """Put the unit's ControlNet into the script's arguments, in the form of its API; none is left of the picture's."""
    if unit.controlnet_model == PASSTHROUGH:
        return
    wanted = {
        "enabled": True,
        "module": unit.controlnet_module or "None",
        "model": unit.controlnet_model,
        "weight": 1.0 if unit.controlnet_weight is None else unit.controlnet_weight,
        "guidance_start": unit.controlnet_start or 0.0,
        "guidance_end": 1.0 if unit.controlnet_end is None else unit.controlnet_end,
        "pixel_perfect": True,
    }
    places = range(script.args_from, script.args_to)
    for place in places:
        args[place] = wanted if place == places.start else {"enabled": False}


class Joining(scripts.Script):
    """Differential diffusion: what lies at the mask's edge joins the run later than its middle."""

    filename = __file__
    args_from = args_to = 0
    first: float = 0.0
    alwayson = True

    def title(self) -> str:
        """Return a name for the host's messages."""
        return "Concord noise mask"

    def show(self, is_img2img: bool) -> Any:
        """Show nothing."""
        del is_img2img
        return False

    def on_mask_blend(self, p: Any, mba: Any, *_args: Any) -> None:
        """Mix what is drawn and what is kept by the mask that holds at this noise level."""
        if mba.is_final_blend:
            mba.blended_latent = mba.current_latent
            return
        mask = self._mask_at(float(mba.sigma.flatten()[0]), mba.denoiser, p.nmask)
        mba.blended_latent = mba.current_latent * mask + mba.init_latent * (1 - mask)
        mba.denoiser.nmask, mba.denoiser.mask = (
            mask,
            1 - mask,
        )  # before the next call, where the host mixes there

    def _mask_at(self, sigma: float, denoiser: Any, soft: Tensor) -> Tensor:
        """Return which cells are drawn at ``sigma``; A1111's timestep samplers say the timestep in its place."""
        self.first = self.first or sigma
        if hasattr(denoiser, "alphas"):
            left = (sigma + 1) / (self.first + 1)
            return ((soft > 0) & (soft >= min(left, 1.0))).to(soft)
        return differential_mask(soft, sigma, self.first, model_sigmas(denoiser.inner_model)).to(soft)
