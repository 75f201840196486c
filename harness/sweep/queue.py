"""Which batch a worker that is free takes next: one that needs what it holds, if there is one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from .order import Loaded
from .worker import Job


class JobQueue:
    """Batches that nobody works on yet, by what has to be loaded for them."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        """Take ``jobs`` in the order of their plan."""
        self._waiting: OrderedDict[Loaded, deque[Job]] = OrderedDict()
        for job in jobs:
            self._waiting.setdefault(job.loaded, deque()).append(job)

    def __len__(self) -> int:
        """Return how many batches wait."""
        return sum(map(len, self._waiting.values()))

    def take(self, holds: Loaded | None, others: Sequence[Loaded] = ()) -> Job | None:
        """Return the batch that a worker which ``holds`` this begins next; None when none is left.

        First come batches for what it holds, then those of its model, then what none of the ``others`` holds; at
        last it helps where most is left.
        """
        if not self._waiting:
            return None
        models = {one[:2] for one in others}

        def rank(key: Loaded) -> tuple[bool, bool, bool, int]:
            own = holds is not None and key[:2] == holds[:2]
            return key != holds, not own, key[:2] in models, -len(self._waiting[key])

        key = min(self._waiting, key=rank)
        job = self._waiting[key].popleft()
        if not self._waiting[key]:
            del self._waiting[key]
        return job

    def give_back(self, job: Job) -> None:
        """Put a batch whose worker is lost before the others of its kind."""
        self._waiting.setdefault(job.loaded, deque()).appendleft(job)
