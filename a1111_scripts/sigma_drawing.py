"""The picture of a schedule as the panel asks for it, on the model that is loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from PIL import Image
from torch import Tensor

from ..core.filled import scheduler_called
from ..core.options_text import read_options_text
from ..core.profiles import profile, sampler_of, schedule_of, sigmas_of
from ..core.sampling.guidance import multiply_sigmas
from ..core.sigma_plot import curve_of, draw
from ..core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas
from .denoiser import model_sigmas
from .host import detect, sd_models, sd_samplers, sd_schedulers
from .labels import SAMPLER_MARK, schedulers_here
from .sigma_request import CUSTOM, Asked

AUTOMATIC = "Automatic"


def drawing(steps: int, sampler: str | None, scheduler: str | None, asked: Asked) -> Image.Image:
    """Return the schedule of ``steps`` steps, and beside it the one that is asked for, where it is another.

    ``sampler``, ``scheduler``: labels of the host; None for Automatic.  Raises ``BadValue`` for what the core does not
    know, or cannot lay out.
    """
    model = loaded_model()
    plain = laid_out(steps, sampler, scheduler, Asked(), model)
    wanted = laid_out(steps, sampler, scheduler, asked, model)
    curves = [curve_of(scheduler or AUTOMATIC, plain, model)]
    if wanted.shape != plain.shape or not bool((wanted == plain).all()):
        curves.append(curve_of("asked for", wanted, model))
    return draw(curves, model)


def laid_out(
    steps: int, sampler: str | None, scheduler: str | None, asked: Asked, model: ModelSigmas
) -> Tensor:
    """Return the sigmas of a text-to-image run."""
    if asked.sigmas.strip():
        sigmas = get_sigmas(CUSTOM, steps, model, sigmas=asked.sigmas)
    else:
        sigmas = _of_schedule(steps, sampler, scheduler or AUTOMATIC, asked.schedule_options, model)
    if asked.factor != 1:
        sigmas = multiply_sigmas(sigmas, asked.factor, asked.start, asked.end)
    return sigmas


def _of_schedule(steps: int, sampler: str | None, label: str, options: str, model: ModelSigmas) -> Tensor:
    """Return the sigmas of a schedule by its label here, ours or the host's own."""
    host = profile(detect().profile)
    config = sd_samplers.find_sampler_config(sampler)
    if label == AUTOMATIC and config is not None and sd_schedulers is not None:
        found = sd_schedulers.schedulers_map.get(config.options.get("scheduler"))
        label = AUTOMATIC if found is None else found.label
    ours = {own: name for name, own in schedulers_here().items()}
    spec, _ = sampler_of(host, (config and config.options.get(SAMPLER_MARK)) or "euler")
    name = schedule_of(host, spec, ours.get(label) or scheduler_called(label), family_loaded())
    given = read_options_text(options, SCHEDULERS[name].options, f"scheduler {label!r}")
    if label in ours:
        return get_sigmas(name, steps, model, **given)
    return sigmas_of(host, spec, name, steps, model, **given)


def loaded_model() -> ModelSigmas:
    """Return the noise levels of the model that is loaded; Stable Diffusion's where none is yet."""
    loaded = _loaded()
    unet = getattr(getattr(loaded, "forge_objects", None), "unet", None)
    predictor = getattr(getattr(unet, "model", None), "predictor", None)
    if predictor is not None:
        return model_sigmas(predictor)
    squared = getattr(loaded, "alphas_cumprod", None)
    if squared is None:
        return ModelSigmas.sd()
    return model_sigmas(SimpleNamespace(sigmas=((1 - squared) / squared).sqrt()))


def family_loaded() -> str:
    """Return the kind of model that is loaded, as schedules are told apart by it."""
    return "sdxl" if getattr(_loaded(), "is_sdxl", False) else "sd1"


def _loaded() -> Any:
    """Return the model that is loaded, without loading one."""
    return getattr(sd_models.model_data, "sd_model", None)
