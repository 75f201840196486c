"""`sd-concord recipes`: the settings that model cards publish, with their rules and sources."""

from __future__ import annotations

import argparse
import json

from ...core.recipes import RECIPES, find_recipe
from ..recipe_pages import as_json, settings_of, source_of, words_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="one recipe, whole; all in short unless given"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the recipes."""
    if args.json:
        chosen = [find_recipe(args.name)] if args.name else RECIPES.values()
        made = [as_json(recipe) for recipe in chosen]
        print(json.dumps(made[0] if args.name else made, ensure_ascii=False))  # noqa: T201
    elif args.name:
        print(words_of(find_recipe(args.name)))  # noqa: T201
    else:
        wide = max(map(len, RECIPES))
        for recipe in RECIPES.values():
            print(f"{recipe.name:{wide}}  {recipe.label}: {recipe.summary}")  # noqa: T201
            print(f"{'':{wide}}  {settings_of(recipe)}")  # noqa: T201
            print(f"{'':{wide}}  from {source_of(recipe.card)}")  # noqa: T201
    return 0
