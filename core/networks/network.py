"""Network files (LoRA and its kin) as data: the delta of every module that a file speaks of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from ..errors import BadFile, BadValue
from .deltas import Delta
from .factors import Factors, Full, LoHa, LoKr, LoRA, Product
from .keys import Part, locate, parse_key, why_unknown
from .tensor_files import FileHashes, file_hashes, read_tensor_file

_LABELS = {LoRA: "LoRA", LoHa: "LoHa", LoKr: "LoKr", Full: "full"}


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkModule:
    """What a file holds for one module: the ``weight``'s delta, the ``bias``'s, or both.

    ``flat`` is the name inside the model ``part`` with dots as underscores, in whichever naming the file has;
    ``keys`` are the file's own.
    """

    part: Part
    flat: str
    weight: Delta | None
    bias: Delta | None
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network file: ``modules`` by the file's own name of them, and ``ignored`` keys with the reason.

    ``kind`` names the forms found ("LoRA", "LoKr + full", "DoRA + LoRA"); ``metadata`` is the file's own,
    with ``ss_...`` as kohya's trainer writes it.
    """

    name: str
    kind: str
    metadata: Mapping[str, str]
    hashes: FileHashes
    modules: Mapping[str, NetworkModule]
    ignored: Mapping[str, str]

    @property
    def model_hash(self) -> str | None:
        """``sshs_model_hash`` as the trainer recorded it (sha256 of the tensors), or None."""
        return self.metadata.get("sshs_model_hash")

    @property
    def legacy_hash(self) -> str | None:
        """``sshs_legacy_hash`` as the trainer recorded it (8 digits), or None."""
        return self.metadata.get("sshs_legacy_hash")


def load_network(path: str | Path) -> Network:
    """Read a network file, safetensors or weights-only pickle, as kohya, LyCORIS, diffusers or PEFT form it.

    The tensors stay on the CPU in the file's dtype.  Keys of no known form are listed in ``ignored``, not
    dropped in silence.  Raises ``BadFile`` when the file is missing, cut short, or holds no network.
    """
    file = read_tensor_file(path)
    groups, ignored = _group(file.tensors())
    if not groups and not any("not supported" in reason for reason in ignored.values()):
        raise BadFile(_no_network(file.path.name, list(ignored)))
    alphas = _PeftAlphas.read(file.metadata)
    modules: dict[str, NetworkModule] = {}
    for name, group in groups.items():
        module, left_out = _build_module(name, group, alphas)
        ignored |= left_out
        if module is not None:
            modules[name] = module
    return Network(
        name=file.path.stem,
        kind=_kind(modules, ignored),
        metadata=file.metadata,
        hashes=file_hashes(file.path),
        modules=modules,
        ignored=ignored,
    )


_Group = dict[str, tuple[str, Tensor]]  # by slot: the file's key and its tensor


def _group(tensors: Mapping[str, Tensor]) -> tuple[dict[str, _Group], dict[str, str]]:
    """Return the tensors by module and slot, and the keys that belong to none, with reasons."""
    groups: dict[str, _Group] = {}
    ignored: dict[str, str] = {}
    for key, tensor in tensors.items():
        parsed = parse_key(key)
        if parsed is None:
            ignored[key] = why_unknown(key)
            continue
        first, _ = groups.setdefault(parsed.module, {}).setdefault(parsed.slot, (key, tensor))
        if first != key:
            ignored[key] = f"says the same as {first}"
    return groups, ignored


@dataclass(frozen=True, kw_only=True)
class _PeftAlphas:
    """The alphas that diffusers writes into the metadata of a PEFT file instead of ``.alpha`` keys."""

    config: Mapping[str, Any]

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> _PeftAlphas:
        try:
            config: Any = json.loads(metadata.get("lora_adapter_metadata") or "{}")
        except ValueError:
            config = {}
        return cls(config=cast("dict[str, Any]", config) if isinstance(config, dict) else {})

    def scale(self, module: str, rank: int) -> float | None:
        """Return alpha / rank (or / sqrt(rank)) of a dotted module name; None where the metadata has none."""
        prefix, _, inner = module.partition(".")
        patterns: dict[str, Any] = self.config.get(f"{prefix}.alpha_pattern") or {}
        own = (value for pattern, value in patterns.items() if _regex_matches(pattern, inner))
        alpha = next(own, self.config.get(f"{prefix}.lora_alpha"))
        if not isinstance(alpha, (int, float)):
            return None
        return alpha / (math.sqrt(rank) if self.config.get(f"{prefix}.use_rslora") else rank)


def _regex_matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(rf"(.*\.)?({pattern})", name) is not None
    except re.error:
        return False


