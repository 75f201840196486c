"""A graph carried out: each node once, from the picture upwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import BadValue
from ...core.image.graph import Graph, Node, parse_graph
from ..pipeline import Pipeline

Pixels = NDArray[np.uint8]
Images = Callable[[str, str], Pixels]
"""Gives a picture, (H, W, 3), by the name that a graph has for it, or a mask (H, W) when a channel is named."""
Rule = Callable[["Play", Node], tuple[Any, ...]]
R = TypeVar("R", bound=Rule)
NODES: dict[str, Rule] = {}
"""What each class of node does: it returns its outputs."""
_DEEPEST = 150


def node(*kinds: str) -> Callable[[R], R]:
    """Declare the function below as what nodes of ``kinds`` do."""

    def declare(rule: R) -> R:
        NODES.update(dict.fromkeys(kinds, rule))
        return rule

    return declare


@dataclass
class Play:
    """A graph while it is carried out.  ``pipeline``: the checkpoint's; ``images``: gives the pictures it loads."""

    graph: Graph
    pipeline: Pipeline
    images: Images
    _done: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    _doing: set[str] = field(default_factory=set[str])

    def wire(self, at: Node, name: str) -> Any:
        """Return what comes in at input ``name``; raises ``BadValue`` where nothing does."""
        link = self.graph.link(at, name)
        if link is None:
            raise BadValue(f"{at.kind} {at.id} has no wire at {name}")
        outputs = self.outputs(link.node)
        if link.slot >= len(outputs):
            raise BadValue(f"{link.node.kind} {link.node.id} has no output {link.slot}")
        return outputs[link.slot]

    def has(self, at: Node, name: str) -> bool:
        """Tell whether a wire comes in at input ``name``."""
        return self.graph.link(at, name) is not None

    def outputs(self, at: Node) -> tuple[Any, ...]:
        """Return the outputs of a node, which is carried out once."""
        if at.id not in self._done:
            if at.kind not in NODES:
                raise BadValue(f"{at.kind} {at.id} is a node that is not carried out here")
            if at.id in self._doing or len(self._doing) >= _DEEPEST:
                raise BadValue(
                    f"the graph goes in a circle at {at.kind} {at.id}, or is {_DEEPEST} nodes deep"
                )
            self._doing.add(at.id)
            self._done[at.id] = NODES[at.kind](self, at)
            self._doing.remove(at.id)
        return self._done[at.id]

    def number(self, at: Node, name: str, default: float | None = None) -> float:
        """Return a number; raises ``BadValue`` where there is none."""
        value = self.graph.number(at, name)
        if value is None and default is None:
            raise BadValue(f"{at.kind} {at.id} has no number {name}")
        return float(default if value is None else value)  # pyright: ignore[reportArgumentType]

    def whole(self, at: Node, name: str, default: int | None = None) -> int:
        """Return a whole number; raises ``BadValue`` where there is none."""
        value = self.graph.number(at, name)
        if value is None and default is not None:
            return default
        if value is None or value != int(value):
            raise BadValue(f"{at.kind} {at.id} has no whole number {name}")
        return int(value)

    def text(self, at: Node, name: str, default: str | None = None) -> str:
        """Return a text; raises ``BadValue`` where there is none."""
        value = self.graph.text(at, name)
        if value is None and default is None:
            raise BadValue(f"{at.kind} {at.id} has no text {name}")
        return str(default if value is None else value)

    def flag(self, at: Node, name: str, default: bool = False) -> bool:
        """Return a switch, of which ComfyUI writes some as "enable" and "disable"."""
        value = self.graph.value(at, name)
        return default if value is None else value in (True, "enable", "yes")


def missing_nodes(graph: Graph, output: Node) -> list[str]:
    """Return the nodes above ``output`` that are not carried out here, as ``class id``."""
    above = graph.above(output).values()
    return sorted(f"{one.kind} {one.id}" for one in above if one.kind not in NODES)


def play_graph(text: str, pipeline: Pipeline, images: Images) -> list[Pixels]:
    """Return the pictures, uint8 (H, W, 3), that the graph in a ComfyUI picture's ``prompt`` chunk makes.

    Raises ``BadValue`` for a graph that holds no picture, a node that is not carried out here, or what cannot be.
    """
    graph = parse_graph(text)
    play = Play(graph=graph, pipeline=pipeline, images=images)
    return play.outputs(output_of(graph))[0]


def output_of(graph: Graph) -> Node:
    """Return the node that saves the picture, of several the one that most nodes stand above; raises ``BadValue``."""
    found = [one for one in graph.nodes.values() if one.kind in ("SaveImage", "PreviewImage")]
    if not found:
        raise BadValue("the graph saves no picture; it holds neither SaveImage nor PreviewImage")
    return max(found, key=lambda one: (len(graph.above(one)), one.kind == "SaveImage"))
