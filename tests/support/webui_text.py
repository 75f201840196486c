"""Text models of the fake web UIs: each shape's way to its text encoders, LoRAs on a UNet, and a run of a request."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from clip import FakeEncoder
from sd_concord.core.prompt import Insert, clip_tokenizer
from torch import Tensor
from webui_fake import WebUI

SIZES = torch.arange(6.0)
"""What stands behind the pooled output in SDXL's vector."""
LORAS = ("ink", "glow")


class Part:
    """A text encoder as the hosts have it, over one of the core's; vectors of embeddings wait in ``store.fixes``."""

    def __init__(self, encoder: FakeEncoder, store: Any, key: str, *, forge: bool) -> None:
        self.encoder, self.store, self.key = encoder, store, key
        self.id_start, self.id_end = encoder.tokenizer.bos, encoder.tokenizer.eos
        self.id_pad = encoder.tokenizer.pad
        if forge:
            self.embeddings, self.embedding_key = store, key
        else:
            self.hijack = store

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encoder.tokenizer.encode(text) for text in texts]

    def encode_with_transformers(self, ids: Tensor) -> Tensor:
        fixes, self.store.fixes = self.store.fixes, None
        inserts = [
            Insert(row=row, position=offset + 1, vectors=one.vec)
            for row, row_fixes in enumerate(fixes or ())
            for offset, one in row_fixes
        ]
        hidden, pooled = self.encoder(ids, 1, inserts)
        if pooled is not None:
            hidden.pooled = pooled  # type: ignore[attr-defined]
        return hidden


class CLIP_SD_XL_G(Part):  # noqa: N801 (the name by which the host's is known)
    """The second encoder of SDXL in reForge."""


class Model(SimpleNamespace):
    """The host's model."""


class Objects(SimpleNamespace):
    """Forge's patchers of a model."""

    def shallow_copy(self) -> Objects:
        return copy.copy(self)


class Patcher:
    """A patcher of Forge's or, with ``patches`` in the place of ``lora_patches``, of reForge's; ``put`` counts."""

    __module__ = "backend.patcher.base"

    def __init__(self, log: list[Any], field: str) -> None:
        self.log, self.field = log, field
        self.model_options: dict[str, Any] = {}
        self.model, self.load_device = SimpleNamespace(model_lowvram=False), "cpu"
        self.patches_uuid: Any = None
        setattr(self, field, {})

    def clone(self) -> Patcher:
        made = type(self)(self.log, self.field)
        made.model_options = copy.deepcopy(self.model_options)
        made.model, made.load_device = self.model, self.load_device
        setattr(made, self.field, dict(getattr(self, self.field)))
        return made

    def add_conditioning_modifier(self, modifier: Any) -> None:
        self.model_options.setdefault("conditioning_modifiers", []).append(modifier)

    def refresh_loras(self) -> None:
        self.log.append(getattr(self, self.field))

    def loaded_size(self) -> int:
        return 0

    def unpatch_model(self) -> None:
        self.log.append({})

    def patch_model(self, device: str, lowvram_model_memory: int = 0) -> None:
        self.log.append(getattr(self, self.field))


class Loras:
    """The host's network "lora": ``on`` is what is active, ``log`` what the UNet was told, both as name → strength."""

    name = "lora"

    def __init__(self, model: Any) -> None:
        self.model, self.on, self.log = model, {}, []

    def activate(self, p: Any, params: Sequence[Any]) -> None:
        self.on = {one.positional[0]: strengths(one) for one in params}
        p.lora_hashes = {name: f"hash of {name}" for name in self.on}
        objects = getattr(self.model, "forge_objects", None)
        if objects is None:
            self.log.append(self.on)
            return
        objects.unet = objects.unet.clone()
        on = {name: [strength] for name, strength in self.on.items()}
        setattr(objects.unet, objects.unet.field, on)
        self.model.forge_objects_after_applying_lora = objects.shallow_copy()


def strengths(params: Any) -> tuple[float, float]:
    """Return the strengths for the text encoder and the UNet, as the hosts read them."""
    te = float(params.named.get("te", params.positional[1] if len(params.positional) > 1 else 1.0))
    return te, float(params.named.get("unet", params.positional[2] if len(params.positional) > 2 else te))


def install(webui: WebUI, monkeypatch: Any, *, sdxl: bool = False, embeddings: Mapping[str, Any] = {}) -> Any:
    """Give the fake host a model with text encoders and LoRAs, and return it; ``embeddings``: name → vectors."""
    forge = webui.shape == "forge"
    parts = []
    table = {
        name: SimpleNamespace(vec=vec, vectors=len(next(iter(vec.values()))), name=name, shorthash="abcd")
        if isinstance(vec, dict)
        else SimpleNamespace(vec=vec, vectors=len(vec), name=name, shorthash="abcd")
        for name, vec in embeddings.items()
    }
    hijack = SimpleNamespace(embedding_db=SimpleNamespace(word_embeddings=table), fixes=None)
    for wide in (False, True) if sdxl else (False,):
        encoder = FakeEncoder(
            tokenizer=clip_tokenizer(pad=0 if wide else None), with_pooled=wide, shift=0.25 if wide else 0.5
        )
        store = SimpleNamespace(word_embeddings=table, fixes=None) if forge else hijack
        kind = CLIP_SD_XL_G if wide else Part
        parts.append(kind(encoder, store, "clip_g" if wide else "clip_l", forge=forge))
    model = Model(is_sdxl=sdxl)
    if forge:
        names = ("_l", "_g") if sdxl else ("",)
        for name, part in zip(names, parts, strict=True):
            setattr(model, f"text_processing_engine{name}", part)
    elif sdxl:
        model.conditioner = SimpleNamespace(embedders=[*parts, SimpleNamespace()])
    else:
        model.cond_stage_model = parts[0]
    loras = Loras(model)
    if webui.shape != "a1111":
        _add_patchers(webui, model, loras, monkeypatch)
    known = dict.fromkeys(LORAS)
    networks: Any = ModuleType("networks")
    networks.available_network_aliases, networks.list_available_networks = known, lambda: None
    monkeypatch.setitem(sys.modules, "networks", networks)
    webui.extra_networks.extra_network_registry["lora"] = loras
    webui.shared.sd_model = model
    return SimpleNamespace(model=model, encoders=[part.encoder for part in parts], loras=loras, parts=parts)


