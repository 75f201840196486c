"""The recipes in words: for the command line, as JSON, and as docs/recipes.md.

``python -m sd_concord.harness.recipe_pages`` writes the page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.image import format_infotext
from ..core.image.generation import Generation
from ..core.recipes import RECIPES, Card, ModelKind, Recipe, Rule, apply_recipe
from .tables import table

FILE = Path(__file__).parents[1] / "docs" / "recipes.md"
HEADS = ("recipe", "for", "settings", "from")
RULE_HEADS = ("about", "the card's line", "card")


def settings_of(recipe: Recipe) -> str:
    """Return the settings of a recipe as an infotext has them, the tag of its network before them."""
    record = apply_recipe(recipe.name, Generation())
    assert record.concord
    shown = replace(record, prompt="", concord=replace(record.concord, recipe=None))
    parts = [record.prompt, format_infotext(shown)]
    return ", ".join(part for part in parts if part) or "the prompt's form alone"


def source_of(card: Card) -> str:
    """Return a card's title and address."""
    return f"{card.title}, {card.url}" if card.url else card.title


def words_of(recipe: Recipe) -> str:
    """Return all that is known of a recipe, line by line."""
    rules = [f"  {rule.topic}: {rule.line}{_of(rule, recipe)}" for rule in recipe.rules]
    files = [f"  {name}: {url}" for name, url in recipe.files.items()]
    lines = [
        f"{recipe.label} ({recipe.name}): {recipe.summary}",
        f"for: {recipe.kind}",
        f"from: {source_of(recipe.card)}",
        f"settings: {settings_of(recipe)}",
        "rules:",
        *rules,
        *(["files:", *files] if files else []),
    ]
    return "\n".join(lines)


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Return all that is known of a recipe as plain values."""
    return {
        "name": recipe.name,
        "label": recipe.label,
        "summary": recipe.summary,
        "family": recipe.kind.family,
        "prediction": recipe.kind.prediction,
        "card": {"title": recipe.card.title, "url": recipe.card.url},
        "settings": settings_of(recipe),
        "ranges": {field: list(pair) for field, pair in recipe.ranges.items()},
        "rules": [
            {
                "topic": rule.topic,
                "line": rule.line,
                "card": rule.card.title,
                "confirmed": rule.confirmed,
                "wants": rule.wants,
            }
            for rule in recipe.rules
        ],
        "files": dict(recipe.files),
    }


def document() -> str:
    """Return the text of docs/recipes.md."""
    rules = "\n\n".join(_section(recipe) for recipe in RECIPES.values())
    return f"""# Recipes

The settings that model cards publish, by name: `sd-concord generate "…" --recipe NAME`, *Concord Recipe* in ComfyUI
and in the web UIs. A recipe fills in what is not said; what is said stays, and is compared with the card: where they
disagree, one line names the card and what it says. `--without hires` (or `refiner`, `detailer`, `lora`) leaves that
part out; a file that is not there is told in one line, with what is used in its place. As an axis of a sweep or of the
web UIs' *Concord Grid*, `recipe=none,ays-draft,lcm`, each value brings its card's settings for whatever no other axis
or option says. This page is made from `core/recipes/data` by `python -m sd_concord.harness.recipe_pages`.

Where a card gives a range, a recipe begins inside it. "Common advice" is what many cards and guides give and no one
page can be named for. "not confirmed" marks a line that has not been found in the published text of its card: it is
passed on by repute, and the doctor says "is reported to say" of it.

{table(HEADS, (row_of(recipe) for recipe in RECIPES.values()))}

## Rules

Of one topic a recipe has one rule: its own card's, else the general one for its kind of model. Those for a kind of
model hold when the model is known to be of it.

{rules}
"""


def row_of(recipe: Recipe) -> list[str]:
    """Return the cells of a recipe, under ``HEADS``."""
    return [f"`{recipe.name}` {recipe.label}", str(recipe.kind), settings_of(recipe), _link(recipe.card)]


def _section(recipe: Recipe) -> str:
    rows = ([_about(rule), rule.line, _link(rule.card) + _doubt(rule)] for rule in recipe.rules)
    return f"### {recipe.label}\n\n{table(RULE_HEADS, rows)}"


def _about(rule: Rule) -> str:
    return rule.topic if rule.kind == ModelKind() else f"{rule.topic} ({rule.kind})"


def _link(card: Card) -> str:
    return f"[{card.title}]({card.url})" if card.url else card.title


def _doubt(rule: Rule) -> str:
    return "" if rule.confirmed or rule.card.url is None else ", not confirmed"


def _of(rule: Rule, recipe: Recipe) -> str:
    source = "" if rule.card == recipe.card else source_of(rule.card)
    words = f"{source}{_doubt(rule)}".removeprefix(", ")
    return f" ({words})" if words else ""


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
