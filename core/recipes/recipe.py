"""What a recipe is: settings that a model's card publishes, with its card, its rules and the models it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..image.generation import Generation

Family = Literal["sd1", "sdxl"]
Prediction = Literal["eps", "v"]
FAMILIES: Mapping[str | None, str] = {"sd1": "SD1.5", "sdxl": "SDXL"}
"""What people call the families."""
PREDICTIONS: Mapping[str | None, str] = {"eps": "epsilon prediction", "v": "v-prediction"}
"""What people call the predictions."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The page that a setting is from; ``url``: None for advice that is common to many cards and has no address."""

    title: str
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """A kind of model; what is None is any, or not known."""

    family: Family | None = None
    prediction: Prediction | None = None

    def includes(self, other: ModelKind) -> bool:
        """Tell whether ``other`` is known to be of this kind."""
        return self.family in (None, other.family) and self.prediction in (None, other.prediction)

    def excludes(self, other: ModelKind) -> bool:
        """Tell whether ``other`` is known to be of another kind."""
        pairs = ((self.family, other.family), (self.prediction, other.prediction))
        return any(None not in (mine, its) and mine != its for mine, its in pairs)

    def known(self, other: ModelKind) -> ModelKind:
        """Return this kind, with what it leaves open taken from ``other``."""
        return ModelKind(
            family=self.family or other.family,
            prediction=self.prediction or other.prediction,
        )

    def __str__(self) -> str:
        """Return it in words, "SDXL with v-prediction"."""
        family = FAMILIES[self.family] if self.family else "any model"
        return f"{family} with {PREDICTIONS[self.prediction]}" if self.prediction else family


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of a card, as something that can be checked.

    ``topic``: what it is about; a recipe has one rule a topic, its own before the general one.  ``check``: the
    function of ``checks`` that looks.  ``field``: what of the record it looks at (``hires.steps``;
    ``hires.denoise`` and ``image.denoise`` are the strength of that pass).  ``wants``: what the check is told.
    ``line``: what the card says, in short.  ``confirmed``: whether the line has been found in the card's published
    text; else it is known by repute alone.  ``kind``: the models that it holds for.
    """

    topic: str
    check: str
    field: str = ""
    wants: Any = None
    line: str
    card: Card
    confirmed: bool = True
    kind: ModelKind = ModelKind()

    @property
    def said(self) -> str:
        """Who says the line, and the line."""
        if self.card.url is None:
            return f"{self.card.title} is: {self.line}"
        says = "says" if self.confirmed else "is reported to say"
        return f"the card of {self.card.title} {says}: {self.line}"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The network that a recipe needs: ``files`` by family, ``mark``: what any file of the sort has in its name."""

    mark: str
    weight: float
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that a card publishes.

    ``settings``: a record in which None is left to the user.  ``rules``: its own and the general ones that may
    hold for its models.  ``files``: where to get a file that the settings name.
    """

    name: str
    label: str
    summary: str
    card: Card
    kind: ModelKind
    settings: Generation
    rules: tuple[Rule, ...]
    lora: Lora | None = None
    files: Mapping[str, str]

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The least and the greatest value of each field that the card gives a range for."""
        return {rule.field: tuple(rule.wants) for rule in self.rules if rule.check == "within"}  # type: ignore[misc]
