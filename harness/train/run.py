"""A training run that can be stopped at any moment and goes on where it was."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .parallel import rank


def learning_rate(step: int, steps: int, flat: float = 0.35) -> float:
    """Return the factor of the learning rate: a short warm-up, flat, then a cosine down to 0.02."""
    if step < 50:
        return (step + 1) / 50
    done = max(0.0, (step / steps - flat) / (1 - flat))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class Run:
    """Count steps, show progress, log figures and keep checkpoints.

    Iterating yields the steps that are left.  ``parts`` are objects with ``state_dict``; they are loaded from
    ``folder/name.pt`` if it is there and saved to it every ``minutes`` and at the end.  Figures go to
    ``folder/name.jsonl``, one line every ``every`` steps.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        steps: int,
        parts: dict[str, Any],
        options: dict[str, Any],
        *,
        minutes: float = 3.0,
        every: int = 100,
    ) -> None:
        """Load the last checkpoint, if any."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.log = folder / f"{name}.pt", folder / f"{name}.jsonl"
        self.name, self.steps, self.parts, self.options = name, steps, parts, options
        self.minutes, self.every = minutes, every
        self.step = 0
        self._sums: dict[str, float] = {}
        self._count = 0
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            for key, part in parts.items():
                part.load_state_dict(state[key])
            self.step = state["step"]

    def __iter__(self) -> Iterator[int]:
        """Yield each step that is left, with a bar that shows the last figures."""
        from tqdm import tqdm

        saved = time.monotonic()
        self._bar = tqdm(
            total=self.steps,
            initial=self.step,
            desc=self.name,
            unit="step",
            mininterval=5,
            disable=rank() > 0,
        )
        while self.step < self.steps:
            yield self.step
            self.step += 1
            self._bar.update()
            if time.monotonic() - saved > 60 * self.minutes:
                self.save()
                saved = time.monotonic()
        self._bar.close()
        self.save()

    def report(self, **figures: float) -> None:
        """Take figures of this step; their means over ``every`` steps go to the log and the bar."""
        for key, value in figures.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._count += 1
        if self._count < self.every:
            return
        means = {key: round(value / self._count, 5) for key, value in self._sums.items()}
        self._sums, self._count = {}, 0
        if rank() > 0:
            return
        self._bar.set_postfix(means)
        line = {"step": self.step + 1, "cpu_s": round(time.process_time()), **means}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the checkpoint in one piece: a crash leaves the one before it."""
        if rank() > 0:
            return
        state = {key: part.state_dict() for key, part in self.parts.items()}
        temporary = self.path.with_suffix(".tmp")
        torch.save({**state, "step": self.step, "options": self.options}, temporary)
        temporary.replace(self.path)
