"""A small stand-in for A1111, Forge, reForge and Forge Classic: what the scripts touch of them, and no more.

``webui_fake`` is each of the four in turn, ``make_webui(shape)`` one of them.  A test runs what the host would:
``load()`` executes scripts/concord.py and returns its script classes by name, ``register()`` does the same without
the file, and faster; ``part(name)`` imports one module.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from gradio_fake import fake_gradio

ROOT = Path(__file__).parents[2]
PACKAGE = "sd_concord.a1111_scripts"
SHAPES = ("a1111", "forge", "reforge", "classic")
CALLBACKS = (
    "app_started before_reload ui_tabs ui_settings cfg_denoiser cfg_denoised cfg_after_cfg script_unloaded before_ui "
    "infotext_pasted after_component before_component image_saved model_loaded"
).split()
ALWAYS_VISIBLE = object()


@dataclass
class OptionInfo:
    """A setting, as the host keeps it."""

    default: Any = None
    label: str = ""
    component: Any = None
    component_args: Any = None
    onchange: Any = None
    section: Any = None
    refresh: Any = None
    comment_before: str = ""
    comment_after: str = ""
    infotext: str | None = None
    restrict_api: bool = False
    category_id: str | None = None

    def info(self, text: str) -> OptionInfo:
        self.comment_after += text
        return self

    def needs_reload_ui(self) -> OptionInfo:
        return self.info(" (requires Reload UI)")


class Options:
    """``shared.opts``: values by name, each one's default until it is set."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.data_labels: dict[str, OptionInfo] = {}

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info

    def set(self, key: str, value: Any, **_: Any) -> bool:
        self.data[key] = value
        return True

    def __getattr__(self, name: str) -> Any:
        if name in self.data:
            return self.data[name]
        if name in self.data_labels:
            return self.data_labels[name].default
        raise AttributeError(name)


class Script:
    """The host's base class of scripts."""

    alwayson = False
    filename = None
    infotext_fields: Any = None
    paste_field_names: Any = None
    is_txt2img = is_img2img = False
    args_from = args_to = controls = None

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any:
        return []

    def show(self, is_img2img: bool) -> Any:
        return True

    def elem_id(self, item_id: str) -> str:
        tab = "img2img" if self.is_img2img else "txt2img"
        return f"script_{tab}_{self.title().lower().replace(' ', '_')}_{item_id}"

    def on_after_component(self, callback: Any, *, elem_id: str) -> None:
        pass

    def on_before_component(self, callback: Any, *, elem_id: str) -> None:
        pass


class PasteField(tuple):
    def __new__(cls, component: Any, target: Any, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: Any, *, api: str | None = None) -> None:
        self.api, self.component = api, component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


class _Data(NamedTuple):
    name: str
    constructor: Any
    aliases: list[str]
    options: dict[str, Any]


class SamplerData(_Data):
    def total_steps(self, steps: int) -> int:
        return steps * 2 if self.options.get("second_order") else steps


@dataclass
class Scheduler:
    name: str
    label: str
    function: Any
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] | None = None


class KDiffusionSampler:
    """The host's sampler: it keeps the function that it is to call, and lays the sigmas of a request out."""

    def __init__(self, funcname: Any, sd_model: Any, options: Any = None) -> None:
        self.func, self.sd_model, self.options = funcname, sd_model, options or {}
        self.extra_params = sys.modules["modules.sd_samplers_kdiffusion"].sampler_extra_params.get(
            funcname, []
        )
        self.config: Any = None
        self.model_wrap: Any = None

    def get_sigmas(self, p: Any, steps: int) -> torch.Tensor:
        opts = sys.modules["modules.shared"].opts
        drops = (
            self.config.options.get("discard_next_to_last_sigma") or opts.always_discard_next_to_last_sigma
        )
        count = steps + bool(drops)
        if p.sampler_noise_scheduler_override:
            sigmas = p.sampler_noise_scheduler_override(count)
        else:
            sigmas = self._laid_out(p, count)
        return torch.cat([sigmas[:-2], sigmas[-1:]]) if drops else sigmas

    def _laid_out(self, p: Any, count: int) -> torch.Tensor:
        table = self.model_wrap.sigmas
        module = sys.modules.get("modules.sd_schedulers")
        label = (p.hr_scheduler if p.is_hr_pass else p.scheduler) if module else None
        if label == "Automatic":
            label = self.config.options.get("scheduler")
        found = module.schedulers_map.get(label) if module else None
        if found is None or found.function is None:
            return torch.cat([table[torch.linspace(len(table) - 1, 0, count).long()], torch.zeros(1)])
        p.extra_generation_params["Schedule type"] = found.label
        ends = {"sigma_min": float(table[0]), "sigma_max": float(table[-1])}
        return found.function(n=count, **ends, inner_model=self.model_wrap, device="cpu")


