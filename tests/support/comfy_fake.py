"""A small stand-in for ComfyUI's tables, hooks and node API: what the nodes touch of it, and no more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

PACKAGE = "sd_concord.comfy_nodes"
WIDTH, LAYERS = 16, 3


class Port:
    """An input or output of a node, with all that it was declared with; ``kind``: its type, as ComfyUI names it."""

    kind = ""

    def __init__(self, id: str = "", **given: Any) -> None:
        self.id, self.given = id, given


@dataclass
class Schema:
    node_id: str
    display_name: str = ""
    category: str = ""
    description: str = ""
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    hidden: list[Any] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    not_idempotent: bool = False


class NodeOutput:
    def __init__(
        self, *args: Any, ui: Any = None, expand: Any = None, block_execution: str | None = None
    ) -> None:
        self.args, self.result, self.ui, self.expand = args, args, ui, expand
        self.block_execution = block_execution


class PreviewImage:
    def __init__(self, image: Tensor, cls: type | None = None) -> None:
        self.image = image

    def as_dict(self) -> dict[str, Any]:
        return {"images": [tuple(self.image.shape)]}


def _kind(name: str) -> SimpleNamespace:
    """Return a type as ``io`` has it, ``io.Float`` for one."""
    kind = {"AnyType": "*"}.get(name, name.upper())
    port = type(name, (Port,), {"kind": kind})
    return SimpleNamespace(Input=port, Output=port)


def _io() -> SimpleNamespace:
    kinds = (
        "AnyType Boolean Clip Combo Conditioning Float Image Int Latent Mask Model MultiCombo Sampler Sigmas"
    )
    kinds += " String UpscaleModel Vae"
    types = {name: _kind(name) for name in kinds.split()}
    marks = {name: name for name in ("unique_id", "prompt", "extra_pnginfo")}
    return SimpleNamespace(
        **types,
        ComfyNode=type(
            "ComfyNode", (), {"hidden": SimpleNamespace(prompt=None, extra_pnginfo=None, unique_id=None)}
        ),
        Custom=_kind,
        FolderType=Enum("FolderType", {"input": "input", "output": "output", "temp": "temp"}),
        Hidden=SimpleNamespace(**marks),
        NodeOutput=NodeOutput,
        Schema=Schema,
        UploadType=Enum("UploadType", {"image": "image_upload"}),
    )


class Hook:
    def __init__(self, **_: Any) -> None:
        self.hook_ref = object()

    def clone(self) -> Hook:
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        return other

    def __eq__(self, other: object) -> bool:
        return self.__class__ is other.__class__ and self.hook_ref is other.hook_ref  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.hook_ref)


class TransformerOptionsHook(Hook):
    def __init__(self, transformers_dict: Any = None) -> None:
        super().__init__()
        self.transformers_dict = transformers_dict


class WeightHook(Hook):
    def __init__(self, strength_model: float = 1.0, strength_clip: float = 1.0) -> None:
        super().__init__()
        self.strength, self.weights = strength_model, None

    def add_hook_patches(self, model: Any, options: Any, target: Any, registered: Any) -> None:
        model.hook_patches[self.hook_ref] = (self.weights, self.strength)


class HookGroup:
    def __init__(self) -> None:
        self.hooks: list[Hook] = []

    def __len__(self) -> int:
        return len(self.hooks)

    def add(self, hook: Hook) -> None:
        if hook not in self.hooks:
            self.hooks.append(hook)

    def clone(self) -> HookGroup:
        group = HookGroup()
        group.hooks = [hook.clone() for hook in self.hooks]
        return group

    @staticmethod
    def combine_all_hooks(groups: list[HookGroup | None]) -> HookGroup | None:
        given = [group for group in groups if group is not None]
        if len(given) < 2:
            return given[0] if given else None
        whole = HookGroup()
        for hook in (hook for group in given for hook in group.hooks):
            whole.add(hook.clone())
        return whole


class SchedulerHandler(NamedTuple):
    handler: Callable[..., Tensor]
    use_ms: bool = True


class BrownianTree:
    """Tells whether a sampler asked for a tree, by giving ones."""

    def __init__(
        self, x: Tensor, low: Tensor, high: Tensor, seed: int | None = None, cpu: bool = False
    ) -> None:
        assert 0 < low < high
        self.like = x

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return torch.ones_like(self.like)


def default_noise_sampler(x: Tensor, seed: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed or 0)
    return lambda sigma, sigma_next: torch.randn(x.shape, generator=generator)


class CONST:
    """ComfyUI's mark of rectified flow."""


class ModelSamplingFlux:
    """ComfyUI's flow of Flux."""


class KSAMPLER:
    def __init__(self, sampler_function: Any, extra_options: Any = None, inpaint_options: Any = None) -> None:
        self.sampler_function, self.extra_options = sampler_function, extra_options or {}


