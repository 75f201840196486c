"""A ComfyUI graph in the form its server takes and its pictures hold: nodes, and links between them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..errors import BadValue

_VALUE_NAMES = ("value", "text", "string", "int", "float", "number", "seed", "noise_seed")
"""Inputs under which nodes that only hold a value keep it."""
_LONGEST_CHAIN = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A node: its place in the graph, its class, and its inputs: values, or links ``[node, output]``."""

    id: str
    kind: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link to output ``slot`` of ``node``."""

    node: Node
    slot: int


class Graph:
    """The nodes of a graph by their ids, in order."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        """Take the nodes by id."""
        self.nodes = nodes

    def link(self, node: Node, name: str) -> Link | None:
        """Return where input ``name`` comes from; None when it is no link, or one that leads nowhere."""
        return self._link(node.inputs.get(name))

    def links(self, node: Node) -> Iterator[tuple[str, Link]]:
        """Yield (input, link) of every input that is a link."""
        for name, value in node.inputs.items():
            if link := self._link(value):
                yield name, link

    def value(self, node: Node, name: str) -> Any:
        """Return input ``name``, behind a link what the node there holds; None when that is not to be told."""
        value = node.inputs.get(name)
        for _ in range(_LONGEST_CHAIN):
            if (link := self._link(value)) is None:
                return None if isinstance(value, (list, dict)) else value
            held = [link.node.inputs[key] for key in _VALUE_NAMES if key in link.node.inputs]
            if len(held) != 1:
                return None
            value = held[0]
        return None

    def text(self, node: Node, name: str) -> str | None:
        """Return input ``name`` as text; None when it is not to be told."""
        value = self.value(node, name)
        return value if isinstance(value, str) else None

    def number(self, node: Node, name: str) -> float | None:
        """Return input ``name`` as a finite number, whole ones as ``int``; None when it is none."""
        value = self.value(node, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return value if isinstance(value, int) or abs(value) < float("inf") else None

    def whole(self, node: Node, name: str, low: int = 0) -> int | None:
        """Return input ``name`` as a whole number from ``low`` on; None when it is none."""
        value = self.number(node, name)
        return int(value) if value is not None and value == int(value) and value >= low else None

    def above(self, node: Node) -> dict[str, Node]:
        """Return ``node`` and every node that it is made of, by id, the nearest first."""
        found: dict[str, Node] = {node.id: node}
        queue = [node]
        while queue:
            for _, link in self.links(queue.pop(0)):
                if link.node.id not in found:
                    found[link.node.id] = link.node
                    queue.append(link.node)
        return found

    def _link(self, value: Any) -> Link | None:
        if not isinstance(value, list):
            return None
        parts = cast("list[Any]", value)
        if len(parts) != 2 or not isinstance(parts[0], (str, int)) or not isinstance(parts[1], int):
            return None
        node = self.nodes.get(str(parts[0]))
        return Link(node=node, slot=parts[1]) if node else None


def parse_graph(graph: str | Mapping[str, Any]) -> Graph:
    """Return the graph of a ``prompt`` chunk, as text or as the table it stands for.

    What is no node in it is left out.  Raises ``BadValue`` when it holds none.
    """
    table: Any = graph
    if isinstance(graph, str):
        try:
            table = json.loads(graph)
        except (ValueError, RecursionError) as error:
            raise BadValue(
                f"the graph is no JSON ({error}); pass a ComfyUI picture's prompt chunk"
            ) from error
    nodes = _nodes(cast("Mapping[str, Any]", table)) if isinstance(table, Mapping) else {}
    if not nodes:
        raise BadValue(
            "the graph holds no nodes with class_type and inputs; export it in the API format, or pass a "
            "ComfyUI picture's prompt chunk"
        )
    return Graph(nodes)


def _nodes(table: Mapping[str, Any]) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for name, entry in table.items():
        if not isinstance(entry, Mapping):
            continue
        fields = cast("Mapping[str, Any]", entry)
        kind, inputs = fields.get("class_type"), fields.get("inputs")
        if isinstance(kind, str) and isinstance(inputs, Mapping):
            nodes[str(name)] = Node(id=str(name), kind=kind, inputs=cast("Mapping[str, Any]", inputs))
    return nodes
