"""Nodes of a graph: sigmas and samplers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.errors import unknown
from ...core.image.graph import Node
from ...core.image.names import sampler_name
from ...core.sampling import SAMPLERS
from ...core.sigmas import ModelSigmas, get_sigmas
from ...core.sigmas.plan import run_sigmas, sd_turbo_sigmas, split, split_by_strength, tail_of
from .playing import Play, node
from .values import ModelWire, SamplerWire

CURVES = {
    "KarrasScheduler": ("karras", ("rho",)),
    "ExponentialScheduler": ("exponential", ()),
    "PolyexponentialScheduler": ("polyexponential", ("rho",)),
    "LaplaceScheduler": ("laplace", ("mu", "beta")),
}
"""Nodes that draw a curve between two sigmas: the schedule, and its options besides those two."""
TABLES = {
    ("AlignYourStepsScheduler", "SD1"): "align_your_steps_sd1",
    ("AlignYourStepsScheduler", "SDXL"): "align_your_steps",
    ("AlignYourStepsScheduler", "SVD"): "align_your_steps_svd",
    ("GITSScheduler", ""): "gits",
}


def sampler_called(name: str) -> str:
    """Return the registry's name of one of ComfyUI's samplers; raises ``BadValue`` that offers the nearest."""
    if name in SAMPLERS:
        return SAMPLERS[name].name
    own = sampler_name(name)
    if own not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    return own


@node("BasicScheduler")
def basic(play: Play, at: Node) -> tuple[Tensor]:
    """Lay a schedule out over the model's table."""
    model: ModelWire = play.wire(at, "model")
    steps, denoise = play.whole(at, "steps"), play.number(at, "denoise", 1.0)
    name = play.text(at, "scheduler")
    return (run_sigmas(name, steps, model.sigmas, denoise=denoise, rule="basic", convention="comfyui"),)


@node(*CURVES)
def curve(play: Play, at: Node) -> tuple[Tensor]:
    """Draw a curve from one sigma to another, and on to 0, but for Laplace's."""
    name, options = CURVES[at.kind]
    given = {key: play.number(at, key) for key in ("sigma_max", "sigma_min", *options)}
    sigmas = get_sigmas(name, play.whole(at, "steps"), ModelSigmas.sd(), convention="comfyui", **given)
    return (sigmas[:-1] if name == "laplace" else sigmas,)


@node("VPScheduler")
def vp(play: Play, at: Node) -> tuple[Tensor]:
    """Draw the curve of a variance-preserving diffusion."""
    given = {key: play.number(at, key) for key in ("beta_d", "beta_min", "eps_s")}
    return (get_sigmas("vp", play.whole(at, "steps"), ModelSigmas.sd(), convention="comfyui", **given),)


@node("BetaSamplingScheduler")
def beta(play: Play, at: Node) -> tuple[Tensor]:
    """Lay steps out by the quantiles of a Beta distribution."""
    model: ModelWire = play.wire(at, "model")
    given = {key: play.number(at, key) for key in ("alpha", "beta")}
    return (get_sigmas("beta", play.whole(at, "steps"), model.sigmas, convention="comfyui", **given),)


@node("AlignYourStepsScheduler", "GITSScheduler")
def table(play: Play, at: Node) -> tuple[Tensor]:
    """Take sigmas from a table; a strength below 1 keeps its last steps."""
    name = TABLES[at.kind, play.text(at, "model_type", "")]
    given: dict[str, Any] = {"coeff": play.number(at, "coeff")} if at.kind == "GITSScheduler" else {}
    whole = get_sigmas(name, play.whole(at, "steps"), ModelSigmas.sd(), convention="comfyui", **given)
    denoise = play.number(at, "denoise", 1.0)
    return (whole if denoise >= 1 else tail_of(whole, denoise),)


@node("SDTurboScheduler")
def turbo(play: Play, at: Node) -> tuple[Tensor]:
    """Take some of ten timesteps."""
    model: ModelWire = play.wire(at, "model")
    return (sd_turbo_sigmas(play.whole(at, "steps"), model.sigmas, play.number(at, "denoise", 1.0)),)