class ExtraNetworkParams:
    """The arguments of one network tag."""

    def __init__(self, items: list[Any] | None = None) -> None:
        self.items = items or []
        parts = [one.split("=", 2) if isinstance(one, str) else [one] for one in self.items]
        self.positional = [item for item, part in zip(self.items, parts, strict=True) if len(part) != 2]
        self.named = {part[0]: part[1] for part in parts if len(part) == 2}


def parse_prompts(prompts: list[str]) -> tuple[list[str], dict[str, list[ExtraNetworkParams]]]:
    """Take the network tags out, and return those of the first prompt."""
    found: dict[str, list[ExtraNetworkParams]] = {}
    for match in re.finditer(r"<(\w+):([^>]+)>", prompts[0]):
        found.setdefault(match[1], []).append(ExtraNetworkParams(match[2].split(":")))
    return [re.sub(r"<(\w+):([^>]+)>", "", one) for one in prompts], found


@dataclass
class WebUI:
    """A fake host; ``callbacks`` are the functions by category, ``classes`` those that ``load`` found."""

    shape: str
    modules: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, list[Callable[..., Any]]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """Return a module of the host: ``webui.sd_samplers`` is ``modules.sd_samplers``."""
        try:
            return self.__dict__["modules"][f"modules.{name}"]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def opts(self) -> Options:
        return self.modules["modules.shared"].opts

    @property
    def gradio(self) -> Any:
        return self.modules["gradio"]

    def load(self, root: Path = ROOT) -> dict[str, type]:
        """Execute scripts/concord.py as the host does at its start and at "Reload UI"; callbacks begin anew."""
        for found in self.callbacks.values():
            found.clear()
        self.sd_samplers.set_samplers()
        path = root / "scripts" / "concord.py"
        spec = spec_from_file_location(path.name, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.path.insert(0, str(root))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(root))
        classes = [one for one in vars(module).values() if inspect.isclass(one) and issubclass(one, Script)]
        return {one.__name__: one for one in classes}

    def register(self) -> dict[str, type]:
        """Return the script classes by name, as ``load`` does, without importing the core anew."""
        return {one.__name__: one for one in import_module(PACKAGE).register()}

    def part(self, name: str) -> Any:
        """Import a module of a1111_scripts against this host."""
        return import_module(f"{PACKAGE}.{name}")

    def make_ui(self, script_class: type, *, img2img: bool = False) -> tuple[Any, list[Any]]:
        """Return a script and the controls of its ``ui``, made as the host does for one tab."""
        script = script_class()
        script.is_txt2img, script.is_img2img = not img2img, img2img
        script.alwayson = script.show(img2img) is ALWAYS_VISIBLE
        return script, list(script.ui(img2img) or [])


