"""Matching a network file's modules with a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import BadValue
from .deltas import Delta, misfit, take_rows
from .family import Shapes, family_of, family_of_model
from .keys import Part
from .module_names import Target, name_table
from .network import Network, NetworkModule


@dataclass(frozen=True, kw_only=True, eq=False)
class Matched:
    """A network laid on a model: ``deltas`` by part and parameter name, ``unmatched`` keys and why."""

    name: str
    deltas: Mapping[Part, Mapping[str, Delta]]
    unmatched: Mapping[str, str]

    def to(self, device: torch.device | str) -> Matched:
        """Return the same with the factors on ``device``, so that switching strengths copies nothing."""
        deltas: dict[Part, dict[str, Delta]] = {}
        for part, by_name in self.deltas.items():
            deltas[part] = {name: delta.to(device) for name, delta in by_name.items()}
        return Matched(name=self.name, deltas=deltas, unmatched=self.unmatched)


def parameter_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of ``module`` by its state-dict name."""
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def match(network: Network, shapes: Shapes) -> Matched:
    """Find the weight of each module of ``network`` in a model whose parameters have these ``shapes``.

    ``shapes``: for "unet", "te1", "te2" (those that the model has) the parameter shapes by diffusers or
    transformers state-dict name (``parameter_shapes``).  The file may use these names, kohya's form of them,
    the original ldm and sgm names, or OpenCLIP's.  What fits nothing is in ``unmatched``, the file's unknown
    keys included.  A weight named twice is changed once, by its diffusers name.

    Raises ``BadValue`` when the network was made for another family of models.
    """
    _check_family(network, shapes)
    deltas: dict[Part, dict[str, Delta]] = {part: {} for part in shapes}
    unmatched = dict(network.ignored)
    tables = {part: name_table(part, {name.rpartition(".")[0] for name in shapes[part]}) for part in shapes}
    for module in sorted(network.modules.values(), key=_is_original_name):
        if module.part not in shapes:
            problem: str | None = f"the model has no {module.part}"
        else:
            targets = tables[module.part].get(module.flat, ())
            problem = _assign(module, targets, shapes[module.part], deltas[module.part])
        if problem:
            unmatched |= dict.fromkeys(module.keys, problem)
    return Matched(name=network.name, deltas=deltas, unmatched=unmatched)


def _is_original_name(module: NetworkModule) -> bool:
    return module.flat.startswith(("input_blocks_", "middle_block_", "output_blocks_"))


def _assign(
    module: NetworkModule,
    targets: tuple[Target, ...],
    shapes: Mapping[str, tuple[int, ...]],
    deltas: dict[str, Delta],
) -> str | None:
    """Enter the deltas of one module; return why it was left out, or None.  All of it is entered or none."""
    if not targets:
        return "the model has no module of this name"
    found: dict[str, Delta] = {}
    for target in targets:
        for kind, delta in (("weight", module.weight), ("bias", module.bias)):
            if delta is None:
                continue
            name = f"{target.module}.{kind}"
            if name not in shapes:
                return f"the model's {target.module} has no {kind}"
            if name in deltas:
                return f"{name} is changed by another key of the file"
            try:
                delta = _third(delta, target.third)  # noqa: PLW2901
            except BadValue as error:
                return str(error)
            if problem := misfit(delta, shapes[name]):
                return problem
            found[name] = delta
    deltas |= found
    return None


def _third(delta: Delta, third: int | None) -> Delta:
    if third is None:
        return delta
    rows = delta.shape[0] // 3
    return take_rows(delta, slice(third * rows, (third + 1) * rows))


def _check_family(network: Network, shapes: Shapes) -> None:
    made_for, model = family_of(network), family_of_model(shapes)
    if made_for and model and made_for != model:
        raise BadValue(
            f"{network.name} was made for {made_for}, but the model is {model}; use a network for {model}"
        )
