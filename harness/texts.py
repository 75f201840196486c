"""The prompts of a pass: laid out over its run, encoded, and their networks laid on the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..core.image.generation import Generation, Networks
from ..core.networks import Patched
from ..core.prompt import Conditioning, Known, NetworkTag, PromptPlan, draw_warning, encode, plan
from ..core.run import Sampling
from .embeddings import EmbeddingShelf
from .loras import LoraShelf, model_parts
from .models import Model


@dataclass(frozen=True)
class Texts:
    """Both prompts of a pass, laid out and encoded; ``empty``: the empty prompt (77, D) where it is padded with."""

    positive: PromptPlan
    negative: PromptPlan
    cond: Conditioning
    uncond: Conditioning
    empty: Tensor | None = None

    @property
    def tags(self) -> tuple[NetworkTag, ...]:
        """The network tags that are active at some call."""
        plan = self.positive
        return tuple(tag for call in range(plan.calls) for tag in plan.networks_at(call))

    @property
    def schedules_networks(self) -> bool:
        """Tell whether networks come and go along the run."""
        return any(segment.networks for part in self.positive.parts for segment in part.segments)


class TextReader:
    """A model's text encoders with the networks and embeddings that prompts may name."""

    def __init__(
        self, model: Model, lora_folders: Sequence[Path] = (), embedding_folders: Sequence[Path] = ()
    ) -> None:
        """Take a loaded model; ``model`` is then that model with the embeddings of the folders."""
        self._embeddings = EmbeddingShelf(tuple(embedding_folders))
        self.model = self._embeddings.given_to(model)
        self._loras = LoraShelf(tuple(lora_folders), model)
        self._patched = Patched(model_parts(self.model))

    def read(self, record: Generation, sampling: Sampling) -> Texts:
        """Lay out and encode the prompts of ``record``; what is always active is on the model afterwards."""
        self._loras.warnings.clear()
        positive = self._plan(record.prompt, sampling, is_negative=False)
        negative = self._plan(record.negative_prompt, sampling, is_negative=True)
        cond = self._encode(positive, record, sampling)
        calls = [positive.networks_at(call) for call in range(positive.calls)]
        self.lay_on([tag for tag in calls[0] if all(tag in others for others in calls)])
        uncond = self._encode(negative, record, sampling)
        empty = self._empty(record, sampling) if sampling.padding == "empty" else None
        return Texts(positive, negative, cond, uncond, empty)

    def lay_on(self, tags: Sequence[NetworkTag]) -> None:
        """Set the model's weights to those with the networks of ``tags`` and no others."""
        self._patched.set(self._loras.uses(tags))

    def networks(self, texts: Texts) -> Networks:
        """Return how a record names the networks and embeddings that ``texts`` use."""
        used = tuple(dict.fromkeys((*texts.cond.embeddings, *texts.uncond.embeddings)))
        return Networks(loras=self._loras.refs(texts.tags), embeddings=self._embeddings.refs(used))

    def warnings(self, texts: Texts) -> list[str]:
        """Return what is to be said of ``texts`` and of the networks and embeddings they name."""
        plans = (texts.positive, texts.negative)
        traps = (draw_warning(one.text, warning) for one in plans for warning in one.warnings)
        return [*traps, *self._embeddings.warnings, *self._loras.warnings]

    def _plan(self, text: str, sampling: Sampling, *, is_negative: bool) -> PromptPlan:
        run = replace(sampling.shape, negative=is_negative)
        known = Known(embeddings=self.model.text_encoders[0].embeddings)
        return plan(text, sampling.first_steps, dialect=sampling.dialect, run=run, known=known)

    def _empty(self, record: Generation, sampling: Sampling) -> Tensor:
        blank = self._plan("", sampling, is_negative=True)
        return self._encode(blank, record, sampling).for_call(0).hidden[0]

    def _encode(self, prompt: PromptPlan, record: Generation, sampling: Sampling) -> Conditioning:
        negative = prompt.run.negative
        return encode(
            prompt,
            self.model.text_encoders,
            emphasis=sampling.emphasis,
            clip_skip=record.clip_skip or 1,
            zero_empty=negative and sampling.host.zero_empty_negative and self.model.family == "sdxl",
            apply_networks=None if negative else self.lay_on,
        )
