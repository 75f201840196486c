"""Nodes with inputs by name → a workflow as ComfyUI's page loads it, where widgets go by their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import BadValue

WIDGETS = ("BOOLEAN", "COMBO", "FLOAT", "INT", "STRING")
"""Types of inputs that are widgets; a list of options is one too."""
SEEDS = ("seed", "noise_seed")
"""Inputs that the page adds "control after generate" to, unasked."""


@dataclass(frozen=True, eq=False)
class Node:
    """A node of class ``kind``; ``inputs``: values of widgets and `Wire`s by name."""

    kind: str
    place: tuple[int, int]
    size: tuple[int, int]
    inputs: dict[str, Any] = field(default_factory=dict)

    def output(self, name: str) -> Wire:
        """Return a wire from the output called ``name``."""
        return Wire(self, name)


@dataclass(frozen=True, eq=False)
class Wire:
    """A wire from an output of a node."""

    node: Node
    output: str


@dataclass(frozen=True, kw_only=True)
class Described:
    """Inputs and outputs of a node class: name → (type, options), and (name, type)."""

    inputs: Mapping[str, tuple[Any, Mapping[str, Any]]]
    outputs: tuple[tuple[str, str], ...]

    def choices(self, name: str) -> list[Any]:
        """Return the entries of a dropdown; none of other inputs."""
        return _choices(*self.inputs[name])

    def output(self, name: str) -> int:
        """Return the place of an output by its name, else by its type."""
        for part in (0, 1):
            for i, one in enumerate(self.outputs):
                if one[part] == name:
                    return i
        raise BadValue(
            f"there is no output {name!r}; the node has {', '.join(one for one, _ in self.outputs)}"
        )


def described(kind: type[Any]) -> Described:
    """Return what a node class of ComfyUI, of either of its two forms, declares."""
    declared = kind.INPUT_TYPES()
    pairs = {**declared.get("required", {}), **declared.get("optional", {})}
    inputs = {name: (spec[0], spec[1] if len(spec) > 1 else {}) for name, spec in pairs.items()}
    types = tuple(map(str, kind.RETURN_TYPES))
    names = tuple(getattr(kind, "RETURN_NAMES", None) or types)
    return Described(inputs=inputs, outputs=tuple(zip((str(name) for name in names), types, strict=True)))


def litegraph(nodes: Sequence[Node], classes: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the workflow of ``nodes``, and a sentence on each value that its dropdown does not have.

    ``classes``: ComfyUI's node classes by id.  Raises ``BadValue`` for a class that is not there.
    """
    known = {node.kind: _class(node.kind, classes) for node in nodes}
    numbers = {node: i for i, node in enumerate(nodes, start=1)}
    links: list[list[Any]] = []
    drawn = [_node(node, numbers, known, links) for node in nodes]
    for link in links:
        source = drawn[link[1] - 1]["outputs"][link[2]]
        source["links"].append(link[0])
    unknown = [line for node in nodes for line in _unknown(node, known[node.kind])]
    workflow = {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": drawn,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }
    return workflow, unknown


def _class(kind: str, classes: Mapping[str, Any]) -> Described:
    if kind not in classes:
        raise BadValue(f"ComfyUI has no node {kind}; its log says why Concord's nodes were left out")
    return described(classes[kind])


def _node(
    node: Node, numbers: Mapping[Node, int], known: Mapping[str, Described], links: list[list[Any]]
) -> dict[str, Any]:
    """Return one node as the page has it, and add the wires that end in it to ``links``."""
    declared = known[node.kind]
    inputs: list[dict[str, Any]] = []
    for slot, (name, (kind, _)) in enumerate(declared.inputs.items()):
        shown: dict[str, Any] = {
            "name": name,
            "type": "COMBO" if isinstance(kind, list) else str(kind),
            "link": None,
        }
        if name in dict(_widgets(declared)):
            shown["widget"] = {"name": name}
        wire = node.inputs.get(name)
        if isinstance(wire, Wire):
            place = known[wire.node.kind].output(wire.output)
            shown["link"] = len(links) + 1
            links.append([len(links) + 1, numbers[wire.node], place, numbers[node], slot, shown["type"]])
        inputs.append(shown)
    return {
        "id": numbers[node],
        "type": node.kind,
        "pos": list(node.place),
        "size": list(node.size),
        "flags": {},
        "order": numbers[node] - 1,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": name, "type": kind, "links": []} for name, kind in declared.outputs],
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": list(_values(node, declared)),
    }


def _widgets(declared: Described) -> Iterator[tuple[str, tuple[Any, Mapping[str, Any]]]]:
    """Yield the inputs that are widgets."""
    for name, (kind, options) in declared.inputs.items():
        if (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput"):
            yield name, (kind, options)


def _values(node: Node, declared: Described) -> Iterator[Any]:
    """Yield what the widgets hold, in the page's order."""
    for name, (kind, options) in _widgets(declared):
        choices = _choices(kind, options)
        default = options.get(
            "default", choices[0] if choices else {"STRING": "", "BOOLEAN": False}.get(kind, 0)
        )
        value = node.inputs.get(name, default)
        yield default if isinstance(value, Wire) else value
        if kind == "INT" and (options.get("control_after_generate") or name in SEEDS):
            yield "fixed"


def _choices(kind: Any, options: Mapping[str, Any]) -> list[Any]:
    return kind if isinstance(kind, list) else list(options.get("options", ()))


def _unknown(node: Node, declared: Described) -> Iterator[str]:
    """Yield a sentence on each value that a dropdown does not have."""
    for name, (kind, options) in _widgets(declared):
        choices, value = _choices(kind, options), node.inputs.get(name)
        if value is not None and not isinstance(value, Wire) and choices and value not in choices:
            yield f"There is no {value!r} here: choose another {name} in {node.kind}."
