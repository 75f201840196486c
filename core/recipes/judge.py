"""The doctor of recipes: which line of which card a record disagrees with."""

from __future__ import annotations

from ..image.generation import Generation
from ..sampling.doctor_rules import Finding
from .apply import RECIPES, find_recipe
from .checks import CHECKS, Subject
from .recipe import ModelKind, Recipe, Rule

MODEL = "recipe-model"
"""The code of a finding that the model is of another kind than the recipe's."""


def check_recipe(
    recipe: Recipe | str, record: Generation, model_kind: ModelKind | None = None
) -> list[Finding]:
    """Return what of ``record`` disagrees with the card of ``recipe``, each with the line and the card's title.

    ``model_kind``: of the model that runs, where it is known; it decides which general rules hold.  What the
    record leaves open agrees.  Raises ``BadValue`` for an unknown name of a recipe.
    """
    if isinstance(recipe, str):
        recipe = find_recipe(recipe)
    known = model_kind or ModelKind()
    found: list[Finding] = []
    if recipe.kind.excludes(known):
        message = f"the recipe of {recipe.card.title} is for {recipe.kind}, but here it is {known}"
        found.append(
            Finding(code=MODEL, message=message, advice="use another recipe, or the model of the card")
        )
    kind, subject = known.known(recipe.kind), Subject(record=record)
    for rule in recipe.rules:
        if rule.kind.includes(kind):
            found += [_finding(rule, *one) for one in CHECKS[rule.check](rule, subject)]
    return found


def findings_of(record: Generation, model_kind: ModelKind | None = None) -> list[Finding]:
    """Return ``check_recipe`` of the recipe that ``record`` names; nothing for none, or one of another version."""
    name = record.concord and record.concord.recipe
    return check_recipe(RECIPES[name], record, model_kind) if name and name in RECIPES else []


def _finding(rule: Rule, message: str, advice: str) -> Finding:
    return Finding(code=f"recipe-{rule.topic}", message=f"{message}, but {rule.said}", advice=advice)