@node("SplitSigmas")
def split_sigmas(play: Play, at: Node) -> tuple[Tensor, Tensor]:
    """Cut sigmas at a step."""
    return split(play.wire(at, "sigmas"), play.whole(at, "step"))


@node("SplitSigmasDenoise")
def split_sigmas_denoise(play: Play, at: Node) -> tuple[Tensor, Tensor]:
    """Cut sigmas where a strength begins."""
    return split_by_strength(play.wire(at, "sigmas"), play.number(at, "denoise"))


@node("FlipSigmas")
def flip(play: Play, at: Node) -> tuple[Tensor]:
    """Turn sigmas round; a first 0 becomes a small sigma."""
    sigmas: Tensor = play.wire(at, "sigmas").flip(0)
    if len(sigmas) and float(sigmas[0]) == 0:
        sigmas = torch.cat([sigmas.new_tensor([0.0001]), sigmas[1:]])
    return (sigmas,)


@node("KSamplerSelect")
def select(play: Play, at: Node) -> tuple[SamplerWire]:
    """Choose a sampler."""
    return (SamplerWire(name=sampler_called(play.text(at, "sampler_name"))),)


_OPTIONS = {
    "SamplerEulerAncestral": ("euler_ancestral", ("eta", "s_noise")),
    "SamplerEulerAncestralCFGPP": ("euler_ancestral_cfg_pp", ("eta", "s_noise")),
    "SamplerDPMPP_SDE": ("dpmpp_sde", ("eta", "s_noise", "r")),
    "SamplerDPMPP_2S_Ancestral": ("dpmpp_2s_ancestral", ("eta", "s_noise")),
    "SamplerDPMPP_3M_SDE": ("dpmpp_3m_sde", ("eta", "s_noise")),
    "SamplerDPMPP_2M_SDE": ("dpmpp_2m_sde", ("eta", "s_noise", "solver_type")),
}
"""Nodes that choose a sampler with options that are called as ours."""


@node(*_OPTIONS)
def with_options(play: Play, at: Node) -> tuple[SamplerWire]:
    """Choose a sampler and its options."""
    name, known = _OPTIONS[at.kind]
    options: dict[str, Any] = {key: play.number(at, key) for key in known if key != "solver_type"}
    if "solver_type" in known:
        options["solver_type"] = play.text(at, "solver_type")
    return (SamplerWire(name=name, options=options),)


@node("SamplerLMS")
def lms(play: Play, at: Node) -> tuple[SamplerWire]:
    """Choose LMS and its order."""
    return (SamplerWire(name="lms", options={"max_order": play.whole(at, "order", 4)}),)


@node("SamplerSASolver")
def sa_solver(play: Play, at: Node) -> tuple[SamplerWire]:
    """Choose SA-Solver; its noisy window is given in shares of the run."""
    options: dict[str, Any] = {
        "eta": play.number(at, "eta"),
        "s_noise": play.number(at, "s_noise"),
        "window_start": play.number(at, "sde_start_percent"),
        "window_end": play.number(at, "sde_end_percent"),
        "predictor_order": play.whole(at, "predictor_order"),
        "corrector_order": play.whole(at, "corrector_order"),
    }
    name = "sa_solver_pece" if play.flag(at, "use_pece") else "sa_solver"
    return (SamplerWire(name=name, options=options),)


@node("SamplerDPMAdaptative")
def adaptive(play: Play, at: Node) -> tuple[SamplerWire]:
    """Choose the adaptive DPM-Solver and its tolerances."""
    names = ("rtol", "atol", "h_init", "pcoeff", "icoeff", "dcoeff", "accept_safety", "eta", "s_noise")
    options: dict[str, Any] = {name: play.number(at, name) for name in names}
    return (SamplerWire(name="dpm_adaptive", options={**options, "order": play.whole(at, "order")}),)


@node("SamplerER_SDE")
def er_sde(play: Play, at: Node) -> tuple[SamplerWire]:
    """Choose ER-SDE, by its reverse SDE."""
    options = {"s_noise": play.number(at, "s_noise"), "max_stage": play.whole(at, "max_stage")}
    return (SamplerWire(name="er_sde", options=options),)