def _add_patchers(webui: WebUI, model: Any, loras: Loras, monkeypatch: Any) -> None:
    field = "lora_patches" if webui.shape == "forge" else "patches"
    name = "backend.memory_management" if webui.shape == "forge" else "ldm_patched.modules.model_management"
    memory: Any = ModuleType(name)
    memory.load_model_gpu = lambda patcher: None
    for package in [name.rpartition(".")[0], name.partition(".")[0]]:
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    monkeypatch.setitem(sys.modules, name, memory)
    own = "backend.patcher.base" if webui.shape == "forge" else "ldm_patched.modules.model_patcher"
    kind = type("Patcher", (Patcher,), {"__module__": own})
    clip = SimpleNamespace(patcher=kind(loras.log, field))
    model.forge_objects = Objects(unet=kind(loras.log, field), clip=clip)
    model.forge_objects_after_applying_lora = model.forge_objects.shallow_copy()


def request(webui: WebUI, prompts: Sequence[str], negatives: Sequence[str] = ("",), **more: Any) -> Any:
    """Return a request of the host for a batch, of an image to image where ``init_images`` are given."""
    kind = "Img2Img" if "init_images" in more else "Txt2Img"
    negatives = [*negatives, *negatives[-1:] * (len(prompts) - len(negatives))]
    p = getattr(webui.processing, f"StableDiffusionProcessing{kind}")(
        all_prompts=list(prompts),
        all_negative_prompts=negatives,
        all_hr_prompts=list(prompts),
        all_hr_negative_prompts=negatives,
        prompts=list(prompts),
        negative_prompts=negatives,
        batch_size=len(prompts),
        iteration=0,
        steps=4,
        sampler_name="Euler",
        hr_sampler_name=None,
        hr_second_pass_steps=0,
        enable_hr=False,
        hr_checkpoint_info=None,
        denoising_strength=0.5,
        is_hr_pass=False,
        extra_generation_params={},
        comments=[],
        sd_model=webui.shared.sd_model,
    )
    vars(p).update(more)
    p.comment = p.comments.append
    return p


def run(webui: WebUI, script: Any, p: Any, *args: Any, calls: int = 4, passes: int = 1) -> list[Any]:
    """Do with a request what the host does for one batch; return the parameters of each model call."""
    extra = webui.extra_networks
    script.process(p, *args)
    script.before_process_batch(p, *args, batch_number=0, prompts=p.prompts)
    p.prompts, p.extra_network_data = extra.parse_prompts(p.prompts)
    if p.enable_hr:
        p.hr_prompts, p.hr_extra_network_data = extra.parse_prompts(p.all_hr_prompts)
        p.hr_negative_prompts = list(p.all_hr_negative_prompts)
    loras = extra.extra_network_registry["lora"]
    loras.activate(p, p.extra_network_data.get("lora", []))
    loras.log.clear()
    model = webui.shared.sd_model
    if hasattr(model, "forge_objects"):
        model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()
    script.process_batch(p, *args, batch_number=0, prompts=p.prompts)
    done: list[Any] = []
    for number in range(passes):
        p.is_hr_pass = number == 1
        if hasattr(model, "forge_objects"):
            model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()
            script.process_before_every_sampling(p, *args, x=None, noise=None, c=None, uc=None)
        loras.log.clear()
        for step in range(calls):
            done.append(call(webui, p, step))
            done[-1].loras = list(loras.log)
    script.post_sample(p, *args, SimpleNamespace(samples=None))
    return done


def call(webui: WebUI, p: Any, step: int) -> Any:
    """Return the parameters of one model call after every callback; the host encodes the prompts that it has."""
    model = webui.shared.sd_model
    prompts = p.hr_prompts if p.is_hr_pass else p.prompts
    rows = sum(len(text.split(" AND ")) for text in prompts)
    params = webui.script_callbacks.CFGDenoiserParams(
        x=torch.zeros(len(prompts), 4, 8, 8),
        text_cond=_blank(model, rows),
        text_uncond=None if getattr(p, "cfg_scale", 7) == 1 else _blank(model, len(prompts)),
        denoiser=SimpleNamespace(p=p, step=step),
    )
    for callback in webui.callbacks["cfg_denoiser"]:
        callback(params)
    return params


class DictWithShape(dict):  # type: ignore[type-arg]
    """What the hosts have of SDXL."""

    @property
    def shape(self) -> Any:
        return self["crossattn"].shape


def _blank(model: Any, rows: int) -> Any:
    if not model.is_sdxl:
        return torch.zeros(rows, 77, 4)
    vector = torch.cat([torch.zeros(2), SIZES]).expand(rows, -1)
    return DictWithShape({"crossattn": torch.zeros(rows, 77, 8), "vector": vector})
