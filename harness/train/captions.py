"""What one says of a scene: prompts as people write them, from sentences to tag lists, some with BREAK."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .scenes import SIZE, Item, Scene

GOOD = ("masterpiece", "best quality", "sharp", "clean")
BAD = ("worst quality", "low quality", "bad")
BAD_STYLES = ("blurry", "noisy")
JUNK = tuple(
    "cat dog house tree car photo detailed lighting river mountain portrait cinematic studio bokeh film vintage "
    "landscape fantasy trending soft dramatic forest city ocean anime dress castle robot spaceship painting oil "
    "watercolor concept render volumetric epic golden hour winter night street glass metal wooden ancient magic".split()
)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Chances (0 to 1) that a caption says a thing that is so; ``long``: that it fills two to four chunks."""

    position: float = 0.85
    background: float = 0.6
    size: float = 0.75
    quality: float = 0.25
    junk: float = 0.08
    breaks: float = 0.2
    long: float = 0.12


USUAL = Wording()


def caption(scene: Scene, rng: random.Random, wording: Wording = USUAL) -> str:
    """Say what ``scene`` shows.  The text is in A1111's syntax; BREAK stands between clauses in some."""
    clauses = _related(scene, rng) if _relates(scene, rng, wording) else _listed(scene, rng, wording)
    if rng.random() < wording.background:
        phrase = (
            f"on a {scene.background} background" if len(clauses) == 1 else f"{scene.background} background"
        )
        clauses = _with_background(clauses, phrase)
    joined = _join(clauses, rng, wording)
    before, after = _tags(scene, rng, wording)
    parts = [*before, joined, *after]
    glue = " BREAK " if parts and rng.random() < wording.breaks / 4 else ", "
    text = glue.join(parts)
    return _lengthened(text, rng) if rng.random() < wording.long else text


def _lengthened(text: str, rng: random.Random) -> str:
    """Put ``text`` among chunks that say nothing of the picture: two to four chunks where there was one."""
    chunks = [" ".join(rng.choices(JUNK, k=rng.randint(3, 60))) for _ in range(rng.randint(1, 3))]
    chunks.insert(rng.randrange(len(chunks) + 1), text)
    return " BREAK ".join(chunks)


def item_phrase(item: Item, article: str = "a", say_size: bool = True) -> str:
    """Name one item: ``a big red circle``, ``a smiling face with black hair``.

    >>> item_phrase(Item(kind="ring", colour="orange", size="", x=0, y=0, radius=9))
    'an orange ring'
    """
    size = item.size if say_size else ""
    if item.kind == "face":
        words = [size, item.mood, f"face with {item.colour} hair"]
    else:
        words = [size, item.colour, item.kind]
    text = " ".join(word for word in words if word)
    if not article:
        return text
    return f"an {text}" if text[0] in "aeio" else f"a {text}"


def place_phrase(item: Item) -> str:
    """Say where an item is when that is clear, as seen from the middle third of the picture; else ``""``."""
    dx, dy = item.x / SIZE - 0.5, item.y / SIZE - 0.5
    if max(abs(dx), abs(dy)) < 0.1:
        return "in the center"
    if abs(dx) > abs(dy) and abs(dx) > 0.14:
        return "on the left" if dx < 0 else "on the right"
    if abs(dy) > 0.14:
        return "at the top" if dy < 0 else "at the bottom"
    return ""


def relation(a: Item, b: Item) -> str:
    """Say where ``a`` is from ``b``: ``left of``, ``right of``, ``above`` or ``below``."""
    dx, dy = a.x - b.x, a.y - b.y
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _relates(scene: Scene, rng: random.Random, wording: Wording) -> bool:
    return len(scene.items) == 2 and rng.random() < wording.position * 0.7


def _related(scene: Scene, rng: random.Random) -> list[str]:
    a, b = rng.sample(scene.items, 2)
    return [f"{item_phrase(a)} {relation(a, b)} {item_phrase(b)}"]


def _listed(scene: Scene, rng: random.Random, wording: Wording) -> list[str]:
    article = "a" if rng.random() < 0.7 else ""
    clauses: list[str] = []
    for item in rng.sample(scene.items, len(scene.items)):
        text = item_phrase(item, article, rng.random() < wording.size)
        place = place_phrase(item)
        clauses.append(f"{text} {place}" if place and rng.random() < wording.position else text)
    return clauses


def _with_background(clauses: list[str], phrase: str) -> list[str]:
    return [f"{clauses[0]} {phrase}"] if phrase.startswith("on") else [*clauses, phrase]


def _join(clauses: list[str], rng: random.Random, wording: Wording) -> str:
    if len(clauses) > 1 and rng.random() < wording.breaks:
        return " BREAK ".join(clauses)
    if len(clauses) == 2 and "background" not in clauses[1]:
        return f" {rng.choice(('and', 'and', 'and', ','))} ".join(clauses).replace(" ,", ",")
    return ", ".join(clauses)


def _tags(scene: Scene, rng: random.Random, wording: Wording) -> tuple[list[str], list[str]]:
    before: list[str] = []
    after: list[str] = []
    bad = scene.style in BAD_STYLES
    if rng.random() < wording.quality:
        before += rng.sample(BAD if bad else GOOD, rng.randint(1, 2))
    if scene.style and (bad or rng.random() < 0.85):
        (before if rng.random() < 0.3 else after).append(scene.style)
    if rng.random() < wording.junk:
        words = rng.sample(JUNK, rng.randint(1, 5))
        (before if rng.random() < 0.5 else after).append(" ".join(words))
    return before, after