def _build_module(
    name: str, group: _Group, alphas: _PeftAlphas
) -> tuple[NetworkModule | None, dict[str, str]]:
    """Build one module; return it (None when nothing of it is whole) and the keys left out, with reasons."""
    slots = {slot: tensor for slot, (_, tensor) in group.items()}
    weight = bias = None
    try:
        if factors := _weight_factors(slots):
            scale = _scale(name, slots.pop("alpha", None), factors, alphas)
            weight = Delta(factors=factors, scale=scale, **_magnitude(slots))
        if bias_slot := next((slot for slot in ("diff_b", "b_norm") if slot in slots), None):
            bias = Delta(factors=Full(diff=slots.pop(bias_slot)))
    except BadValue as error:
        return None, {key: str(error) for key, _ in group.values()}
    left_out = {group[slot][0]: "is of no use without the rest of its module" for slot in slots}
    if weight is None and bias is None:
        return None, left_out
    keys = tuple(key for slot, (key, _) in group.items() if slot not in slots)
    part, flat = locate(name)
    return NetworkModule(part=part, flat=flat, weight=weight, bias=bias, keys=keys), left_out


def _weight_factors(slots: dict[str, Tensor]) -> Factors | None:
    """Take the weight's factors out of ``slots``; None without a whole set, ``BadValue`` when they misfit."""
    if {"lora_up", "lora_down"} <= slots.keys():
        return LoRA(up=slots.pop("lora_up"), down=slots.pop("lora_down"), mid=slots.pop("lora_mid", None))
    if {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= slots.keys():
        return LoHa(first=_product(slots, "hada_w1", "hada_t1"), second=_product(slots, "hada_w2", "hada_t2"))
    if _has_factor(slots, "lokr_w1") and _has_factor(slots, "lokr_w2"):
        return LoKr(first=_kron_factor(slots, "lokr_w1"), second=_kron_factor(slots, "lokr_w2"))
    whole = next((slot for slot in ("diff", "w_norm") if slot in slots), None)
    return None if whole is None else Full(diff=slots.pop(whole))


def _product(slots: dict[str, Tensor], stem: str, core: str) -> Product:
    return Product(a=slots.pop(f"{stem}_a"), b=slots.pop(f"{stem}_b"), core=slots.pop(core, None))


def _has_factor(slots: Mapping[str, Tensor], stem: str) -> bool:
    return stem in slots or {f"{stem}_a", f"{stem}_b"} <= slots.keys()


def _kron_factor(slots: dict[str, Tensor], stem: str) -> Tensor | Product:
    return slots.pop(stem) if stem in slots else _product(slots, stem, stem.replace("_w", "_t"))


def _scale(name: str, alpha: Tensor | None, factors: Factors, alphas: _PeftAlphas) -> float:
    """Return alpha / rank; as in kohya and LyCORIS 1 without alpha, with alpha 0, or without a rank."""
    rank = factors.rank
    if not rank:
        return 1.0
    if alpha is None:
        return alphas.scale(name, rank) or 1.0
    return float(alpha.flatten()[0]) / rank or 1.0


def _magnitude(slots: dict[str, Tensor]) -> dict[str, Any]:
    """Take the DoRA fields of a ``Delta``: PEFT's vector is by output row, LyCORIS's shape tells its axis."""
    vector, scale = slots.pop("lora_magnitude_vector", None), slots.pop("dora_scale", None)
    if vector is not None:
        return {"magnitude": vector.flatten()}
    if scale is None:
        return {}
    long = [axis for axis, size in enumerate(scale.shape) if size > 1]
    if long not in ([], [0], [1]):
        raise BadValue(
            f"dora_scale is {tuple(scale.shape)}, but only its first or its second size may be above 1"
        )
    return {"magnitude": scale.flatten(), "magnitude_axis": long[0] if long else 0}


def _kind(modules: Mapping[str, NetworkModule], ignored: Mapping[str, str]) -> str:
    found: set[str] = set()
    for module in modules.values():
        if module.weight is not None:
            found.add(_LABELS[type(module.weight.factors)])
            found |= {"DoRA"} if module.weight.magnitude is not None else set()
        if module.bias is not None:
            found.add("full")
    found = found or {reason.split(" ")[0] for reason in ignored.values() if reason.endswith("not supported")}
    return " + ".join(sorted(found, key=str.lower))


def _no_network(name: str, keys: list[str]) -> str:
    if not keys:
        return f"{name} holds no tensors; use a LoRA, LoHa, LoKr or DoRA file"
    if any(key.startswith(("model.diffusion_model.", "first_stage_model.", "conditioner.")) for key in keys):
        hint = "it is a whole model; give it as the model"
    elif any(key in ("emb_params", "clip_l", "clip_g", "string_to_param") for key in keys):
        hint = "it is an embedding; load it as one"
    else:
        hint = "use a LoRA, LoHa, LoKr or DoRA file"
    return f"{name} is no network file: its {len(keys)} keys name no delta (the first is {keys[0]!r}); {hint}"