def _module(webui: WebUI, name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    for key, value in content.items():
        setattr(module, key, value)
    webui.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(webui.modules[parent], own, module)
    return module


def _build(shape: str, gradio_major: int) -> WebUI:
    webui = WebUI(shape, callbacks={category: [] for category in CALLBACKS})
    webui.modules["gradio"] = fake_gradio(gradio_major)
    _module(webui, "modules")
    _add_settings(webui)
    _add_scripts(webui)
    _add_samplers(webui)
    _add_processing(webui)
    if shape != "a1111":
        _module(webui, "modules_forge")
    _add_models(webui)
    return webui


def _add_settings(webui: WebUI) -> None:
    opts = Options()
    values: dict[str, Any] = {
        "hide_samplers": [],
        "eta_ancestral": 1.0,
        "eta_ddim": 0.0,
        "s_churn": 0.0,
        "s_tmin": 0.0,
        "s_tmax": 0.0,
        "s_noise": 1.0,
        "sigma_min": 0.0,
        "sigma_max": 0.0,
        "rho": 0.0,
        "eta_noise_seed_delta": 0,
        "randn_source": "CPU",
        "sgm_noise_multiplier": False,
        "always_discard_next_to_last_sigma": False,
        "no_dpmpp_sde_batch_determinism": False,
        "use_old_karras_scheduler_sigmas": False,
        "emphasis": "Original",
        "CLIP_stop_at_last_layers": 1,
        "comma_padding_backtrack": 20,
        "use_old_scheduling": False,
        "hires_fix_use_firstpass_conds": False,
        "img2img_fix_steps": False,
        "textual_inversion_add_hashes_to_infotext": True,
        "live_previews_enable": False,
    }
    if webui.shape == "classic":
        values |= {"hide_samplers_invert": False, "k_sched_type": "Automatic"}
    for key, value in values.items():
        opts.add_option(key, OptionInfo(value, key))
    model = SimpleNamespace(is_sdxl=False, is_sd1=True, is_sd2=False, parameterization="eps")
    state = SimpleNamespace(interrupted=False, skipped=False, sampling_step=0, sampling_steps=20, job_count=1)
    state.interrupt = lambda: setattr(state, "interrupted", True)
    _module(webui, "modules.sd_models", model_data=SimpleNamespace(sd_model=None))
    _module(webui, "modules.options", OptionInfo=OptionInfo)
    _module(
        webui, "modules.shared", opts=opts, OptionInfo=OptionInfo, sd_model=model, state=state, device="cpu"
    )
    cpu = torch.device("cpu")
    _module(webui, "modules.devices", device=cpu, cpu=cpu, autocast=nullcontext)
    _module(webui, "modules.extra_networks", extra_network_registry={}, ExtraNetworkParams=ExtraNetworkParams)
    webui.extra_networks.parse_prompts = parse_prompts
    _module(webui, "modules.errors", report=lambda message, exc_info=False: None)


def _add_scripts(webui: WebUI) -> None:
    shape = webui.shape
    index: dict[str, Any] = {"index": inspect.Parameter.empty} if shape == "forge" else {}

    class PostprocessImageArgs:
        def __init__(self, image: Any, index: int = 0) -> None:
            self.image, self.index = image, index

    class OlderPostprocessImageArgs:
        def __init__(self, image: Any) -> None:
            self.image = image

    base = Script
    if shape != "a1111":
        base = type(
            "Script", (Script,), {"process_before_every_sampling": lambda self, p, *args, **kwargs: None}
        )
    _module(
        webui,
        "modules.scripts",
        Script=base,
        AlwaysVisible=ALWAYS_VISIBLE,
        PostprocessImageArgs=PostprocessImageArgs if index else OlderPostprocessImageArgs,
        scripts_data=[],
        basedir=lambda: str(ROOT),
    )

    def adder(category: str) -> Callable[..., None]:
        def add(callback: Callable[..., Any], *, name: str | None = None) -> None:
            webui.callbacks[category].append(callback)

        return add

    def remove(callback: Callable[..., Any]) -> None:
        for found in webui.callbacks.values():
            found[:] = [one for one in found if one is not callback]

    params = type("CFGDenoiserParams", (SimpleNamespace,), {})
    adders = {f"on_{category}": adder(category) for category in CALLBACKS}
    _module(
        webui,
        "modules.script_callbacks",
        CFGDenoiserParams=params,
        remove_callbacks_for_function=remove,
        callback_map={f"callbacks_{category}": found for category, found in webui.callbacks.items()},
        add_callback=_plain_add if shape == "classic" else _named_add,
        **adders,
    )
    _module(
        webui,
        "modules.infotext_utils",
        PasteField=PasteField,
        paste_fields={},
        parse_generation_parameters=lambda text, skip_fields=None: {},
        register_paste_params_button=lambda binding: None,
        ParamBinding=SimpleNamespace,
    )
    _module(webui, "modules.ui_components", InputAccordion=webui.gradio.Accordion)
    _module(webui, "modules.ui", create_refresh_button=lambda *args, **kwargs: webui.gradio.Button(""))


def _plain_add(callbacks: list[Any], fun: Callable[..., Any]) -> None:
    callbacks.append(fun)


def _named_add(
    callbacks: list[Any],
    fun: Callable[..., Any],
    *,
    name: str | None = None,
    category: str = "unknown",
    filename: str | None = None,
) -> None:
    assert filename, "the host would look through its whole stack, which takes long"
    assert Path(filename).is_file()
    callbacks.append(fun)


def _add_samplers(webui: WebUI) -> None:
    shape = webui.shape
    own = [
        SamplerData(name, functools.partial(KDiffusionSampler, f"sample_{index}"), aliases, options)
        for index, (name, aliases, options) in enumerate(HOST_SAMPLERS[shape])
    ]
    kdiffusion = _module(
        webui,
        "modules.sd_samplers_kdiffusion",
        KDiffusionSampler=KDiffusionSampler,
        samplers_data_k_diffusion=own,
        sampler_extra_params={},
    )
    if shape != "a1111":

        def sampling_prepare(unet: Any, x: Any) -> None:
            return None

        engine = {"forge": "backend.sampling.sampling_function"}.get(shape, "modules_forge.forge_sampler")
        sampling_prepare.__module__ = engine
        kdiffusion.sampling_prepare = sampling_prepare  # type: ignore[attr-defined]
    _module(
        webui,
        "modules.sd_samplers_common",
        SamplerData=SamplerData,
        setup_img2img_steps=_img2img_steps,
        apply_refiner=lambda denoiser, x: False,
        InterruptedException=type("InterruptedException", (BaseException,), {}),
    )
    if shape != "classic":
        schedulers = [
            Scheduler(name, label, None, aliases=aliases) for name, label, aliases in HOST_SCHEDULERS[shape]
        ]
        table = {key: one for one in schedulers for key in (one.name, one.label)}
        _module(
            webui, "modules.sd_schedulers", Scheduler=Scheduler, schedulers=schedulers, schedulers_map=table
        )
    all_samplers = list(own)
    module: Any = _module(
        webui,
        "modules.sd_samplers",
        all_samplers=all_samplers,
        all_samplers_map={one.name: one for one in all_samplers},
        samplers=all_samplers,
        samplers_map={},
    )

    def set_samplers() -> None:
        module.samplers = module.all_samplers
        module.samplers_map.clear()
        for one in module.all_samplers:
            module.samplers_map |= {name.lower(): one.name for name in (one.name, *one.aliases)}

    module.set_samplers = set_samplers
    module.find_sampler_config = module.all_samplers_map.get
    if shape != "classic":
        module.get_sampler_and_scheduler = functools.cache(_name_parser(webui))


def _img2img_steps(p: Any, steps: int | None = None) -> tuple[int, int]:
    """Return the steps that are laid out, and the last one of those that are run, counted from the end."""
    if steps is not None:
        return int(steps / min(p.denoising_strength, 0.999)), steps - 1
    return p.steps, int(min(p.denoising_strength, 0.999) * p.steps)


def _name_parser(webui: WebUI) -> Callable[..., tuple[str, str]]:
    """Return the host's reading of a sampler's and a schedule's name: it takes schedules off the sampler's end."""
    fold = str.lower if webui.shape == "reforge" else str

    def read(sampler: str, scheduler: str | None, **_: Any) -> tuple[str, str]:
        samplers, schedulers = webui.sd_samplers, webui.sd_schedulers
        found = schedulers.schedulers_map.get(scheduler, schedulers.schedulers[0])
        name = sampler
        for one in schedulers.schedulers:
            for option in (one.label, one.name, *(one.aliases or [])):
                if fold(name).endswith(fold(f" {option}")):
                    found, name = one, name[: -len(option) - 1]
                    break
        data = samplers.all_samplers_map.get(name, samplers.all_samplers[0])
        if data.options.get("scheduler") == found.name:
            found = schedulers.schedulers[0]
        return data.name, found.label

    return read


def _add_processing(webui: WebUI) -> None:
    class StableDiffusionProcessing(SimpleNamespace):
        """A request: a namespace with what scripts read and write."""

        cached_c: Any = [None, None]  # noqa: RUF012 (the host's own form)
        cached_uc: Any = [None, None]  # noqa: RUF012

    kinds = {
        name: type(name, (StableDiffusionProcessing,), {})
        for name in ("StableDiffusionProcessingTxt2Img", "StableDiffusionProcessingImg2Img")
    }
    _module(
        webui,
        "modules.processing",
        StableDiffusionProcessing=StableDiffusionProcessing,
        Processed=SimpleNamespace,
        process_images=lambda p: SimpleNamespace(images=[], infotexts=[], index_of_first_image=0),
        create_infotext=lambda p, *args, **kwargs: "",
        **kinds,
    )
    _module(
        webui,
        "modules.images",
        image_grid=lambda images, rows=None: images[0],
        save_image=lambda *a, **k: None,
    )


def _add_models(webui: WebUI) -> None:
    """Add what names checkpoints, VAEs and folders; there is one checkpoint and one VAE."""
    info = SimpleNamespace(name="one.safetensors", title="one.safetensors [1234]")

    def closest(name: str) -> Any:
        return info if name in {info.name, info.title, "one"} else None

    vars(webui.sd_models).update(
        checkpoint_tiles=lambda: [info.title],
        get_closet_checkpoint_match=closest,
        apply_token_merging=lambda model, ratio: None,
    )
    _module(webui, "modules.sd_vae", vae_dict={"own.vae.pt": "/models/VAE/own.vae.pt"})
    _module(webui, "modules.paths", models_path="/nowhere/models", data_path="/nowhere")
    if webui.shape == "forge":
        listed = {"own.vae.pt": "/models/VAE/own.vae.pt"}
        webui.opts.add_option("forge_additional_modules", OptionInfo([], "forge_additional_modules"))
        _module(webui, "modules_forge.main_entry", module_list=listed)


_SCHEDULERS = [
    ("automatic", "Automatic", None),
    ("uniform", "Uniform", None),
    ("karras", "Karras", None),
    ("exponential", "Exponential", None),
    ("polyexponential", "Polyexponential", None),
    ("sgm_uniform", "SGM Uniform", ["SGMUniform"]),
]
_LATER = [
    ("kl_optimal", "KL Optimal", None),
    ("align_your_steps", "Align Your Steps", None),
    ("simple", "Simple", None),
    ("normal", "Normal", None),
    ("ddim", "DDIM", None),
    ("beta", "Beta", None),
    ("turbo", "Turbo", None),
    ("align_your_steps_GITS", "Align Your Steps GITS", None),
    ("align_your_steps_11", "Align Your Steps 11", None),
    ("align_your_steps_32", "Align Your Steps 32", None),
]
_REFORGE = [
    ("sinusoidal_sf", "Sinusoidal SF", None),
    ("invcosinusoidal_sf", "Invcosinusoidal SF", None),
    ("react_cosinusoidal_dynsf", "React Cosinusoidal DynSF", None),
    ("align_your_steps_custom", "Align Your Steps Custom", None),
    ("cosine", "Cosine", None),
    ("cosine-exponential blend", "Cosine-exponential Blend", None),
    ("phi", "Phi", None),
    ("laplace", "Laplace", None),
    ("karras dynamic", "Karras Dynamic", None),
]
HOST_SCHEDULERS: dict[str, list[tuple[str, str, list[str] | None]]] = {
    "a1111": _SCHEDULERS,
    "forge": [*_SCHEDULERS, *_LATER],
    "reforge": [*_SCHEDULERS, *_LATER, *_REFORGE],
    "classic": [],
}
"""Name, label and aliases of the schedules that each host has."""
_TWICE, _KARRAS = {"second_order": True}, {"scheduler": "karras"}
_SAMPLERS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("DPM++ 2M", ["k_dpmpp_2m"], _KARRAS),
    ("DPM++ SDE", ["k_dpmpp_sde"], {**_KARRAS, **_TWICE}),
    ("DPM++ 2M SDE", ["k_dpmpp_2m_sde"], {"scheduler": "exponential"}),
    ("DPM++ 2M SDE Heun", ["k_dpmpp_2m_sde_heun"], {"scheduler": "exponential"}),
    ("DPM++ 2S a", ["k_dpmpp_2s_a"], {**_KARRAS, **_TWICE}),
    ("DPM++ 3M SDE", ["k_dpmpp_3m_sde"], {"scheduler": "exponential", "discard_next_to_last_sigma": True}),
    ("Euler a", ["k_euler_a", "k_euler_ancestral"], {}),
    ("Euler", ["k_euler"], {}),
    ("LMS", ["k_lms"], {}),
    ("Heun", ["k_heun"], _TWICE),
    ("DPM2", ["k_dpm_2"], {**_KARRAS, **_TWICE, "discard_next_to_last_sigma": True}),
    ("DPM2 a", ["k_dpm_2_a"], {**_KARRAS, **_TWICE, "discard_next_to_last_sigma": True}),
    ("DPM fast", ["k_dpm_fast"], {}),
    ("DPM adaptive", ["k_dpm_ad"], {}),
    ("Restart", ["restart"], {**_KARRAS, **_TWICE}),
    ("DDIM", ["ddim"], {}),
    ("PLMS", ["plms"], {}),
    ("UniPC", ["unipc"], {}),
    ("LCM", ["k_lcm"], {}),
]
_FORGES = ["DDIM CFG++", "HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "DDPM"]
_REFORGES = [
    *["HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "DDPM", "Euler Dy", "Euler SMEA Dy", "Euler Negative"],
    *["Euler A Turbo", "DPM++ 2M Turbo", "DPM++ 2M SDE Turbo", "ER SDE", "Euler CFG++", "RES Multistep"],
    *[
        "Euler Ancestral CFG++",
        "Gradient Estimation",
        "SA-Solver",
        "DPM++ 2M CFG++",
        "Euler Comfy",
        "RES Solver",
    ],
]
_CLASSICS = [
    "DPM++ 2M Karras",
    "DPM++ 2M SDE Karras",
    "Euler SGMUniform",
    "LCM Karras",
    "DDPM",
    "DDPM Karras",
]
HOST_SAMPLERS: dict[str, list[tuple[str, list[str], dict[str, Any]]]] = {
    "a1111": _SAMPLERS,
    "forge": [*_SAMPLERS, *((name, [], {}) for name in _FORGES)],
    "reforge": [*_SAMPLERS, *((name, [], {}) for name in _REFORGES)],
    "classic": [*_SAMPLERS, *((name, [], {}) for name in _CLASSICS)],
}
"""Name, aliases and options of the samplers that each host has; of reForge's 76 some."""


@pytest.fixture
def make_webui(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WebUI]]:
    """Return a function that puts a fake host of a shape into ``sys.modules``; the pack is imported anew on it."""
    before = {name: module for name, module in sys.modules.items() if _is_pack(name)}

    def drop() -> None:
        for name in [name for name in sys.modules if _is_pack(name)]:
            del sys.modules[name]

    def make(shape: str, gradio: int | None = None) -> WebUI:
        webui = _build(shape, gradio or (4 if shape == "forge" else 3))
        for name in [name for name in sys.modules if name.partition(".")[0] in {"modules", "gradio"}]:
            monkeypatch.delitem(sys.modules, name)
        for name, module in webui.modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            del sys.modules[name]
        return webui

    yield make
    drop()
    sys.modules.update(before)


def _is_pack(name: str) -> bool:
    return name.partition(".")[0] == "sd_concord"


@pytest.fixture(params=SHAPES)
def webui_fake(request: pytest.FixtureRequest, make_webui: Callable[..., WebUI]) -> WebUI:
    """Each of the four shapes in turn, with the gradio that it comes with."""
    return make_webui(request.param)