class FakeEncoder(nn.Module):
    """A text encoder whose output tells the tokens, the places, the layer and the LoRAs apart."""

    def __init__(self, pad: int, skip: int, width: int) -> None:
        super().__init__()
        table = torch.Generator().manual_seed(width)
        self.words = torch.randn(49408, width, generator=table)
        self.special_tokens = {"start": 49406, "end": 49407, "pad": pad}
        self.options_default = ("last", None, True) if skip == 1 else ("hidden", -skip, True)
        self.num_layers, self.layer, self.encoded = LAYERS, -skip, 0
        self.transformer = SimpleNamespace(get_input_embeddings=lambda: SimpleNamespace(weight=self.words))
        self.extra = 0.0

    def reset_clip_options(self) -> None:
        self.layer = self.options_default[1] or -1

    def set_clip_options(self, options: dict[str, Any]) -> None:
        self.layer = options["layer"]

    def encode(self, rows: list[list[Any]]) -> tuple[Tensor, Tensor]:
        self.encoded += len(rows)
        vectors = [[self.words[one] if isinstance(one, int) else one for one in row] for row in rows]
        hidden = torch.stack([torch.stack(row) for row in vectors]) * -self.layer + self.extra
        return hidden + torch.linspace(0, 1, 77)[:, None], hidden.mean(1)


class FakeClip:
    """A CLIP of SD1.5, or of SDXL with both encoders."""

    def __init__(self, sdxl: bool = False) -> None:
        self.cond_stage_model = nn.Module()
        self.cond_stage_model.clip_l = FakeEncoder(49407, 2 if sdxl else 1, WIDTH)
        if sdxl:
            self.cond_stage_model.clip_g = FakeEncoder(0, 2, WIDTH * 2)
        self.layer_idx: int | None = None
        self.patches: list[Any] = []

    def clone(self) -> FakeClip:
        other = FakeClip.__new__(FakeClip)
        other.__dict__.update(self.__dict__, patches=list(self.patches))
        return other

    def add_patches(self, patches: Any, strength: float) -> None:
        self.patches.append(strength)

    def load_model(self) -> None:
        for encoder in self.cond_stage_model.children():
            encoder.extra = sum(self.patches)

    def add_hooks_to_dict(self, values: dict[str, Any]) -> dict[str, Any]:
        return values


class Executor:
    """What calls wrappers: the ones left, and then the original."""

    def __init__(self, original: Callable[..., Any], owner: Any, wrappers: list[Any]) -> None:
        self.original, self.class_obj, self.wrappers = original, owner, wrappers

    def __call__(self, *args: Any, **named: Any) -> Any:
        if not self.wrappers:
            return self.original(*args, **named)
        return self.wrappers[0](Executor(self.original, self.class_obj, self.wrappers[1:]), *args, **named)


class FakeGuider:
    """ComfyUI's way from CONDITIONING to denoiser calls; ``seen`` has what each call was given."""

    def __init__(self, positive: Any, negative: Any = (), cfg: float = 4.0) -> None:
        self.conds = {
            kind: [{**values, "cross_attn": hidden, "n": next(_NUMBERS)} for hidden, values in entries]
            for kind, entries in (("positive", positive), ("negative", negative))
        }
        self.model_patcher = SimpleNamespace(hook_patches={})
        self.model_options: dict[str, Any] = {}
        self.cfg = cfg
        self.seen: list[dict[str, list[dict[str, Any]]]] = []
        self.options: list[dict[str, Any]] = []
        groups = [entry["hooks"] for entries in self.conds.values() for entry in entries if "hooks" in entry]
        kept = HookGroup.combine_all_hooks([*groups, HookGroup()])
        found = [hook for hook in kept.hooks if isinstance(hook, TransformerOptionsHook)] if kept else []
        self.wrappers: dict[str, list[Any]] = {}
        for hook in found:
            for kind, keyed in hook.transformers_dict["wrappers"].items():
                self.wrappers.setdefault(kind, []).extend(one for each in keyed.values() for one in each)

    def run(self, calls: int, steps: int, sampler: Any) -> None:
        """Make ``calls`` denoiser calls of a run of ``steps`` steps."""

        def outer(noise: Any, latent: Any, sampler: Any, sigmas: Any) -> None:
            for _ in range(calls):
                Executor(self._predict, self, self.wrappers.get("predict_noise", []))(None, None, {}, 0)

        sigmas = torch.linspace(10, 0, steps + 1)
        Executor(outer, self, self.wrappers.get("outer_sample", []))(None, None, sampler, sigmas)

    def _predict(self, x: Any, timestep: Any, options: Any, seed: Any) -> None:
        self.seen.append({kind: list(entries) for kind, entries in self.conds.items()})
        self.options.append(options)


_NUMBERS = count()


