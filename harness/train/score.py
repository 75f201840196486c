"""Does the embedded model draw what it is told?  Prompts with known answers, and the share it gets right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .captions import item_phrase, relation
from .draw import draw
from .recognise import Found, recognise
from .scenes import Item, Mix, Scene, random_scene

Picture = NDArray[np.uint8]
Painter = Callable[[Sequence[str]], Iterable[Picture]]

KINDS = ("one_object", "two_objects", "order", "faces")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A prompt and the scene it speaks of; only kinds, colours and, for "order", places of the items count."""

    kind: str
    prompt: str
    scene: Scene


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What one picture got right: shares in [0, 1] of its items; ``both`` and ``order`` are 0 or 1."""

    kind: str
    right: float
    colour: float
    both: float
    order: float
    stray: float


def tasks(count: int = 256, seed: int = 0) -> list[Task]:
    """Return ``count`` tasks, the four kinds in turn."""
    rng = random.Random(f"score/{seed}")
    return [_task(KINDS[i % len(KINDS)], rng) for i in range(count)]


def _task(kind: str, rng: random.Random) -> Task:
    count = 2 if kind in {"two_objects", "order"} else 1
    mix = Mix(counts=(2 - count, count - 1, 0), faces=float(kind == "faces"), styles=0)
    scene = random_scene(rng, mix)
    if kind == "order":
        a, b = scene.items
        return Task(
            kind=kind,
            prompt=f"{item_phrase(a, 'a', False)} {relation(a, b)} {item_phrase(b, 'a', False)}",
            scene=scene,
        )
    phrases = [item_phrase(item, "a", say_size=False) for item in scene.items]
    text = " and ".join(phrases)
    return Task(
        kind=kind, prompt=text if count == 2 else f"{text} on a {scene.background} background", scene=scene
    )


def mark(task: Task, picture: Picture) -> Marks:
    """Judge one picture, uint8 (h, w, 3)."""
    found = recognise(picture)
    wanted = task.scene.items
    matches = [_match(item, found) for item in wanted]
    asked = {item.colour for item in wanted}
    colours = [any(f.colour == item.colour for f in found) for item in wanted]
    stray = [f for f in found if f.colour not in asked]
    right = float(np.mean([match is not None for match in matches]))
    return Marks(
        kind=task.kind,
        right=right,
        colour=float(np.mean(colours)),
        both=float(right == 1.0),
        order=float(_in_order(task, matches)),
        stray=float(bool(stray)),
    )


def _match(item: Item, found: list[Found]) -> Found | None:
    return next((f for f in found if f.kind == item.kind and f.colour == item.colour), None)


def _in_order(task: Task, matches: list[Found | None]) -> bool:
    """Tell whether both items are there and stand to each other as asked."""
    if len(matches) < 2 or matches[0] is None or matches[1] is None:
        return False
    a, b = task.scene.items
    wanted = relation(a, b)
    dx, dy = matches[0].x - matches[1].x, matches[0].y - matches[1].y
    return {"left of": dx < 0, "right of": dx > 0, "above": dy < 0, "below": dy > 0}[wanted]


def summary(marks: Sequence[Marks]) -> dict[str, float]:
    """Return the shares: ``one_object``, ``two_objects``, ``faces`` (items with kind and colour right),
    ``two_both`` (pictures with both right), ``order`` (of the pictures with both right, how many stand as asked),
    ``colour`` (items whose colour is there) and ``stray`` (pictures with a colour nobody asked for)."""  # fmt: skip
    of = {kind: [m for m in marks if m.kind == kind] for kind in KINDS}
    shapes = [m for kind in KINDS[:3] for m in of[kind]]
    complete = [m for m in of["order"] if m.both]
    return {
        "one_object": _mean(m.right for m in of["one_object"]),
        "two_objects": _mean(m.right for m in of["two_objects"]),
        "two_both": _mean(m.both for m in of["two_objects"]),
        "order": _mean(m.order for m in complete),
        "faces": _mean(m.right for m in of["faces"]),
        "colour": _mean(m.colour for m in shapes),
        "stray": _mean(m.stray for m in marks),
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return round(float(np.mean(listed)), 4) if listed else 0.0


def score(paint: Painter, count: int = 256, seed: int = 0) -> dict[str, float]:
    """Have ``paint`` draw the prompts of ``count`` tasks and return the `summary` of its marks."""
    todo = tasks(count, seed)
    pictures = paint([task.prompt for task in todo])
    return summary([mark(task, picture) for task, picture in zip(todo, pictures, strict=True)])


def vae_truth(through: Callable[[Picture], Picture], count: int = 256, seed: int = 0) -> float:
    """Return the share of items still right when the true pictures have gone ``through`` the VAE."""
    marks = [mark(task, through(draw(task.scene))) for task in tasks(count, seed)]
    return _mean(m.right for m in marks)


def report(figures: dict[str, Any]) -> str:
    """Return the figures as lines of text, names and shares."""
    width = max(len(name) for name in figures)
    return "\n".join(f"{name:<{width}}  {value:.2f}" for name, value in figures.items())
