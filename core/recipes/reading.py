"""The recipes, read from the files of ``data``: one a family of models, and one of rules for every model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..image.generation import Generation
from ..image.parts import DetailerUnit, Hires, Refiner
from .recipe import Card, Lora, ModelKind, Recipe, Rule

FOLDER = Path(__file__).parent / "data"
FILES = ("sdxl", "illustrious", "rouwei", "noobai", "sygil", "samplers", "every_model")
"""The files, in the order in which their recipes are listed."""
Table = Mapping[str, Any]


def read_recipes(folder: Path = FOLDER) -> Mapping[str, Recipe]:
    """Return every recipe by name, in the order of ``FILES``."""
    tables = [json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in FILES]
    cards = {key: Card(**card) for table in tables for key, card in table["cards"].items()}
    rules = [_rule(entry, cards) for table in tables for entry in table.get("rules", ())]
    files = {name: url for table in tables for name, url in table.get("files", {}).items()}
    entries: dict[str, Table] = {}
    for table in tables:
        for entry in table.get("recipes", ()):
            entries[entry["name"]] = _inherited(entry, entries)
    made = {name: _recipe(entry, cards, rules, files) for name, entry in entries.items()}
    return MappingProxyType(made)


def _inherited(entry: Table, before: Mapping[str, Table]) -> Table:
    """Return ``entry`` with what it leaves out as in the recipe that it is like; rules of one topic give way."""
    if "like" not in entry:
        return entry
    parent = before[entry["like"]]
    topics = {rule["topic"] for rule in entry["rules"]}
    inherited = [{"card": parent["card"], **rule} for rule in parent["rules"] if rule["topic"] not in topics]
    return {
        **parent,
        **entry,
        "settings": {**parent["settings"], **entry["settings"]},
        "rules": [*entry["rules"], *inherited],
    }


def _recipe(entry: Table, cards: Mapping[str, Card], general: list[Rule], files: Mapping[str, str]) -> Recipe:
    own = [_rule({"card": entry["card"], **rule}, cards) for rule in entry["rules"]]
    taken = {rule.topic for rule in own} | set(entry.get("without", ()))
    kind = ModelKind(**entry["kind"])
    rest = [rule for rule in general if rule.topic not in taken and not rule.kind.excludes(kind)]
    named = set(_names_in(entry["settings"])) | set(entry.get("lora", {}).get("files", {}).values())
    return Recipe(
        name=entry["name"],
        label=entry["label"],
        summary=entry["summary"],
        card=cards[entry["card"]],
        kind=kind,
        settings=_settings(entry["settings"]),
        rules=(*own, *rest),
        lora=Lora(**entry["lora"]) if "lora" in entry else None,
        files=MappingProxyType({name: url for name, url in files.items() if name in named}),
    )


def _rule(entry: Table, cards: Mapping[str, Card]) -> Rule:
    card, kind = cards[entry["card"]], ModelKind(**entry.get("kind", {}))
    values: dict[str, Any] = {"confirmed": card.url is not None, **entry, "card": card, "kind": kind}
    return Rule(**values)


def _settings(given: Table) -> Generation:
    """Return the record of the settings of a recipe; raises ``BadValue`` for what cannot be in one."""
    values = dict(given)
    if "size" in values:
        values["size"] = tuple(values["size"])
    for name, of in (("hires", Hires), ("refiner", Refiner)):
        if name in values:
            values[name] = of(**values[name])
    values["detailer"] = tuple(DetailerUnit(**unit) for unit in values.get("detailer", ()))
    return Generation(**values)


def _names_in(value: Any) -> Iterator[str]:
    """Yield all texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _names_in(one)
    elif isinstance(value, list):
        for one in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _names_in(one)