@dataclass
class FakeComfy:
    """The stand-in as tests see it; ``folder`` has ``loras``, ``embeddings`` and so on."""

    samplers: Any
    k_diffusion: Any
    folder: Path

    def module(self, name: str) -> Any:
        """Return a module of the nodes, ``schedule`` for one."""
        return import_module(f"{PACKAGE}.{name}")


def modules_of(folder: Path) -> dict[str, ModuleType]:
    """Return the stand-in's modules by name."""

    def module(name: str, **content: Any) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(content)
        return made

    k_diffusion = module(
        "comfy.k_diffusion.sampling",
        BrownianTreeNoiseSampler=BrownianTree,
        default_noise_sampler=default_noise_sampler,
        sample_euler=lambda model, x, sigmas: x,
    )
    names, schedulers = ["euler", "heun"], ["normal", "karras"]
    k_sampler = type("KSampler", (), {"SAMPLERS": names, "SCHEDULERS": schedulers})
    samplers = module(
        "comfy.samplers",
        CFGGuider=type("CFGGuider", (), {}),
        KSAMPLER=KSAMPLER,
        KSampler=k_sampler,
        SAMPLER_NAMES=names,
        SCHEDULER_HANDLERS={name: SchedulerHandler(lambda ms, n: torch.zeros(n + 1)) for name in schedulers},
        SCHEDULER_NAMES=schedulers,
        SchedulerHandler=SchedulerHandler,
        k_diffusion_sampling=k_diffusion,
    )
    hooks = module(
        "comfy.hooks",
        EnumWeightTarget=SimpleNamespace(Model="model", Clip="clip"),
        HookGroup=HookGroup,
        TransformerOptionsHook=TransformerOptionsHook,
        WeightHook=WeightHook,
        create_target_dict=lambda target: {"target": target},
    )
    kinds = ("OUTER_SAMPLE", "PREDICT_NOISE", "CALC_COND_BATCH")
    extension = module(
        "comfy.patcher_extension", WrappersMP=SimpleNamespace(**{name: name.lower() for name in kinds})
    )
    extension_class = type("ComfyExtension", (), {})
    latest = module(
        "comfy_api.latest",
        ComfyExtension=extension_class,
        io=_io(),
        ui=SimpleNamespace(PreviewImage=PreviewImage),
    )
    made = [
        *(module(name) for name in ("comfy", "comfy.k_diffusion", "comfy_api")),
        *(k_diffusion, samplers, hooks, extension, latest, folders(folder)),
        module("comfy.lora", load_lora=lambda w, names, log_missing: w, model_lora_keys_clip=lambda m, k: k),
        module("comfy.lora_convert", convert_lora=lambda weights: weights),
        module("comfy.model_management"),
        module(
            "comfy.model_patcher",
            create_hook_patches_clone=dict,
            set_model_options_post_cfg_function=_post_cfg,
        ),
        module("comfy.model_sampling", CONST=CONST, ModelSamplingFlux=ModelSamplingFlux),
        module("comfy.sd", load_lora_for_models=_with_lora),
        module("comfy.utils", load_torch_file=lambda path, safe_load: {"from": path}),
    ]
    return {one.__name__: one for one in made}


def folders(folder: Path) -> ModuleType:
    """Return a stand-in of ``folder_paths`` over the sub-folders of ``folder``."""
    made = ModuleType("folder_paths")

    def names(kind: str) -> list[str]:
        inside = folder / kind
        return sorted(str(path.relative_to(inside)) for path in inside.rglob("*") if path.is_file())

    def full(kind: str, name: str) -> str | None:
        path = folder / kind / name
        return str(path) if path.is_file() else None

    made.__dict__.update(get_filename_list=names, get_full_path=full)
    made.__dict__.update(
        {
            f"get_{kind}_directory": lambda kind=kind: str(folder / kind)
            for kind in ("input", "output", "temp")
        }
    )
    return made


def _post_cfg(options: dict[str, Any], run: Any, disable_cfg1_optimization: bool = False) -> dict[str, Any]:
    options["sampler_post_cfg_function"] = [*options.get("sampler_post_cfg_function", []), run]
    options["disable_cfg1_optimization"] = disable_cfg1_optimization
    return options


def _with_lora(model: Any, clip: Any, weights: Any, unet: float, te: float) -> tuple[Any, Any]:
    return ([*model, unet] if model is not None else None), ([*clip, te] if clip is not None else None)


@pytest.fixture
def fake_comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeComfy]:
    """The nodes, imported afresh over the stand-in; nothing of either is left behind."""
    for kind in ("loras", "embeddings", "checkpoints", "input", "output", "temp"):
        (tmp_path / kind).mkdir()
    before = {name for name in sys.modules if name.startswith(PACKAGE)}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    made = modules_of(tmp_path)
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield FakeComfy(made["comfy.samplers"], made["comfy.k_diffusion.sampling"], tmp_path)
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
